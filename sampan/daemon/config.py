"""The daemon's settings: flags over defaults, daemon.json beside them, one checked object out.

A setting may stand in one of the two places only. Wrong ones are refused in dockerd's words, before anything
is touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from sampan.base.errors import EngineError, InvalidParameter
from sampan.base.units import parse_bool, parse_int, parse_ram
from sampan.daemon.hosts import Host, parse_host
from sampan.daemon.options import BY_DIRECTIVE, BY_FLAG, NOT_SERVED, OPTIONS, Given, Kind, Option
from sampan.daemon.settings import network_config, read_seccomp_profile, registry_settings
from sampan.logs.service import log_options
from sampan.runtime.ulimits import check_ulimits
from sampan.storage.choice import known_options
from sampan.storage.drivers import DRIVERS
from sampan.storage.options import parse_options
from sampan.wire.containers import Ulimit

LOG_LEVELS: Final = ("debug", "info", "warn", "error", "fatal")
RUNTIMES: Final = {"crun": "crun", "runc": "runc"}  # always known, whether they are installed or not
_DEFAULT_FILE: Final = BY_FLAG["config-file"].default
_RELOADABLE: Final = (
    "debug",
    "insecure-registries",
    "labels",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "registry-mirrors",
    "shutdown-timeout",
)
_PROXIES: Final = ("http-proxy", "https-proxy", "no-proxy")
_UNLIMITED: Final = -1
_JSON_KINDS: Final = {
    bool: "bool",
    str: "string",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
}


class ConfigError(EngineError):
    """The settings are not usable; the message is for whoever started the daemon."""


class _Wrong(ValueError):
    """A value is not of its option's kind."""


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting, checked; sizes in bytes, times in seconds. Empty means: the engine chooses."""

    add_runtime: Mapping[str, str] = field(default_factory=dict)
    bip: str = ""
    bridge: str = ""
    cgroup_parent: str = ""
    config_file: str = _DEFAULT_FILE
    data_root: Path = Path(BY_FLAG["data-root"].default)
    debug: bool = False
    default_address_pool: Sequence[tuple[str, int]] = ()
    default_cgroupns_mode: str = ""  # as the host has it
    default_ipc_mode: str = "private"
    default_runtime: str = "crun"
    default_shm_size: int = 64 << 20
    default_ulimit: Sequence[Ulimit] = ()
    dns: Sequence[str] = ()
    dns_opt: Sequence[str] = ()
    dns_search: Sequence[str] = ()
    exec_opt: Sequence[str] = ()
    exec_root: Path = Path(BY_FLAG["exec-root"].default)
    fixed_cidr: str = ""
    group: str = ""
    host: Sequence[str] = ()
    host_gateway_ip: Sequence[str] = ()
    http_proxy: str = ""
    https_proxy: str = ""
    icc: bool = True
    init: bool = False
    init_path: str = ""
    insecure_registry: Sequence[str] = ()
    ip: str = "0.0.0.0"  # noqa: S104 - Docker's default for published ports
    ip_forward: bool = True
    ip_masq: bool = True
    iptables: bool = True
    label: Sequence[str] = ()
    live_restore: bool = True
    log_driver: str = "json-file"
    log_format: str = "text"
    log_level: str = "info"
    log_opt: Mapping[str, str] = field(default_factory=dict)
    max_concurrent_downloads: int = 3
    max_concurrent_uploads: int = 5
    max_download_attempts: int = 5
    mtu: int = 1500
    no_new_privileges: bool = False
    no_proxy: str = ""
    pidfile: str = ""
    publish_default_host: str = ""
    raw_logs: bool = False
    registry_mirror: Sequence[str] = ()
    seccomp_profile: str = "builtin"
    shutdown_timeout: int = 15
    storage_driver: str = ""
    storage_opt: Sequence[str] = ()
    tls: bool = False
    tlscacert: str = ""
    tlscert: str = ""
    tlskey: str = ""
    tlsverify: bool = False
    userland_proxy: bool = True

    @property
    def runtimes(self) -> dict[str, str]:
        """Runtimes by name, those that are always known included."""
        return {**RUNTIMES, **self.add_runtime}

    @property
    def hosts(self) -> list[Host]:
        """Where to listen. Raises InvalidParameter."""
        texts = self.host or [f"unix://{self.exec_root}/sampan.sock"]
        return [parse_host(text, tls=self.uses_tls) for text in texts]

    @property
    def uses_tls(self) -> bool:
        """Whether TCP listeners speak TLS."""
        return self.tls or self.tlsverify

    @property
    def pid_path(self) -> Path:
        """The file that holds the daemon's process id."""
        return Path(self.pidfile or f"{self.exec_root}/sampan.pid")


def load_config(given: Given) -> Config:
    """Return the settings of the command line ``given`` and of the file it names, checked.

    Raises ConfigError.
    """
    path = given.get("config-file", [_DEFAULT_FILE])[-1]
    document = _read_file(path, required="config-file" in given)
    prefix = f"unable to configure the Docker daemon with file {path}: " if document is not None else ""
    try:
        values = {
            option.name: _from_flag(option, given[option.name]) for option in OPTIONS if option.name in given
        }
    except InvalidParameter as error:
        raise ConfigError(str(error)) from error
    if document is not None:
        try:
            _check_directives(_spread(document), values)
            for key, value in _spread(document).items():
                values[BY_DIRECTIVE[key].name] = _from_file(BY_DIRECTIVE[key], value)
        except InvalidParameter as error:
            raise ConfigError(f"{prefix}{error}") from error
        prefix += "merged configuration validation from file and command line flags failed: "
    known = Config.__dataclass_fields__
    fields = {name.replace("-", "_"): value for name, value in values.items()}
    config = Config(**{name: value for name, value in fields.items() if name in known})
    config = replace(config, data_root=Path(config.data_root), exec_root=Path(config.exec_root))
    try:
        _check(config)
    except EngineError as error:
        raise ConfigError(f"{prefix}{error}") from error
    return config


def reload_config(running: Config, given: Given) -> Config:
    """Read the file again; return ``running`` with what may change meanwhile. Raises ConfigError."""
    fresh = load_config(given)
    changes = {BY_DIRECTIVE[key].name.replace("-", "_") for key in _RELOADABLE}
    return replace(running, **{name: getattr(fresh, name) for name in changes})


def _read_file(path: str, *, required: bool) -> dict[str, Any] | None:
    failed = f"unable to configure the Docker daemon with file {path}: "
    try:
        text = Path(path).read_bytes()
    except FileNotFoundError as error:
        if not required:
            return None
        raise ConfigError(f"{failed}open {path}: no such file or directory") from error
    except OSError as error:
        raise ConfigError(f"{failed}open {path}: {error.strerror}") from error
    if not text.strip():
        return {}
    try:
        document = msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf"))
    except msgspec.DecodeError as error:
        raise ConfigError(f"{failed}{error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{failed}the file does not hold a JSON object")
    return document


def _spread(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the directives, those of the group ``proxies`` beside the others. Raises InvalidParameter."""
    proxies = document.get("proxies")
    if proxies is None:
        return dict(document)
    if not isinstance(proxies, dict):
        raise InvalidParameter("proxies: not a JSON object")
    unknown = [key for key in proxies if key not in _PROXIES]
    if unknown:
        names = ", ".join(sorted(unknown))
        raise InvalidParameter(f"the following directives don't match any configuration option: {names}")
    return {**{key: value for key, value in document.items() if key != "proxies"}, **proxies}


def _check_directives(document: Mapping[str, Any], flags: Mapping[str, Any]) -> None:
    unknown = [key for key in document if key not in BY_DIRECTIVE and key not in NOT_SERVED]
    if unknown:
        names = ", ".join(sorted(unknown))
        raise InvalidParameter(f"the following directives don't match any configuration option: {names}")
    refused = [key for key in document if key in NOT_SERVED]
    if refused:
        names = ", ".join(sorted(refused))
        raise InvalidParameter(
            f"the following directives are not supported by this version of sampan: {names}"
        )
    twice = [
        f"{key}: (from flag: {_show(flags[BY_DIRECTIVE[key].name])}, from file: {_show(value)})"
        for key, value in document.items()
        if BY_DIRECTIVE[key].name in flags and key != "runtimes"
    ]
    if twice:
        raise InvalidParameter(
            "the following directives are specified both as a flag and in the configuration file: "
            + ", ".join(twice)
        )


def _show(value: object) -> str:
    """Render a value as Go's ``%v`` does."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{_show(item)}' for key, item in sorted(value.items()))}]"
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(_show(item) for item in value)}]"
    return str(value)


def _from_flag(option: Option, texts: Sequence[str]) -> Any:
    last = texts[-1]
    try:
        match option.kind:
            case Kind.BOOL:
                return parse_bool(last)
            case Kind.NUMBER:
                return parse_int(last)
            case Kind.BYTES:
                return parse_ram(last)
            case Kind.LIST:
                return tuple(texts)
            case Kind.MAP:
                return dict(text.partition("=")[::2] for text in texts)
            case Kind.POOLS:
                return tuple(_pool(text) for text in texts)
            case Kind.RUNTIMES:
                return dict(_runtime(text) for text in texts)
            case Kind.ULIMITS:
                return tuple(_ulimit(text) for text in texts)
            case _:
                return last
    except ValueError as error:
        raise InvalidParameter(f'invalid argument "{last}" for "--{option.name}" flag: {error}') from error


def _pool(text: str) -> tuple[str, int]:
    fields: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"invalid field '{part}' must be a key=value pair")
        fields[name.strip().lower()] = value
    if unexpected := set(fields) - {"base", "size"}:
        raise ValueError(f"unexpected key '{min(unexpected)}' in '{text}'")
    return fields.get("base", ""), int(fields.get("size", "0"))


def _runtime(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (equals and name.strip() and path.strip()):
        raise ValueError(f"invalid runtime argument: {text}")
    return name.strip(), path.strip()


def _ulimit(text: str) -> Ulimit:
    """Read ``name=soft[:hard]``; whether there is such a limit is checked with the rest."""
    name, equals, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    if not equals:
        raise ValueError(f"invalid ulimit argument: {text}")
    return Ulimit(name, parse_int(hard if colon else soft), parse_int(soft))


def _from_file(option: Option, value: Any) -> Any:
    try:
        return _typed(option, value)
    except _Wrong as error:
        found = _JSON_KINDS.get(type(value), "null")
        raise InvalidParameter(
            f"json: cannot unmarshal {found} into Go struct field Config.{option.directive} "
            f"of type {option.kind.value[1]}"
        ) from error
    except ValueError as error:
        raise InvalidParameter(f"{option.directive}: {error}") from error


def _typed(option: Option, value: Any) -> Any:
    match option.kind:
        case Kind.BOOL:
            return _is(value, bool)
        case Kind.NUMBER:
            return _is(value, int)
        case Kind.BYTES:
            return value if type(value) is int else parse_ram(_is(value, str))
        case Kind.TEXT:
            return _is(value, str)
        case Kind.LIST:
            if option.name == "host-gateway-ip" and isinstance(value, str):
                return (value,)
            return tuple(_is(item, str) for item in _is(value, list))
        case Kind.MAP:
            return {key: _is(item, str) for key, item in _is(value, dict).items()}
        case Kind.POOLS:
            return tuple(_file_pool(_is(item, dict)) for item in _is(value, list))
        case Kind.RUNTIMES:
            return {name: _file_runtime(name, _is(item, dict)) for name, item in _is(value, dict).items()}
        case Kind.ULIMITS:
            return tuple(_file_ulimit(name, _is(item, dict)) for name, item in _is(value, dict).items())


def _is(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise _Wrong
    return value


def _file_pool(pool: Mapping[str, Any]) -> tuple[str, int]:
    return _is(pool.get("base", ""), str), _is(pool.get("size", 0), int)


def _file_runtime(name: str, runtime: Mapping[str, Any]) -> str:
    fields = {key.lower(): value for key, value in runtime.items()}
    path = _is(fields.pop("path", ""), str)
    for key, value in fields.items():
        if value:
            raise ValueError(f"{name}: {key} is not supported by this version of sampan")
    if not path:
        raise ValueError(f"{name}: either a runtimeType or a path must be configured")
    return str(path)


def _file_ulimit(name: str, ulimit: Mapping[str, Any]) -> Ulimit:
    fields = {key.lower(): value for key, value in ulimit.items()}
    soft = _is(fields.get("soft", 0), int)
    return Ulimit(_is(fields.get("name", name), str) or name, _is(fields.get("hard", soft), int), soft)


def _check(config: Config) -> None:
    """Raise InvalidParameter for the first setting whose value is wrong."""
    if config.log_level not in LOG_LEVELS:
        raise InvalidParameter(f"invalid logging level: {config.log_level}")
    if config.log_format not in {"text", "json"}:
        raise InvalidParameter(f"invalid log format: {config.log_format}")
    for label in config.label:
        key, equals, _ = label.partition("=")
        if not (key and equals):
            raise InvalidParameter(f"bad attribute format: {label}")
    _check_one_value_a_key(config.label)
    if config.mtu < 0:
        raise InvalidParameter(f"invalid default MTU: {config.mtu}")
    if config.default_shm_size < 0:
        raise InvalidParameter(f"invalid default shm size: {config.default_shm_size}")
    if config.default_cgroupns_mode not in {"", "host", "private"}:
        raise InvalidParameter(f"invalid default cgroup namespace: {config.default_cgroupns_mode}")
    if config.default_ipc_mode not in {"private", "shareable"}:
        raise InvalidParameter(
            f"IPC mode {config.default_ipc_mode} is not supported as default value; "
            "use 'private' or 'shareable'"
        )
    if config.default_runtime not in config.runtimes:
        raise InvalidParameter(f"specified default runtime '{config.default_runtime}' does not exist")
    if not config.live_restore:
        raise InvalidParameter("live-restore cannot be turned off: containers always outlive the daemon")
    if config.shutdown_timeout < _UNLIMITED:
        raise InvalidParameter(f"invalid shutdown timeout: {config.shutdown_timeout}")
    for option in config.exec_opt:
        if option != "native.cgroupdriver=cgroupfs":
            raise InvalidParameter(f"exec-opt {option} is not supported by this version of sampan")
    for key in parse_options(config.storage_opt):
        if key not in known_options():
            raise InvalidParameter(f"no storage driver has an option {key}")
    names = [driver.name for driver in DRIVERS]
    if config.storage_driver and config.storage_driver not in names:
        raise InvalidParameter(
            f'driver not supported: "{config.storage_driver}" (supported: {", ".join(names)})'
        )
    for path in (config.data_root, config.exec_root):
        if not path.is_absolute():
            raise InvalidParameter(f"{path} is not an absolute path")
    if config.init_path and not Path(config.init_path).is_file():
        raise InvalidParameter(f"init-path {config.init_path} is not a file")
    if config.tlsverify and not config.tlscacert:
        raise InvalidParameter("tlsverify needs tlscacert, the authority that clients' certificates are from")
    if config.uses_tls and not (config.tlscert and config.tlskey):
        raise InvalidParameter("TLS needs tlscert and tlskey, the daemon's certificate and its key")
    check_ulimits(config.default_ulimit)
    log_options(config.log_driver, config.log_opt)
    network_config(config)
    registry_settings(config)
    read_seccomp_profile(config.seccomp_profile)
    _ = config.hosts


def _check_one_value_a_key(labels: Sequence[str]) -> None:
    values: dict[str, str] = {}
    for label in labels:
        key, _, value = label.partition("=")
        if values.setdefault(key, value) != value:
            raise InvalidParameter(f"conflict labels for {key}={value} and {key}={values[key]}")
