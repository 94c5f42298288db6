"""``start``: several containers in the background, or one with its streams attached."""

from sampan.base.errors import EngineError
from sampan.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.app import App
    from sampan.cli.parser import Parsed


def start(app: "App", parsed: "Parsed") -> int:
    """Start containers; attached, return the exit code of the one."""
    flags = parsed.flags
    if flags["checkpoint"] or flags["checkpoint-dir"]:
        raise CommandError("checkpoints come with a later version")
    if not flags["attach"] and not flags["interactive"]:
        return _start_all(app, parsed.args)
    if len(parsed.args) > 1:
        raise CommandError("you cannot start and attach multiple containers at once")
    return _start_attached(app, parsed)


def _start_all(app: "App", names: list[str]) -> int:
    failed = []
    for name in names:
        try:
            app.client.start(name)
        except EngineError as error:
            app.err(str(error))
            failed.append(name)
        else:
            app.out(name)
    if failed:
        raise CommandError(f"Error: failed to start containers: {', '.join(failed)}")
    return 0


def _start_attached(app: "App", parsed: "Parsed") -> int:
    from sampan.cli.attached import Target, start_attached

    flags = parsed.flags
    container = app.client.inspect(parsed.args[0])
    tty = container["Config"]["Tty"]
    target = Target(
        container["Id"],
        tty=tty,
        stdin=flags["interactive"] and container["Config"]["OpenStdin"],
        removed=container["HostConfig"]["AutoRemove"],
        keys=flags["detach-keys"],
    )
    return start_attached(app, target, proxy=not tty)
