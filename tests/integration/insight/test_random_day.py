"""A day in the life of an engine: loads, runs, commits, removals and kills in random, repeatable order.

However it went, every byte on the disk has an owner in the end, and what was put there by hand is found.
"""

import contextlib
import os
import random
from collections.abc import Callable

import docker
import pytest
from support.daemon import Daemon, remove_everything, sampan
from support.disk import check, explain, file_layer, load, on_disk
from support.images import busybox_layer, load_busybox
from support.traces import assert_none_left, look
from urllib3.exceptions import HTTPError

pytestmark = pytest.mark.root

STEPS = 60
SEED = int(os.environ.get("SAMPAN_SEED", "20240229"))
_GONE = (docker.errors.APIError, docker.errors.DockerException, HTTPError, OSError)


class Day:
    """What happens; each step may fail because of the one before, and the daemon may die in any."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.daemon = daemon
        self.chance = random.Random(seed)  # noqa: S311 - a test's
        self.client = daemon.client()
        self.number = 0
        self.done: list[str] = []

    def step(self) -> None:
        self.number += 1
        work = self.chance.choices(
            [self.load, self.run, self.start, self.commit, self.remove, self.volumes, self.prune, self.kill],
            [3, 5, 2, 3, 3, 3, 1, 2],
        )[0]
        self.done.append(work.__name__)
        with contextlib.suppress(*_GONE):
            work()
        if not self.daemon.running:
            self.daemon.start()

    def _any(self, things: list[str]) -> str:
        return self.chance.choice(things) if things else "nothing"

    def images(self) -> list[str]:
        return [tag for image in self.client.images.list() for tag in image.tags]

    def containers(self) -> list[str]:
        return [container.name for container in self.client.containers.list(all=True, ignore_removed=True)]

    def load(self) -> None:
        shared = file_layer("shared", 300_000)
        load(
            self.client,
            f"load:{self.number}",
            busybox_layer(),
            shared,
            file_layer(f"f{self.number}", 200_000),
        )

    def run(self) -> None:
        size = self.chance.randrange(1, 400_000)
        script = f"head -c {size} /dev/urandom >/own; head -c {size} /dev/urandom >/v/f{self.number}"
        end = self.chance.choice(["", "; sleep 1000", "; exit 3"])
        self.client.containers.run(
            self._any([*self.images(), "busybox:latest"]),
            ["sh", "-c", script + end],
            name=f"run{self.number}",
            volumes=[f"vol{self.chance.randrange(4)}:/v", "/anonymous"],
            detach=True,
        )

    def start(self) -> None:
        container = self.client.containers.get(self._any(self.containers()))
        self.chance.choice([container.start, container.kill, container.restart])()

    def commit(self) -> None:
        self.client.containers.get(self._any(self.containers())).commit("made", str(self.number))

    def remove(self) -> None:
        what = self.chance.choice(["container", "image", "volume"])
        if what == "container":
            self.client.containers.get(self._any(self.containers())).remove(
                force=True, v=bool(self.number % 2)
            )
        elif what == "image":
            self.client.images.remove(self._any(self.images()), force=bool(self.number % 2))
        else:
            self.client.volumes.get(f"vol{self.chance.randrange(4)}").remove()

    def volumes(self) -> None:
        name = f"vol{self.chance.randrange(4)}"
        command = self.chance.choice([("clone", name, f"copy{self.number}"), ("snapshot", name)])
        sampan(self.daemon, "volume", *command, check=False)

    def prune(self) -> None:
        kind = self.chance.choice(["container", "image", "volume"])
        sampan(self.daemon, kind, "prune", "-f", check=False)

    def kill(self) -> None:
        """Kill the daemon: idle, or at a point of what it does next."""
        points = ("storage.create", "storage.remove", "storage.commit", "storage.apply", "images.install.row")
        armed = self.chance.choice(
            ["", *points, "images.remove.row", "volumes.copy", "containers.start.process"]
        )
        self.daemon.kill()
        self.daemon.start(environment={"SAMPAN_FAULTS": f"{armed}=kill"} if armed else {})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK's lost connections
def test_a_random_day(tmp_path_factory: pytest.TempPathFactory) -> None:
    daemon = Daemon(tmp_path_factory.mktemp("day")).start()
    load_busybox(daemon)
    before = look(daemon)
    day = Day(daemon, SEED)
    steps: list[Callable[[], None]] = [day.step] * STEPS
    for step in steps:
        step()
    daemon.stop()
    daemon.start()
    account = explain(daemon)
    assert account["Disk"] == pytest.approx(on_disk(daemon.data_root), rel=0.01), (SEED, day.done)
    assert [entry for entry in account["Entries"] if entry["Orphan"]] == [], (SEED, day.done)
    assert check(daemon) == [], (SEED, day.done)
    for path in ("storage/overlay2/by-hand", "containers/by-hand", "content/blobs/sha256/by-hand"):
        (daemon.data_root / path).mkdir()
    orphans = {entry["Name"] for entry in explain(daemon)["Entries"] if entry["Orphan"]}
    assert orphans == {"by-hand"}
    assert all(finding["Repaired"] for finding in check(daemon, "--repair"))
    remove_everything(daemon)
    assert_none_left(before, daemon)
    day.client.close()
    assert daemon.stop() == 0
