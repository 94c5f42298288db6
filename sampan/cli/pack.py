"""The pack: the modules of common commands, compiled, in one file for the launcher (``bin/sampan``).

A file for each module, as Python has it, costs a short command a tenth of its time. The pack lies where
Python keeps what it compiles and is written as that is: by the first command that may. It is ``marshal`` of
the head, by which the launcher knows its own, of the code of ``packed``, the importer, and of what that has
to know of the modules; their code follows from INDEX on, so that only what is needed is read. What every
command needs lies there once more, as one object: names that modules share are read once.
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


def _collect() -> "tuple[tuple[CodeType, Modules, int, int], bytes]":
    """Return the importer and what it has to know, and the code of what common commands import."""
    always = _in_order("sampan.cli.main", [])
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
    whole = marshal.dumps([(name, _code_of(sys.modules[name].__loader__, name)) for name in always])
    importer = _code_of(packed.__loader__, packed.__name__)
    return (importer, modules, INDEX + len(data), len(whole)), data + whole


def _in_order(name: str, found: list[str]) -> list[str]:
    """Append ``name`` to ``found``, behind what it imports of this package when it is run; return that."""
    __import__(name)
    names = _code_of(sys.modules[name].__loader__, name).co_names
    if "TYPE_CHECKING" in names:
        names = names[: names.index("TYPE_CHECKING")]  # what is imported below that is for the type checker
    needed = {name.rpartition(".")[0], *names, *(f"{package}.{last}" for package in names for last in names)}
    for other in list(sys.modules):
        if other in needed and other.partition(".")[0] == "sampan" and other not in found:
            _in_order(other, found)
    found.append(name)
    return found


def _code_of(loader: "Any", name: str) -> "CodeType":
    """Return a module's code; loaders of files have it."""
    code: CodeType = loader.get_code(name)
    return code
