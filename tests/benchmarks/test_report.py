"""What the harness makes of samples; no engine is started."""

from collections.abc import Iterator

import pytest
from benchmarks import report
from benchmarks.engine import Engine
from benchmarks.place import Place
from benchmarks.results import Results, Spread


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    here = Place()
    variant = frozenset(("exec",))
    yield [
        Engine("sampan", "sampan", "1", here, [], {}),
        Engine("docker", "docker", "1", here, [], {}),
        Engine("docker, crun", "docker", "1", here, [], {}, groups=variant),
        Engine("podman", "podman", "1", here, [], {}),
    ]
    here.close()


@pytest.fixture
def results() -> Results:
    samples = {
        "exec": {"sampan": [30, 20, 40], "docker": [80], "docker, crun": [25], "podman": [100]},
        "run none": {"sampan": [40], "docker": [60], "podman": [100]},
        "log": {"sampan": [350], "podman": [150]},
        "rss 300": {"sampan": [81]},
    }
    found = Results()
    for figure, engines in samples.items():
        for engine, values in engines.items():
            for value in values:
                found.add(figure, engine, value)
    return found


def test_p90_is_the_sample_that_nine_of_ten_do_not_exceed() -> None:
    assert Spread.of([float(number) for number in range(1, 11)]) == Spread(5.5, 1, 9)
    assert Spread.of([3.0]) == Spread(3, 3, 3)


def test_each_figure_is_held_against_the_peers_that_its_target_names(
    results: Results, engines: list[Engine]
) -> None:
    lines = {line.figure.key: line for line in report.compare(results, engines)}
    assert (lines["exec"].peer, lines["exec"].ratio, lines["exec"].reached) == ("docker, crun", 1.2, False)
    assert (lines["run none"].peer, lines["run none"].reached) == ("podman", True)
    assert (lines["log"].peer, lines["log"].reached) == ("podman", True)
    assert (lines["rss 300"].peer, lines["rss 300"].ratio, lines["rss 300"].reached) == ("", None, False)


def test_a_figure_that_is_not_measured_of_ours_has_no_line(engines: list[Engine]) -> None:
    results = Results()
    results.add("exec", "docker", 80)
    assert list(report.compare(results, engines)) == []


def test_the_markdown_table_has_a_line_for_each_figure(results: Results, engines: list[Engine]) -> None:
    lines = report.ratio_table(results, engines, markdown=True).splitlines()
    assert lines[1] == "| --- | ---: | ---: | ---: | --- | --- |"
    assert "| exec true | 30.0 ms | 25.0 ms (docker, crun) | 1.20 | ≤ the best | no |" in lines
