"""Prunes: planned first, exactly that removed; killed in the middle, each thing is whole or gone."""

import re
import subprocess
from collections.abc import Iterator
from unittest.mock import ANY

import docker
import pytest
from support.daemon import CHECKOUT, Daemon, remove_everything, sampan
from support.disk import check, explain, file_layer, load
from support.images import load_busybox
from support.traces import assert_none_left, look

pytestmark = pytest.mark.root


def rows(output: str) -> dict[str, tuple[str, str]]:
    """Return kind and reason of each thing that a dry run lists, by name."""
    head, *lines = output.partition("\n\nThese")[0].splitlines()
    reason, kind, name = head.index("REASON"), head.index("KIND"), head.index("NAME")
    found = {}
    for line in lines:
        found[line[name:].split("  ")[0].strip()] = (line[kind:name].strip(), line[reason:].strip())
    return found


def names(client: docker.DockerClient) -> set[str]:
    """Return the name of everything."""
    return {
        *(container.name for container in client.containers.list(all=True)),
        *(tag for image in client.images.list() for tag in image.tags or [image.id]),
        *(volume.name for volume in client.volumes.list()),
        *(network.name for network in client.networks.list(filters={"type": "custom"})),
    }


def dry_run(daemon: Daemon, *command: str, answer: str = "") -> "subprocess.CompletedProcess[str]":
    return sampan(daemon, *command, "--dry-run", input=answer)


def test_each_kind_says_what_would_go_and_why(whole: Daemon) -> None:
    client = whole.client()
    before = names(client)
    (anonymous,) = before - {
        "writer",
        "runs",
        "new",
        "vol",
        "lonely",
        "busybox:latest",
        "data:1",
        "made:1",
    }
    containers = rows(dry_run(whole, "container", "prune").stdout)
    assert containers == {"writer": ("container", ANY), "new": ("container", "Created")}
    assert containers["writer"][1].startswith("Exited (0) ")
    assert rows(dry_run(whole, "network", "prune").stdout) == {"lonely": ("network", "no container is on it")}
    assert rows(dry_run(whole, "image", "prune", "-a").stdout) == {
        "data:1": ("image", "no container uses it"),
        "made:1": ("image", "no container uses it"),
    }
    assert dry_run(whole, "image", "prune").stdout == "Nothing would be removed.\n"
    assert dry_run(whole, "volume", "prune", "-a").stdout == "Nothing would be removed.\n"  # all are in use
    everything = rows(dry_run(whole, "system", "prune", "-a", "--volumes").stdout)
    assert set(everything) == {"writer", "new", "lonely", "data:1", "made:1"}
    labelled = dry_run(whole, "system", "prune", "-a", "--filter", "label=none").stdout
    assert labelled == "Nothing would be removed.\n"
    failed = sampan(whole, "system", "prune", "--dry-run", "-f", check=False)
    assert "cannot specify both --dry-run and --force" in failed.stderr
    assert names(client) == before
    assert anonymous in before
    client.close()


def test_containers_that_would_go_free_what_they_hold(full: Daemon) -> None:
    client = full.client()
    client.containers.get("runs").kill()
    client.containers.get("runs").wait()
    planned = rows(dry_run(full, "system", "prune", "-a", "--volumes").stdout)
    assert {"writer", "runs", "new", "lonely", "busybox:latest", "data:1", "made:1"} < set(planned)
    assert sorted(kind for kind, _ in planned.values()).count("volume") == 1  # the anonymous one
    said = dry_run(full, "system", "prune", "-a", "--volumes", answer="y\n").stdout
    assert re.search(r"^Total reclaimed space: [1-9]", said, re.MULTILINE)
    assert names(client) == {"vol"}
    assert check(full) == []
    client.close()


def test_exactly_what_was_listed_goes(full: Daemon) -> None:
    """What comes, or is taken into use, between the list and the answer stays."""
    client = full.client()
    program = sampan_process(full, "system", "prune", "-a")
    assert program.stdin is not None
    assert program.stdout is not None
    seen = ""
    while not seen.endswith("[y/N] "):
        seen += program.stdout.read(1)
    load(client, "late:1", file_layer("late", 1000))
    client.images.get("data:1").tag("data", "2")
    client.containers.get("writer").start()
    ran = client.containers.get("writer").attrs["State"]["Status"]
    said, _ = program.communicate("y\n", timeout=30)
    assert "kept: image data:1: it has other names by now" in said
    assert {"late:1", "data:1", "data:2"} <= names(client)
    assert not {"new", "lonely", "made:1"} & names(client)
    assert ran
    client.close()


def sampan_process(daemon: Daemon, *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [CHECKOUT / "bin" / "sampan", "-H", daemon.url, *command, "--dry-run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_parents_go_with_their_children(full: Daemon) -> None:
    client = full.client()
    made = client.containers.get("writer").commit()  # nameless, of busybox
    container = client.containers.create(made.id, "true")
    child = container.commit()
    client.api.tag(child.id, "child", "1")
    container.remove()
    planned = rows(dry_run(full, "image", "prune", "-a").stdout)
    assert set(planned) == {"child:1", "<none>", "data:1", "made:1"}
    assert planned["<none>"] == ("image", "its children go")
    report = client.images.prune({"dangling": False})
    gone = {step["Deleted"] for step in report["ImagesDeleted"] if "Deleted" in step}
    assert {made.id, child.id} <= gone
    assert names(client) >= {"busybox:latest"}
    client.close()


@pytest.fixture
def doomed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with four of each kind, all of them unused."""
    daemon = Daemon(tmp_path_factory.mktemp("doomed")).start()
    load_busybox(daemon)
    before = look(daemon)
    client = daemon.client()
    for number in range(4):
        load(client, f"data:{number}", file_layer("shared", 1000), file_layer(f"f{number}", 1000))
        options = {"name": f"c{number}", "volumes": [f"v{number}:/v"], "detach": True}
        client.containers.run("busybox", "touch /f /v/f", **options).wait()
    client.close()
    yield daemon
    if not daemon.running:
        daemon.start()
    remove_everything(daemon)
    assert_none_left(before, daemon)
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("command", "step", "action"),
    [
        (("container", "prune"), "storage.remove", "=kill"),
        (("image", "prune", "-a"), "images.remove.row", "=kill"),
        (("image", "prune", "-a"), "storage.remove", "=kill"),
        (("volume", "prune", "-a"), "volumes.remove", "=kill"),
        (("container", "prune"), "storage.remove", ""),
        (("image", "prune", "-a"), "images.remove.row", ""),
    ],
)
def test_a_prune_that_is_broken_off(doomed: Daemon, command: tuple[str, ...], step: str, action: str) -> None:
    if command[0] == "volume":
        sampan(doomed, "container", "prune", "-f")
    doomed.stop()
    doomed.start(environment={"SAMPAN_FAULTS": step + action})
    sampan(doomed, *command, "-f", check=False)
    if doomed.running:
        doomed.stop()
    else:
        doomed.wait()
    doomed.start()
    assert check(doomed) == []
    assert not [entry for entry in explain(doomed)["Entries"] if entry["Orphan"]]
    client = doomed.client()
    left = names(client)
    for container in client.containers.list(all=True):  # what is left is whole
        assert container.start() is None
        container.wait()
    for image in (tag for tag in left if tag.startswith("data:")):
        assert client.api.inspect_image(image)["Size"] == 2000
    sampan(doomed, *command, "-f")
    assert not [
        name
        for name in names(client)
        if name.startswith({"container": "c", "image": "d", "volume": "v"}[command[0]])
    ]
    client.close()
