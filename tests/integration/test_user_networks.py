"""Networks of users' own, with real containers: names, isolation, coming and going, faults."""

import contextlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.types import EndpointConfig, IPAMConfig, IPAMPool
from support.daemon import Daemon
from support.traces import assert_none_left, look

pytestmark = pytest.mark.root
SLEEP = ["sleep", "1000"]


def _run(client: docker.DockerClient, name: str, network: str, *command: str, **more: Any) -> Container:
    return client.containers.run(
        "busybox", list(command) or SLEEP, name=name, network=network, detach=True, stop_signal="KILL", **more
    )


def _said(container: Container, *command: str) -> str:
    code, output = container.exec_run(list(command))
    assert code == 0, output.decode()
    return str(output.decode())


def _resolves(container: Container, name: str) -> list[str]:
    """Return the addresses of ``name`` as ``container`` sees them."""
    code, output = container.exec_run(["nslookup", "-type=a", name])
    lines = output.decode().partition("Name:")[2].splitlines()
    return sorted(line.split()[1] for line in lines if line.startswith("Address")) if code == 0 else []


def _pings(container: Container, where: str) -> bool:
    return bool(container.exec_run(["ping", "-c1", "-W1", where]).exit_code == 0)


def _address(container: Container, network: str) -> str:
    container.reload()
    return str(container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"])


def _aliases(client: docker.DockerClient, network: str, *aliases: str) -> dict[str, EndpointConfig]:
    return {network: EndpointConfig(client.api._version, aliases=list(aliases))}


def test_names_of_containers(client: docker.DockerClient) -> None:
    client.networks.create("mine")
    web = _run(client, "web", "mine", networking_config=_aliases(client, "mine", "www", "shared"))
    db = _run(client, "db", "mine", hostname="store", networking_config=_aliases(client, "mine", "shared"))
    first, second = _address(web, "mine"), _address(db, "mine")
    for name in ("web", "WEB", "www", "web.mine", web.id[:12]):
        assert _resolves(db, name) == [first]
    assert _resolves(web, "store") == [second], "a host name is a name"
    assert _resolves(web, "shared") == sorted((first, second))
    assert _resolves(web, "nobody") == []
    assert _pings(web, "db")
    assert "web.mine" in _said(db, "nslookup", first)
    assert "nameserver 127.0.0.11\noptions ndots:0\n" in _said(web, "cat", "/etc/resolv.conf")
    assert web.attrs["NetworkSettings"]["Networks"]["mine"]["DNSNames"] == [
        "web",
        "www",
        "shared",
        web.id[:12],
    ]
    db.rename("base")
    assert _resolves(web, "base") == [second]
    assert _resolves(web, "db") == []
    web.remove(force=True)
    assert _resolves(db, "www") == []
    assert _resolves(db, "shared") == [second]


def test_the_default_bridge_has_no_names(client: docker.DockerClient) -> None:
    plain = client.containers.run("busybox", SLEEP, name="plain", detach=True, stop_signal="KILL")
    client.containers.run("busybox", SLEEP, name="other", detach=True, stop_signal="KILL")
    assert "127.0.0.11" not in _said(plain, "cat", "/etc/resolv.conf")
    assert not _pings(plain, "other")


def test_networks_do_not_reach_or_know_each_other(client: docker.DockerClient) -> None:
    client.networks.create("front")
    client.networks.create("back")
    web, db = _run(client, "web", "front"), _run(client, "db", "back")
    neighbour = _run(client, "neighbour", "back")
    assert not _pings(web, _address(db, "back"))
    assert _pings(neighbour, _address(db, "back"))
    assert _resolves(web, "db") == []
    both = _run(client, "both", "front")
    client.networks.get("back").connect(both)
    assert _pings(both, "web")
    assert _pings(both, "db")
    assert _resolves(web, "db") == []


def test_an_internal_network_leads_nowhere(client: docker.DockerClient) -> None:
    client.networks.create("inside", internal=True)
    client.networks.create("outside")
    first, second = _run(client, "first", "inside", ports={"80/tcp": 8085}), _run(client, "second", "inside")
    third = _run(client, "third", "outside")
    assert _pings(first, "second")
    assert "default" not in _said(first, "ip", "route")
    assert not _pings(first, _address(third, "outside"))
    assert not _pings(first, "198.51.100.1")
    first.reload()
    assert first.attrs["NetworkSettings"]["Ports"] == {}
    assert not _pings(third, _address(second, "inside"))


def test_connecting_and_disconnecting_while_it_runs(client: docker.DockerClient) -> None:
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet="10.77.0.0/24", gateway="10.77.0.1")])
    mine = client.networks.create("mine", ipam=pool)
    other = _run(client, "other", "mine")
    plain = client.containers.run(
        "busybox", ["httpd", "-f"], name="plain", detach=True, stop_signal="KILL", ports={"80/tcp": 8086}
    )
    before = _said(plain, "cat", "/etc/resolv.conf")
    mine.connect(plain, ipv4_address="10.77.0.9", aliases=["nick"], mac_address="02:42:0a:4d:00:99")
    assert _address(plain, "mine") == "10.77.0.9"
    assert "02:42:0a:4d:00:99" in _said(plain, "ip", "link", "show", "eth1")
    assert _resolves(other, "nick") == ["10.77.0.9"]
    assert _pings(plain, "other")
    assert "nameserver 127.0.0.11\n" in _said(plain, "cat", "/etc/resolv.conf")
    assert "10.77.0.9\t" in _said(plain, "cat", "/etc/hosts")
    assert _said(plain, "ip", "route").startswith("default via 172.17.0.1 dev eth0")
    with pytest.raises(docker.errors.APIError, match="plain already exists in network mine"):
        mine.connect(plain)
    client.networks.get("bridge").disconnect(plain)
    assert _said(plain, "ip", "route").startswith("default via 10.77.0.1 dev eth1")
    _reads_port(8086)
    mine.disconnect(plain)
    assert "eth" not in _said(plain, "ip", "link")
    assert _said(plain, "cat", "/etc/resolv.conf") == before
    assert "10.77.0.9" not in _said(plain, "cat", "/etc/hosts")
    plain.reload()
    assert plain.attrs["NetworkSettings"]["Networks"] == {}
    assert plain.attrs["NetworkSettings"]["Ports"] == {}
    with pytest.raises(docker.errors.APIError, match="is not connected to network mine"):
        mine.disconnect(plain)
    plain.restart(timeout=0)
    plain.reload()
    assert plain.attrs["NetworkSettings"]["Networks"] == {}, "what was taken away stays away"
    client.networks.get("bridge").connect(plain)
    _reads_port(8086)


def _reads_port(port: int) -> None:
    with (
        pytest.raises(urllib.error.HTTPError, match="404"),
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5),
    ):
        pass


def test_connecting_while_it_is_stopped(client: docker.DockerClient) -> None:
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet="10.78.0.0/24")])
    mine = client.networks.create("mine", ipam=pool)
    plain = client.containers.create("busybox", SLEEP, name="plain", stop_signal="KILL")
    mine.connect(plain, ipv4_address="10.78.0.50")
    for _ in range(2):
        plain.start()
        plain.reload()
        assert set(plain.attrs["NetworkSettings"]["Networks"]) == {"bridge", "mine"}
        assert _address(plain, "mine") == "10.78.0.50"
        plain.stop(timeout=0)
    client.networks.get("bridge").disconnect(plain)
    plain.start()
    plain.reload()
    assert set(plain.attrs["NetworkSettings"]["Networks"]) == {"mine"}


def test_links_are_names_for_one_container_only(client: docker.DockerClient) -> None:
    mine = client.networks.create("mine")
    db = _run(client, "db", "mine")
    link = {"mine": EndpointConfig(client.api._version, links={"db": "store"})}
    web, other = _run(client, "web", "mine", networking_config=link), _run(client, "other", "mine")
    assert _resolves(web, "store") == [_address(db, "mine")]
    assert _resolves(other, "store") == []
    assert mine.name == "mine"


def test_a_network_with_containers_stays(client: docker.DockerClient) -> None:
    mine = client.networks.create("mine")
    web = _run(client, "web", "mine")
    with pytest.raises(docker.errors.APIError) as raised:
        mine.remove()
    assert raised.value.status_code == 403
    assert 'network mine has active endpoints (name:"web" id:"' in str(raised.value)
    assert not client.networks.prune()["NetworksDeleted"]
    web.stop(timeout=0)
    mine.remove()
    with pytest.raises(docker.errors.APIError, match="network mine not found"):
        web.start()
    client.networks.create("mine")
    web.start()


def test_ipv6(client: docker.DockerClient) -> None:
    client.networks.create("six", enable_ipv6=True)
    first = _run(client, "first", "six")
    _run(client, "second", "six")
    assert first.exec_run(["ping", "-6", "-c1", "-W1", "second"]).exit_code == 0
    first.reload()
    shown = first.attrs["NetworkSettings"]["Networks"]["six"]
    assert shown["GlobalIPv6Address"].startswith("fd")
    assert shown["GlobalIPv6PrefixLen"] == 64
    client.networks.create("seven", enable_ipv6=True)
    third = _run(client, "third", "seven")
    assert third.exec_run(["ping", "-6", "-c1", "-W1", shown["GlobalIPv6Address"]]).exit_code != 0


def test_events(client: docker.DockerClient, daemon: Daemon) -> None:
    since = time.time()
    mine = client.networks.create("mine")
    web = _run(client, "web", "mine")
    web.remove(force=True)
    mine.remove()
    events = client.events(since=since, until=time.time() + 0.5, filters={"type": "network"}, decode=True)
    assert [event["Action"] for event in events if event["Actor"]["Attributes"].get("name") == "mine"] == [
        "create",
        "connect",
        "disconnect",
        "destroy",
    ]


def test_fifty_containers_connect_at_once(client: docker.DockerClient, daemon: Daemon) -> None:
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet="10.79.0.0/28")])
    mine = client.networks.create("mine", ipam=pool)
    plain = [client.containers.create("busybox", SLEEP, name=f"plain{n}") for n in range(4)]
    for container in plain:
        container.start()
    failures: list[str] = []

    def connect(container: Container, alias: int) -> None:
        own = daemon.client()
        try:
            own.api.connect_container_to_network(container.id, "mine", aliases=[f"a{alias}"])
        except docker.errors.APIError as error:
            failures.append(str(error))
        finally:
            own.close()

    threads = [threading.Thread(target=connect, args=(plain[n % 4], n)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mine.reload()
    assert len(mine.attrs["Containers"]) == 4
    assert len({entry["IPv4Address"] for entry in mine.attrs["Containers"].values()}) == 4
    assert len(failures) == 16
    assert all("already exists in network" in failure for failure in failures)


def test_addresses_run_out_with_one_clear_error(client: docker.DockerClient) -> None:
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet="10.80.0.0/30")])
    client.networks.create("tiny", ipam=pool)
    first = _run(client, "first", "tiny")
    with pytest.raises(docker.errors.APIError, match="no available IPv4 addresses on this network"):
        _run(client, "second", "tiny")
    first.stop(timeout=0)
    client.containers.get("second").start()


def test_a_daemon_that_is_killed_answers_names_again(own_daemon: Daemon) -> None:
    client = own_daemon.client()
    client.networks.create("mine", labels={"a": "b"})
    web = _run(
        client, "web", "mine", networking_config=_aliases(client, "mine", "www"), ports={"80/tcp": 8087}
    )
    db = _run(client, "db", "mine")
    address = _address(db, "mine")
    own_daemon.kill()
    own_daemon.start()
    assert client.networks.get("mine").attrs["Labels"] == {"a": "b"}
    assert _resolves(db, "www") == [_address(web, "mine")]
    assert _resolves(web, "db") == [address]
    third = _run(client, "third", "mine")
    assert _address(third, "mine") not in {address, _address(web, "mine")}
    client.networks.get("mine").disconnect(web)
    assert _resolves(db, "www") == []
    client.networks.get("bridge").connect(web)
    web.reload()
    assert web.attrs["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] == "8087"
    client.close()


@pytest.mark.parametrize("step", ["networks.create.bridge", "networks.create.firewall"])
def test_a_network_that_cannot_be_made_is_no_dead_end(own_daemon: Daemon, step: str) -> None:
    before = look(own_daemon)
    own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": step})
    client = own_daemon.client()
    client.networks.create("mine")
    victim = client.containers.create("busybox", SLEEP, name="victim", network="mine", stop_signal="KILL")
    with pytest.raises(
        docker.errors.APIError, match=f"network mine cannot be used: injected fault at {step}"
    ):
        victim.start()
    own_daemon.stop()
    own_daemon.start()
    victim.start()  # what was stored is made now
    victim.remove(force=True)
    client.networks.get("mine").remove()
    assert_none_left(before, own_daemon)
    client.close()


@pytest.mark.parametrize("step", ["networks.create.bridge", "networks.create.firewall"])
def test_a_daemon_that_dies_while_it_makes_a_network(own_daemon: Daemon, step: str) -> None:
    before = look(own_daemon)
    own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": f"{step}=kill"})
    client = own_daemon.client()
    with contextlib.suppress(OSError):  # the answer may be on its way
        client.networks.create("mine")
    own_daemon.wait()
    own_daemon.start()
    mine = client.networks.get("mine")
    _run(client, "web", "mine").remove(force=True)
    mine.remove()
    assert_none_left(before, own_daemon)
    client.close()


@pytest.mark.parametrize("step", ["networks.sandbox.resolver", "networks.sandbox.state"])
def test_a_start_with_names_that_fails_leaves_nothing(own_daemon: Daemon, step: str) -> None:
    client = own_daemon.client()
    client.networks.create("mine")
    own_daemon.stop()
    own_daemon.start(environment={"SAMPAN_FAULTS": step})
    before = look(own_daemon)
    victim = client.containers.create("busybox", SLEEP, name="victim", network="mine")
    files = 0
    for attempt in range(5):
        with pytest.raises(docker.errors.APIError, match=f"injected fault at {step}"):
            victim.start()
        assert_none_left(before, own_daemon)
        if attempt == 2:
            files = own_daemon.open_files()
    assert own_daemon.open_files() == files
    client.close()


@pytest.mark.parametrize(
    "step", ["networks.sandbox.link", "networks.sandbox.address", "networks.sandbox.resolver"]
)
def test_a_connection_that_fails_changes_nothing(own_daemon: Daemon, step: str) -> None:
    client = own_daemon.client()
    mine = client.networks.create("mine")
    plain = client.containers.run("busybox", SLEEP, name="plain", detach=True, stop_signal="KILL")
    shown, routes = plain.attrs["NetworkSettings"], _said(plain, "ip", "route")
    own_daemon.kill()
    own_daemon.start(environment={"SAMPAN_FAULTS": step})
    with pytest.raises(docker.errors.APIError, match=f"injected fault at {step}"):
        mine.connect(plain)
    plain.reload()
    assert set(plain.attrs["NetworkSettings"]["Networks"]) == set(shown["Networks"])
    assert _said(plain, "ip", "route") == routes
    assert "eth1" not in _said(plain, "ip", "link")
    mine.remove()
    client.close()


def test_fifty_containers_connect_while_the_daemon_dies(own_daemon: Daemon) -> None:
    client = own_daemon.client()
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet="10.81.0.0/24")])
    client.networks.create("mine", ipam=pool)
    names = [f"plain{number}" for number in range(50)]
    running = names[:6]
    for name in names:
        made = client.containers.create("busybox", SLEEP, name=name, stop_signal="KILL")
        if name in running:
            made.start()
    under_way = threading.Barrier(len(names) + 1, timeout=60)

    def connect(name: str) -> None:
        body = json.dumps({"Container": name})
        head = "POST /networks/mine/connect HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(own_daemon.socket))
            under_way.wait()
            asking.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            while asking.recv(4096):
                pass

    threads = [threading.Thread(target=connect, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    under_way.wait()
    own_daemon.kill()
    for thread in threads:
        thread.join()
    own_daemon.start()
    mine = client.networks.get("mine")
    known = {entry["Name"]: entry["IPv4Address"] for entry in mine.attrs["Containers"].values()}
    assert len(set(known.values())) == len(known), "no address is given twice"
    for name in running:
        container = client.containers.get(name)
        on = set(container.attrs["NetworkSettings"]["Networks"])
        with contextlib.suppress(docker.errors.APIError):
            mine.connect(container)
        assert _pings(container, _address(container, "mine"))
        assert on <= {"bridge", "mine"}
    client.close()
