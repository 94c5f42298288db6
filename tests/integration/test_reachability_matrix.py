"""Who reaches whom on every kind of network, over IPv4 and IPv6: the whole matrix."""

from collections.abc import Iterator

import docker
import pytest
from support.netlab import OUTSIDE, make_outside, on_loop, remove_outside
from support.reach import SCENARIOS, join_hosts, render, take

pytestmark = pytest.mark.root


@pytest.fixture
def outside() -> Iterator[None]:
    """Another host beside this one, on the segment of every macvlan network."""
    make_outside()
    join_hosts(None, OUTSIDE)
    yield
    remove_outside()


def test_the_matrix(client: docker.DockerClient, outside: None) -> None:
    @on_loop
    async def run() -> None:
        refused: dict[str, str] = {}
        matrix = await take(client, SCENARIOS, None, OUTSIDE, image="busybox:latest", refused=refused)
        assert refused == {}
        for version in (4, 6):
            rows = {
                name: " ".join(found[f"v{version} {place}"] for place in PLACES)
                for name, found in matrix.items()
            }
            assert rows == EXPECTED, render(matrix)

    run()


PLACES = ("host", "outside", "web", "near", "far")
# What the letters stand for is in support.reach.COLUMNS; IPv4 and IPv6 are the same.
EXPECTED = {
    "plain": "8uplghw ..p.ghw 8up.ghw 8up.ghw ..p.ghw",
    "no-icc": "8uplghw ..p.ghw 8up.ghw ..p.ghw ..p.ghw",
    "no-masquerade": "8uplghw ..p.ghw 8up.ghw 8up.ghw ..p.ghw",
    "internal": "8u..ghw ....ghw 8u..g.. 8u..g.. ....ghw",
    "unprotected": "8uplghw 8up.ghw 8up.ghw 8up.ghw 8up.ghw",
    "routed": "8u..ghw 8...ghw 8u..ghw 8u..ghw 8...ghw",
    "isolated": ".....hw .....hw 8u..... 8u..... .....hw",
    "trusted": "8uplghw 8.p.ghw 8up.ghw 8up.ghw ..p.ghw",
    "macvlan": ".....hw 8u...hw 8u....w 8u....w .....hw",
    "macvlan-private": ".....hw 8u...hw 8u....w ......w .....hw",
    "macvlan-vepa": ".....hw 8u...hw 8u....w ......w .....hw",
    "macvlan-internal": ".....hw .....hw 8u..... 8u..... .....hw",
}
