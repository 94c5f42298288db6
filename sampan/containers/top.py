"""``top``: the host's ``ps``, with the rows of one container's processes."""

import asyncio
import re
from typing import Final

from sampan.base.errors import HostFailure, InvalidParameter
from sampan.wire.containers import TopResult

# Only ASCII space counts, here and in ps's output: what looks like a space in a title is part of the title.
_RENAME: Final = re.compile(r"\s+(\S*)=\s*(PID\S*)", re.ASCII)


def check_ps_args(args: str) -> None:
    """Refuse arguments that would give another column the title PID. Raises InvalidParameter."""
    for name, title in _RENAME.findall(args):
        if name != "pid":
            raise InvalidParameter(f'specifying "{name}={title}" is not allowed')


def parse_ps(output: str, pids: list[int]) -> TopResult:
    """Cut ``ps`` output down to ``pids`` and their threads. Raises HostFailure if it has no PID column."""
    lines = output.split("\n")
    titles = _fields(lines[0])
    if "PID" not in titles:
        raise HostFailure("Couldn't find PID field in ps output")
    column = titles.index("PID")
    result = TopResult(titles, [])
    before = False
    for line in lines[1:]:
        fields = _fields(line)
        if not fields:
            continue
        if fields[column : column + 1] == ["-"]:
            if before:
                result.processes.append(_row(fields, len(titles)))
            continue
        try:
            pid = int(fields[column])
        except (ValueError, IndexError) as error:
            raise HostFailure(f"Unexpected pid '{''.join(fields[column : column + 1])}': {error}") from error
        before = pid in pids
        if before:
            result.processes.append(_row(fields, len(titles)))
    return result


async def read_ps(args: str, pids: list[int]) -> TopResult:
    """Run the host's ``ps`` with ``args`` and keep the rows of ``pids``."""
    try:
        process = await asyncio.create_subprocess_exec(
            "ps",
            *args.split(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise HostFailure(f"error running ps: {error.strerror}") from error
    output, complaint = await process.communicate()
    if process.returncode != 0:
        raise HostFailure(f"error running ps: {complaint.decode(errors='replace').strip()}")
    return parse_ps(output.decode(errors="replace"), pids)


def _fields(line: str) -> list[str]:
    return [word.decode() for word in line.encode().split()]


def _row(fields: list[str], width: int) -> list[str]:
    return [*fields[: width - 1], " ".join(fields[width - 1 :])]
