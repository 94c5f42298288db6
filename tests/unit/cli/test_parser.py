"""The command table and the reading of command lines. Messages are those of Docker's client 28.2.2."""

import csv
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from support.shared import shared

from sampan import cli
from sampan.cli import help as help_pages
from sampan.cli.parser import Parsed, UsageError, flag_line, flag_type, late_error, parse
from sampan.cli.table import ALIASES, COMMANDS


def read(*argv: str, **environ: str) -> Parsed:
    return parse(list(argv), environ)


def refusal(*argv: str, status: int = 125) -> str:
    with pytest.raises(UsageError) as caught:
        read(*argv)
    assert caught.value.status == status
    return str(caught.value)


def paragraph(*argv: str) -> str:
    return refusal(*argv).partition("\n\n")[0]


def invalid(value: str, flag: str, why: str) -> str:
    return f'invalid argument "{value}" for "{flag}" flag: {why}'


def surface(name: str) -> Iterator[list[str]]:
    with shared(f"data/surface/{name}.tsv").open(newline="") as file:
        yield from list(csv.reader(file, delimiter="\t"))[1:]


def test_every_command_and_flag_of_docker_is_known() -> None:
    unknown = []
    for command, flag, kind, _ in surface("cli_surface"):
        path = command.removeprefix("docker").strip()
        path = ALIASES.get(path, path)
        if path not in COMMANDS:
            unknown.append(path)
        elif kind != "COMMAND":
            *short, name = flag.replace(",", "").split()
            line = flag_line(COMMANDS[path][4] or (), name.removeprefix("--"))
            if line is None or (short and not line.startswith(short[0])):
                unknown.append(f"{path} {flag}")
    assert unknown == []


def test_every_command_of_dockers_plugins_is_known() -> None:
    paths = {row[0].removeprefix("docker ") for row in surface("plugin_cli_surface") if row[2] == "COMMAND"}
    assert paths <= set(COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_entries_of_the_table_are_well_formed(command: str) -> None:
    usage, fewest, most, summary, flags = COMMANDS[command]
    assert summary
    assert "docker" not in usage
    assert most == -1 or fewest <= most
    lines = flags or ()
    for line in lines:
        kind, attributes = flag_type(line)
        assert line[0] in "- "
        assert line[2:5] == " --"
        assert kind
        assert set(attributes) <= {"check", "default", "env", "is", "hidden"}
        assert line.partition(": ")[2]
        read_default = parse([], {}).flags.__class__(lines, {})[line[5 : line.index(" ", 5)]]
        assert read_default is not None
    names = [line[5 : line.index(" ", 5)] for line in lines]
    shorts = [line[1] for line in lines if line[0] == "-"]
    assert len(set(names)) == len(names)
    assert len(set(shorts)) == len(shorts)


def test_aliases_lead_to_commands() -> None:
    assert set(ALIASES.values()) <= set(COMMANDS)
    assert not set(ALIASES) & set(COMMANDS)


@pytest.mark.parametrize(
    ("argv", "command", "path", "args"),
    [
        (["ps"], "container ls", "ps", []),
        (["container", "ls"], "container ls", "container ls", []),
        (["container", "list"], "container ls", "container list", []),
        (["rmi", "a", "b"], "image rm", "rmi", ["a", "b"]),
        (["image", "rm", "a"], "image rm", "image rm", ["a"]),
        (["trust", "key", "load", "f"], "trust key load", "trust key load", ["f"]),
        (["compose", "up", "-d", "--x"], "compose up", "compose up", ["-d", "--x"]),
        (["compose", "frob"], "compose", "compose", ["frob"]),
        (["image", "bootstrap", "busybox"], "image bootstrap", "image bootstrap", ["busybox"]),
    ],
)
def test_commands_by_any_spelling(argv: list[str], command: str, path: str, args: list[str]) -> None:
    parsed = read(*argv)
    assert (parsed.command, parsed.path, parsed.args) == (command, path, args)


@pytest.mark.parametrize(
    ("argv", "flags", "args"),
    [
        (["ps", "-aq", "--no-trunc"], {"all": True, "quiet": True, "no-trunc": True}, []),
        (["ps", "--all=false", "-n5"], {"all": False, "last": 5}, []),
        (["ps", "-n", "-1", "-n=7"], {"last": 7}, []),
        (["ps", "-qf", "name=a", "-f", "NAME=b", "-f", "status= x "], None, []),
        (["logs", "c", "-f", "--tail", "5"], {"follow": True, "tail": "5"}, ["c"]),
        (
            ["run", "-it", "--rm", "img", "-x", "--rm=1"],
            {"interactive": True, "tty": True, "rm": True},
            ["img", "-x", "--rm=1"],
        ),
        (["run", "--", "img", "--", "a"], {}, ["img", "--", "a"]),
        (["rm", "a", "--", "-f"], {}, ["a", "-f"]),
        (
            ["exec", "-eA=1", "-e", "B=2", "c", "sh", "-c", "x"],
            {"env": ["A=1", "B=2"]},
            ["c", "sh", "-c", "x"],
        ),
        (
            ["run", "-itu", "root", "-w=/x", "i"],
            {"interactive": True, "tty": True, "user": "root", "workdir": "/x"},
            ["i"],
        ),
        (["run", "--net", "a", "--network", "b", "i"], {"network": [{"name": "a"}, {"name": "b"}]}, ["i"]),
        (["run", "-h", "web", "i"], {"hostname": "web"}, ["i"]),
        (["run", "-", "i"], {}, ["-", "i"]),
        (
            ["network", "create", "--subnet", "a,b", "--subnet=c", "-o", "x=1", "-o", "y", "n"],
            {"subnet": ["a", "b", "c"], "opt": {"x": "1", "y": ""}},
            ["n"],
        ),
        (["stop", "--time", "3", "c"], {"timeout": 3}, ["c"]),
        (
            ["run", "-m1g", "--cpus", "1.5", "--memory-swap=-1", "i"],
            {"memory": 2**30, "cpus": 1_500_000_000, "memory-swap": -1},
            ["i"],
        ),
        (["run", "--health-interval=1m30s", "i"], {"health-interval": 90 * 10**9}, ["i"]),
        (["top", "c", "-o", "pid"], {}, ["c", "-o", "pid"]),
    ],
)
def test_flags(argv: list[str], flags: dict[str, Any] | None, args: list[str]) -> None:
    parsed = read(*argv)
    if flags is None:
        flags = {"quiet": True, "filter": {"name": ["a", "b"], "status": ["x"]}}
    assert (dict(parsed.flags), parsed.args) == (flags, args)


def test_defaults_are_there_and_not_given() -> None:
    flags = read("run", "i").flags
    assert (flags["pull"], flags["sig-proxy"], flags["memory-swappiness"], flags["env"]) == (
        "missing",
        True,
        -1,
        [],
    )
    assert (flags["memory"], flags["sysctl"], flags["platform"]) == (0, {}, "")
    assert dict(flags) == {}
    assert "pull" not in flags
    assert flags.get("detach") is False
    assert flags.get("no-such-flag", 7) == 7
    with pytest.raises(KeyError):
        flags["no-such-flag"]


def test_the_environment_gives_defaults() -> None:
    assert read("run", "i", DOCKER_DEFAULT_PLATFORM="linux/arm64").flags["platform"] == "linux/arm64"
    assert read("ps", DOCKER_TLS_VERIFY="0").globals["tlsverify"] is True
    assert read("--tlsverify=false", "ps", DOCKER_TLS_VERIFY="1").globals["tlsverify"] is False


def test_flags_of_the_program_come_first() -> None:
    parsed = read("-D", "-H", "unix:///x", "--context=c", "ps", "-a")
    assert dict(parsed.globals) == {"debug": True, "host": ["unix:///x"], "context": "c"}
    assert dict(parsed.flags) == {"all": True}
    assert paragraph("ps", "-D") == "unknown shorthand flag: 'D' in -D"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "--foo", "i"], "unknown flag: --foo"),
        (["run", "--foo=1", "i"], "unknown flag: --foo"),
        (["run", "-z", "i"], "unknown shorthand flag: 'z' in -z"),
        (["run", "-itz", "i"], "unknown shorthand flag: 'z' in -z"),
        (["run", "-izt", "i"], "unknown shorthand flag: 'z' in -zt"),
        (["run", "--name"], "flag needs an argument: --name"),
        (["run", "-e"], "flag needs an argument: 'e' in -e"),
        (["run", "-ite"], "flag needs an argument: 'e' in -e"),
        (["run", "--=x"], "bad flag syntax: --=x"),
        (["run", "---x"], "bad flag syntax: ---x"),
        (["run", "-m", "x", "i"], invalid("x", "-m, --memory", "invalid size: 'x'")),
        (
            ["run", "--rm=maybe", "i"],
            invalid("maybe", "--rm", 'strconv.ParseBool: parsing "maybe": invalid syntax'),
        ),
        (["ps", "-n", "x"], invalid("x", "-n, --last", 'strconv.ParseInt: parsing "x": invalid syntax')),
        (
            ["run", "--blkio-weight", "99999", "x"],
            invalid("99999", "--blkio-weight", 'strconv.ParseUint: parsing "99999": value out of range'),
        ),
        (["ps", "-f", "x"], invalid("x", "-f, --filter", "bad format of filter (expected name=value)")),
        (["run", "-l=", "i"], invalid("=", "-l, --label", "invalid label '=': empty name")),
        (["run", "--gpus=x=y", "i"], invalid("x=y", "--gpus", "unexpected key 'x' in 'x=y'")),
        (
            ["run", "--health-interval=x", "i"],
            invalid("x", "--health-interval", 'time: invalid duration "x"'),
        ),
        (["run", "-m", 'a"b', "i"], invalid('a\\"b', "-m, --memory", "invalid size: 'a\"b'")),
        (
            ["context", "create", "--docker", "x", "n"],
            invalid("x", "--docker", "x must be formatted as key=value"),
        ),
        (["container", "--foo"], "unknown flag: --foo"),
    ],
)
def test_flags_that_are_refused(argv: list[str], message: str) -> None:
    assert paragraph(*argv) == message


def test_a_refused_flag_is_followed_by_the_usage() -> None:
    assert refusal("run", "--foo") == (
        "unknown flag: --foo\n\nUsage:  sampan run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n"
        "Run 'sampan run --help' for more information"
    )
    assert refusal("--foo", "ps") == (
        "unknown flag: --foo\n\nUsage:  sampan [OPTIONS] COMMAND [ARG...]\n\n"
        "Run 'sampan --help' for more information"
    )


@pytest.mark.parametrize(
    ("argv", "message", "verb"),
    [
        (["rm"], "'sampan rm' requires at least 1 argument", "See"),
        (["exec", "c"], "'sampan exec' requires at least 2 arguments", "See"),
        (["container", "ls", "x"], "'sampan container ls' accepts no arguments", "Run"),
        (["tag", "a"], "'sampan tag' requires 2 arguments", "Run"),
        (["pull"], "'sampan pull' requires 1 argument", "Run"),
        (["images", "a", "b"], "'sampan images' requires at most 1 argument", "Run"),
        (["port"], "'sampan port' requires at least 1 argument", "See"),
    ],
)
def test_a_wrong_number_of_arguments(argv: list[str], message: str, verb: str) -> None:
    said = refusal(*argv, status=1)
    path = message.split("'")[1]
    assert said.startswith(f"sampan: {message}\n\nUsage:  {path} ")
    assert said.endswith(f"\n\n{verb} '{path} --help' for more information")


def test_unknown_commands() -> None:
    assert refusal("foo", status=1) == (
        "sampan: unknown command: sampan foo\n\nRun 'sampan --help' for more information"
    )
    assert refusal("container", "foo", status=1) == (
        "sampan: unknown command: sampan container foo\n\nUsage:  sampan container COMMAND\n\n"
        "Run 'sampan container --help' for more information"
    )
    assert refusal("help", "foo", status=1) == "unknown help topic: foo"


@pytest.mark.parametrize(
    ("argv", "command", "stream"),
    [
        ([], "", "stderr"),
        (["container"], "container", "stderr"),
        (["--help"], "", "stdout"),
        (["help"], "", "stdout"),
        (["help", "ps"], "container ls", "stdout"),
        (["ps", "--help"], "container ls", "stdout"),
        (["run", "--help", "x"], "container run", "stdout"),
        (["rm", "--help"], "container rm", "stdout"),
        (["container", "--help"], "container", "stdout"),
        (["-v"], "", ""),
        (["run", "img", "--help"], "container run", ""),
    ],
)
def test_help(argv: list[str], command: str, stream: str) -> None:
    parsed = read(*argv)
    assert (parsed.command, parsed.help) == (command, stream)


def test_warnings_of_old_spellings() -> None:
    assert read("stop", "--time=1", "c").warnings == [
        "Flag --time has been deprecated, use --timeout instead"
    ]
    assert read("ps", "-h").warnings == ["Flag shorthand -h has been deprecated, use --help"]
    assert read("run", "--kernel-memory=1m", "i").warnings == [
        "Flag --kernel-memory has been deprecated, and no longer supported by the kernel"
    ]


def test_late_errors_name_the_command_as_typed() -> None:
    error = late_error(read("container", "run", "i"), "invalid containerPort: x")
    assert (str(error), error.status) == (
        "sampan: invalid containerPort: x\n\nRun 'sampan container run --help' for more information",
        125,
    )


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_a_help_page(command: str) -> None:
    page = help_pages.render(command)
    assert page.startswith(f"Usage:  sampan {command}".rstrip())
    assert "hidden" not in page.lower()
    assert max(map(len, page.splitlines())) <= 100


def test_a_help_page() -> None:
    assert help_pages.render("container stop", "stop") == (
        "Usage:  sampan stop [OPTIONS] CONTAINER [CONTAINER...]\n\n"
        "Stop one or more running containers\n\n"
        "Aliases:\n  sampan container stop, sampan stop\n\n"
        "Options:\n"
        "  -s, --signal string   Signal to deliver\n"
        "  -t, --timeout int     Seconds to wait\n"
    )


def test_a_group_lists_its_commands() -> None:
    page = help_pages.render("trust")
    assert "Management Commands:\n  key         Manage signing keys\n" in page
    assert "\nCommands:\n  inspect     " in page
    assert page.endswith("Run 'sampan trust COMMAND --help' for more information on a command.\n")


def test_the_hot_path_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from sampan.cli.parser import parse\n"
        "from sampan.cli.options import container_body\n"
        "from sampan.cli.format import Formatter\n"
        "line = parse(['run', '-it', '-eA=1', '-v/a:/b', '-p80:80', '-m1g', 'img', 'sh'], {})\n"
        "container_body(line.flags, line.args, {})\n"
        "Formatter('container').render([{'Id': 'a', 'Names': ['/b'], 'Command': 'sh'}])\n"
        "heavy = {'re', 'json', 'typing', 'enum', 'dataclasses', 'pathlib', 'argparse', 'datetime',\n"
        "         'msgspec', 'collections', 'functools', 'contextlib', 'sampan.cli.gotemplate'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))))"
    )
    root = cli.__file__.removesuffix("/sampan/cli/__init__.py")
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-I", "-c", code, root], check=False, capture_output=True, text=True
    )
    assert done.stderr.strip() == ""
