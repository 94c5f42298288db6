"""The pack: the modules of common commands, compiled, in one file for the launcher (``bin/sampan``).

A file for each module, as Python has it, costs a short command a tenth of its time. The pack lies where
Python keeps what it compiles and is written as that is: by the first command that may. It is ``marshal`` of
the head, by which the launcher knows its own, of the code of ``packed``, the importer, and of what that has
to know of the modules; their code follows from INDEX on, so that only what is needed is read.
"""

import marshal
import posix
import sys

from sampan.cli import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

    from sampan.cli.packed import Modules

INDEX = 32768
_COMMON = (
    "cli.attached cli.commands.exec cli.commands.lifecycle cli.commands.logs cli.commands.ps "
    "cli.commands.run cli.commands.start cli.format cli.main cli.options.container cli.record "
    "cli.rows.container cli.streams cli.values"
).split()


def write(path: str, head: "tuple[str | int, ...]") -> None:
    """Write the pack ``path``, whole or not at all; nothing happens where that is not allowed."""
    fresh = f"{path}.{posix.getpid()}"
    try:
        file = posix.open(fresh, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o644)
    except OSError:
        return
    try:
        found, code = _collect()
        index = marshal.dumps((head, *found))
        if len(index) > INDEX:
            raise OSError("too many modules")
        data = index.ljust(INDEX, b"\0") + code
        while data:
            data = data[posix.write(file, data) :]
        posix.rename(fresh, path)
    except BaseException as error:
        posix.unlink(fresh)
        if not isinstance(error, OSError | ImportError):
            raise
    finally:
        posix.close(file)


def _collect() -> "tuple[tuple[CodeType, Modules], bytes]":
    """Return the importer and what common commands import of this package, and the code of all that."""
    for name in _COMMON:
        __import__(f"sampan.{name}")
    modules: Modules = {}
    data = b""
    for name, module in list(sys.modules.items()):
        spec = module.__spec__
        if name.partition(".")[0] == "sampan" and spec is not None and spec.origin:
            stamp = packed.stamp(spec.origin)  # before the code is read: a change meanwhile is noticed
            code = marshal.dumps(_code_of(spec.loader, name))
            is_package = spec.submodule_search_locations is not None
            modules[name] = (spec.origin, is_package, stamp, INDEX + len(data), len(code))
            data += code
    return (_code_of(packed.__loader__, packed.__name__), modules), data


def _code_of(loader: "Any", name: str) -> "CodeType":
    """Return a module's code; loaders of files have it."""
    code: CodeType = loader.get_code(name)
    return code
