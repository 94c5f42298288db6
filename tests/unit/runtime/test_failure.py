"""What runtimes complain of, in Docker's words and with Docker's exit codes."""

import pytest

from sampan.base.errors import InvalidParameter
from sampan.runtime.failure import CREATE, EXEC, explain

RUNC = '{"level":"error","msg":"%s","time":"2026-11-24T03:54:05Z"}\n'
CRUN = '{"msg":"%s","level":"error","time":"2026-11-24T03:54:01.974606Z"}'
RUN = "runc run failed: unable to start container process: "
NOT_FOUND = 'exec: "nosuch": executable file not found in $PATH'


@pytest.mark.parametrize(
    ("text", "command", "reason", "code"),
    [
        (
            CRUN % "executable file `nosuch` not found in $PATH: No such file or directory",
            "nosuch",
            NOT_FOUND,
            127,
        ),
        (
            CRUN % "executable file `/no/such` not found in $PATH: No such file or directory",
            "/no/such",
            'exec: "/no/such": stat /no/such: no such file or directory',
            127,
        ),
        (CRUN % "open executable: Permission denied", "/x", 'exec: "/x": permission denied', 126),
        (
            CRUN % "chdir `/nodir`: No such file or directory",
            "ls",
            'chdir to cwd ("/nodir") set in config.json failed: no such file or directory',
            127,
        ),
        (
            RUNC % (RUN + 'exec: \\"nosuch\\": executable file not found in $PATH'),
            "nosuch",
            NOT_FOUND,
            127,
        ),
        (
            RUNC % (RUN + 'exec: \\"/etc\\": permission denied'),
            "/etc",
            'exec: "/etc": permission denied',
            126,
        ),
    ],
)
def test_commands_that_cannot_be_run(text: str, command: str, reason: str, code: int) -> None:
    error = explain(text, action=CREATE, runtime="crun", command=command, status=1)
    assert str(error) == (
        "failed to create task for container: failed to create shim task: OCI runtime create failed: "
        f"crun create failed: unable to start container process: {reason}: unknown"
    )
    assert error.exit_code == code
    assert isinstance(error, InvalidParameter)


def test_a_directory_is_no_command() -> None:
    text = CRUN % "open executable: Operation not permitted"
    error = explain(text, action=CREATE, runtime="crun", command="/etc", status=1)
    assert str(error).endswith(': exec: "/etc": is a directory: unknown: permission denied')
    assert error.exit_code == 126
    assert isinstance(error, InvalidParameter)


def test_a_file_is_no_working_directory() -> None:
    text = CRUN % "chdir `/etc/passwd`: Not a directory"
    error = explain(text, action=CREATE, runtime="crun", command="ls", status=1)
    assert str(error) == "Cannot mkdir: /etc/passwd is not a directory"


def test_execs_have_words_of_their_own() -> None:
    said = 'exec: \\"nosuch\\": executable file not found in $PATH'
    text = RUNC % f"exec failed: unable to start container process: {said}"
    error = explain(text, action=EXEC, runtime="runc", command="nosuch", status=255)
    assert str(error) == (
        f"OCI runtime exec failed: exec failed: unable to start container process: {NOT_FOUND}: unknown"
    )
    assert error.exit_code == 127


def test_mounts_of_the_wrong_kind_get_dockers_advice() -> None:
    text = CRUN % "mount `/etc/passwd` to `etc`: Not a directory"
    error = explain(text, action=CREATE, runtime="crun", command="ls", status=1)
    assert str(error).endswith(
        ": Not a directory: unknown: Are you trying to mount a directory onto a file (or vice-versa)? "
        "Check if the specified host path exists and is the expected type"
    )
    assert error.exit_code == 127


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            CRUN % "setrlimit `RLIMIT_NOFILE`: Operation not permitted",
            "setrlimit `RLIMIT_NOFILE`: Operation not permitted",
        ),
        ("panic: odd\n\nlast line of output\n", "last line of output"),
        ('{"level":"warning","msg":"never mind"}\n', "crun ended with status 3 and gave no reason"),
        ('{"level":"warning","msg":"never mind"}\n{"level":"fatal","msg":"truly"}\n', "truly"),
        ("", "crun ended with status 3 and gave no reason"),
        ('{"level":1}\n', '{"level":1}'),
    ],
)
def test_everything_else_is_the_hosts_failure(text: str, reason: str) -> None:
    error = explain(text, action=CREATE, runtime="crun", command="ls", status=3)
    assert str(error).endswith(f"unable to start container process: {reason}: unknown")
    assert error.exit_code == 128
    assert not isinstance(error, InvalidParameter)
