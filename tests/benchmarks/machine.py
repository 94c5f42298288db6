"""The conditions of a measurement."""

import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """What figures depend on; memory in MiB."""

    date: str
    system: str
    kernel: str
    processor: str
    cpus: int
    memory: int
    cgroup: str
    python: str

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.date}, {self.system}, kernel {self.kernel}, {self.cpus} × {self.processor}, "
            f"{self.memory // 1024} GiB, cgroup {self.cgroup}, Python {self.python}"
        )


def look() -> Machine:
    """Describe this machine."""
    return Machine(
        date=time.strftime("%Y-%m-%d %H:%M %Z"),
        system=_field("/etc/os-release", "PRETTY_NAME=").strip('"') or "Linux",
        kernel=os.uname().release,
        processor=_field("/proc/cpuinfo", "model name\t:").strip() or os.uname().machine,
        cpus=os.cpu_count() or 1,
        memory=int(_field("/proc/meminfo", "MemTotal:").split()[0]) // 1024,
        cgroup="v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1",
        python=sys.version.split()[0],
    )


def codename() -> str:
    """Return the distribution's name of this release ("bookworm")."""
    return _field("/etc/os-release", "VERSION_CODENAME=") or "stable"


def load() -> list[float]:
    """Return the load averages of the last 1, 5 and 15 minutes."""
    return [round(number, 2) for number in os.getloadavg()]


def _field(path: str, start: str) -> str:
    file = Path(path)
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    return next((line.removeprefix(start) for line in lines if line.startswith(start)), "")
