"""``volume`` beyond Docker: backup and restore, clone, snapshot, rename, usage, diff."""

import posix
import time

from sampan.base.units import human_size
from sampan.cli.app import STDIN, STDOUT
from sampan.cli.commands.volumes import split_label
from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed
    from sampan.client.transport import Download

_KINDS: "Final" = "CAD"
_COMPRESSIONS: "Final" = ("none", "gzip", "zstd")
_DIRECTORY: "Final" = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
_NAMELESS: "Final" = posix.O_WRONLY | posix.O_TMPFILE | posix.O_CLOEXEC
_ENDINGS: "Final" = ((".gz", "gzip"), (".tgz", "gzip"), (".zst", "zstd"), (".tzst", "zstd"))


def backup(app: "App", parsed: "Parsed") -> None:
    """Write a tar of a volume to a file, whole or not at all, or to standard output."""
    name, path = parsed.args[0], parsed.flags["output"]
    to_file = path not in ("", "-")
    if not to_file and posix.isatty(STDOUT):
        raise CommandError("refusing to write an archive to a terminal: use -o FILE or redirect")
    compression = parsed.flags["compress"]
    if "compress" not in parsed.flags:  # by the file's ending, as tar -a
        compression = next((kind for end, kind in _ENDINGS if path.endswith(end)), "none")
    if compression not in _COMPRESSIONS:
        raise CommandError(f"unknown compression {compression}: must be one of {', '.join(_COMPRESSIONS)}")
    begun = time.monotonic()

    def archive() -> "Download":
        return app.client.backup_volume(name, compression=compression, pause=parsed.flags["pause"])

    size = _write_file(path, archive) if to_file else archive().copy_to(STDOUT)
    _tell(app, f"Backed up {name}", size, time.monotonic() - begun)


def restore(app: "App", parsed: "Parsed") -> None:
    """Make a volume of a backup, from a file or standard input, and print its name."""
    name, path = parsed.args[0], parsed.flags["input"]
    source = STDIN
    if path not in ("", "-"):
        try:
            source = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        except OSError as error:
            raise CommandError(f"open {path}: {(error.strerror or '').lower()}") from error
    elif posix.isatty(STDIN):
        raise CommandError("refusing to read an archive from a terminal: use -i FILE or redirect")
    try:
        made = app.client.restore_volume(name, source, replace=parsed.flags["replace"])
    finally:
        if source != STDIN:
            posix.close(source)
    _made(app, f"Restored {name}", made)


def clone(app: "App", parsed: "Parsed") -> None:
    """Make a volume with the content of another and print its name."""
    name, new = parsed.args
    labels = dict(split_label(text) for text in parsed.flags["label"])
    made = app.client.clone_volume(name, new, labels=labels, pause=parsed.flags["pause"])
    _made(app, f"Cloned {name}", made)


def snapshot(app: "App", parsed: "Parsed") -> None:
    """Keep the content of a volume as a read-only one and print its name."""
    name = parsed.args[0]
    new = parsed.args[1] if len(parsed.args) > 1 else ""
    labels = dict(split_label(text) for text in parsed.flags["label"])
    made = app.client.snapshot_volume(name, new, labels=labels, pause=parsed.flags["pause"])
    _made(app, f"Took a snapshot of {name}", made)


def rename(app: "App", parsed: "Parsed") -> None:
    """Give a volume another name."""
    app.client.rename_volume(*parsed.args)


def usage(app: "App", parsed: "Parsed") -> None:
    """Print what volumes hold, a line each."""
    from sampan.cli.columns import align

    found = [app.client.volume_usage(name) for name in parsed.args]
    if parsed.flags["format"] == "json":
        from sampan.base.jsonlite import dumps

        app.out_lines(dumps(entry) for entry in found)
        return
    if parsed.flags["format"] not in ("", "table"):
        raise CommandError("--format: must be table or json")
    lines = ["VOLUME NAME\tSIZE\tON DISK\tFILES\tCONTAINERS\n"]
    for entry in found:
        users = ", ".join(identifier[:12] for identifier in entry["Containers"])
        sizes = f"{human_size(entry['Size'])}\t{human_size(entry['Disk'])}"
        lines.append(f"{entry['Name']}\t{sizes}\t{entry['Files']}\t{users}\n")
    app.write(align("".join(lines)))


def diff(app: "App", parsed: "Parsed") -> None:
    """Print what was changed, added or deleted in a volume since another, or its latest snapshot."""
    name = parsed.args[0]
    other = parsed.args[1] if len(parsed.args) > 1 else ""
    app.out_lines(
        f"{_KINDS[change['Kind']]} {change['Path']}" for change in app.client.volume_diff(name, other)
    )


def _made(app: "App", what: str, made: "dict[str, Any]") -> None:
    app.out(made["Name"])
    _tell(app, what, made["Size"], made["Seconds"])


def _tell(app: "App", what: str, size: int, seconds: float) -> None:
    took = f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
    app.err(f"{what}: {human_size(size)} in {took}")


def _write_file(path: str, archive: "Callable[[], Download]") -> int:
    """Write ``archive`` to ``path``, which keeps what it was until all of it is there; return the size.

    The file has no name before it is complete, so nothing is left of one that is not, however we end.
    """
    folder, _, base = path.rpartition("/")
    try:
        directory = posix.open(folder or ("/" if path[:1] == "/" else "."), _DIRECTORY)
    except OSError as error:
        raise CommandError(f"open {path}: {(error.strerror or '').lower()}") from error
    temporary = f"{base}.{posix.getpid()}.tmp"
    try:
        fd = posix.open(".", _NAMELESS, 0o600, dir_fd=directory)
        try:
            size = archive().copy_to(fd, write_back=True)
            posix.fsync(fd)
            # with a directory it is linkat(2), which follows the link in /proc to the file
            posix.link(f"/proc/self/fd/{fd}", temporary, dst_dir_fd=directory, follow_symlinks=True)
        finally:
            posix.close(fd)
        posix.rename(temporary, base, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        raise CommandError(f"write {path}: {(error.strerror or str(error)).lower()}") from error
    finally:
        posix.close(directory)
    return size
