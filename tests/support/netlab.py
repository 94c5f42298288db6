"""A network service without an engine, and hosts around it, for tests in a namespace of their own.

Servers and clients are sockets made in the namespace where they belong; everything runs in the test's own
event loop, so there is no process to wait for.
"""

import asyncio
import functools
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec

from support.places import Places

from sampan.base.events import EventBus
from sampan.base.plugins import PluginFolders
from sampan.base.state import StateDB
from sampan.networks.service import NetworkConfig, NetworksService, Sandbox, SandboxRequest
from sampan.wire.containers import EndpointSettings, PortBinding, PortMap

P = ParamSpec("P")
HOST_ADDRESS = "203.0.113.1"  # of the host, as its neighbour sees it
OUTSIDE_ADDRESS = "203.0.113.2"
OUTSIDE = Path("/run/netns/outside")
_SETTLE_S = 5.0


def on_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an ``async def`` test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def command(*words: str) -> str:
    """Run a program and return what it prints; fail with its complaint."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def make_outside() -> None:
    """Make a neighbour of the host: namespace ``outside``, which routes everything by way of the host."""
    command("ip", "netns", "add", OUTSIDE.name)
    command("ip", "link", "add", "lab0", "type", "veth", "peer", "name", "up0", "netns", OUTSIDE.name)
    command("ip", "address", "add", f"{HOST_ADDRESS}/24", "dev", "lab0")
    command("ip", "link", "set", "lab0", "up")
    inside = ("ip", "-n", OUTSIDE.name)
    command(*inside, "address", "add", f"{OUTSIDE_ADDRESS}/24", "dev", "up0")
    for link in ("lo", "up0"):
        command(*inside, "link", "set", link, "up")
    command(*inside, "route", "add", "default", "via", HOST_ADDRESS)


def remove_outside() -> None:
    """Take ``make_outside`` back."""
    command("ip", "link", "del", "lab0")
    command("ip", "netns", "del", OUTSIDE.name)


@dataclass(frozen=True)
class Footprint:
    """What networks could leave on a host."""

    mounts: tuple[str, ...]
    links: tuple[str, ...]
    rules: str
    settings: tuple[str, ...]


def footprint() -> Footprint:
    """Look at the namespace that the tests run in."""
    mounts = sorted(line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    links = sorted(line.split()[0].split("@")[0] for line in command("ip", "-br", "link").splitlines())
    settings = tuple(
        Path(f"/proc/sys/net/ipv4/{name}").read_text() for name in ("ip_forward", "conf/lo/route_localnet")
    )
    return Footprint(tuple(mounts), tuple(links), command("nft", "list", "ruleset"), settings)


def assert_footprint(before: Footprint) -> None:
    """Fail unless the host is as ``before``; links go a moment after their namespace, so wait for them."""
    deadline = time.monotonic() + _SETTLE_S
    while (after := footprint()) != before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert after == before


@dataclass
class Lab(Places):
    """A network service over ``folder``; ``place`` below means a namespace's path, None the host's own."""

    folder: Path
    config: NetworkConfig = field(default_factory=NetworkConfig)
    events: EventBus = field(default_factory=EventBus)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.state = StateDB(self.folder / "state.db")
        plugins = PluginFolders(self.folder, ())
        self.service = NetworksService(self.folder / "run", self.state, self.events, self.config, plugins)
        super().__init__()

    def request(
        self,
        name: str,
        mode: str = "bridge",
        *,
        bindings: PortMap | None = None,
        endpoints: Mapping[str, EndpointSettings] | None = None,
        **more: Any,
    ) -> SandboxRequest:
        """Return what a container called ``name`` asks for; its id is made of its name."""
        wanted: dict[str, Any] = {
            "container": name.encode().hex().ljust(64, "0"),
            "name": name,
            "hostname": name,
            "domainname": "",
            "mode": mode,
            "endpoints": endpoints or {},
            "exposed": (),
            "bindings": bindings or {},
            "publish_all": False,
            "dns": (),
            "dns_search": (),
            "dns_options": (),
            "extra_hosts": (),
            "mac_address": "",
            "links": (),
            "files": self.folder / name,
        }
        (self.folder / name).mkdir(exist_ok=True)
        return SandboxRequest(**(wanted | more))

    async def open(self, name: str, *ports: str, **more: Any) -> Sandbox:
        """Open a sandbox with ``ports`` in the short syntax: ``[[address:]host port:]port[/protocol]``."""
        return await self.service.open_sandbox(self.request(name, bindings=publish(*ports), **more))

    async def shut(self, name: str) -> None:
        """Close the sandbox of ``name``; sockets of this lab in its namespace are gone then."""
        sandbox = self.service.sandbox(self.request(name).container)
        if sandbox is not None and (thread := self._threads.pop(sandbox.sandbox_key, None)) is not None:
            thread.close()
        await self.service.close_sandbox(self.request(name).container)

    async def restart(self) -> "Lab":
        """Close the service, sandboxes left open, and return the lab's next life, not open yet."""
        await self.service.close()
        self.state.close()
        next_life = Lab(self.folder, self.config)
        next_life._threads = self._threads
        return next_life

    def leave(self) -> None:
        """End the threads that entered namespaces."""
        super().leave()
        self.state.close()


@asynccontextmanager
async def lab_at(
    folder: Path, config: NetworkConfig | None = None, keep: Sequence[str] = ()
) -> AsyncIterator[Lab]:
    """Open a lab for the block; afterwards everything of it is removed."""
    lab = Lab(folder, config or NetworkConfig())
    await lab.service.open(keep)
    try:
        yield lab
    finally:
        await lab.service.close(remove=True)
        lab.leave()


def publish(*ports: str) -> PortMap:
    """Return the port map of the short syntax."""
    bindings: PortMap = {}
    for text in ports:
        text, _, protocol = text.partition("/")
        *where, port = text.rsplit(":", 1)
        address, _, host_port = where[0].rpartition(":") if where else ("", "", "")
        binding = PortBinding(address.strip("[]"), host_port)
        bindings[f"{port}/{protocol or 'tcp'}"] = [
            *(bindings.get(f"{port}/{protocol or 'tcp'}") or ()),
            binding,
        ]
    return bindings
