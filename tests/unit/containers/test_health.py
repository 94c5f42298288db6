"""Health checks: which command is run, and what its results say."""

import pytest

from sampan.containers.health import HEALTHY, STARTING, UNHEALTHY, command_of, judge
from sampan.wire.containers import Health, HealthConfig


@pytest.mark.parametrize(
    ("test", "command"),
    [
        (None, None),
        ([], None),
        (["NONE"], None),
        (["CMD", "probe", "-x"], ["probe", "-x"]),
        (["CMD-SHELL", "a | b"], ["/bin/sh", "-c", "a | b"]),
        (["SOMETHING", "probe"], None),
        ([""], None),
    ],
)
def test_only_known_kinds_of_checks_are_run(test: list[str] | None, command: list[str] | None) -> None:
    assert command_of(HealthConfig(test=test), None) == command
    assert command_of(None, None) is None


def test_a_shell_of_the_image_is_used() -> None:
    assert command_of(HealthConfig(test=["CMD-SHELL", "x"]), ["/bin/bash", "-c"]) == ["/bin/bash", "-c", "x"]


def test_failures_count_after_the_start_period() -> None:
    health = Health(status=STARTING)
    assert judge(health, 1, retries=2, starting=True) == STARTING
    assert judge(health, 1, retries=2, starting=False) == STARTING
    assert judge(health, 1, retries=2, starting=False) == UNHEALTHY
    assert judge(health, 0, retries=2, starting=False) == HEALTHY
    assert health.failing_streak == 0
