"""Instructions of ``--change``, in both forms and with Docker's errors."""

import pytest
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.images.changes import apply_changes, parse_exposed, parse_json_form
from sampan.wire.containers import ContainerConfig


def changed(*changes: str, **fields: object) -> ContainerConfig:
    return apply_changes(ContainerConfig(**fields), changes)  # type: ignore[arg-type]


def test_commands_in_both_forms() -> None:
    assert changed('CMD ["a", "b c"]').cmd == ["a", "b c"]
    assert changed("cmd a 'b c'").cmd == ["/bin/sh", "-c", "a 'b c'"]
    own = {"shell": ["/bin/ash", "-ec"]}
    assert changed("CMD a", **own).cmd == ["/bin/ash", "-ec", "a"]
    assert changed("CMD [a]").cmd == ["/bin/sh", "-c", "[a]"]


def test_an_entrypoint_drops_a_command_that_is_not_given_with_it() -> None:
    assert changed('ENTRYPOINT ["x"]', cmd=["old"]).cmd is None
    both = changed("CMD y", 'ENTRYPOINT ["x"]', cmd=["old"])
    assert (both.entrypoint, both.cmd) == (["x"], ["/bin/sh", "-c", "y"])


def test_variables() -> None:
    assert changed("ENV a=1 b='2 3'", "ENV c $a and $b", env=["a=0", "z=9"]).env == [
        "a=1",
        "z=9",
        "b=2 3",
        "c=1 and 2 3",
    ]


def test_labels_ports_volumes() -> None:
    found = changed('LABEL a="b c" d=e', "EXPOSE 80 53/udp 8000-8001", "VOLUME /a /b", 'VOLUME ["/c d"]')
    assert found.labels == {"a": "b c", "d": "e"}
    assert list(found.exposed_ports or ()) == ["80/tcp", "53/udp", "8000/tcp", "8001/tcp"]
    assert list(found.volumes or ()) == ["/a", "/b", "/c d"]


def test_the_rest() -> None:
    found = changed("USER 1:2", "WORKDIR /a", "WORKDIR b/../c", "STOPSIGNAL SIGINT", "ONBUILD RUN true")
    assert (found.user, found.working_dir, found.stop_signal) == ("1:2", "/a/c", "SIGINT")
    assert found.on_build == ["RUN true"]


def test_health() -> None:
    health = changed("HEALTHCHECK --interval=5s --retries=3 CMD curl -f localhost").healthcheck
    assert health is not None
    assert (health.test, health.interval, health.retries) == (
        ["CMD-SHELL", "curl -f localhost"],
        5 * 10**9,
        3,
    )
    none = changed("HEALTHCHECK NONE").healthcheck
    assert none is not None
    assert none.test == ["NONE"]


def test_lines_and_comments() -> None:
    assert changed("# nothing\nENV a=1 \\\n  b=2\n").env == ["a=1", "b=2"]


def test_what_is_given_stays_as_it_is() -> None:
    before = ContainerConfig(env=["a=1"], labels={"x": "y"})
    apply_changes(before, ["ENV a=2", "LABEL x=z"])
    assert (before.env, before.labels) == (["a=1"], {"x": "y"})
    assert apply_changes(before, []) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("RUN true", "RUN is not a valid change command"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV foo", "ENV must have two arguments"),
        ("ENV a=b c", 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
        ("ENV =arg2", "ENV names can not be blank"),
        ("LABEL =arg2", "LABEL names can not be blank"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD FROM scratch", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("STOPSIGNAL nope", "nope"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK --interval=1us CMD x", "cannot be less than 1ms"),
        ("# nothing", "file with no instructions"),
        ("EXPOSE x", "invalid containerPort: x"),
    ],
)
def test_errors(change: str, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        changed(change)
    assert message in str(caught.value)


def test_ports_as_buildkit_reads_them() -> None:
    for row in table("dockerfile/expose"):
        if row.get("error"):
            with pytest.raises(InvalidParameter):
                [parse_exposed(port) for port in row["ports"]]
        else:
            assert [found for port in row["ports"] for found in parse_exposed(port)] == row["exposed"], row


def test_json_form() -> None:
    for row in table("dockerfile/json_form"):
        assert parse_json_form(row["input"].strip()) == row.get("items"), row
