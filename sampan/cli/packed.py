"""The importer of what ``pack`` has put into one file. The launcher runs it before there is a package."""

import gc
import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec, module_from_spec  # importlib.machinery is not loaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

    Stamp = tuple[int, int]
    Modules = dict[str, tuple[str, bool, Stamp, int, int]]
    """By name: source, whether it is a package, the source's stamp, where the code begins and its size."""


def stamp(source: str) -> "Stamp":
    """Return what tells that a source has changed. Raises OSError."""
    status = posix.stat(source)
    return status.st_mtime_ns, status.st_size


def install(path: str, file: int, modules: "Modules", start: int, size: int) -> None:
    """Import ``modules`` from now on; they are in the pack ``path``, which ``file`` is open to.

    Those of every command are imported at once, which costs less than one by one as they are asked for: their
    names and code lie from ``start`` on as one list of ``size`` bytes, in an order in which they can be run.
    """
    gc.set_threshold(10000)  # a short command leaves nothing that is worth a search
    importer = PackImporter(path, file, modules)
    always: list[tuple[str, CodeType]] = marshal.loads(posix.pread(file, size, start))  # noqa: S302 - see below
    specs = [spec for name, _ in always if (spec := importer.find_spec(name)) is not None]
    if len(specs) < len(always):
        return  # a source has changed
    sys.meta_path.insert(0, importer)
    for spec, (name, code) in zip(specs, always, strict=True):
        if name in sys.modules:
            continue  # it has just been imported by another
        module = sys.modules[name] = module_from_spec(spec)
        exec(code, module.__dict__)  # noqa: S102 - this is what importing is
        package, _, last = name.rpartition(".")
        if package:
            setattr(sys.modules[package], last, module)


class PackImporter:
    """Finds and loads modules of a pack. One whose source has changed is left to Python, the pack removed."""

    def __init__(self, path: str, file: int, modules: "Modules") -> None:
        self._path = path
        self._file = file
        self._modules = modules

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
        spec = ModuleSpec(name, self, origin=source, is_package=is_package)  # type: ignore[arg-type]  # no Loader
        spec.has_location = True
        spec.cached = self._path  # Python would work out a place
        if is_package:
            spec.submodule_search_locations = [source.rpartition("/")[0]]
        return spec

    def create_module(self, spec: "ModuleSpec") -> None:
        """Let Python make it."""

    def exec_module(self, module: "ModuleType") -> None:
        *_, start, size = self._modules[module.__name__]
        code = marshal.loads(posix.pread(self._file, size, start))  # noqa: S302 - as Python's own files beside it
        exec(code, module.__dict__)  # noqa: S102 - this is what importing is
