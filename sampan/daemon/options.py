"""The daemon's options as data: dockerd's flags and the keys of daemon.json, and how a command line is read.

An option that dockerd has and this version does not serve is refused by name; one that is not here at all is
unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from sampan.base.errors import EngineError
from sampan.base.units import parse_bool, parse_int


class Kind(Enum):
    """What a value looks like; the text is what ``--help`` shows, the second Go's name in error messages."""

    BOOL = ("", "bool")
    TEXT = ("string", "string")
    NUMBER = ("int", "int")
    BYTES = ("bytes", "opts.MemBytes")
    LIST = ("list", "[]string")
    MAP = ("map", "map[string]string")
    POOLS = ("pool-options", "[]*ipamutils.NetworkToSplit")
    RUNTIMES = ("runtime", "map[string]system.RuntimeWithStatus")
    ULIMITS = ("ulimit", "map[string]*container.Ulimit")


@dataclass(frozen=True, slots=True)
class Option:
    """``name`` is the flag; ``key`` that of daemon.json ("": the same, None: it cannot stand there)."""

    name: str
    kind: Kind
    help: str
    short: str = ""
    key: str | None = ""
    default: str = ""

    @property
    def directive(self) -> str | None:
        """The name in daemon.json."""
        return self.name if self.key == "" else self.key


class UsageError(EngineError):
    """The command line is wrong."""


_B, _T, _N, _L, _M = Kind.BOOL, Kind.TEXT, Kind.NUMBER, Kind.LIST, Kind.MAP
OPTIONS: Final[tuple[Option, ...]] = (
    Option("add-runtime", Kind.RUNTIMES, "Register an additional OCI compatible runtime", key="runtimes"),
    Option("bip", _T, "Specify network bridge IP"),
    Option("bridge", _T, "Attach containers to a network bridge", short="b"),
    Option("cgroup-parent", _T, "Set parent cgroup for all containers"),
    Option("config-file", _T, "Daemon configuration file", key=None, default="/etc/sampan/daemon.json"),
    Option("data-root", _T, "Root directory of persistent state", default="/var/lib/sampan"),
    Option("debug", _B, "Enable debug mode", short="D"),
    Option(
        "default-address-pool",
        Kind.POOLS,
        "Default address pools for node specific local networks",
        key="default-address-pools",
    ),
    Option(
        "default-cgroupns-mode",
        _T,
        'Default mode for containers cgroup namespace ("host" | "private")',
        default="private",
    ),
    Option(
        "default-ipc-mode",
        _T,
        'Default mode for containers ipc ("shareable" | "private")',
        default="private",
    ),
    Option("default-runtime", _T, "Default OCI runtime for containers", default="crun"),
    Option("default-shm-size", Kind.BYTES, "Default shm size for containers", default="64MiB"),
    Option("default-ulimit", Kind.ULIMITS, "Default ulimits for containers", key="default-ulimits"),
    Option("dns", _L, "DNS server to use"),
    Option("dns-opt", _L, "DNS options to use", key="dns-opts"),
    Option("dns-search", _L, "DNS search domains to use"),
    Option("exec-opt", _L, "Runtime execution options", key="exec-opts"),
    Option("exec-root", _T, "Root directory for execution state files", default="/run/sampan"),
    Option("fixed-cidr", _T, "IPv4 subnet for fixed IPs"),
    Option("group", _T, "Group for the unix socket", short="G", default="docker"),
    Option("help", _B, "Print usage", key=None),
    Option("host", _L, "Daemon socket(s) to connect to", short="H", key="hosts"),
    Option(
        "host-gateway-ip",
        _L,
        "IP addresses that the special 'host-gateway' string in --add-host resolves to",
        key="host-gateway-ips",
    ),
    Option("http-proxy", _T, "HTTP proxy URL to use for outgoing traffic"),
    Option("https-proxy", _T, "HTTPS proxy URL to use for outgoing traffic"),
    Option("icc", _B, "Enable inter-container communication", default="true"),
    Option("init", _B, "Run an init in the container to forward signals and reap processes"),
    Option("init-path", _T, "Path to the init binary"),
    Option("insecure-registry", _L, "Enable insecure registry communication", key="insecure-registries"),
    Option("ip", _T, "Default IP when binding container ports", default="0.0.0.0"),  # noqa: S104
    Option("ip-forward", _B, "Enable IP forwarding in system configuration", default="true"),
    Option("ip-masq", _B, "Enable IP masquerading", default="true"),
    Option("iptables", _B, "Enable addition of firewall rules", default="true"),
    Option("label", _L, "Set key=value labels to the daemon", key="labels"),
    Option("live-restore", _B, "Keep containers running while the daemon is down", default="true"),
    Option("log-driver", _T, "Default driver for container logs", default="json-file"),
    Option("log-format", _T, 'Set the logging format ("text"|"json")', default="text"),
    Option(
        "log-level",
        _T,
        'Set the logging level ("debug"|"info"|"warn"|"error"|"fatal")',
        short="l",
        default="info",
    ),
    Option("log-opt", _M, "Default log driver options for containers", key="log-opts"),
    Option("max-concurrent-downloads", _N, "Set the max concurrent downloads", default="3"),
    Option("max-concurrent-uploads", _N, "Set the max concurrent uploads", default="5"),
    Option("max-download-attempts", _N, "Set the max download attempts for each pull", default="5"),
    Option("mtu", _N, 'Set the MTU for the default "bridge" network', default="1500"),
    Option("no-new-privileges", _B, "Set no-new-privileges by default for new containers"),
    Option("no-proxy", _T, "Comma-separated list of hosts that are reached without a proxy"),
    Option("pidfile", _T, "Path to use for daemon PID file", short="p"),
    Option("publish-default-host", _T, "Host address of published ports that name none, on every network"),
    Option("raw-logs", _B, "Full timestamps without ANSI coloring"),
    Option("registry-mirror", _L, "Preferred registry mirror", key="registry-mirrors"),
    Option(
        "seccomp-profile",
        _T,
        'Path to seccomp profile. Set to "unconfined" to disable the default seccomp profile',
        default="builtin",
    ),
    Option("shutdown-timeout", _N, "Set the default shutdown timeout", default="15"),
    Option("storage-driver", _T, "Storage driver to use", short="s"),
    Option("storage-opt", _L, "Storage driver options", key="storage-opts"),
    Option("tls", _B, "Use TLS; implied by --tlsverify"),
    Option("tlscacert", _T, "Trust certs signed only by this CA"),
    Option("tlscert", _T, "Path to TLS certificate file"),
    Option("tlskey", _T, "Path to TLS key file"),
    Option("tlsverify", _B, "Use TLS and verify the remote"),
    Option("userland-proxy", _B, "Use userland proxy for loopback traffic", default="true"),
    Option("validate", _B, "Validate daemon configuration and exit", key=None),
    Option("version", _B, "Print version information and quit", short="v", key=None),
)

# dockerd's other flags, and keys of daemon.json that are no flag
NOT_SERVED: Final = frozenset(
    (
        "allow-direct-routing allow-nondistributable-artifacts api-cors-header authorization-plugin "
        "authorization-plugins bip6 bridge-accept-fwmark builder cdi-spec-dir cdi-spec-dirs containerd "
        "containerd-namespace containerd-plugin-namespace containerd-plugins-namespace cpu-rt-period "
        "cpu-rt-runtime cri-containerd default-gateway default-gateway-v6 default-network-opt "
        "default-network-opts experimental features firewall-backend fixed-cidr-v6 "
        "ip-forward-no-drop ip6tables ipv6 metrics-addr network-control-plane-mtu "
        "node-generic-resource node-generic-resources oom-score-adjust rootless selinux-enabled "
        "swarm-default-advertise-addr userland-proxy-path "
        "userns-remap"
    ).split()
)

BY_FLAG: Final = {option.name: option for option in OPTIONS}
BY_DIRECTIVE: Final = {option.directive: option for option in OPTIONS if option.directive is not None}
_BY_SHORT: Final = {option.short: option for option in OPTIONS if option.short}

Given = dict[str, list[str]]  # flag name -> the texts given for it, in order


def parse_arguments(arguments: Sequence[str]) -> Given:
    """Read a command line (without the program) by pflag's rules. Raises UsageError in its words."""
    given: Given = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            _long(word, rest, given)
        elif word.startswith("-") and word != "-":
            _short(word, rest, given)
        else:
            rest.insert(0, word)
            break
    if rest:
        raise UsageError('"sampand" accepts no arguments.')
    return given


def _long(word: str, rest: list[str], given: Given) -> None:
    name, equals, value = word[2:].partition("=")
    option = BY_FLAG.get(name)
    if option is None:
        if name in NOT_SERVED:
            raise UsageError(f"flag --{name} is not supported by this version of sampan")
        raise UsageError(f"unknown flag: --{name}")
    if not equals:
        if option.kind is Kind.BOOL:
            value = "true"
        elif rest:
            value = rest.pop(0)
        else:
            raise UsageError(f"flag needs an argument: --{name}")
    _give(option, value, given)


def _short(word: str, rest: list[str], given: Given) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = _BY_SHORT.get(letter)
        if option is None:
            raise UsageError(f"unknown shorthand flag: '{letter}' in {word}")
        if letters.startswith("="):
            value, letters = letters[1:], ""
        elif option.kind is Kind.BOOL:
            value = "true"
        elif letters:
            value, letters = letters, ""
        elif rest:
            value = rest.pop(0)
        else:
            raise UsageError(f"flag needs an argument: '{letter}' in {word}")
        _give(option, value, given)


def _give(option: Option, value: str, given: Given) -> None:
    try:
        if option.kind is Kind.BOOL:
            parse_bool(value)
        elif option.kind is Kind.NUMBER:
            parse_int(value)
    except ValueError as error:
        name = f"-{option.short}, --{option.name}" if option.short else f"--{option.name}"
        raise UsageError(f'invalid argument "{value}" for "{name}" flag: {error}') from error
    given.setdefault(option.name, []).append(value)


def usage() -> str:
    """Return the text of ``--help``."""
    lines = ["", "Usage:  sampand [OPTIONS]", "", "A self-sufficient runtime for containers.", "", "Options:"]
    for option in OPTIONS:
        short = f"-{option.short}, " if option.short else "    "
        head = f"  {short}--{option.name} {option.kind.value[0]}".rstrip()
        default = ""
        if option.default and option.default != "false":
            quoted = option.kind is Kind.TEXT
            default = f' (default "{option.default}")' if quoted else f" (default {option.default})"
        lines.append(f"{head:<40} {option.help}{default}")
    return "\n".join(lines)
