"""Starts engines privately: data root, sockets and namespaces of their own; ends them by pid."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks import memory, place
from benchmarks.engine import Engine
from benchmarks.http import Connection, Failed

_ISOLATED: Final = Path(__file__).parents[1] / "isolated"
# crun refuses a hybrid cgroup layout whose v2 tree has a controller: peers do not see that tree. dockerd
# picks its addresses by a default route. What the machine's own engines left in these folders is hidden.
_PEER_SHELL: Final = """
[ -d /sys/fs/cgroup/unified ] && umount /sys/fs/cgroup/unified
for folder in /run/containerd /run/containers /run/libpod /run/netns /etc/containers; do
    [ -d $folder ] && mount -t tmpfs tmpfs $folder
done
ip link set lo up
ip route add blackhole default
echo 1 > /proc/sys/net/ipv4/ip_forward
[ -d /etc/containers ] && echo '{"default":[{"type":"insecureAcceptAnything"}]}' > /etc/containers/policy.json
exec "$@"
"""


@contextlib.contextmanager
def sampan(
    folder: Path, programs: Path, *flags: str, data_root: Path | None = None
) -> Iterator[list[Engine]]:
    """Yield this engine, once by its own command line and, if there is one, by docker's.

    ``flags`` are more of the daemon's; its data lies in ``folder``, unless there is a ``data_root``.
    """
    folder.mkdir()
    socket, parent = folder / "s.sock", f"/bench-{os.getpid()}-sampan"
    settings = folder / "daemon.json"
    settings.write_text("{}")
    options = {
        "--host": f"unix://{socket}",
        "--data-root": data_root or folder / "data",
        "--exec-root": folder / "exec",
        "--pidfile": folder / "pid",
        "--config-file": settings,
        "--cgroup-parent": parent,
        "--log-level": "warn",
    }
    command = [str(_ISOLATED), str(programs / "sampand"), *flags]
    for name, value in options.items():
        command += [name, str(value)]
    home = {**os.environ, "HOME": str(folder)}
    with _daemon("sampan", command, socket, folder, home) as process:
        where = place.of_process(process.pid)
        engines = [
            Engine(
                "sampan",
                "sampan",
                _version([str(programs / "sampan")]),
                where,
                [str(programs / "sampan"), "-H", f"unix://{socket}"],
                home,
                socket,
                process.pid,
                fresh_rss=memory.daemon_rss(process.pid),
            )
        ]
        if docker := shutil.which("docker"):
            engines.append(
                Engine(
                    "sampan by docker CLI",
                    "sampan",
                    _version([docker]),
                    where,
                    [docker, "-H", f"unix://{socket}"],
                    home,
                    groups=frozenset(("run", "exec", "ps")),
                )
            )
        try:
            yield engines
        finally:
            _remove_all(engines[0])
            where.close()
    _forget_cgroups(parent)


@contextlib.contextmanager
def docker(folder: Path) -> Iterator[list[Engine]]:
    """Yield the machine's own dockerd, with its default runtime and, if there is one, with crun."""
    folder.mkdir()
    socket, parent = folder / "d.sock", f"/bench-{os.getpid()}-docker"
    crun = shutil.which("crun")
    (folder / "daemon.json").write_text("{}")
    command = [
        *("unshare", "--net", "--mount", "sh", "-c", _PEER_SHELL, "peer", "dockerd"),
        *(
            "--host",
            f"unix://{socket}",
            "--data-root",
            str(folder / "data"),
            "--exec-root",
            str(folder / "exec"),
        ),
        *(
            "--pidfile",
            str(folder / "pid"),
            "--config-file",
            str(folder / "daemon.json"),
            "--log-level",
            "error",
        ),
        *("--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", parent),
        *(("--add-runtime", f"crun={crun}") if crun else ()),
    ]
    home = {**os.environ, "HOME": str(folder)}
    with _daemon("docker", command, socket, folder, home) as process:
        where = place.of_process(process.pid)
        cli = ["docker", "-H", f"unix://{socket}"]
        fresh = memory.daemon_rss(process.pid)
        with Connection(socket) as connection:
            version = connection.ask_json("GET", "/version")["Version"]
        engine = Engine("docker", "docker", version, where, cli, home, socket, process.pid, fresh_rss=fresh)
        engines = [engine]
        if crun:
            groups = frozenset(("api", "run", "exec"))
            engines.append(
                Engine(
                    "docker, crun", "docker", version, where, cli, home, socket, runtime="crun", groups=groups
                )
            )
        try:
            yield engines
        finally:
            _remove_all(engine)
            where.close()
    _forget_cgroups(parent)


@contextlib.contextmanager
def podman(folder: Path) -> Iterator[list[Engine]]:
    """Yield the machine's own podman, and its API service."""
    folder.mkdir()
    socket = folder / "p.sock"
    soft, hard = _open_files()
    runtime = "crun" if shutil.which("crun") else "runc"
    # podman's own default limits need CAP_SYS_RESOURCE, which a machine may lack
    (folder / "containers.conf").write_text(
        f'[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "{runtime}"\n'
        f'tmp_dir = "{folder}/tmp"\n[network]\nnetwork_config_dir = "{folder}/networks"\n'
        f'[containers]\nlog_driver = "k8s-file"\n'
        f'default_ulimits = ["nofile={soft}:{hard}", "nproc=16384:16384"]\n'
    )
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/runroot"\n'
    )
    (folder / "registries.conf").write_text("")
    home = {
        **os.environ,
        "HOME": str(folder),
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
    }
    command = [
        *("unshare", "--net", "--mount", "sh", "-c", _PEER_SHELL, "peer"),
        *("podman", "system", "service", "--time=0", f"unix://{socket}"),
    ]
    with _daemon("podman", command, socket, folder, home) as process:
        where = place.of_process(process.pid)
        engine = Engine(
            "podman",
            "podman",
            _version(["podman"]),
            where,
            ["podman"],
            home,
            socket,
            process.pid,
            remove_flags=("-t", "0"),  # else it waits ten seconds after a TERM, where docker sends a KILL
            fresh_rss=memory.daemon_rss(process.pid),
        )
        try:
            yield [engine]
        finally:
            _remove_all(engine)
            where.close()


@contextlib.contextmanager
def _daemon(
    name: str, command: Sequence[str], socket: Path, folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``command``; yield when ``socket`` answers; after the block, end it and what it left behind."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
    try:
        _await_answer(name, process, socket, log)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _end_leftovers(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _await_answer(name: str, process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, Failed), Connection(socket) as connection:
            connection.ask("GET", "/_ping")
            return
        time.sleep(0.02)
    raise Failed(f"{name} does not start: {log.read_text(errors='replace')[-500:]}")


def _remove_all(engine: Engine) -> None:
    with contextlib.suppress(Failed, OSError, subprocess.SubprocessError):
        engine.remove(*engine.call(engine.cli, "ps", "-aq").output.split())


def _end_leftovers(folder: Path) -> None:
    """End what names the private folder on its command line: podman's monitors linger for minutes."""
    for pid in memory.processes_naming(f"{folder}/"):
        if pid != os.getpid():
            with contextlib.suppress(OSError):
                os.kill(pid, 9)


def _forget_cgroups(parent: str) -> None:
    """Remove the empty cgroups of an engine that has ended."""
    for root in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*")):
        with contextlib.suppress(OSError):
            (root / parent.lstrip("/")).rmdir()


def _version(command: Sequence[str]) -> str:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    words = [word.strip(",") for word in done.stdout.split() if word[:1].isdigit()]
    return words[0] if words else "?"


def _open_files() -> tuple[int, int]:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)
