"""Choosing AppArmor profiles, with made-up kernels."""

from pathlib import Path

import pytest
from support.facts import facts
from support.shared import shared

from sampan.base.errors import InvalidParameter
from sampan.runtime import apparmor
from sampan.runtime.apparmor import choose_profile, render_default

HAVE = facts(apparmor=True)


@pytest.fixture(autouse=True)
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "profiles"
    path.write_text("docker-default (enforce)\n/usr/bin/my (x) (complain)\n")
    monkeypatch.setattr(apparmor, "_PROFILES", path)
    monkeypatch.setattr(apparmor, "load_default", lambda: False)
    return path


def test_choice() -> None:
    assert choose_profile("mine", facts(), privileged=False) == ""
    assert choose_profile("", HAVE, privileged=False) == "docker-default"
    assert choose_profile("", HAVE, privileged=True) == "unconfined"
    assert choose_profile("unconfined", HAVE, privileged=False) == "unconfined"
    assert choose_profile("/usr/bin/my (x)", HAVE, privileged=True) == "/usr/bin/my (x)"
    with pytest.raises(InvalidParameter, match="apparmor profile mine is not loaded"):
        choose_profile("mine", HAVE, privileged=False)


def test_default_is_loaded_when_it_is_missing(loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded.write_text("")
    assert choose_profile("", HAVE, privileged=False) == ""
    monkeypatch.setattr(apparmor, "load_default", lambda: True)
    assert choose_profile("", HAVE, privileged=False) == "docker-default"


def rules(text: str) -> set[str]:
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return {
        line.replace('"', "").replace("docker-default", "default") for line in lines if line.endswith(",")
    }


def test_rules_are_dockers() -> None:
    theirs = rules(shared("data/seccomp/apparmor-default.txt").read_text())
    ours = rules(render_default())
    assert theirs <= ours
    assert all(rule.startswith("signal (receive) peer=sampan") for rule in ours - theirs)
