"""Docker's own command line against the daemon, as a person uses it."""

import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.images import busybox_archive
from support.terminal import Terminal

pytestmark = pytest.mark.root


def test_run_in_a_terminal(docker_cli: Daemon, cli_environment: dict[str, str]) -> None:
    command = ["docker", "run", "-it", "--rm", "--name", "tty", "busybox", "sh"]
    with Terminal(command, cli_environment, rows=30, cols=100) as terminal:
        terminal.expect("# ")
        terminal.type("stty size; tty\r")
        assert "30 100" in terminal.expect("/dev/pts/0")
        terminal.resize(40, 120)
        terminal.type("until [ \"$(stty size)\" = '40 120' ]; do :; done; echo re'sized'\r")
        terminal.expect("resized\r")
        terminal.type("exit 7\r")
        assert terminal.wait() == 7
    assert docker_cli.cli("ps", "-aq").stdout == ""


def test_detach_and_attach_again(docker_cli: Daemon, cli_environment: dict[str, str]) -> None:
    with Terminal(["docker", "run", "-it", "--name", "shell", "busybox", "sh"], cli_environment) as terminal:
        terminal.expect("# ")
        terminal.type("\x10\x11")
        assert terminal.wait() == 0
    assert docker_cli.cli("inspect", "-f", "{{.State.Running}}", "shell").stdout.strip() == "true"
    with Terminal(["docker", "attach", "shell"], cli_environment) as terminal:
        terminal.type("echo a''gain\r")
        terminal.expect("again\r")
        terminal.type("exit 3\r")
        assert terminal.wait() == 3


def test_exec_in_a_terminal(docker_cli: Daemon, cli_environment: dict[str, str]) -> None:
    docker_cli.cli("run", "-d", "--name", "host", "busybox", "sleep", "1000")
    with Terminal(["docker", "exec", "-it", "host", "sh"], cli_environment, rows=33, cols=77) as terminal:
        terminal.expect("# ")
        terminal.type("until [ \"$(stty size)\" = '33 77' ]; do :; done; echo si'zed'\r")
        terminal.expect("sized\r")
        terminal.type("exit 5\r")
        assert terminal.wait() == 5


@pytest.mark.parametrize("command", ["run --rm -u 35 busybox true", "exec -u 35 host true"])
def test_the_hosts_null_device_stays_the_hosts(docker_cli: Daemon, command: str) -> None:
    before = Path(os.devnull).stat().st_uid
    docker_cli.cli("run", "-d", "--name", "host", "busybox", "sleep", "1000")
    docker_cli.cli(*command.split())
    assert Path(os.devnull).stat().st_uid == before


def test_run_serves_a_bind_mount_through_a_port(docker_cli: Daemon, page: Path) -> None:
    docker_cli.cli(
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "8080:80",
        "-v",
        f"{page}:/www:ro",
        "busybox",
        "httpd",
        "-f",
        "-h",
        "/www",
    )
    port = docker_cli.cli("port", "web", "80").stdout.splitlines()[0]
    assert port == "0.0.0.0:8080"
    with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=10) as answer:
        assert answer.read() == b"hello from a bind mount\n"
    listed = docker_cli.cli("ps", "--format", "{{.Names}} {{.Image}} {{.Ports}}").stdout
    assert listed.startswith("web busybox 0.0.0.0:8080->80/tcp")


def test_a_file_is_bound_read_only(docker_cli: Daemon, page: Path) -> None:
    bind = f"{page}/index.html:/page:ro"
    assert docker_cli.cli("run", "--rm", "-v", bind, "busybox", "cat", "/page").stdout.startswith("hello")
    refused = docker_cli.cli("run", "--rm", "-v", bind, "busybox", "sh", "-c", "echo x >/page", check=False)
    assert "Read-only file system" in refused.stderr


def test_a_paused_container_is_removed_by_force(docker_cli: Daemon) -> None:
    for _ in range(5):
        docker_cli.cli("run", "-d", "--name", "frozen", "busybox", "sleep", "1000")
        docker_cli.cli("pause", "frozen")
        docker_cli.cli("rm", "-f", "frozen")


def test_logs_follow_to_the_end(docker_cli: Daemon) -> None:
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; sleep 1; echo last"
    docker_cli.cli("run", "-d", "--name", "talker", "busybox", "sh", "-c", script)
    followed = docker_cli.cli("logs", "-f", "talker")
    assert followed.stdout == "out 1\nout 2\nout 3\nlast\n"
    assert followed.stderr == "err 1\nerr 2\nerr 3\n"
    assert docker_cli.cli("logs", "--tail", "1", "talker").stdout == "last\n"
    stamped = docker_cli.cli("logs", "-t", "--tail", "1", "talker").stdout
    assert stamped.endswith("Z last\n")
    assert len(stamped.split()[0]) == len("2024-01-01T00:00:00.000000000Z")


def test_input_reaches_the_process_and_ends(docker_cli: Daemon) -> None:
    done = docker_cli.cli("run", "-i", "--rm", "busybox", "sh", "-c", "cat; echo done", input="one\ntwo\n")
    assert done.stdout == "one\ntwo\ndone\n"


def test_much_output_arrives_whole(docker_cli: Daemon) -> None:
    done = docker_cli.cli("run", "--rm", "busybox", "sh", "-c", "dd if=/dev/zero bs=1M count=20 | tr '\\0' x")
    assert len(done.stdout) == 20 << 20


def test_exit_codes(docker_cli: Daemon) -> None:
    def code(*args: str) -> tuple[int, str]:
        done = docker_cli.cli(*args, check=False)
        return done.returncode, done.stderr

    assert code("run", "--rm", "busybox", "sh", "-c", "exit 42")[0] == 42
    assert code("run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?")[0] == 137
    missing, text = code("run", "--rm", "busybox", "nosuch")
    assert missing == 127
    assert 'exec: "nosuch": executable file not found in $PATH' in text
    denied, text = code("run", "--rm", "busybox", "/etc")
    assert denied == 126
    assert "/etc" in text
    unknown, text = code("run", "--rm", "--pull", "never", "nosuchimage")
    assert unknown == 125
    assert "No such image: nosuchimage:latest" in text
    assert docker_cli.cli("ps", "-aq").stdout == ""


def test_stop_kill_restart_and_rename(docker_cli: Daemon) -> None:
    script = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.1; done"
    docker_cli.cli("run", "-d", "--name", "polite", "busybox", "sh", "-c", script)
    docker_cli.cli("rename", "polite", "renamed")
    docker_cli.cli("restart", "renamed")
    docker_cli.cli("pause", "renamed")
    assert "(Paused)" in docker_cli.cli("ps", "--format", "{{.Status}}").stdout
    docker_cli.cli("unpause", "renamed")
    docker_cli.cli("stop", "renamed")
    assert docker_cli.cli("inspect", "-f", "{{.State.ExitCode}}", "renamed").stdout.strip() == "0"
    docker_cli.cli("start", "renamed")
    docker_cli.cli("kill", "renamed")
    assert docker_cli.cli("wait", "renamed").stdout.strip() == "137"
    refused = docker_cli.cli("kill", "renamed", check=False)
    assert refused.returncode == 1
    assert "is not running" in refused.stderr
    docker_cli.cli("rm", "renamed")


def test_remove_refuses_what_runs(docker_cli: Daemon) -> None:
    docker_cli.cli("run", "-d", "--name", "busy", "busybox", "sleep", "1000")
    refused = docker_cli.cli("rm", "busy", check=False)
    assert refused.returncode == 1
    assert 'cannot remove container "/busy": container is running' in refused.stderr
    docker_cli.cli("rm", "-f", "busy")


def test_names_are_taken_once(docker_cli: Daemon) -> None:
    docker_cli.cli("create", "--name", "twice", "busybox")
    refused = docker_cli.cli("create", "--name", "twice", "busybox", check=False)
    assert 'The container name "/twice" is already in use by container' in refused.stderr
    assert docker_cli.cli("ps", "-a", "--format", "{{.Names}} {{.Status}}").stdout == "twice Created\n"


def test_events_tell_the_life_of_a_container(docker_cli: Daemon) -> None:
    begun = time.time()
    docker_cli.cli("run", "--name", "seen", "busybox", "sh", "-c", "exit 3", check=False)
    docker_cli.cli("rm", "seen")
    shown = docker_cli.cli(
        "events",
        "--since",
        f"{begun:.6f}",
        "--until",
        f"{time.time():.6f}",
        "--filter",
        "type=container",
        "--filter",
        "container=seen",
        "--format",
        "{{.Action}} {{.Actor.Attributes.exitCode}}",
    )
    actions = [line.removesuffix(" <no value>") for line in shown.stdout.splitlines()]
    assert actions == ["create", "attach", "start", "die 3", "destroy"]


def test_events_are_followed_live(docker_cli: Daemon, cli_environment: dict[str, str]) -> None:
    command = [
        "docker",
        "events",
        "--since",
        "1",
        "--format",
        "{{.Action}}",
        "--filter",
        "container=followed",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=cli_environment) as watcher:
        assert watcher.stdout is not None
        docker_cli.cli("create", "--name", "followed", "busybox", "true")
        docker_cli.cli("rm", "followed")
        assert [watcher.stdout.readline().strip() for _ in range(2)] == ["create", "destroy"]
        watcher.terminate()


def test_inspect_shows_what_was_asked_for(docker_cli: Daemon, tmp_path: Path) -> None:
    docker_cli.cli(
        "run",
        "-d",
        "--name",
        "full",
        "--hostname",
        "box",
        "-e",
        "A=1",
        "-l",
        "x=y",
        "-w",
        "/tmp",
        "-u",
        "nobody",
        "--memory",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "50",
        "--tmpfs",
        "/scratch:size=1m",
        "-v",
        f"{tmp_path}:/data",
        "--read-only",
        "--cap-drop",
        "ALL",
        "--cap-add",
        "NET_RAW",
        "--ulimit",
        "nofile=100:200",
        "--add-host",
        "there:10.1.2.3",
        "--dns",
        "192.0.2.53",
        "--restart",
        "on-failure:3",
        "--init",
        "busybox",
        "sleep",
        "1000",
    )
    (document,) = json.loads(docker_cli.cli("inspect", "full").stdout)
    assert document["Config"]["Hostname"] == "box"
    assert document["Config"]["User"] == "nobody"
    assert document["HostConfig"]["Memory"] == 64 << 20
    assert document["HostConfig"]["NanoCpus"] == 500_000_000
    assert document["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert document["Mounts"][0]["Destination"] == "/data"
    assert document["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]

    def inside(command: str) -> str:
        return docker_cli.cli("exec", "full", "sh", "-c", command).stdout.strip()

    assert inside("hostname; pwd; id -un; echo $A") == "box\n/tmp\nnobody\n1"
    assert inside("grep there /etc/hosts").split() == ["10.1.2.3", "there"]
    assert "nameserver 192.0.2.53" in inside("cat /etc/resolv.conf")
    assert inside("ulimit -Sn; ulimit -Hn") == "100\n200"
    assert inside("grep CapBnd /proc/self/status").endswith("0000000000002000")
    assert inside("df -k /scratch | tail -1 | awk '{print $2}'") == "1024"
    assert "Read-only" in docker_cli.cli("exec", "full", "touch", "/x", check=False).stderr
    assert inside("cat /proc/1/comm") != "sleep"


def test_images_are_loaded_listed_tagged_and_removed(docker_cli: Daemon, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(busybox_archive("other:1.0"))
    assert docker_cli.cli("load", "-i", str(archive)).stdout.strip().endswith("Loaded image: other:1.0")
    docker_cli.cli("tag", "other:1.0", "example.com/team/other:2.0")
    listed = docker_cli.cli("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    assert {"other:1.0", "example.com/team/other:2.0"} <= set(listed)
    assert "made for a test" in docker_cli.cli("history", "other:1.0").stdout
    removed = docker_cli.cli("rmi", "other:1.0", "example.com/team/other:2.0").stdout
    assert removed.startswith("Untagged: other:1.0\nUntagged: example.com/team/other:2.0\n")
    assert "No such image: other:1.0" in docker_cli.cli("rmi", "other:1.0", check=False).stderr


def test_top_diff_and_network_modes(docker_cli: Daemon) -> None:
    docker_cli.cli(
        "run", "-d", "--name", "one", "busybox", "sh", "-c", "touch /made; rm /etc/group; sleep 1000"
    )
    assert "sleep 1000" in docker_cli.cli("top", "one").stdout
    changes = docker_cli.cli("diff", "one").stdout.splitlines()
    assert {"A /made", "D /etc/group", "C /etc"} <= set(changes)
    none = docker_cli.cli("run", "--rm", "--network", "none", "busybox", "ip", "-o", "addr").stdout
    assert "eth0" not in none
    host = docker_cli.cli("run", "--rm", "--network", "host", "busybox", "ip", "-o", "addr").stdout
    assert "198.51.100.1" in host
    docker_cli.cli("run", "-d", "--name", "server", "busybox", "httpd", "-f", "-p", "81", "-h", "/etc")
    joined = docker_cli.cli(
        "run",
        "--rm",
        "--network",
        "container:server",
        "busybox",
        "wget",
        "-qO-",
        "http://127.0.0.1:81/passwd",
    )
    assert joined.stdout.startswith("root:")
