"""Rows of ``stats``: figures worked out of two samples of a container.

An item has ``Container``, ``Name``, ``ID``, ``CPUPercentage``, ``Memory``, ``MemoryLimit``,
``MemoryPercentage``, ``NetworkRx``, ``NetworkTx``, ``BlockRead``, ``BlockWrite`` and ``PidsCurrent``, or
``IsInvalid`` where there are none.
"""

from sampan.base.units import bytes_size, human_size
from sampan.cli.rows.base import Row as BaseRow

HEADERS = {
    "Container": "CONTAINER",
    "Name": "NAME",
    "ID": "CONTAINER ID",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
TABLE = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_NONE = "--"


class Row(BaseRow):
    """Figures of one container."""

    __slots__ = ()
    go_type = "*container.statsContext"

    def shown(self, text: str, instead: str = _NONE) -> str:
        """Return ``text``, or dashes where no figures could be had."""
        return instead if self.item.get("IsInvalid") else text

    def percentage(self, name: str) -> str:
        """Return a share with two decimals."""
        return self.shown(f"{self.number(name):.2f}%")

    def traffic(self, inward: str, outward: str) -> str:
        """Return two amounts of data."""
        return self.shown(f"{human_size(self.number(inward), 3)} / {human_size(self.number(outward), 3)}")

    def memory(self) -> str:
        """Return what is used and how much there may be."""
        used, limit = bytes_size(self.number("Memory")), bytes_size(self.number("MemoryLimit"))
        return self.shown(f"{used} / {limit}", "-- / --")


Row.columns = {
    "Container": lambda row: row.text("Container"),
    "Name": lambda row: row.text("Name").removeprefix("/") or _NONE,
    "ID": lambda row: row.identifier("ID"),
    "CPUPerc": lambda row: row.percentage("CPUPercentage"),
    "MemUsage": Row.memory,
    "MemPerc": lambda row: row.percentage("MemoryPercentage"),
    "NetIO": lambda row: row.traffic("NetworkRx", "NetworkTx"),
    "BlockIO": lambda row: row.traffic("BlockRead", "BlockWrite"),
    "PIDs": lambda row: row.shown(str(row.number("PidsCurrent"))),
}
