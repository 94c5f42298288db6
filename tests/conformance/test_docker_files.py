"""Docker's own command line, and ours beside it: files, statistics, images made of containers, pruning."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemon import CHECKOUT, Daemon
from support.terminal import Terminal

pytestmark = pytest.mark.root
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["docker", "sampan"])
def run(request: pytest.FixtureRequest, docker_cli: Daemon) -> Run:
    """Run a command with Docker's client or with ours; both have to behave alike."""
    program = ("docker",) if request.param == "docker" else (str(CHECKOUT / "bin" / "sampan"),)

    def call(*args: str, **options: object) -> "subprocess.CompletedProcess[str]":
        return docker_cli.cli(*args, program=program, **options)  # type: ignore[arg-type]

    return call


@pytest.fixture
def box(docker_cli: Daemon) -> str:
    docker_cli.cli("run", "-d", "--name", "box", "busybox", "sleep", "1000")
    return "box"


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_copy_out(run: Run, box: str, tmp_path: Path) -> None:
    run("exec", box, "sh", "-c", "mkdir -p /d/sub; echo 1 >/d/f; ln -s f /d/l; ln -s /d /ld; chmod 4755 /d/f")
    here = {"cwd": tmp_path}
    run("cp", "box:/d/f", "one", **here)
    assert (tmp_path / "one").stat().st_mode & 0o7777 == 0o4755
    run("cp", "box:/d", ".", **here)
    assert tree(tmp_path / "d") == ["f", "l", "sub"]
    run("cp", "box:/d", "renamed", **here)
    run("cp", "box:/d/.", "contents", **here)
    assert tree(tmp_path / "renamed") == tree(tmp_path / "contents") == tree(tmp_path / "d")
    run("cp", "box:/ld", "link", **here)
    assert (tmp_path / "link").readlink() == Path("/d")
    run("cp", "-L", "box:/ld", "followed", **here)
    assert tree(tmp_path / "followed") == tree(tmp_path / "d")
    (tmp_path / "into").mkdir()
    run("cp", "-L", "box:/ld", "into", **here)
    assert tree(tmp_path / "into/ld") == tree(tmp_path / "d")
    for source, target, message in (
        ("box:/nope", ".", "Could not find the file /nope in container box"),
        ("box:/d/f", "missing/f", 'invalid output path: directory "'),
        ("box:/d/f", "missing/", "no such directory"),
        ("box:/d", "one", "cannot copy directory"),
        ("nobox:/d", ".", "No such container: nobox"),
        ("box:/d", "box:/e", "copying between containers is not supported"),
        ("here", "there", "must specify at least one container source"),
    ):
        failed = run("cp", source, target, check=False, **here)
        assert failed.returncode == 1
        assert message in failed.stderr, (source, target)


def test_copy_in(run: Run, box: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "f").write_text("text")
    (source / "l").symlink_to("f")
    here = {"cwd": tmp_path}
    run("cp", "source/f", "box:/one", **here)
    run("cp", "source", "box:/", **here)
    run("cp", "source", "box:/renamed", **here)
    run("cp", "source/.", "box:/contents", **here)
    listing = "find /source /renamed /contents | sort; cat /one; readlink /source/l"
    found = run("exec", box, "sh", "-c", listing).stdout.split("\n")
    places = [
        f"/{place}{rest}" for place in ("contents", "renamed", "source") for rest in ("", "/f", "/l", "/sub")
    ]
    assert found[:-1] == [*places[:-4], *places[-4:], "textf"]
    run("exec", box, "ln", "-s", "/source", "/to")
    run("cp", "source/f", "box:/to", **here)
    subprocess.run(["tar", "cf", "archive.tar", "source"], check=True, **here)  # type: ignore[call-overload]
    with (tmp_path / "archive.tar").open("rb") as archive:
        run("cp", "-", "box:/tmp", stdin=archive)
    assert run("exec", box, "cat", "/tmp/source/f").stdout == "text"
    for source_, target, message in (
        ("source/f", "box:/no/where", "Could not find the file /no in container box"),
        ("source/f", "box:/no/", "no such directory"),
        ("source", "box:/one", "cannot copy directory"),
        ("missing", "box:/", "no such file or directory"),
        ("source/f", "box:/dev/null", "must be a directory or a regular file: got a device"),
        ("-", "box:/one", 'destination "box:/one" must be a directory'),
        ("source/f", "nobox:/x", "No such container: nobox"),
    ):
        failed = run("cp", source_, target, check=False, stdin=subprocess.DEVNULL, **here)
        assert failed.returncode == 1
        assert message in failed.stderr, (source_, target)


def test_copy_tells_how_much(
    docker_cli: Daemon, box: str, cli_environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "f").write_text("small")
    for program in ("docker", str(CHECKOUT / "bin" / "sampan")):
        with Terminal([program, "cp", str(tmp_path / "f"), "box:/f"], cli_environment) as terminal:
            terminal.expect("Successfully copied 2.05kB to box:/f")
            assert terminal.wait() == 0
        with Terminal([program, "cp", "box:/f", str(tmp_path / "g")], cli_environment) as terminal:
            terminal.expect(f"Successfully copied 2.05kB to {tmp_path}/g")
            assert terminal.wait() == 0


def test_statistics(run: Run, box: str) -> None:
    run("create", "--name", "still", "busybox")
    header, row = run("stats", "--no-stream").stdout.splitlines()
    assert re.split(r"  +", header.strip()) == [
        "CONTAINER ID",
        "NAME",
        "CPU %",
        "MEM USAGE / LIMIT",
        "MEM %",
        "NET I/O",
        "BLOCK I/O",
        "PIDS",
    ]
    assert re.fullmatch(
        r"[0-9a-f]{12} +box +\d+\.\d\d% +\S+B / \S+B +\d+\.\d\d% +\S+ / \S+ +\S+ / \S+ +1 *", row
    )
    both = run("stats", "-a", "--no-stream", "--format", "{{.Name}} {{.PIDs}}").stdout
    assert sorted(both.splitlines()) == ["box 1", "still 0"]
    found = json.loads(run("stats", "--no-stream", "--format", "json", "box").stdout)
    assert (found["Name"], found["Container"]) == ("box", "box")
    failed = run("stats", "--no-stream", "nobox", check=False)
    assert failed.returncode == 1
    assert "No such container: nobox" in failed.stderr


def test_commit_and_history(run: Run, box: str) -> None:
    run("exec", box, "touch", "/made")
    made = run(
        "commit", "-a", "who", "-m", "why", "-c", 'CMD ["ls", "/made"]', "-c", "LABEL a=b", "box", "mine:1"
    )
    assert made.stdout.strip() == run("images", "-q", "--no-trunc", "mine:1").stdout.strip()
    assert run("run", "--rm", "mine:1").stdout == "/made\n"
    assert run("history", "--format", "{{.Comment}} {{.CreatedBy}}", "mine:1").stdout.startswith(
        "why sleep 1000\n"
    )
    label = run("inspect", "-f", "{{.Config.Labels.a}} {{.Author}}", "mine:1").stdout
    assert label == "b who\n"
    assert run("commit", "-p=false", "box").stdout.startswith("sha256:")
    failed = run("commit", "-c", "RUN true", "box", check=False)
    assert "RUN is not a valid change command" in failed.stderr
    assert run("commit", "box", "Bad", check=False).returncode == 1
    run("rmi", "mine:1")
    pruned = run("image", "prune", "-f").stdout
    assert pruned.startswith("Deleted Images:\ndeleted: sha256:")
    assert "Total reclaimed space: " in pruned


def test_save_load_export_import(run: Run, docker_cli: Daemon, box: str, tmp_path: Path) -> None:
    run("exec", box, "touch", "/made")
    run("commit", "box", "saved:1")
    image_id = run("images", "-q", "--no-trunc", "saved:1").stdout
    path = str(tmp_path / "saved.tar")
    run("save", "-o", path, "saved:1", "busybox")
    run("rmi", "saved:1")
    assert run("load", "-i", path).stdout == "Loaded image: saved:1\nLoaded image: busybox:latest\n"
    assert run("images", "-q", "--no-trunc", "saved:1").stdout == image_id
    run("save", "-o", path, "--platform", "linux/amd64", "saved:1")
    failed = run("save", "-o", path, "--platform", "linux/riscv64", "saved:1", check=False)
    assert failed.returncode == 1
    assert "no suitable export target found for platform linux/riscv64" in failed.stderr
    assert "No such image: nosuch:latest" in run("save", "-o", path, "nosuch", check=False).stderr
    tree_path = str(tmp_path / "tree.tar")
    run("export", "-o", tree_path, box)
    imported = run("import", "-m", "why", "-c", "CMD ls /made", tree_path, "flat:1").stdout
    assert imported.startswith("sha256:")
    assert run("run", "--rm", "flat:1").stdout == "/made\n"
    assert run("history", "--format", "{{.Comment}}", "flat:1").stdout == "why\n"
    with Path(tree_path).open("rb") as source:
        again = run("import", "-", stdin=source).stdout.strip()
    assert run("import", str(tmp_path / "missing"), check=False).returncode == 1
    run("rmi", "saved:1", "flat:1", again)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved.tar", "tree.tar"]


def test_prune_everything(run: Run, box: str) -> None:
    run("commit", "box")
    run("create", "--name", "old", "busybox")
    shown = run("system", "prune", "-f").stdout
    assert "Deleted Containers:\n" in shown
    assert "Deleted Images:\ndeleted: sha256:" in shown
    assert "Total reclaimed space: " in shown
    assert run("ps", "-a", "--format", "{{.Names}}").stdout == "box\n"
    rows = run("system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}").stdout.splitlines()
    assert rows == ["Images 1 1", "Containers 1 1", "Local Volumes 0 0", "Build Cache 0 0"]
