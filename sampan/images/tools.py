"""Running the host's own programs: package tools that make the contents of base images."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sampan.base.errors import HostFailure, NotImplementedHere
from sampan.images.groups import together

PIECE: Final = 1 << 20
_TAIL: Final = 20  # lines of a program's complaint that an error repeats
_GRACE_S: Final = 10.0


def need(program: str, package: str, purpose: str) -> str:
    """Return the path of ``program``. Raises NotImplementedHere, naming the package to install."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin")
    if path is None:
        raise NotImplementedHere(f"cannot {purpose}: {program} is missing, install the package {package}")
    return path


async def run(
    *command: str,
    environment: Mapping[str, str] | None = None,
    folder: str | None = None,
    output: Callable[[bytes], Awaitable[None]] | None = None,
    complaint: Callable[[str], None] | None = None,
) -> bytes:
    """Run ``command`` and return what it wrote, or hand that to ``output`` piece by piece.

    ``complaint`` gets each line of standard error as it comes. Raises HostFailure with the last of those
    lines if the program fails. Cancelling ends the program and waits for it.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
        cwd=folder,
        limit=PIECE,
        start_new_session=True,
    )
    collected: list[bytes] = []
    lines: list[str] = []

    async def read_output() -> None:
        assert process.stdout is not None  # noqa: S101 - asked for above
        while piece := await process.stdout.read(PIECE):
            if output is None:
                collected.append(piece)
            else:
                await output(piece)

    async def read_complaint() -> None:
        assert process.stderr is not None  # noqa: S101 - asked for above
        while line := await process.stderr.readline():
            text = line.decode(errors="replace").rstrip()
            lines.append(text)
            del lines[:-_TAIL]
            if complaint is not None and text:
                complaint(text)

    try:
        async with together() as group:
            group.create_task(read_output())
            group.create_task(read_complaint())
        code = await process.wait()
    except BaseException:
        await _end(process)
        raise
    if code:
        said = "; ".join(line for line in lines if line)[-2000:]
        raise HostFailure(f"{os.path.basename(command[0])} failed with exit code {code}: {said}")  # noqa: PTH119
    return b"".join(collected)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the program and what it started: politely, then not."""
    if process.returncode is not None:
        return
    for signal_number in (15, 9):
        try:
            os.killpg(process.pid, signal_number)
        except ProcessLookupError:
            break
        try:
            async with asyncio.timeout(_GRACE_S):
                await process.wait()
        except TimeoutError:
            continue
        return
    await process.wait()
