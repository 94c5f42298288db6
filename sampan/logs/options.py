"""Options of log drivers (``--log-opt``): their names, their values, and the attributes that they choose."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from sampan.base.errors import InvalidParameter
from sampan.base.ids import short_id
from sampan.base.units import parse_bool, parse_ram, parse_size
from sampan.logs.driver import LogOptions

_FILE: Final = frozenset({"max-size", "max-file", "compress"})
_ATTRIBUTES: Final = frozenset({"labels", "labels-regex", "env", "env-regex", "tag"})
_DELIVERY: Final = frozenset({"mode", "max-buffer-size"})
_NON_BLOCKING: Final = "non-blocking"
_MODES: Final = ("", "blocking", _NON_BLOCKING)


def check_names(config: Mapping[str, str], where: str) -> None:
    """Raise InvalidParameter for the first option that no file driver has; ``where`` ends the sentence."""
    for name in sorted(config):
        if name not in _FILE | _ATTRIBUTES | _DELIVERY:
            raise InvalidParameter(f"unknown log opt '{name}' {where}")
    check_delivery(config)


def check_delivery(config: Mapping[str, str]) -> None:
    """Check the options that every driver has. The shim never lets a container wait for its log's reader."""
    mode = config.get("mode", "")
    if mode not in _MODES:
        raise InvalidParameter(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in config:
        if mode != _NON_BLOCKING:
            raise InvalidParameter(
                f"logger: max-buffer-size option is only supported with 'mode={_NON_BLOCKING}'"
            )
        try:
            parse_ram(config["max-buffer-size"])
        except ValueError as error:
            raise InvalidParameter(f"error parsing option max-buffer-size: {error}") from error


def parse_options(
    config: Mapping[str, str], defaults: LogOptions, *, compress_needs_size: bool
) -> LogOptions:
    """Return ``config`` over ``defaults``. Raises InvalidParameter with what Docker says at the start."""
    options = defaults
    try:
        if "max-size" in config:
            size = parse_size(config["max-size"])
            if size <= 0 and compress_needs_size:
                raise ValueError("max-size must be a positive number")
            options = replace(options, max_size=size)
        if "max-file" in config:
            files = _integer(config["max-file"])
            if files < 1:
                raise ValueError("max-file cannot be less than 1")
            options = replace(options, max_file=files)
        if "compress" in config:
            options = replace(options, compress=parse_bool(config["compress"]))
        if options.compress and (options.max_file < 2 or (compress_needs_size and not options.max_size)):
            raise ValueError(
                "compress cannot be true when max-file is less than 2 or max-size is not set"
                if compress_needs_size
                else "compression cannot be enabled when max file count is 1"
            )
        for name in ("labels-regex", "env-regex"):
            if config.get(name):
                _compile(config[name])
        render_tag(config.get("tag", ""), LogSubject("", "", "", "", ()))
    except ValueError as error:
        raise InvalidParameter(f"failed to initialize logging driver: {error}") from error
    return replace(
        options,
        labels=_words(config.get("labels", "")),
        labels_regex=config.get("labels-regex", ""),
        env=_words(config.get("env", "")),
        env_regex=config.get("env-regex", ""),
        tag=config.get("tag", ""),
    )


@dataclass(frozen=True, slots=True)
class LogSubject:
    """The container that attributes and tags speak of; ``image`` is its name as given, ``image_id`` full."""

    id: str
    name: str
    image: str
    image_id: str
    command: Sequence[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    env: Sequence[str] = ()
    daemon: str = "sampand"


def attributes(options: LogOptions, subject: LogSubject) -> bytes:
    """Return the JSON object that every record of the container carries, empty for none (moby's order)."""
    chosen = dict(_choose(options.labels, options.labels_regex, subject.labels))
    variables = dict(entry.split("=", 1) for entry in subject.env if "=" in entry)
    chosen |= _choose(options.env, options.env_regex, variables)
    if options.tag:
        chosen["tag"] = render_tag(options.tag, subject)
    return msgspec.json.encode(dict(sorted(chosen.items()))) if chosen else b""


def render_tag(template: str, subject: LogSubject) -> str:
    """Fill in a tag (``{{.Name}}/{{.ID}}``). Raises ValueError for anything but fields in it."""
    values = {
        "ID": short_id(subject.id),
        "FullID": subject.id,
        "ContainerID": subject.id,
        "Name": subject.name.removeprefix("/"),
        "ContainerName": f"/{subject.name.removeprefix('/')}",
        "Command": " ".join(subject.command),
        "ContainerEntrypoint": subject.command[0] if subject.command else "",
        "ImageID": short_id(subject.image_id),
        "ImageFullID": subject.image_id,
        "ContainerImageID": subject.image_id,
        "ImageName": subject.image,
        "ContainerImageName": subject.image,
        "DaemonName": subject.daemon,
        "Hostname": os.uname().nodename,
    }
    text, rest = "", template
    while rest:
        plain, opened, rest = rest.partition("{{")
        text += plain
        if opened:
            action, closed, rest = rest.partition("}}")
            name = action.strip("- \t").removeprefix(".")
            if not closed or name not in values or not action.strip("- \t").startswith("."):
                raise ValueError(f"log tag {template!r}: only fields such as {{{{.Name}}}} are understood")
            text += values[name]
    return text


def _choose(names: Iterable[str], pattern: str, values: Mapping[str, str]) -> dict[str, str]:
    chosen = {name: values[name] for name in names if name in values}
    if pattern:
        matches = _compile(pattern)
        chosen |= {name: value for name, value in values.items() if matches(name)}
    return chosen


def _compile(pattern: str) -> Callable[[str], object]:
    import re

    try:
        return re.compile(pattern).search
    except re.error as error:
        raise ValueError(f"error parsing regexp: {error}") from error


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _integer(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)
