"""OCI runtimes that are missing, are none, or fail half-way: a clear error, exit code 125, nothing left."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from support.daemon import Daemon, running_daemon, sampan
from support.images import load_busybox
from support.traces import assert_none_left, look

pytestmark = pytest.mark.root

CRUN = shutil.which("crun")
# Each is a shell around crun, and is named so: what the engine knows of crun holds for them.
SCRIPTS = {
    "crun-liar": f'{CRUN} "$@" && [ "$7" = run ] && echo not today >&2 && exit 1',
    "crun-suicide": f'{CRUN} "$@"; [ "$7" = run ] && kill -9 $$',
    "crun-forgetful": f'{CRUN} "$@"; for word; do [ "$last" = --pid-file ] && rm "$word"; last=$word; done',
    "crun-noisy": "for i in 1 2 3 4 5 6 7 8 9; do echo a lot of noise >&2; done; exit 7",
    "crun-around": f'exec {CRUN} "$@"',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runtimes")


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[Daemon]:
    """A daemon that knows runtimes of every bad kind; the default one is missing."""
    (folder / "text").write_text("no program")
    (folder / "garbage").write_bytes(b"\x7fELF and no more")
    programs = {
        "ghost": "/nosuch/runtime",
        "nowhere": "no-such-runtime",
        "false": "/bin/false",
        "true": "/bin/true",
        **{name: str(folder / name) for name in ("text", "garbage", "crun-late", *SCRIPTS)},
    }
    for name, script in SCRIPTS.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    for name in ("garbage", *SCRIPTS):
        (folder / name).chmod(0o755)
    flags = [word for name, program in programs.items() for word in ("--add-runtime", f"{name}={program}")]
    place = folder / "daemon"
    place.mkdir()
    with running_daemon(place, *flags, "--default-runtime", "ghost") as daemon:
        load_busybox(daemon)
        yield daemon


NOT_INSTALLED = 'OCI runtime "{}" is not installed: there is no {}'


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        ("ghost", NOT_INSTALLED.format("ghost", "/nosuch/runtime")),
        ("nowhere", NOT_INSTALLED.format("nowhere", "no-such-runtime")),
        ("text", "text"),
        ("garbage", "garbage"),
        ("false", "false ended with status 1 and gave no reason"),
        ("true", "true"),
        ("crun-liar", "not today"),
        ("crun-suicide", "crun-suicide ended with status 137 and gave no reason"),
        ("crun-forgetful", "the runtime wrote no pid"),
        ("crun-noisy", "a lot of noise"),
    ],
)
def test_a_runtime_that_does_not_work_leaves_nothing(daemon: Daemon, runtime: str, message: str) -> None:
    before = look(daemon)
    client = daemon.client()
    try:
        container = client.containers.create("busybox", "sleep 100", runtime=runtime, ports={"80/tcp": 8080})
        for _ in range(2):
            with pytest.raises(docker.errors.APIError) as caught:
                container.start()
            assert message in str(caught.value)
            assert caught.value.status_code == 500
            assert_none_left(before, daemon)
        container.reload()
        assert container.status == "created"
        assert container.attrs["State"]["ExitCode"] in (127, 128)
        container.remove()
    finally:
        client.close()
    assert list((daemon.exec_root / "shim").iterdir()) == []
    assert list((daemon.exec_root / "runtime").iterdir()) == []


@pytest.mark.parametrize("runtime", ["ghost", "false"])
def test_run_ends_with_125(daemon: Daemon, runtime: str) -> None:
    before = look(daemon)
    done = sampan(daemon, "run", "--rm", "--runtime", runtime, "busybox", "true", check=False)
    assert done.returncode == 125
    assert done.stderr.startswith("sampan: Error response from daemon: ")
    assert runtime in done.stderr
    assert done.stdout == ""
    assert_none_left(before, daemon)
    assert sampan(daemon, "ps", "-aq").stdout == ""


def test_the_default_runtime_may_be_missing_until_it_is_needed(daemon: Daemon) -> None:
    done = sampan(daemon, "run", "busybox", "true", check=False)
    assert done.returncode == 125
    assert NOT_INSTALLED.format("ghost", "/nosuch/runtime") in done.stderr
    assert sampan(daemon, "info", "--format", "{{.DefaultRuntime}}").stdout == "ghost\n"
    assert sampan(daemon, "run", "--rm", "--runtime", "crun", "busybox", "echo", "fine").stdout == "fine\n"


def test_a_runtime_may_be_a_script(daemon: Daemon) -> None:
    assert (
        sampan(daemon, "run", "--rm", "--runtime", "crun-around", "busybox", "echo", "fine").stdout
        == "fine\n"
    )


def test_a_runtime_is_found_as_soon_as_it_is_there(daemon: Daemon, folder: Path) -> None:
    container = sampan(daemon, "create", "--runtime", "crun-late", "busybox", "echo", "fine").stdout.strip()
    failed = sampan(daemon, "start", "-a", container, check=False)
    assert failed.returncode == 1
    assert 'OCI runtime "crun-late" is not installed' in failed.stderr
    (folder / "crun-late").write_text(f'#!/bin/sh\nexec {CRUN} "$@"\n')
    (folder / "crun-late").chmod(0o755)
    assert sampan(daemon, "start", "-a", container).stdout == "fine\n"
    sampan(daemon, "rm", container)
