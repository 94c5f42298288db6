"""What the figures are: their words, units and targets. How each is measured stands in ``groups``."""

from dataclasses import dataclass
from typing import Final, Literal

Against = Literal["docker", "podman", "any", "itself"]


@dataclass(frozen=True, slots=True)
class Target:
    """``ours / best of against`` is to be at most ``ratio`` (at least, where more is better).

    Against "itself" the figure itself is to be at most ``ratio``. A variant of docker with another runtime
    only counts in "any".
    """

    against: Against
    ratio: float
    text: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table."""

    key: str
    title: str
    unit: str
    target: Target | None = None
    more_is_better: bool = False


def _phases(network: str, target: Target | None) -> list[Figure]:
    title = f"API on {network}"
    rows = [Figure(f"api {network} {phase}", f"{title}: {phase}", "ms") for phase in PHASES]
    return [Figure(f"api {network}", f"{title}: create + start + wait + remove", "ms", target), *rows]


_PEAK: Final = Target("itself", 100, "≤ 100 MiB")


def _storage() -> list[Figure]:
    titles = ("overlay2", "btrfs", "vfs with reflinks", "fuse-overlayfs")
    twice = Target("itself", 2, "≤ 2 × overlay2")
    return [
        *(Figure(f"start on {title}", f"start of a container on {title}", "ms") for title in titles),
        *(Figure(f"start on {title}, ratio", f"{title}: of overlay2's", "×", twice) for title in titles[1:]),
        Figure(
            "start layers", "start, image of 125 layers", "ms", Target("docker", 1 / 2, "≤ 1/2 of docker")
        ),
        Figure("copy-up", "first byte written to a file of 1 GiB", "s", Target("docker", 1, "≤ docker")),
    ]


PHASES: Final = ("create", "start", "wait", "remove")
NETWORKS: Final = ("bridge", "none", "host")
FIGURES: Final = (
    *_phases("bridge", Target("docker", 1 / 6, "≤ 1/6 of docker")),
    *_phases("none", None),
    *_phases("host", None),
    Figure("run bridge", "run --rm busybox true, bridge", "ms", Target("docker", 1 / 4, "≤ 1/4 of docker")),
    Figure(
        "run none", "run --rm busybox true, --network none", "ms", Target("podman", 1 / 2, "≤ 1/2 of podman")
    ),
    Figure("exec", "exec true", "ms", Target("any", 1, "≤ the best")),
    Figure("ps 0", "ps, none running", "ms", Target("docker", 1.2, "≤ 1.2 × docker")),
    Figure("ps 200", "ps, 200 running", "ms", Target("docker", 1 / 2, "≤ 1/2 of docker")),
    Figure("list 200", "GET /containers/json, 200 running", "ms"),
    Figure("start 100", "start 100 by run -d, one by one", "s", Target("podman", 1 / 4, "≤ 1/4 of podman")),
    Figure("start 100 api", "start 100 more by the API, one by one", "s"),
    Figure("remove", "rm -f of all of them", "s"),
    Figure("memory container", "memory per running container", "MiB", Target("itself", 0.3, "≤ 0.3 MiB")),
    Figure("memory helper", "of it: its shim or monitor (PSS)", "MiB"),
    Figure("memory growth", "of it: growth of the daemon", "MiB"),
    Figure("rss fresh", "daemon RSS, just started", "MiB", Target("itself", 45, "≤ 45 MiB")),
    Figure("rss idle", "daemon RSS, after the work above", "MiB"),
    Figure("rss 300", "daemon RSS, 300 running", "MiB", Target("itself", 80, "≤ 80 MiB")),
    Figure("load", "load of the large image", "s", Target("podman", 1 / 2, "≤ 1/2 of podman")),
    Figure("load rss", "daemon RSS after it", "MiB"),
    Figure("load peak", "daemon's peak memory meanwhile", "MiB", _PEAK),
    Figure("save", "save of it", "s", Target("any", 0.8, "≤ 0.8 of the best")),
    Figure("save peak", "daemon's peak memory meanwhile", "MiB", _PEAK),
    Figure("push", "push of it, registry on loopback", "s", Target("any", 1 / 2, "≤ 1/2 of the best")),
    Figure("push peak", "daemon's peak memory meanwhile", "MiB", _PEAK),
    Figure("pull", "pull of it, registry on loopback", "s", Target("any", 1 / 2, "≤ 1/2 of the best")),
    Figure("pull peak", "daemon's peak memory meanwhile", "MiB", _PEAK),
    Figure("pull shared", "pull of an image that shares all but a small layer", "s"),
    Figure("pull shared peak", "daemon's peak memory meanwhile", "MiB", _PEAK),
    Figure("images 500", "images, 500 of them", "ms", Target("docker", 1 / 2, "≤ 1/2 of docker")),
    Figure("list images 500", "GET /images/json, 500 images", "ms"),
    Figure(
        "log",
        "log throughput of one container",
        "MB/s",
        Target("podman", 2, "≥ 2 × podman"),
        more_is_better=True,
    ),
    Figure(
        "registry",
        "own registry: 8 clients pull the large image at once",
        "MB/s",
        Target("any", 1, "≥ docker-registry"),
        more_is_better=True,
    ),
    Figure("registry cpu", "CPU time of the registry for it", "s"),
    Figure("registry rss", "peak RSS of the registry", "MiB"),
    Figure(
        "net start",
        "start on a network with names, 2 ports published",
        "ms",
        Target("docker", 1 / 5, "≤ 1/5 of docker"),
    ),
    Figure("net start again", "the same", "ms", Target("podman", 1 / 3, "≤ 1/3 of podman")),
    Figure("name", "name look-up in a container, one after the other", "µs", Target("any", 1, "≤ the best")),
    Figure("name p99", "of it: p99 by median", "", Target("itself", 5, "≤ 5")),
    Figure("net life", "network create + rm", "ms", Target("any", 1 / 5, "≤ 1/5 of the best")),
    Figure(
        "published rate",
        "published port, host → container (iperf3)",
        "Gbit/s",
        Target("any", 0.95, "≥ 0.95 of the best"),
        more_is_better=True,
    ),
    Figure(
        "neighbour rate",
        "container → container (iperf3)",
        "Gbit/s",
        Target("any", 0.95, "≥ 0.95 of the best"),
        more_is_better=True,
    ),
    Figure(
        "net ports", "start with 1,000 ports published", "ms", Target("docker", 1 / 20, "≤ 1/20 of docker")
    ),
    Figure("net alone", "start on a network, nothing else there", "ms"),
    Figure("net crowd", "the same beside 500 networks and 1,000 containers", "ms"),
    Figure("net crowding", "of it: with them by without", "", Target("itself", 1.2, "≤ 1.2")),
    Figure(
        "df",
        "system df, 500 images, 300 containers, 200 volumes",
        "ms",
        Target("docker", 1 / 2, "≤ 1/2 of docker"),
    ),
    Figure(
        "prune", "prune of 300 containers and 100 images", "s", Target("docker", 1 / 3, "≤ 1/3 of docker")
    ),
    Figure("prune containers", "of it: the containers", "s"),
    Figure("prune images", "of it: the images", "s"),
    *(
        figure
        for compression, beside in (("none", "tar"), ("gzip", "tar and igzip"), ("zstd", "tar and zstd"))
        for figure in (
            Figure(f"backup {compression}", f"backup of 1 GiB, {compression}", "s"),
            Figure(
                f"backup {compression} ratio",
                f"the same beside {beside}",
                "×",
                Target("itself", 1.1, f"≤ 1.1 × {beside}") if compression != "none" else None,
            ),
        )
    ),
    Figure("volume clone", "clone of 1 GiB on btrfs", "ms", Target("itself", 50, "≤ 50 ms")),
    Figure("volume snapshot", "snapshot of 1 GiB on btrfs", "ms", Target("itself", 50, "≤ 50 ms")),
    *_storage(),
    Figure("ping", "GET /_ping", "µs"),
    Figure("ping rate 1", "GET /_ping, one connection", "1/s", more_is_better=True),
    Figure("ping rate 16", "GET /_ping, 16 connections", "1/s", more_is_better=True),
)
BY_KEY: Final = {figure.key: figure for figure in FIGURES}
