"""Who is let in."""

import asyncio
import base64
from pathlib import Path

import pytest
from support.registries import HTPASSWD, PASSWORD, USER

from sampan.base.errors import InvalidParameter
from sampan.distribution import passwords
from sampan.distribution.passwords import Passwords


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def allows(users: Passwords, value: str) -> bool:
    return asyncio.run(users.allows(value))


def test_the_right_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(f"# us\n\n{HTPASSWD}")
    users = Passwords(path)
    assert not allows(users, basic(f"{USER}:wrong"))
    assert not allows(users, basic(f"nobody:{PASSWORD}"))
    assert allows(users, basic(f"{USER}:{PASSWORD}"))
    asked: list[bytes] = []

    def refuse(password: bytes, _: bytes) -> bool:
        asked.append(password)
        return False

    monkeypatch.setattr(passwords, "is_password", refuse)
    assert allows(users, basic(f"{USER}:{PASSWORD}"))  # hashing is slow on purpose: once is enough
    assert asked == []
    assert not allows(users, basic(f"{USER}:{PASSWORD}x"))
    assert asked == [f"{PASSWORD}x".encode()]


@pytest.mark.parametrize("value", ["", "Basic", "Basic !", "Bearer abc", "Basic " + "A" * 7])
def test_what_is_no_password(tmp_path: Path, value: str) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(HTPASSWD)
    assert not allows(Passwords(path), value)


def test_a_file_that_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(HTPASSWD)
    users = Passwords(path)
    right = basic(f"{USER}:{PASSWORD}")
    assert allows(users, right)
    path.write_text("broken\n")
    assert allows(users, right)
    assert "the passwords stay as they were" in caplog.text
    path.write_text("")
    assert not allows(users, right)


@pytest.mark.parametrize(
    "line", ["alice", "alice:", "alice:{SHA}abc", ":$2y$05$" + "a" * 53, "a:$2y$05$short"]
)
def test_other_hashes_are_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "htpasswd"
    path.write_text(f"{HTPASSWD}{line}\n")
    with pytest.raises(InvalidParameter, match="line 2: not NAME:HASH with a bcrypt hash"):
        Passwords(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidParameter, match="cannot read"):
        Passwords(tmp_path / "none")
