"""The importer of what ``pack`` has put into one file. The launcher runs it before there is a package."""

import gc
import marshal
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    Stamp = tuple[int, int]
    Modules = dict[str, tuple[str, bool, Stamp, int, int]]
    """By name: source, whether it is a package, the source's stamp, where the code begins and its size."""


def stamp(source: str) -> "Stamp":
    """Return what tells that a source has changed. Raises OSError."""
    status = posix.stat(source)
    return status.st_mtime_ns, status.st_size


def install(path: str, file: int, modules: "Modules") -> None:
    """Import ``modules`` from now on; they are in the pack ``path``, which ``file`` is open to."""
    gc.set_threshold(10000)  # a short command leaves nothing that is worth a search
    sys.meta_path.insert(0, PackImporter(path, file, modules))


class PackImporter:
    """Finds and loads modules of a pack. One whose source has changed is left to Python, the pack removed."""

    def __init__(self, path: str, file: int, modules: "Modules") -> None:
        self._path = path
        self._file = file
        self._modules = modules
        self._spec: type[ModuleSpec] = type(sys.__spec__)  # importlib.machinery is not loaded

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        found = self._modules.get(name)
        if found is None:
            return None
        source, is_package, before, *_ = found
        try:
            if stamp(source) != before:
                posix.unlink(self._path)
                return None
        except OSError:
            return None
        spec = self._spec(name, self, origin=source, is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [source.rpartition("/")[0]]
        return spec

    def create_module(self, spec: "ModuleSpec") -> None:
        """Let Python make it."""

    def exec_module(self, module: "ModuleType") -> None:
        *_, start, size = self._modules[module.__name__]
        code = marshal.loads(posix.pread(self._file, size, start))  # noqa: S302 - as Python's own files beside it
        exec(code, module.__dict__)  # noqa: S102 - this is what importing is
