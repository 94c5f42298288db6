"""Environment variables and labels: ``--env``, ``--env-file``, ``--label``, ``--label-file``."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sampan.cli.parser import Flags

_LONGEST_LINE = 64 * 1024  # Go's bufio.Scanner gives up there
# What Go calls a space; Python's strip() would also take the separators U+001C to U+001F.
_SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


def check_env(text: str, environ: "Mapping[str, str]") -> str:
    """Return ``NAME=value``; for a name alone with the value of ``environ``, if any. Raises ValueError."""
    name, equals, _ = text.partition("=")
    if not name:
        raise ValueError(f"invalid environment variable: {text}")
    if not equals and name in environ:
        return f"{name}={environ[name]}"
    return text


def check_label(text: str) -> str:
    """Return the label as it is. Raises ValueError if its key is empty or has blanks in it."""
    key = text.partition("=")[0].lstrip(" \t")
    if not key:
        raise ValueError(f"invalid label '{text}': empty name")
    if " " in key or "\t" in key:
        raise ValueError(f"label '{text}' contains whitespaces")
    return text


def environment(flags: "Flags", environ: "Mapping[str, str]") -> list[str]:
    """Return the variables of ``--env-file`` and, after them, of ``--env``, the last of each name.

    Raises ValueError.
    """
    given = {entry.partition("=")[0]: entry for entry in flags["env"]}
    try:
        return [*_read_files(flags["env-file"], environ), *given.values()]
    except ValueError as error:
        raise ValueError(f"--env-file: {error}") from error


def labels(flags: "Flags") -> dict[str, str]:
    """Return the labels of ``--label-file`` and, over them, of ``--label``. Raises ValueError."""
    try:
        lines = [*_read_files(flags["label-file"], None), *flags["label"]]
    except ValueError as error:
        raise ValueError(f"--label-file: {error}") from error
    return key_values(lines)


def key_values(lines: list[str]) -> dict[str, str]:
    """Return ``key=value`` texts as a dict; a key alone has the value ""."""
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def _read_files(names: list[str], environ: "Mapping[str, str] | None") -> list[str]:
    found: list[str] = []
    for name in names:
        try:
            with open(name, "rb") as file:
                content = file.read()
        except OSError as error:
            what = "read" if error.errno == 21 else "open"  # a folder opens, but cannot be read
            raise ValueError(f"{what} {name}: {(error.strerror or '').lower()}") from error
        try:
            found += parse_lines(content, environ)
        except ValueError as error:
            raise ValueError(f"invalid env file ({name}): {error}") from error
    return found


def parse_lines(content: bytes, environ: "Mapping[str, str] | None") -> list[str]:
    """Return the entries of an env or label file, ``#`` comments and empty lines left out.

    A name alone gets its value from ``environ`` and is dropped if it has none there, or without ``environ``.
    Raises ValueError.
    """
    entries: list[str] = []
    for number, raw in enumerate(content.split(b"\n"), start=1):
        if len(raw) >= _LONGEST_LINE:
            raise ValueError("bufio.Scanner: token too long")
        raw = raw.removesuffix(b"\r")
        try:
            line = raw.decode()
        except UnicodeDecodeError:
            bytes_shown = " ".join(map(str, raw))
            raise ValueError(f"invalid utf8 bytes at line {number}: [{bytes_shown}]") from None
        if number == 1:
            line = line.removeprefix("\ufeff")
        line = line.lstrip(_SPACES)
        if not line or line[0] == "#":
            continue
        name, equals, _ = line.partition("=")
        if not name:
            raise ValueError(f"no variable name on line '{line}'")
        if " " in name or "\t" in name:
            raise ValueError(f"variable '{name}' contains whitespaces")
        if equals:
            entries.append(line)
        elif environ is not None and name in environ:
            entries.append(f"{name}={environ[name]}")
    return entries
