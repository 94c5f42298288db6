"""Restart policies, against Docker's own cases."""

import pytest
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.containers.restart import check_policy, plan_restart
from sampan.wire.containers import RestartPolicy


def test_policies_are_taken_or_refused_as_docker_does() -> None:
    for row in table("engine/restart_policy"):
        policy = RestartPolicy(row["name"], row["max_retries"])
        if row.get("valid"):
            check_policy(policy)
        else:
            with pytest.raises(InvalidParameter) as caught:
                check_policy(policy)
            assert str(caught.value) == row["error"]


def test_the_wait_doubles_and_begins_anew_after_a_long_run() -> None:
    for row in table("engine/restart_wait"):
        wait, restarts = 0.0, 0
        for run, step in zip(row["runs"], row["steps"], strict=True):
            plan = plan_restart(
                RestartPolicy(row["policy"], row["max_retries"]),
                exit_code=run["exit"],
                stopped_by_user=run["stopped"],
                restarts=restarts,
                ran_s=run["seconds"],
                last_wait_s=wait,
            )
            assert (plan is not None) == step["restart"], row
            if plan:
                assert plan.wait_s == pytest.approx(step["wait"])
                wait, restarts = plan.wait_s, restarts + 1
