"""A sampand of the tests' own: data root, sockets and all in a temporary folder, ended by pid."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import docker
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE = 30 if "TESTVM" in os.environ else 1  # an emulated machine is that much slower


class Daemon:
    """One daemon under ``folder``, in the network namespace ``inside``; ``start`` returns when it answers."""

    def __init__(
        self,
        folder: Path,
        *flags: str,
        environment: Mapping[str, str] | None = None,
        inside: Path | None = None,
    ) -> None:
        self.folder = folder
        self._enter = ["nsenter", f"--net={inside}", "--"] if inside is not None else []
        self.socket = folder / "s.sock"
        self.url = f"unix://{self.socket}"
        self.data_root = folder / "data"
        self.exec_root = folder / "exec"
        self.log = folder / "daemon.log"
        self.cgroup_parent = f"/sampan-test-{os.getpid()}-{folder.name}"  # cgroups are the whole machine's
        self._flags = flags
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *flags: str, environment: Mapping[str, str] | None = None) -> "Daemon":
        config = self.folder / "daemon.json"
        if not config.exists():
            config.write_text("{}")
        command = [
            *self._enter,
            sys.executable,
            "-m",
            "sampan.daemon.main",
            "-H",
            self.url,
            "--data-root",
            str(self.data_root),
            "--exec-root",
            str(self.exec_root),
            "--pidfile",
            str(self.folder / "pid"),
            "--config-file",
            str(config),
            "--cgroup-parent",
            self.cgroup_parent,
            *self._flags,
            *flags,
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=CHECKOUT,
                env={**self._environment, **(environment or {})},
            )
        deadline = time.monotonic() + 20 * PATIENCE
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"sampand ended with {self._process.returncode}:\n{self.log.read_text()}")
            if self._answers(deadline):
                return self
            time.sleep(0.01)
        raise RuntimeError(f"sampand does not answer:\n{self.log.read_text()}")

    def _answers(self, deadline: float) -> bool:
        """Tell whether the daemon answers; one that was killed may still seem to listen for a moment."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(max(0.1, deadline - time.monotonic()))
            probe.connect(str(self.socket))
            probe.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
            return probe.recv(4096).startswith(b"HTTP/1.1 200")
        return False

    def stop(self) -> int:
        """End the daemon with SIGTERM; return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30 * PATIENCE)

    def kill(self) -> None:
        """End the daemon with SIGKILL, in the middle of whatever it does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30 * PATIENCE)

    def wait(self, timeout: float = 30 * PATIENCE) -> int:
        """Wait for the daemon's own end; return its exit code (negative: a signal)."""
        assert self._process is not None
        return self._process.wait(timeout)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def client(self) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.url, timeout=60 * PATIENCE)

    def open_files(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def cli(
        self, *args: str, program: Sequence[str] = ("docker",), check: bool = True, **options: object
    ) -> subprocess.CompletedProcess[str]:
        """Run the docker CLI (or ``program``) against this daemon; skip the test where it is none."""
        if shutil.which(program[0]) is None:
            pytest.skip(f"{program[0]} is not installed")
        environment = {**os.environ, "DOCKER_HOST": self.url, "HOME": str(self.folder)}
        environment.pop("DOCKER_TLS_VERIFY", None)
        done = subprocess.run(  # type: ignore[call-overload]
            [*program, *args],
            capture_output=True,
            text=True,
            timeout=60 * PATIENCE,
            env=environment,
            **options,
        )
        if check and done.returncode:
            raise AssertionError(f"{args} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done  # type: ignore[no-any-return]


def sampan(daemon: Daemon, *args: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run our own CLI against ``daemon``."""
    return daemon.cli(*args, program=(str(CHECKOUT / "bin" / "sampan"),), **options)  # type: ignore[arg-type]


@contextlib.contextmanager
def running_daemon(folder: Path, *flags: str) -> Iterator[Daemon]:
    """Yield a daemon that is ended, with all its containers removed, at the end of the block."""
    daemon = Daemon(folder, *flags).start()
    try:
        yield daemon
    finally:
        if not daemon.running:
            daemon.start()
        remove_everything(daemon)
        code = daemon.stop()
    assert code == 0, daemon.log.read_text()


def remove_everything(daemon: Daemon) -> None:
    """Remove every container and network of ``daemon``, and wait until their removal is done."""
    client = daemon.client()
    try:
        for container in client.containers.list(all=True, ignore_removed=True):
            with contextlib.suppress(docker.errors.NotFound, docker.errors.APIError):
                container.remove(force=True, v=True)
        for network in client.networks.list(filters={"type": "custom"}):
            network.remove()
    finally:
        client.close()
