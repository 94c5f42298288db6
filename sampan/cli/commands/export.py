"""``export`` and ``save``: archives of a container's file system, and of images."""

import posix

from sampan.cli.app import STDOUT
from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed
    from sampan.client.transport import Download


def export(app: "App", parsed: "Parsed") -> None:
    """Write the archive to a file, whole or not at all, or to standard output."""
    path = parsed.flags["output"]
    _write(path, "failed to export container", lambda: app.client.export(parsed.args[0]))


def save(app: "App", parsed: "Parsed") -> None:
    """Write images to a file, whole or not at all, or to standard output."""
    from sampan.cli.platforms import parse_platform

    platform = parse_platform(parsed.flags["platform"])
    path = parsed.flags["output"]
    _write(path, "failed to save image", lambda: app.client.save(parsed.args, platform=platform))


def _write(path: str, failed: str, archive: "Callable[[], Download]") -> None:
    if not path:
        if posix.isatty(STDOUT):
            raise CommandError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        archive().copy_to(STDOUT)
        return
    folder = path.rpartition("/")[0] or ("/" if path.startswith("/") else ".")
    try:
        posix.stat(folder)
    except OSError as error:
        reason = f"invalid output path: stat {folder}: {(error.strerror or '').lower()}"
        raise CommandError(f"{failed}: {reason}") from error
    temporary = f"{path}.{posix.getpid()}.tmp"
    try:
        fd = posix.open(temporary, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CommandError(f"{failed}: open {path}: {(error.strerror or '').lower()}") from error
    try:
        archive().copy_to(fd)
        posix.rename(temporary, path)
    except BaseException:
        posix.unlink(temporary)
        raise
    finally:
        posix.close(fd)
