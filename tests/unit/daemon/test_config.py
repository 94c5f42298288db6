"""The daemon's settings: flags, daemon.json, both at once, and what is wrong with them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sampan.base.errors import InvalidParameter
from sampan.daemon.config import Config, ConfigError, load_config, reload_config
from sampan.daemon.hosts import Host, parse_host
from sampan.daemon.options import BY_DIRECTIVE, NOT_SERVED, OPTIONS, UsageError, parse_arguments, usage
from sampan.daemon.settings import (
    container_defaults,
    engine_settings,
    network_config,
    registry_settings,
)
from sampan.kernel.host import probe
from sampan.wire.containers import Ulimit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "daemon.json"


def load(file: Path, document: Any = None, *words: str) -> Config:
    """Load with a file that holds ``document`` (None: there is none) and the flags ``words``."""
    if document is None:
        return load_config(parse_arguments(words))
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return load_config(parse_arguments(["--config-file", str(file), *words]))


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["-D"], {"debug": ["true"]}),
        (["--debug=false"], {"debug": ["false"]}),
        (["-H", "unix:///a", "--host=tcp://b"], {"host": ["unix:///a", "tcp://b"]}),
        (["-Hunix:///a"], {"host": ["unix:///a"]}),
        (["-H=unix:///a"], {"host": ["unix:///a"]}),
        (["-Dl", "debug"], {"debug": ["true"], "log-level": ["debug"]}),
        (["--mtu", "1400", "--"], {"mtu": ["1400"]}),
        (["--label", "a=b=c"], {"label": ["a=b=c"]}),
    ],
    ids=str,
)
def test_command_lines_are_read_as_dockerd_reads_them(words: list[str], given: dict[str, list[str]]) -> None:
    assert parse_arguments(words) == given


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["-x"], "unknown shorthand flag: 'x' in -x"),
        (["--mtu"], "flag needs an argument: --mtu"),
        (["-l"], "flag needs an argument: 'l' in -l"),
        (
            ["--mtu", "x"],
            'invalid argument "x" for "--mtu" flag: strconv.ParseInt: parsing "x": invalid syntax',
        ),
        (
            ["-D=x"],
            'invalid argument "x" for "-D, --debug" flag: strconv.ParseBool: parsing "x": invalid syntax',
        ),
        (["foo"], '"sampand" accepts no arguments.'),
        (["--", "--debug"], '"sampand" accepts no arguments.'),
        (["--metrics-addr=x"], "flag --metrics-addr is not supported by this version of sampan"),
    ],
    ids=str,
)
def test_wrong_command_lines_are_refused_in_pflags_words(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_arguments(words)
    assert str(caught.value) == message


def test_every_option_is_a_setting_and_shown() -> None:
    text = usage()
    for option in OPTIONS:
        assert f"--{option.name} " in text + " "
        if option.directive is not None:
            assert option.name.replace("-", "_") in Config.__dataclass_fields__
    assert not NOT_SERVED & set(BY_DIRECTIVE)


def test_the_defaults() -> None:
    config = load_config({})
    assert config == Config()
    assert config.hosts == [Host("unix", "/run/sampan/sampan.sock")]
    assert str(config.pid_path) == "/run/sampan/sampan.pid"
    assert str(config.data_root) == "/var/lib/sampan"
    assert config.runtimes == {"crun": "crun", "runc": "runc"}


def test_a_file_sets_what_flags_set(file: Path) -> None:
    written = {
        "bip": "172.30.0.1/24",
        "cgroup-parent": "/x",
        "data-root": "/d",
        "debug": True,
        "default-address-pools": [{"base": "10.0.0.0/8", "size": 24}],
        "default-runtime": "mine",
        "default-shm-size": "1g",
        "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 20, "Soft": 10}},
        "dns": ["1.1.1.1"],
        "dns-opts": ["ndots:1"],
        "dns-search": ["example.com"],
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "exec-root": "/e",
        "hosts": ["unix:///s", "tcp://127.0.0.1:1"],
        "icc": False,
        "insecure-registries": ["10.0.0.0/8", "reg:5000"],
        "labels": ["a=b"],
        "live-restore": True,
        "log-driver": "local",
        "log-opts": {"max-size": "1m"},
        "max-concurrent-downloads": 7,
        "mtu": 1400,
        "proxies": {"https-proxy": "http://p:3128", "no-proxy": "x"},
        "registry-mirrors": ["https://m"],
        "runtimes": {"mine": {"path": "/usr/bin/mine"}},
        "storage-driver": "vfs",
    }
    words = [
        *("--bip", "172.30.0.1/24", "--cgroup-parent", "/x", "--data-root", "/d", "-D"),
        *("--default-address-pool", "base=10.0.0.0/8,size=24", "--default-runtime", "mine"),
        *("--default-shm-size", "1g", "--default-ulimit", "nofile=10:20", "--dns", "1.1.1.1"),
        *("--dns-opt", "ndots:1", "--dns-search", "example.com", "--exec-root", "/e"),
        *("--exec-opt", "native.cgroupdriver=cgroupfs", "-H", "unix:///s", "-H", "tcp://127.0.0.1:1"),
        *("--icc=false", "--label", "a=b", "--live-restore", "--log-driver", "local"),
        *("--log-opt", "max-size=1m", "--mtu", "1400", "--add-runtime", "mine=/usr/bin/mine", "-s", "vfs"),
        *("--insecure-registry", "10.0.0.0/8", "--insecure-registry", "reg:5000"),
        *("--registry-mirror", "https://m", "--max-concurrent-downloads", "7"),
        *("--https-proxy", "http://p:3128", "--no-proxy", "x"),
    ]
    config = load(file, written)
    assert config == replace(load(file, None, *words), config_file=str(file))
    assert config.default_shm_size == 1 << 30
    assert config.default_ulimit == (Ulimit("nofile", 20, 10),)
    network = network_config(config)
    assert str(network.bip) == "172.30.0.1/24"
    assert [(str(base), size) for base, size in network.default_address_pools] == [("10.0.0.0/8", 24)]
    assert (network.icc, network.mtu, network.dns, network.dns_options) == (
        False,
        1400,
        ("1.1.1.1",),
        ("ndots:1",),
    )
    defaults = container_defaults(config, probe())
    assert (defaults.log_driver, defaults.log_options, defaults.runtime) == (
        "local",
        {"max-size": "1m"},
        "mine",
    )
    registries = registry_settings(config)
    assert registries.is_insecure("reg:5000")
    assert registries.is_insecure("10.1.2.3:5000")
    assert not registries.is_insecure("reg")
    assert (registries.mirrors, registries.max_downloads) == (("https://m/",), 7)
    assert registries.proxies == {"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "x"}
    settings = engine_settings(config, "id")
    assert settings.labels == ("a=b",)
    assert settings.runtimes == {"crun": "crun", "runc": "runc", "mine": "/usr/bin/mine"}
    assert "without encryption" in settings.warnings[0]


CANNOT = "unable to configure the Docker daemon with file {}: "
MERGED = CANNOT + "merged configuration validation from file and command line flags failed: "


@pytest.mark.parametrize(
    ("document", "words", "message"),
    [
        (
            {"foo": 1, "bar": 2},
            [],
            CANNOT + "the following directives don't match any configuration option: bar, foo",
        ),
        (
            {"metrics-addr": "", "debug": True},
            [],
            CANNOT + "the following directives are not supported by this version of sampan: metrics-addr",
        ),
        (
            {"registry-mirrors": ["ftp://x"]},
            [],
            MERGED + 'invalid mirror: unsupported scheme "ftp" in "ftp://x": must use either',
        ),
        (
            {"insecure-registries": ["svn://x"]},
            [],
            MERGED + "insecure registry svn://x should not contain '://'",
        ),
        ({"max-download-attempts": -1}, [], MERGED + "invalid max download attempts: -1"),
        ({"max-concurrent-uploads": -1}, [], MERGED + "invalid max concurrent uploads: -1"),
        ({"proxies": {"http-proxy": "ftp://x"}}, [], MERGED + "invalid proxy address 'ftp://x'"),
        (
            {"proxies": {"x": ""}},
            [],
            CANNOT + "the following directives don't match any configuration option: x",
        ),
        (
            {"debug": True},
            ["-D"],
            CANNOT + "the following directives are specified both as a flag and in the configuration file: "
            "debug: (from flag: true, from file: true)",
        ),
        (
            {"labels": ["a=b", "c=d"], "mtu": 5},
            ["--label", "x=y", "--mtu", "6"],
            CANNOT + "the following directives are specified both as a flag and in the configuration file: "
            "labels: (from flag: [x=y], from file: [a=b c=d]), mtu: (from flag: 6, from file: 5)",
        ),
        (
            {"debug": "x"},
            [],
            CANNOT + "json: cannot unmarshal string into Go struct field Config.debug of type bool",
        ),
        (
            {"hosts": "x"},
            [],
            CANNOT + "json: cannot unmarshal string into Go struct field Config.hosts of type []string",
        ),
        (
            {"mtu": 1.5},
            [],
            CANNOT + "json: cannot unmarshal number into Go struct field Config.mtu of type int",
        ),
        ({"labels": ["a"]}, [], MERGED + "bad attribute format: a"),
        ({"labels": ["a=b", "a=c"]}, [], MERGED + "conflict labels for a=c and a=b"),
        ({"log-level": "x"}, [], MERGED + "invalid logging level: x"),
        ({"mtu": -3}, [], MERGED + "invalid default MTU: -3"),
        ({"default-runtime": "x"}, [], MERGED + "specified default runtime 'x' does not exist"),
        (
            {"live-restore": False},
            [],
            MERGED + "live-restore cannot be turned off: containers always outlive the daemon",
        ),
        ({"bip": "x"}, [], MERGED + "invalid CIDR address: x"),
        ({"dns": ["x"]}, [], MERGED + "x is not an ip address"),
        ({"dns-search": ["a b"]}, [], MERGED + "a b is not a valid domain"),
        ({"hosts": ["foo://x"]}, [], MERGED + "invalid bind address (foo://x): unsupported proto 'foo'"),
        ({"log-driver": "nope"}, [], MERGED + "error looking up logging plugin nope"),
        ({"log-opts": {"nope": "1"}}, [], MERGED + "unknown log opt 'nope' for json-file log driver"),
        (
            {"storage-opts": ["x=y"]},
            [],
            MERGED + "no storage driver has an option x",
        ),
        (
            {"runtimes": {"x": {}}},
            [],
            CANNOT + "runtimes: x: either a runtimeType or a path must be configured",
        ),
        (
            {"runtimes": {"x": {"path": "x", "runtimeArgs": ["a"]}}},
            [],
            CANNOT + "runtimes: x: runtimeargs is not supported by this version of sampan",
        ),
        ({"tlsverify": True}, [], MERGED + "tlsverify needs tlscacert"),
        ({"data-root": "relative"}, [], MERGED + "relative is not an absolute path"),
        ({"default-ulimits": {"nope": {"Soft": 1}}}, [], MERGED + "invalid ulimit type: nope"),
        ({"seccomp-profile": "/nope"}, [], MERGED + "opening seccomp profile (/nope) failed"),
        ("[]", [], CANNOT + "the file does not hold a JSON object"),
        ("{bad", [], CANNOT),
    ],
    ids=str,
)
def test_wrong_files_are_refused_in_dockers_words(
    file: Path, document: Any, words: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(file, document, *words)
    assert str(caught.value).startswith(message.format(file))


def test_wrong_flags_are_refused_without_naming_a_file() -> None:
    for words, message in (
        (["-l", "x"], "invalid logging level: x"),
        (
            ["--default-shm-size", "x"],
            'invalid argument "x" for "--default-shm-size" flag: invalid size: \'x\'',
        ),
        (
            ["--add-runtime", "x"],
            'invalid argument "x" for "--add-runtime" flag: invalid runtime argument: x',
        ),
        (["--default-address-pool", "x"], "invalid field 'x' must be a key=value pair"),
        (["-b", "br0", "--bip", "10.0.0.1/8"], "You specified -b & --bip, mutually exclusive options."),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(parse_arguments(words))
        assert message in str(caught.value)
        assert "unable to configure" not in str(caught.value)


def test_a_file_that_is_asked_for_must_be_there(file: Path) -> None:
    with pytest.raises(ConfigError, match=f"with file {file}: open {file}: no such file or directory"):
        load_config(parse_arguments(["--config-file", str(file)]))


@pytest.mark.parametrize("text", ["", " \n", "{}", '\ufeff{"debug":false}'])
def test_an_empty_file_is_fine(file: Path, text: str) -> None:
    assert load(file, text) == Config(config_file=str(file))


def test_reloading_changes_what_may_change(file: Path) -> None:
    given = {"config-file": [str(file)], "mtu": ["1400"]}
    running = load(file, {"labels": ["a=b"]}, "--mtu", "1400")
    file.write_text(json.dumps({"labels": ["c=d"], "debug": True, "data-root": "/other", "icc": False}))
    fresh = reload_config(running, given)
    assert (fresh.label, fresh.debug) == (("c=d",), True)
    assert (fresh.data_root, fresh.icc, fresh.mtu) == (running.data_root, True, 1400)
    file.write_text("{")
    with pytest.raises(ConfigError):
        reload_config(running, given)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("unix:///run/x.sock", Host("unix", "/run/x.sock")),
        ("fd://", Host("fd", "*")),
        ("fd://*", Host("fd", "*")),
        ("fd://4", Host("fd", "4")),
        ("tcp://", Host("tcp", "localhost", 2375)),
        ("tcp://0.0.0.0", Host("tcp", "0.0.0.0", 2375)),
        ("tcp://[::1]:5", Host("tcp", "::1", 5)),
        ("127.0.0.1:4243", Host("tcp", "127.0.0.1", 4243)),
        (":4243", Host("tcp", "localhost", 4243)),
        ("tcp://:0", Host("tcp", "localhost", 0)),
    ],
)
def test_hosts(text: str, host: Host) -> None:
    assert parse_host(text, tls=False) == host


def test_hosts_with_tls_have_another_port() -> None:
    assert parse_host("tcp://0.0.0.0", tls=True).port == 2376


@pytest.mark.parametrize(
    "text",
    [
        "unix://relative",
        "tcp://a:b",
        "tcp://a:70000",
        "tcp://a/b",
        "tcp://::1",
        "tcp://[::1",
        "http://a",
        "fd://x",
    ],
)
def test_bad_hosts(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"^invalid bind address \("):
        parse_host(text, tls=False)


def test_hosts_are_shown_as_they_are_written() -> None:
    for text in ("unix:///a", "fd://*", "tcp://1.2.3.4:5", "tcp://[::1]:5"):
        assert str(parse_host(text, tls=False)) == text
