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
    Figure(
        "log",
        "log throughput of one container",
        "MB/s",
        Target("podman", 2, "≥ 2 × podman"),
        more_is_better=True,
    ),
    *_storage(),
    Figure("ping", "GET /_ping", "µs"),
    Figure("ping rate 1", "GET /_ping, one connection", "1/s", more_is_better=True),
    Figure("ping rate 16", "GET /_ping, 16 connections", "1/s", more_is_better=True),
)
BY_KEY: Final = {figure.key: figure for figure in FIGURES}
