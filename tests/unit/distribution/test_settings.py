"""The words that `sampan registry` gives to its program."""

from pathlib import Path

import pytest

from sampan.base.errors import InvalidParameter
from sampan.distribution.settings import (
    Proxy,
    parse_address,
    parse_collection,
    parse_settings,
    parse_words,
)


def test_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("pass word\n")
    found = parse_settings(
        parse_words(
            [
                "--addr=[::1]:5001",
                f"--root={tmp_path}",
                "--tls-cert=c",
                "--tls-key=k",
                "--htpasswd=h",
                "--read-only=true",
                "--delete=false",
                "--max-blob-size=7",
                "--upload-timeout=60",
                "--proxy=https://registry.example/prefix/",
                "--proxy-username=me",
                f"--proxy-password-file={tmp_path}/secret",
                "--log-level=warn",
            ]
        )
    )
    assert (found.address, found.root, found.htpasswd) == (("::1", 5001), tmp_path, Path("h"))
    assert (found.read_only, found.delete, found.max_blob, found.upload_timeout_s) == (True, False, 7, 60)
    assert found.proxy == Proxy("https://registry.example/prefix", "me", "pass word")
    assert "pass word" not in repr(found)


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/home/me/data")
    found = parse_settings({})
    assert (found.address, found.root) == (("127.0.0.1", 5000), Path("/home/me/data/sampan-registry"))
    assert (found.delete, found.read_only, found.proxy) == (True, False, None)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert parse_collection({}).root == Path("/var/lib/sampan-registry")


@pytest.mark.parametrize("text", ["", "5000", "host", ":x", "::1:5000", "h:70000", "h:-1"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(InvalidParameter):
        parse_address(text)


def test_good_addresses() -> None:
    assert parse_address(":80") == ("", 80)
    assert parse_address("registry.local:0") == ("registry.local", 0)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["serve"], "run by `sampan registry`"),
        (["--addr", "x"], "run by `sampan registry`"),
        (["--tls-cert=c"], "go together"),
        (["--log-level=loud"], "invalid --log-level"),
        (["--read-only=yes"], "invalid --read-only"),
        (["--max-blob-size=-1"], "invalid --max-blob-size"),
        (["--proxy=ftp://x"], "invalid --proxy"),
        (["--proxy=http://"], "invalid --proxy"),
        (["--proxy=http://x:y"], "invalid --proxy"),
        (["--proxy=http://a:b@x"], "no credentials in --proxy"),
        (["--proxy-username=me"], "need --proxy"),
        (["--proxy=http://x", "--proxy-username=me"], "needs a password"),
        (["--proxy=http://x", "--proxy-password-file=/does/not/exist"], "cannot read"),
    ],
)
def test_what_does_not_fit(words: list[str], reason: str) -> None:
    with pytest.raises(InvalidParameter, match=reason):
        parse_settings(parse_words(words))
