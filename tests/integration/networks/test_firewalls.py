"""Beside firewalls of others: they drop by default, come and go, or flush everything."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from support.netlab import HOST_ADDRESS, OUTSIDE, OUTSIDE_ADDRESS, Lab, command, lab_at, on_loop

pytestmark = pytest.mark.root
_TRIES = 20
_WITHIN_S = 20.0  # much more than it takes: a slow machine is no failure

FIREWALLD = """
table inet firewalld {
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state established,related accept
    iifname "lo" accept
    reject with icmpx admin-prohibited
  }
}
"""
POLICY = """
table inet filter {
  chain forward { type filter hook forward priority filter; policy drop; }
}
"""


@pytest.fixture
def iptables() -> Iterator[None]:
    """Leave the tables of iptables-nft as they were: not there."""
    yield
    for table in ("filter", "nat", "raw", "mangle"):
        command("sh", "-c", f"nft delete table ip {table} 2>/dev/null || true")


async def _passes(lab: Lab, *, until: bool = True) -> bool:
    """Tell whether a published port and the way out come to work, within a moment."""
    web = lab.service.sandbox(lab.request("web").container) or await lab.open("web", "8080:80")
    key = web.sandbox_key
    passes = not until
    async with lab.tcp_server(key, 80), lab.tcp_server(OUTSIDE, 7000):
        for _ in range(_TRIES):
            inwards = await lab.tcp(OUTSIDE, HOST_ADDRESS, 8080) == OUTSIDE_ADDRESS
            outwards = await lab.tcp(key, OUTSIDE_ADDRESS, 7000) == HOST_ADDRESS
            passes = inwards and outwards
            if passes == until:
                break
            await asyncio.sleep(0.05)
    return passes


@pytest.mark.parametrize("ruleset", [FIREWALLD, POLICY])
@on_loop
async def test_a_firewall_that_was_there_lets_containers_pass(tmp_path: Path, ruleset: str) -> None:
    table = ruleset.split()[2]
    (tmp_path / "ruleset").write_text(ruleset)
    command("nft", "-f", str(tmp_path / "ruleset"))
    before = command("nft", "list", "ruleset")
    try:
        async with lab_at(tmp_path) as lab:
            assert await _passes(lab)
            await lab.shut("web")
        assert command("nft", "list", "ruleset") == before
    finally:
        command("nft", "delete", "table", "inet", table)


@on_loop
async def test_a_forward_policy_of_drop_by_iptables(tmp_path: Path, iptables: None) -> None:
    command("iptables", "-P", "FORWARD", "DROP")
    command("iptables", "-N", "DOCKER-USER")
    command("iptables", "-A", "FORWARD", "-j", "DOCKER-USER")
    before = command("iptables", "-S")
    async with lab_at(tmp_path) as lab:
        assert await _passes(lab)
        shown = command("iptables", "-S", "FORWARD").splitlines()
        assert shown[:2] == ["-P FORWARD DROP", "-A FORWARD -j DOCKER-USER"]
        assert sorted(shown[2:]) == [
            f'-A FORWARD {flag} docker0 -m comment --comment "sampan: containers {side} docker0" -j ACCEPT'
            for flag, side in (("-i", "iifname"), ("-o", "oifname"))
        ]
        await lab.shut("web")
    assert command("iptables", "-S") == before


@on_loop
async def test_a_forward_policy_of_drop_by_the_old_iptables(tmp_path: Path) -> None:
    if shutil.which("iptables-legacy") is None:
        pytest.skip("iptables-legacy is not installed")
    command("iptables-legacy", "-P", "FORWARD", "DROP")
    before = command("iptables-legacy", "-S")
    try:
        async with lab_at(tmp_path) as lab:
            assert await _passes(lab)
            await lab.shut("web")
        assert command("iptables-legacy", "-S") == before
    finally:
        command("iptables-legacy", "-P", "FORWARD", "ACCEPT")


@on_loop
async def test_a_firewall_that_comes_later_is_noticed(tmp_path: Path, iptables: None) -> None:
    async with lab_at(tmp_path) as lab:
        assert await _passes(lab)
        command("iptables", "-P", "FORWARD", "DROP")
        assert await _passes(lab)
        command("iptables", "-F", "FORWARD")
        assert await _passes(lab)
        command("iptables", "-P", "FORWARD", "ACCEPT")
        for _ in range(_TRIES):
            if command("iptables", "-S", "FORWARD") == "-P FORWARD ACCEPT\n":
                break
            await asyncio.sleep(0.05)
        assert command("iptables", "-S", "FORWARD") == "-P FORWARD ACCEPT\n"
        await lab.shut("web")


@on_loop
async def test_flushed_rules_come_back(tmp_path: Path) -> None:
    async with lab_at(tmp_path) as lab:
        assert await _passes(lab)
        before = command("nft", "list", "table", "ip", "sampan")
        command("nft", "flush", "ruleset")
        assert await _passes(lab)
        assert command("nft", "list", "table", "ip", "sampan") == before
        await lab.shut("web")


@on_loop
async def test_a_host_that_was_no_router_becomes_none_for_others(tmp_path: Path) -> None:
    setting = Path("/proc/sys/net/ipv4/ip_forward")
    before = setting.read_text()
    setting.write_text("0")
    command("ip", "link", "add", "lab1", "type", "veth", "peer", "name", "lab2")
    command("ip", "address", "add", "192.0.2.1/24", "dev", "lab1")
    command("ip", "link", "set", "lab1", "up")
    command("ip", "link", "set", "lab2", "up")
    try:
        async with lab_at(tmp_path) as lab:
            assert setting.read_text() == "1\n"
            assert await _passes(lab)
            rules = command("nft", "list", "chain", "ip", "sampan", "forward")
            assert "no router before" in rules
            await lab.shut("web")
        assert setting.read_text() == "0\n"
    finally:
        command("ip", "link", "del", "lab1")
        setting.write_text(before)


class Ufw:
    """The real one, over settings of its own in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._binds: list[str] = []
        for number, place in enumerate(("/etc/ufw", "/lib/ufw", "/etc/default/ufw")):
            copy = folder / f"ufw{number}"
            command("cp", "-a", place, str(copy))
            self._binds.append(f"mount --bind {copy} {place}")
        default = folder / "ufw2"  # the kernel's settings are not its business here
        default.write_text(default.read_text() + '\nIPT_SYSCTL=""\nIPV6=no\n')

    async def do(self, *words: str) -> None:
        """Run it with ``words``; healing goes on meanwhile."""
        script = "; ".join(("set -e", *self._binds, 'exec ufw "$@"'))
        await asyncio.to_thread(command, "unshare", "--mount", "sh", "-c", script, "ufw", *words)


@pytest.mark.skipif(shutil.which("ufw") is None, reason="ufw is not installed")
@on_loop
async def test_ufw_is_turned_on_and_reloaded(tmp_path: Path, iptables: None) -> None:
    ufw = Ufw(tmp_path)
    try:
        async with lab_at(tmp_path / "lab") as lab:
            assert await _passes(lab)
            await ufw.do("--force", "enable")
            assert await _passes(lab)
            await ufw.do("reload")
            assert await _passes(lab)
            await lab.shut("web")
    finally:
        await ufw.do("--force", "disable")
        command("sh", "-c", "nft delete table ip6 filter 2>/dev/null || true")


@asynccontextmanager
async def _firewalld(folder: Path) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """Run the real one on a bus of its own; yield what asks it."""
    bus = f"unix:path={folder}/bus"
    environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus}
    configuration = folder / "bus.conf"
    configuration.write_text(
        f'<busconfig><type>system</type><listen>{bus}</listen><policy context="default"><allow user="*"/>'
        '<allow own="*"/><allow send_destination="*"/><allow send_type="signal"/>'
        '<allow send_requested_reply="true"/><allow receive_sender="*"/></policy></busconfig>'
    )
    daemon = ("firewalld", "--nofork", "--nopid", "--log-target", "file", "--log-file", str(folder / "log"))
    async with AsyncExitStack() as stack:
        for words in (("dbus-daemon", f"--config-file={configuration}", "--nofork", "--nopidfile"), daemon):
            process = await asyncio.create_subprocess_exec(*words, env=environment)
            stack.push_async_callback(process.wait)
            stack.callback(process.terminate)
            async with asyncio.timeout(_WITHIN_S):
                while not (folder / "bus").exists():  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.02)

        async def ask(*words: str) -> None:
            asking = await asyncio.create_subprocess_exec("firewall-cmd", "-q", *words, env=environment)
            if await asking.wait():
                raise OSError(f"firewall-cmd {words}: {asking.returncode}")

        async with asyncio.timeout(_WITHIN_S):
            while True:
                with suppress(OSError):
                    await ask("--state")
                    break
                await asyncio.sleep(0.1)
        yield ask


@pytest.mark.skipif(
    not (shutil.which("firewalld") and shutil.which("dbus-daemon")), reason="firewalld is not installed"
)
@on_loop
async def test_firewalld_is_started_and_reloaded(tmp_path: Path, iptables: None) -> None:
    before = command("nft", "list", "tables")
    async with lab_at(tmp_path / "lab") as lab:
        assert await _passes(lab)
        async with _firewalld(tmp_path) as ask:
            assert "firewalld" in command("nft", "list", "tables")
            assert await _passes(lab)
            for change in ("--reload", "--complete-reload"):
                await ask(change)
                assert await _passes(lab)
        assert await _passes(lab)
        await lab.shut("web")
    for line in command("nft", "list", "tables").splitlines():
        if line not in before:
            command("nft", "delete", *line.split())
