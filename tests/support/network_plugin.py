"""Plugins of the tests' own: Docker's network and IPAM plugin protocols over a unix socket."""

import json
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Self

from support.fake_daemon import FakeDaemon, Received, Reply
from support.netlab import command

_NETWORK = (
    "GetCapabilities CreateNetwork DeleteNetwork CreateEndpoint DeleteEndpoint Join Leave "
    "ProgramExternalConnectivity"
)
_IPAM = "GetCapabilities GetDefaultAddressSpaces RequestPool ReleasePool RequestAddress ReleaseAddress"


class _Plugin:
    """Answers the calls of one interface; ``calls`` has what it was asked, ``refuse`` what it does not do."""

    interface: str
    error: str

    def __init__(self, address: Path, names: str) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuse: set[str] = set()
        self._server = FakeDaemon(address)
        for name in names.split():
            self._server.on("POST", f"/{self.interface}.{name}", self._handle)
        self._server.on("POST", "/Plugin.Activate", json={"Implements": [self.interface]})

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._server.__exit__(*details)

    def called(self, name: str) -> list[dict[str, Any]]:
        """Return the documents that ``name`` was called with."""
        return [document for call, document in self.calls if call == name]

    def _handle(self, request: Received) -> Reply:
        call = request.path.rpartition(".")[2]
        self.calls.append((call, request.json))
        if call in self.refuse:
            return Reply(body=json.dumps({self.error: "it does not want to"}).encode())
        return Reply(body=json.dumps(self.answer(call, request.json)).encode())

    def answer(self, call: str, document: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one call."""
        raise NotImplementedError


class NetworkPlugin(_Plugin):
    """A driver that makes a veth pair for each endpoint, its end on the host with the gateway's address."""

    interface = "NetworkDriver"
    error = "Err"

    def __init__(self, address: Path) -> None:
        super().__init__(address, _NETWORK)
        self.gateways: dict[str, str] = {}

    def answer(self, call: str, document: dict[str, Any]) -> dict[str, Any]:
        if call == "GetCapabilities":
            return {"Scope": "local"}
        if call == "CreateNetwork":
            self.gateways[document["NetworkID"]] = document["IPv4Data"][0]["Gateway"]
        if call not in {"Join", "Leave"}:
            return {}
        name = f"pl{document['EndpointID'][:7]}"
        if call == "Leave":
            # It may have gone with the namespace of the sandbox.
            subprocess.run(["ip", "link", "del", f"{name}h"], capture_output=True, check=False)
            return {}
        gateway = self.gateways[document["NetworkID"]]
        command("ip", "link", "add", f"{name}h", "type", "veth", "peer", "name", f"{name}c")
        command("ip", "address", "add", gateway, "dev", f"{name}h")
        command("ip", "link", "set", f"{name}h", "up")
        return {
            "InterfaceName": {"SrcName": f"{name}c", "DstPrefix": "plug"},
            "Gateway": gateway.partition("/")[0],
            "StaticRoutes": [{"Destination": "198.18.0.0/15", "RouteType": 1}],
        }


class IpamPlugin(_Plugin):
    """Leases the addresses of 10.33.0.0/16, the last one first."""

    interface = "IpamDriver"
    error = "Error"

    def __init__(self, address: Path) -> None:
        super().__init__(address, _IPAM)
        self.leased: set[str] = set()
        self.pools: set[str] = set()

    def answer(self, call: str, document: dict[str, Any]) -> dict[str, Any]:
        if call == "GetCapabilities":
            return {"RequiresMACAddress": False}
        if call == "GetDefaultAddressSpaces":
            return {"LocalDefaultAddressSpace": "here", "GlobalDefaultAddressSpace": "there"}
        if call == "RequestPool":
            pool = document["Pool"] or "10.33.0.0/16"
            self.pools.add(pool)
            return {"PoolID": f"here/{pool}", "Pool": pool}
        pool = document["PoolID"].partition("/")[2]
        if call == "ReleasePool":
            self.pools.remove(pool)
        elif call == "ReleaseAddress":
            self.leased.remove(document["Address"])
        elif call == "RequestAddress":
            network = ip_network(pool)
            free = int(network.broadcast_address) - 1
            while str(ip_address(free)) in self.leased:
                free -= 1
            address = document["Address"] or str(ip_address(free))
            self.leased.add(address)
            return {"Address": f"{address}/{network.prefixlen}"}
        return {}
