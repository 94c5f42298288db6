"""A process that starts tasks as a daemon would, to be killed by the test that started it.

Its arguments are the yard's root, the root file system, the cgroup above the tasks', and a JSON list of
``Yard.task`` arguments; it prints the container ids as one JSON line and waits for its end.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from support.tasks import Yard

from sampan.base.ids import new_id
from sampan.runtime.task import ExecSpec, LogTarget


async def main(root: str, rootfs: str, group: str, wishes: str) -> None:
    """Start the tasks (and, where a wish names one, an exec in it) and wait."""
    yard = Yard(Path(root), Path(rootfs), group)
    started = []
    for wish in json.loads(wishes):
        args, log, in_it = wish.pop("args"), wish.pop("log", None), wish.pop("exec", None)
        task = yard.task(*args, log=LogTarget("json-file", Path(log)) if log else None, **wish)
        await yard.service.start(task)
        exec_id = new_id()
        if in_it:
            document = json.dumps(
                {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": in_it, "env": ["PATH=/bin"]}
            )
            await yard.service.exec_start(
                task.id, ExecSpec(exec_id, document.encode(), tty=False, open_stdin=False), None
            )
        started.append([task.id, exec_id])
    os.write(1, json.dumps(started).encode() + b"\n")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
