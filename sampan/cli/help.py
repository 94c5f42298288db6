"""``--help``: usage lines and pages in Docker's layout, made of the table."""

from sampan.cli.parser import flag_type
from sampan.cli.table import ALIASES, COMMANDS, PROGRAM

_WIDTH = 80
_COMMON = (
    "container run",
    "container exec",
    "container ls",
    "image build",
    "image pull",
    "image push",
    "image ls",
    "login",
    "logout",
    "search",
    "version",
    "system info",
)
_SWARM = ("config", "node", "secret", "service", "stack", "swarm")


def usage_line(command: str, path: str) -> str:
    """Return the usage of ``command`` (canonical) under the name ``path`` it was typed by."""
    start = f"{PROGRAM} {path}".rstrip()
    return "\n\t".join(f"{start} {usage}".rstrip() for usage in COMMANDS[command][0].split("\n"))


def render(command: str, path: str | None = None) -> str:
    """Return the help page of ``command``; ``path``: the spelling it was asked by (its own unless given).

    An alias may stand for the command. Raises KeyError for what is no command.
    """
    if path is None:
        path = command
    command = ALIASES.get(command, command)
    usage, _, _, summary, flags = COMMANDS[command]
    parts = [f"Usage:  {usage_line(command, path)}", summary]
    if names := _spellings(command):
        parts.append("Aliases:\n  " + ", ".join(f"{PROGRAM} {name}" for name in names))
    if not command:
        parts += _sections()
    elif usage.endswith("COMMAND"):
        parts += [_commands("Management Commands", _children(command, groups=True))]
        parts += [_commands("Commands", _children(command, groups=False))]
    if options := _options(flags or ()):
        parts.append(f"{'Options' if command else 'Global Options'}:\n{options}")
    if usage.endswith("COMMAND"):
        start = f"{PROGRAM} {path}".rstrip()
        parts.append(f"Run '{start} COMMAND --help' for more information on a command.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _spellings(command: str) -> list[str]:
    """Return all spellings of a command if it has several: the canonical one, then the others."""
    others = [alias for alias, target in ALIASES.items() if target == command]
    return [command, *sorted(others, key=lambda alias: (" " not in alias, alias))] if others else []


def _short_name(command: str) -> str:
    """Return the one-word spelling of a command where there is one."""
    return next((alias for alias in _spellings(command) if " " not in alias), command)


def _sections() -> list[str]:
    top = [name for name in COMMANDS if name and " " not in name]
    groups = [name for name in top if COMMANDS[name][0].endswith("COMMAND")]
    plain = {name: COMMANDS[name][3] for name in top if name not in groups}
    plain |= {
        alias: COMMANDS[target][3]
        for alias, target in ALIASES.items()
        if " " not in alias and _short_name(target) == alias
    }
    common = {_short_name(name): COMMANDS[name][3] for name in _COMMON}
    return [
        _commands("Common Commands", common),
        _commands("Management Commands", {g: COMMANDS[g][3] for g in sorted(groups) if g not in _SWARM}),
        _commands("Swarm Commands", {g: COMMANDS[g][3] for g in _SWARM}),
        _commands("Commands", {name: plain[name] for name in sorted(plain) if name not in common}),
    ]


def _children(command: str, *, groups: bool) -> dict[str, str]:
    start = f"{command} "
    return {
        name[len(start) :]: entry[3]
        for name, entry in sorted(COMMANDS.items())
        if name.startswith(start)
        and " " not in name[len(start) :]
        and entry[0].endswith("COMMAND") is groups
        and name != "system dial-stdio"
    }


def _commands(title: str, entries: dict[str, str]) -> str:
    if not entries:
        return ""
    width = max(11, *(len(name) for name in entries))
    return f"{title}:\n" + "\n".join(f"  {name:<{width}} {text}" for name, text in entries.items())


def _options(flags: tuple[str, ...]) -> str:
    """Return the flags, two columns, the right one wrapped; hidden ones are left out."""
    rows = []
    for line in sorted(flags, key=lambda flag: flag[5:].partition(" ")[0]):
        kind, attributes = flag_type(line)
        if "hidden" in attributes:
            continue
        text = line[line.index(": ") + 2 :]
        default = attributes.get("default")
        if default and default != "0":
            text += f' (default "{default}")' if kind == "string" else f" (default {default})"
        if variable := attributes.get("env"):
            text += f" (or ${variable})"
        name = line[3 : line.index(" ", 5)]
        left = f"  {line[:2]}, {name}" if line[0] == "-" else f"      {name}"
        rows.append((left if kind == "bool" else f"{left} {kind}", text))
    if not rows:
        return ""
    width = max(len(left) for left, _ in rows) + 3
    return "\n".join(f"{left:<{width}}{_wrap(text, width)}" for left, text in rows)


def _wrap(text: str, indent: int) -> str:
    """Break ``text`` at blanks so that it fits beside a column of ``indent``."""
    room = max(_WIDTH - indent, 24)
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return ("\n" + " " * indent).join(lines)
