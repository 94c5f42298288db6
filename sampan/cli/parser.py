"""The command line, read by the rules of pflag and cobra, which Docker's users have in their fingers.

Long flags take ``--name value`` or ``--name=value``, shorthands may be combined (``-it``) and carry their
value (``-eFOO=1``), a bool needs none, ``--`` ends the flags, and the commands that run another command stop
at the first argument. Flags of the program itself come before the command. Messages and exit statuses are
those of Docker 28.

The hot path of every start: nothing but the table is imported until a flag needs more. That is why neither
dataclasses nor ``typing`` are used here.
"""

from sampan.cli.table import ALIASES, COMMANDS, PROGRAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

# Commands behind whose first argument nothing is a flag of ours any more.
_ENDS_AT_ARGUMENT = frozenset(
    (
        "container commit",
        "container create",
        "container exec",
        "container run",
        "container top",
        "image tag",
        "service create",
    )
)
# What flags are worth that are not given; other kinds are lists and maps, new ones each time.
_ZERO = {
    "string": "",
    "bool": False,
    "int": 0,
    "uint": 0,
    "uint16": 0,
    "bytes": 0,
    "duration": 0,
    "decimal": 0,
}
_DEPRECATED = {"time": "use --timeout instead", "kernel-memory": "and no longer supported by the kernel"}


class UsageError(Exception):
    """The command line is wrong. ``str()`` is all that goes to standard error; exit with ``status``."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Flags(dict[str, "Any"]):
    """Values of a command's flags by long name.

    ``flags["name"]`` is the value given or the default; KeyError if the command has no such flag. ``in`` and
    iteration see only the flags that were given.
    """

    __slots__ = ("_by_name", "_environ", "_lines")

    def __init__(self, lines: tuple[str, ...], environ: "Mapping[str, str]") -> None:
        super().__init__()
        self._lines = lines
        self._by_name: dict[str, str] = {}
        self._environ = environ

    def __missing__(self, name: str) -> "Any":
        if not self._by_name:
            self._by_name = {line[5 : line.index(" ", 5)]: line for line in self._lines}
        kind, attributes = flag_type(self._by_name[name])
        value = attributes.get("default")
        if variable := attributes.get("env"):
            value = self._environ.get(variable) or value
        if value is None:
            if kind == "list":
                return []
            if kind in _ZERO:
                return _ZERO[kind]
        elif kind == "string":
            return value
        elif kind == "bool":
            return value != "false"  # any text of a variable turns it on (DOCKER_TLS_VERIFY=0 too)
        elif kind == "int":
            return int(value)
        from sampan.cli import values

        return values.default(kind, value)

    def get(self, name: str, default: "Any" = None) -> "Any":
        """Return the value given or the flag's default; ``default`` only if there is no such flag."""
        try:
            return self[name]
        except KeyError:
            return default


class Parsed:
    """A command line that was understood.

    ``command``   canonical path, ``container ls``; "" when only flags of the program were given
    ``path``      the same as typed, ``ps``
    ``flags``     the command's flags
    ``args``      its arguments; for a plugin's command everything behind its name, unread
    ``globals``   the flags of the program itself
    ``help``      "" or where the help of the command goes: "stdout" (asked for), "stderr" (no command given)
    ``warnings``  lines for standard error
    """

    __slots__ = ("args", "command", "flags", "globals", "help", "path", "warnings")

    def __init__(self, global_flags: Flags) -> None:
        self.command = self.path = self.help = ""
        self.flags = global_flags
        self.globals = global_flags
        self.args: list[str] = []
        self.warnings: list[str] = []


def parse(argv: list[str], environ: "Mapping[str, str] | None" = None) -> Parsed:
    """Read the arguments behind the program's name. ``environ``: the process's environment unless given.

    Raises UsageError. A command that is known is returned whether it is built or not.
    """
    if environ is None:
        import os

        environ = os.environ
    variables: Mapping[str, str] = environ
    root = COMMANDS[""][4] or ()
    global_flags = Flags(root, variables)
    parsed = Parsed(global_flags)
    words, wants_help = _read_flags(parsed, root, argv, global_flags, stop=True)
    if words[:1] == ["help"]:
        return _help(parsed, words[1:])
    words = _find_command(parsed, words)
    usage, fewest, most, _, lines = COMMANDS[parsed.command]
    if wants_help:
        parsed.help = "stdout"
        return parsed
    if lines is None:
        parsed.args = words
        return parsed
    if parsed.command:
        parsed.flags = Flags(lines, variables)
        parsed.args, wants_help = _read_flags(
            parsed, lines, words, parsed.flags, stop=parsed.command in _ENDS_AT_ARGUMENT
        )
    else:
        parsed.args = words
    if wants_help:
        parsed.help = "stdout"
    elif usage.endswith("COMMAND"):
        if parsed.args:
            _unknown_command(parsed)
        if not global_flags["version"]:
            parsed.help = "stderr"
    elif len(parsed.args) < fewest or 0 <= most < len(parsed.args):
        _wrong_count(parsed, fewest, most)
    return parsed


def _help(parsed: Parsed, words: list[str]) -> Parsed:
    if rest := _find_command(parsed, words):
        raise UsageError(f"unknown help topic: {' '.join(rest)}", 1)
    parsed.help = "stdout"
    return parsed


def _find_command(parsed: Parsed, words: list[str]) -> list[str]:
    """Set the command that ``words`` begin with; return the words behind it."""
    for at, word in enumerate(words):
        typed = f"{parsed.command} {word}" if parsed.command else word
        command = ALIASES.get(typed, typed)
        if not word or command not in COMMANDS:
            return words[at:]
        parsed.command = command
        parsed.path = f"{parsed.path} {word}" if parsed.path else word
        if not COMMANDS[command][0].endswith("COMMAND"):
            return words[at + 1 :]
    return []


def flag_line(lines: tuple[str, ...], name: str) -> str | None:
    """Return the table's line of the flag ``name`` (long, or a single shorthand with its dash)."""
    if name[:1] == "-":
        head = f"{name} "
        for line in lines:
            if line.startswith(head):
                return line
    else:
        head = f"--{name} "
        for line in lines:
            if line.startswith(head, 3):
                return line
    return None


def flag_type(line: str) -> tuple[str, dict[str, str]]:
    """Return the type of a flag and its attributes (``hidden`` with an empty value)."""
    _, kind, *rest = line[3 : line.index(": ")].split(" ")
    return kind, dict([word.partition("=")[::2] for word in rest]) if rest else {}


def _read_flags(
    parsed: Parsed, lines: tuple[str, ...], argv: list[str], flags: Flags, *, stop: bool
) -> tuple[list[str], bool]:
    """Read flags into ``flags``; return the arguments and whether help is asked for.

    ``stop``: the first argument ends the flags.
    """
    args: list[str] = []
    wants_help = False
    rest = iter(argv)
    for word in rest:
        if word[:1] != "-" or word == "-":
            args.append(word)
            if stop:
                break
            continue
        if word == "--":
            break
        if word[1] != "-":
            wants_help |= _read_shorthands(parsed, lines, word[1:], rest, flags)
            continue
        name, equals, value = word[2:].partition("=")
        if not name or name[0] == "-":
            _fail(parsed, f"bad flag syntax: {word}")
        line = flag_line(lines, name)
        if line is None:
            if name != "help":
                _fail(parsed, f"unknown flag: --{name}")
            wants_help = True
            continue
        if not equals:
            if line.startswith("bool", 6 + len(name)):
                value = "true"
            else:
                following = next(rest, None)
                if following is None:
                    _fail(parsed, f"flag needs an argument: --{name}")
                value = following
        _set(parsed, line, name, value, flags)
    args.extend(rest)
    return args, wants_help


def _read_shorthands(parsed: Parsed, lines: tuple[str, ...], letters: str, rest: "Any", flags: Flags) -> bool:
    """Read ``-letters``: bools, then perhaps a flag with a value; tell whether help is asked for."""
    wants_help = False
    while letters:
        line = flag_line(lines, "-" + letters[0])
        if line is None:
            if letters[0] != "h":
                from sampan.cli.gotext import escape

                _fail(parsed, f"unknown shorthand flag: {escape(letters[0], chr(39))} in -{letters}")
            parsed.warnings.append("Flag shorthand -h has been deprecated, use --help")
            wants_help, letters = True, letters[1:]
            continue
        name = line[5 : line.index(" ", 5)]
        if len(letters) > 2 and letters[1] == "=":
            value, letters = letters[2:], ""
        elif line.startswith("bool", 6 + len(name)):
            value, letters = "true", letters[1:]
            if value == "true" and letters:
                _set(parsed, line, name, value, flags)
                continue
        elif len(letters) > 1:
            value, letters = letters[1:], ""
        else:
            following = next(rest, None)
            if following is None:
                _fail(parsed, f"flag needs an argument: '{letters}' in -{letters}")
            value, letters = following, ""
        _set(parsed, line, name, value, flags)
    return wants_help


def _set(parsed: Parsed, line: str, name: str, text: str, flags: Flags) -> None:
    kind, attributes = flag_type(line)
    target = attributes.get("is", name)
    if kind == "string":
        value: Any = text
    elif kind == "bool" and text == "true":
        value = True
    elif kind == "list" and "check" not in attributes:
        value = [*dict.get(flags, target, ()), text]
    else:
        from sampan.cli import values

        try:
            value = values.read(
                kind, attributes.get("check", ""), text, dict.get(flags, target), flags._environ
            )
        except ValueError as error:
            from sampan.cli.gotext import quote

            shown = f"{line[:2]}, --{name}" if line[0] == "-" else f"--{name}"
            _fail(parsed, f"invalid argument {quote(text)} for {quote(shown)} flag: {error}")
    flags[target] = value
    if name in _DEPRECATED and "hidden" in attributes:
        parsed.warnings.append(f"Flag --{name} has been deprecated, {_DEPRECATED[name]}")


def late_error(parsed: Parsed, message: str) -> UsageError:
    """Return the error for options that are well-formed but do not fit together (status 125)."""
    command = f"{PROGRAM} {parsed.path}"
    return UsageError(f"{PROGRAM}: {message}\n\nRun '{command} --help' for more information", 125)


def _usage(parsed: Parsed) -> tuple[str, str]:
    """Return the command as typed and its usage line."""
    from sampan.cli.help import usage_line

    return f"{PROGRAM} {parsed.path}".rstrip(), usage_line(parsed.command, parsed.path)


def _fail(parsed: Parsed, message: str) -> "NoReturn":
    command, usage = _usage(parsed)
    if not parsed.command:
        usage = f"{PROGRAM} [OPTIONS] COMMAND [ARG...]"
    raise UsageError(f"{message}\n\nUsage:  {usage}\n\nRun '{command} --help' for more information", 125)


def _unknown_command(parsed: Parsed) -> "NoReturn":
    command, usage = _usage(parsed)
    message = f"{PROGRAM}: unknown command: {command} {parsed.args[0]}\n\n"
    if parsed.command:
        message += f"Usage:  {usage}\n\n"
    raise UsageError(f"{message}Run '{command} --help' for more information", 1)


def _wrong_count(parsed: Parsed, fewest: int, most: int) -> "NoReturn":
    command, usage = _usage(parsed)
    verb = "Run"
    if most == 0:
        what = "accepts no arguments"
    elif fewest == most:
        what = f"requires {most} argument{'s' * (most != 1)}"
    elif most < 0:
        what, verb = f"requires at least {fewest} argument{'s' * (fewest != 1)}", "See"
    elif fewest == 0:
        what = f"requires at most {most} argument{'s' * (most != 1)}"
    else:
        what = f"requires at least {fewest} and at most {most} argument{'s' * (most != 1)}"
    raise UsageError(
        f"{PROGRAM}: '{command}' {what}\n\nUsage:  {usage}\n\n{verb} '{command} --help' for more information",
        1,
    )
