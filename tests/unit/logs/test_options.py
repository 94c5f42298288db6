"""Options of log drivers, tags and attributes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.shared import table

from sampan.base.errors import InvalidParameter
from sampan.logs.driver import LogOptions
from sampan.logs.options import LogSubject, attributes, render_tag
from sampan.logs.service import log_file, log_options, plan_log
from sampan.wire.containers import ContainerConfig

SUBJECT = LogSubject(
    id="abcdef01234567890abcdef01234567890abcdef01234567890abcdef0123456",
    name="/test-container",
    image="docker.io/library/hello-world:alpine",
    image_id="sha256:582c496ccf79d8aa6f8203a79d32aaf7ffd8b13362c60a701a2f9ac64886c93d",
    command=("/bin/sh", "-c", "hello"),
    labels={"app": "web", "tier": "front"},
    env=("MODE=prod", "EMPTY=", "JUNK"),
    daemon="test-dockerd",
)


@pytest.mark.parametrize("row", table("engine/log_tag"), ids=lambda row: row["tag"] or row["default"])
def test_tags(row: dict[str, Any]) -> None:
    assert render_tag(row["tag"] or row["default"], SUBJECT) == row["output"]


@pytest.mark.parametrize("tag", ["{{.Nope}}", "{{.ID", '{{printf "x"}}', "{{ID}}"])
def test_tags_that_are_no_fields(tag: str) -> None:
    with pytest.raises(InvalidParameter, match="failed to initialize logging driver: log tag"):
        log_options("json-file", {"tag": tag})


def test_attributes() -> None:
    def chosen(config: Mapping[str, str]) -> Any:
        data = attributes(log_options("json-file", config), SUBJECT)
        return json.loads(data) if data else None

    assert chosen({}) is None
    assert chosen({"labels": "app,nope", "env": "MODE,EMPTY,JUNK"}) == {
        "app": "web",
        "MODE": "prod",
        "EMPTY": "",
    }
    assert chosen({"labels-regex": "^t", "env-regex": "^M"}) == {"tier": "front", "MODE": "prod"}
    assert chosen({"tag": "{{.Name}}"}) == {"tag": "test-container"}
    assert list(chosen({"labels": "tier,app"})) == ["app", "tier"]


@pytest.mark.parametrize(
    ("driver", "config", "options"),
    [
        ("json-file", {}, LogOptions(10_000_000, 5, False)),
        ("json-file", {"max-file": "2"}, LogOptions(10_000_000, 2, False)),
        ("json-file", {"max-size": "1m"}, LogOptions(1_000_000, 1, False)),
        ("json-file", {"max-size": "-1"}, LogOptions(0, 1, False)),
        (
            "json-file",
            {"max-size": "10k", "max-file": "3", "compress": "true"},
            LogOptions(10_000, 3, True),
        ),
        ("local", {}, LogOptions(20 << 20, 5, True)),
        ("local", {"max-size": "1m", "compress": "false", "max-file": "1"}, LogOptions(1_000_000, 1, False)),
        ("json-file", {"mode": "non-blocking", "max-buffer-size": "4m"}, LogOptions(10_000_000, 5)),
        ("none", {"whatever": "x"}, LogOptions()),
    ],
)
def test_options(driver: str, config: dict[str, str], options: LogOptions) -> None:
    assert log_options(driver, config) == options


@pytest.mark.parametrize(
    ("driver", "config", "message"),
    [
        ("json-file", {"x": ""}, "unknown log opt 'x' for json-file log driver"),
        ("local", {"x": ""}, "unknown log opt 'x' for log driver local"),
        ("syslog", {}, 'error looking up logging plugin syslog: plugin "syslog" not found'),
        ("json-file", {"mode": "x"}, "logger: logging mode not supported: x"),
        (
            "json-file",
            {"max-buffer-size": "1m"},
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        (
            "json-file",
            {"mode": "non-blocking", "max-buffer-size": "x"},
            "error parsing option max-buffer-size: invalid size: 'x'",
        ),
        *(
            ("json-file", config, f"failed to initialize logging driver: {message}")
            for config, message in (
                ({"max-size": "x"}, "invalid size: 'x'"),
                ({"max-size": "0"}, "max-size must be a positive number"),
                ({"max-file": "x"}, 'strconv.Atoi: parsing "x": invalid syntax'),
                ({"max-file": "0"}, "max-file cannot be less than 1"),
                ({"compress": "x"}, 'strconv.ParseBool: parsing "x": invalid syntax'),
                (
                    {"compress": "true", "max-file": "2"},
                    "compress cannot be true when max-file is less than 2 or max-size is not set",
                ),
                ({"labels-regex": "("}, "error parsing regexp: "),
            )
        ),
        (
            "local",
            {"max-file": "1"},
            "failed to initialize logging driver: compression cannot be enabled when max file count is 1",
        ),
    ],
)
def test_refused(driver: str, config: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        log_options(driver, config)
    assert str(caught.value).startswith(message)


def test_plan() -> None:
    config = ContainerConfig(image="busybox", labels={"app": "web"})
    plan = plan_log("json-file", {"labels": "app"}, Path("/c/1"), config, "1", "name")
    assert plan is not None
    assert (plan.path, plan.attrs) == (Path("/c/1/1-json.log"), b'{"app":"web"}')
    assert plan_log("none", {}, Path("/c/1"), config, "1", "name") is None
    assert log_file("local", Path("/c/1"), "1") == Path("/c/1/local-logs/container.log")
