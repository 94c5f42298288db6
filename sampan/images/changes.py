"""``--change``: Dockerfile instructions that alter the configuration of an image made by commit or import.

The rules and the wording are those of BuildKit's parser and of moby's dispatchers (builder/dockerfile).
"""

import posixpath
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from sampan.base.errors import InvalidParameter
from sampan.base.signals import parse_signal
from sampan.base.times import parse_duration_ns
from sampan.images.words import expand, expand_words, split_raw
from sampan.wire.containers import ContainerConfig, HealthConfig

_SHELL: Final = ["/bin/sh", "-c"]
_PROTOCOLS: Final = ("tcp", "udp", "sctp")
_LEAST_NS: Final = 1_000_000


def apply_changes(config: ContainerConfig, changes: Sequence[str]) -> ContainerConfig:
    """Return ``config`` with the instructions ``changes`` applied in order; ``config`` stays as it is.

    Raises InvalidParameter, in Docker's words.
    """
    instructions = parse_changes("\n".join(changes))
    if any(changes) and not instructions:
        raise InvalidParameter("file with no instructions")
    changed = _Change(msgspec.json.decode(msgspec.json.encode(config), type=ContainerConfig))
    for name, _ in instructions:
        if name.lower() not in _APPLY:
            raise InvalidParameter(f"{name} is not a valid change command")
    for name, rest in instructions:
        _APPLY[name.lower()](changed, name.upper(), rest)
    return changed.config


def parse_changes(text: str) -> list[tuple[str, str]]:
    """Return name and arguments of each instruction; comments are left out, lines are joined at ``\\``."""
    found: list[tuple[str, str]] = []
    pending = ""
    for line in text.split("\n"):
        if line.lstrip().startswith("#") or (pending and not line.strip()):
            continue
        stripped = line.rstrip()
        if stripped.endswith("\\"):
            pending += stripped[:-1]
            continue
        whole = (pending + line).strip()
        pending = ""
        if whole:
            found.append(_split_name(whole))
    if pending.strip():
        found.append(_split_name(pending.strip()))
    return found


def _split_name(line: str) -> tuple[str, str]:
    name = line.split(maxsplit=1)[0]
    return name, line[len(name) :].strip()


def parse_json_form(text: str) -> list[str] | None:
    """Return the words of an instruction in JSON form; None if it is not in that form."""
    if not text.startswith("["):
        return None
    try:
        return msgspec.json.decode(text.encode(), type=list[str])
    except msgspec.DecodeError:
        return None


class _Change:
    """A configuration being changed."""

    def __init__(self, config: ContainerConfig) -> None:
        self.config = config
        self.command_given = False

    @property
    def variables(self) -> dict[str, str]:
        pairs = (entry.partition("=") for entry in self.config.env or ())
        return {name: value for name, _, value in pairs}

    def _command(self, text: str) -> list[str]:
        words = parse_json_form(text)
        if words is not None:
            return words
        return [*(self.config.shell or _SHELL), text] if text else []

    def cmd(self, name: str, text: str) -> None:
        self.config.cmd = self._command(text) or None
        self.config.args_escaped = None
        self.command_given = True

    def entrypoint(self, name: str, text: str) -> None:
        self.config.entrypoint = self._command(text) or None
        if not self.command_given:
            self.config.cmd = None

    def env(self, name: str, text: str) -> None:
        for key, value in self._pairs(name, text):
            line = f"{key}={value}"
            env = self.config.env = self.config.env or []
            for at, entry in enumerate(env):
                if entry.partition("=")[0] == key:
                    env[at] = line
                    break
            else:
                env.append(line)

    def label(self, name: str, text: str) -> None:
        self.config.labels = {**(self.config.labels or {}), **dict(self._pairs(name, text))}

    def _pairs(self, name: str, text: str) -> list[tuple[str, str]]:
        words = split_raw(text)
        if not words:
            raise InvalidParameter(f"{name} requires at least one argument")
        if "=" not in words[0]:  # the old form: one name, and all the rest is its value
            value = text[len(words[0]) :].strip()
            if not value:
                raise InvalidParameter(f"{name} must have two arguments")
            raw = [(words[0], value)]
        else:
            raw = []
            for word in words:
                key, equals, value = word.partition("=")
                if not equals:
                    raise InvalidParameter(
                        f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value'
                    )
                raw.append((key, value))
        variables = self.variables
        pairs = [(expand(key, variables), expand(value, variables)) for key, value in raw]
        if any(not key for key, _ in pairs):
            raise InvalidParameter(f"{name} names can not be blank")
        return pairs

    def expose(self, name: str, text: str) -> None:
        words = expand_words(text, self.variables)
        if not words:
            raise InvalidParameter(f"{name} requires at least one argument")
        ports = [port for word in words for port in parse_exposed(word)]
        self.config.exposed_ports = {**(self.config.exposed_ports or {}), **{port: {} for port in ports}}

    def onbuild(self, name: str, text: str) -> None:
        if not text:
            raise InvalidParameter(f"{name} requires at least one argument")
        trigger = text.split()[0].upper()
        if trigger == "ONBUILD":
            raise InvalidParameter("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
        if trigger in ("MAINTAINER", "FROM"):
            raise InvalidParameter(f"{trigger} isn't allowed as an ONBUILD trigger")
        self.config.on_build = [*(self.config.on_build or ()), text]

    def user(self, name: str, text: str) -> None:
        self.config.user = self._one(name, text)

    def workdir(self, name: str, text: str) -> None:
        path = self._one(name, text)
        if not path:
            raise InvalidParameter("cannot normalize nothing")
        self.config.working_dir = posixpath.normpath(posixpath.join("/", self.config.working_dir, path))

    def stopsignal(self, name: str, text: str) -> None:
        signal = self._one(name, text)
        parse_signal(signal)
        self.config.stop_signal = signal

    def _one(self, name: str, text: str) -> str:
        if not text:
            raise InvalidParameter(f"{name} requires exactly one argument")
        return expand(text, self.variables)

    def volume(self, name: str, text: str) -> None:
        words = parse_json_form(text)
        words = split_raw(text) if words is None else words
        if not words:
            raise InvalidParameter(f"{name} requires at least one argument")
        paths = [expand(word, self.variables).strip() for word in words]
        if "" in paths:
            raise InvalidParameter("VOLUME specified can not be an empty string")
        self.config.volumes = {**(self.config.volumes or {}), **{path: {} for path in paths}}

    def healthcheck(self, name: str, text: str) -> None:
        if not text:
            raise InvalidParameter(f"{name} requires at least one argument")
        words = text.split()
        options: dict[str, str] = {}
        while words and words[0].startswith("--"):
            key, _, value = words[0][2:].partition("=")
            options[key] = value
            text = text[text.index(words[0]) + len(words[0]) :].strip()
            words = words[1:]
        kind = words[0].upper() if words else ""
        rest = text[len(words[0]) :].strip() if words else ""
        if kind == "NONE":
            if rest:
                raise InvalidParameter("HEALTHCHECK NONE takes no arguments")
            self.config.healthcheck = HealthConfig(test=["NONE"])
            return
        if kind != "CMD":
            raise InvalidParameter(f"Unknown type {kind!r} in HEALTHCHECK (try CMD)".replace("'", '"'))
        command = parse_json_form(rest)
        if not rest or command == []:
            raise InvalidParameter("Missing command after HEALTHCHECK CMD")
        test = ["CMD-SHELL", rest] if command is None else ["CMD", *command]
        self.config.healthcheck = _health(test, options)


def _health(test: list[str], options: dict[str, str]) -> HealthConfig:
    health = HealthConfig(test=test)
    for key, value in options.items():
        field = key.replace("-", "_")
        if key == "retries":
            if not value.isdigit() or int(value) < 1:
                raise InvalidParameter(f"--retries must be at least 1 (not {value})")
            health.retries = int(value)
        elif field in ("interval", "timeout", "start_period", "start_interval"):
            duration = parse_duration_ns(value)
            if 0 < duration < _LEAST_NS or duration < 0:
                raise InvalidParameter(f'Interval "{key}" cannot be less than 1ms')
            setattr(health, field, duration)
        else:
            raise InvalidParameter(f"unknown flag: {key}")
    return health


def parse_exposed(text: str) -> list[str]:
    """Return the ports, ``80/tcp``, that an argument of EXPOSE means. Raises InvalidParameter."""
    ports, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash and protocol else "tcp"
    address, _, container = ports.rpartition(":")
    if not container:
        raise InvalidParameter(f'invalid port: "{text}": no port specified: {text}<empty>')
    if protocol not in _PROTOCOLS:
        raise InvalidParameter(f'invalid port: "{text}": invalid proto: {protocol}')
    host = address.rpartition(":")[0]
    if host and not set(host) <= set("0123456789abcdefABCDEF.:[]"):
        raise InvalidParameter(f'invalid port: "{text}": invalid IP address: {host}')
    first, dash, last = container.partition("-")
    numbers = [first, last if dash else first]
    if not all(number.isascii() and number.isdigit() and 0 < int(number) < 65536 for number in numbers):
        raise InvalidParameter(f'invalid port: "{text}": invalid containerPort: {container}')
    if int(numbers[1]) < int(numbers[0]):
        raise InvalidParameter(f'invalid port: "{text}": invalid containerPort: {container}')
    return [f"{number}/{protocol}" for number in range(int(numbers[0]), int(numbers[1]) + 1)]


_APPLY: Final[dict[str, Callable[[_Change, str, str], None]]] = {
    "cmd": _Change.cmd,
    "entrypoint": _Change.entrypoint,
    "env": _Change.env,
    "expose": _Change.expose,
    "healthcheck": _Change.healthcheck,
    "label": _Change.label,
    "onbuild": _Change.onbuild,
    "stopsignal": _Change.stopsignal,
    "user": _Change.user,
    "volume": _Change.volume,
    "workdir": _Change.workdir,
}
