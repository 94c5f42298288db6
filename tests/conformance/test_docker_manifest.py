"""``manifest``: Docker's client and ours say and do the same, and go on with each other's lists."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.daemon import CHECKOUT, Daemon
from support.image_archives import layer
from support.images import docker_archive
from support.registries import DockerRegistry, docker_registry

pytestmark = pytest.mark.root
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with docker_registry(tmp_path_factory.mktemp("registry"), "127.0.0.1:5021") as found:
        yield found


@pytest.fixture
def two(docker_cli: Daemon, registry: DockerRegistry) -> list[str]:
    """Two images in the registry, in repositories of their own."""
    names = [f"{registry.host}/m/{name}:1" for name in ("one", "two")]
    client = docker_cli.client()
    for name in names:
        client.images.load(docker_archive(name, [layer(f"etc/{name[-3:-2]}")], {}))
        docker_cli.cli("push", "-q", name)
        client.images.remove(name)
    client.close()
    return names


def runner(daemon: Daemon, program: str, home: Path) -> Run:
    home.mkdir(exist_ok=True)

    def run(*words: str) -> tuple[int, str, str]:
        path = str(CHECKOUT / "bin" / "sampan") if program == "sampan" else program
        done = daemon.cli("--config", str(home), "manifest", *words, program=(path,), check=False)
        return done.returncode, done.stdout, done.stderr

    return run


def test_both_clients_say_the_same(
    docker_cli: Daemon, two: list[str], registry: DockerRegistry, tmp_path: Path
) -> None:
    one, other = two
    target = f"{registry.host}/m/list:1"
    lines = [
        ("inspect", "--insecure", one),
        ("inspect", "--insecure", "-v", one),
        ("inspect", "--insecure", f"{registry.host}/m/none"),
        ("create", "--insecure", target, one, other),
        ("inspect", "--insecure", target),
        ("inspect", "--insecure", "-v", target),
        ("inspect", target, other),
        ("annotate", "--os", "linux", "--arch", "arm64", "--variant", "v8", target, other),
        ("annotate", "--os-version", "5", "--os-features", "a,b", target, other),
        ("annotate", "--arch", "zzz", target, other),
        ("annotate", "--arch", "arm64", target, f"{registry.host}/m/none:1"),
        ("create", "--insecure", target, one),
        ("create", "--insecure", "-a", target, one),
        ("create", "Foo", "x"),
        ("create", "--insecure", f"{registry.host}/m/l", f"{registry.host}/m/none"),
        ("inspect", "--insecure", target),
        ("push", "--insecure", target),
        ("push", "--insecure", "-p", target),
        ("push", "--insecure", target),
        ("inspect", "--insecure", target),
        ("inspect", "--insecure", "-v", target),
        ("create", "--insecure", f"{registry.host}/m/l", target),
        ("create", "--insecure", f"{registry.host}/m/l", one),
        ("rm", f"{registry.host}/m/l"),
        ("rm", f"{registry.host}/m/l", f"{registry.host}/m/x"),
        ("push", f"{registry.host}/m/x"),
    ]
    theirs = runner(docker_cli, "docker", tmp_path / "docker")
    ours = runner(docker_cli, "sampan", tmp_path / "sampan")
    expected = [theirs(*words) for words in lines]
    found = [ours(*words) for words in lines]
    for words, (status, out, err), mine in zip(lines, expected, found, strict=True):
        assert (words, *mine) == (words, status, out, err)


@pytest.mark.parametrize(("begins", "ends"), [("docker", "sampan"), ("sampan", "docker")])
def test_a_list_goes_from_one_client_to_the_other(
    docker_cli: Daemon, two: list[str], registry: DockerRegistry, tmp_path: Path, begins: str, ends: str
) -> None:
    target = f"{registry.host}/m/{begins}:1"
    first, last = (runner(docker_cli, program, tmp_path / "home") for program in (begins, ends))
    assert first("create", "--insecure", target, *two)[0] == 0
    assert last("annotate", "--arch", "arm64", target, two[1])[0] == 0
    status, out, _ = last("push", "--insecure", "-p", target)
    assert status == 0
    pushed = registry.get(f"/v2/m/{begins}/manifests/{out.split()[-1]}")
    platforms = [entry["platform"]["architecture"] for entry in json.loads(pushed)["manifests"]]
    assert sorted(platforms) == ["amd64", "arm64"]
    assert not list((tmp_path / "home" / "manifests").iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ("{host}/m/",),
        ("--limit", "1", "{host}/m/"),
        ("--no-trunc", "--format", "{{.Name}}: {{.StarCount}} {{.IsOfficial}}", "{host}/one"),
        ("--format", "table {{.Name}}\t{{.Description}}", "{host}/one"),
        ("--format", "json", "{host}/one"),
        ("--filter", "stars=1", "{host}/m/"),
        ("--filter", "foo=bar", "{host}/m/"),
        ("--limit", "200", "{host}/m/"),
    ],
)
@pytest.mark.usefixtures("two")
def test_searches(docker_cli: Daemon, registry: DockerRegistry, words: tuple[str, ...]) -> None:
    """Our daemon looks through the catalog of a registry without an index; both clients show it alike."""
    line = ["search", *(word.replace("{host}", registry.host) for word in words)]
    theirs = docker_cli.cli(*line, check=False)
    ours = docker_cli.cli(*line, program=(str(CHECKOUT / "bin" / "sampan"),), check=False)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    assert theirs.stdout or theirs.returncode


def test_what_refers_to_an_image(
    docker_cli: Daemon, two: list[str], registry: DockerRegistry, tmp_path: Path
) -> None:
    ours = runner(docker_cli, "sampan", tmp_path / "home")
    assert ours("referrers", two[0]) == (0, "[]\n", "")
    assert ours("referrers", f"{registry.host}/m/none")[0] == 1
