"""From a runtime's complaint to Docker's words and exit code. Pure text, no system calls.

Clients match on these messages: the CLI of ``docker run`` chooses between 125, 126 and 127 by them. The words
are those of runc, whatever runtime it was; the exit codes are those of moby's daemon.
"""

from typing import Final

import msgspec

from sampan.runtime.task import CommandNotStarted, RuntimeFailed

CREATE: Final = "create"
EXEC: Final = "exec"
_COMMAND_NOT_FOUND: Final = 127
_COMMAND_NOT_EXECUTABLE: Final = 126
_UNKNOWN: Final = 128
_CHDIR: Final = 'chdir to cwd ("'
_WRONG_KIND: Final = (
    ": Are you trying to mount a directory onto a file (or vice-versa)? "
    "Check if the specified host path exists and is the expected type"
)
_RUNC_PREFIXES: Final = (
    "runc run failed: ",
    "runc create failed: ",
    "exec failed: ",
    "unable to start container process: ",
    "error during container init: ",
)


class _Record(msgspec.Struct):
    """A line of a runtime's ``--log-format json``."""

    msg: str = ""
    level: str = "error"


def explain(text: str, *, action: str, runtime: str, command: str, status: int) -> RuntimeFailed:
    """Return the error to raise for a runtime that ended with ``status`` and left the log or output ``text``.

    ``action`` is CREATE or EXEC, ``command`` the first word of the process's arguments.
    """
    reason = _in_runc_words(_complaint(text), command)
    if action == CREATE and reason.startswith(_CHDIR) and reason.endswith(": not a directory"):
        place = reason.removeprefix(_CHDIR).partition('")')[0]
        return RuntimeFailed(f"Cannot mkdir: {place} is not a directory", _UNKNOWN)
    if not reason:
        reason = f"{runtime} ended with status {status} and gave no reason"
    if action == CREATE:
        message = (
            "failed to create task for container: failed to create shim task: OCI runtime create failed: "
            f"{runtime} create failed: unable to start container process: {reason}: unknown"
        )
    else:
        message = (
            f"OCI runtime exec failed: exec failed: unable to start container process: {reason}: unknown"
        )
    lower = message.lower()
    if "executable file not found" in lower or "no such file or directory" in lower:
        return CommandNotStarted(message, _COMMAND_NOT_FOUND)
    if ": is a directory:" in lower:
        return CommandNotStarted(f"{message}: permission denied", _COMMAND_NOT_EXECUTABLE)
    if "permission denied" in lower:
        return CommandNotStarted(message, _COMMAND_NOT_EXECUTABLE)
    if "not a directory" in lower:
        return CommandNotStarted(message + _WRONG_KIND, _COMMAND_NOT_FOUND)
    return RuntimeFailed(message, _UNKNOWN)


def _complaint(text: str) -> str:
    """Return the last error in the log ``text``, or the last line of it if it is not a JSON log."""
    last = ""
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            record = msgspec.json.decode(line, type=_Record)
        except msgspec.DecodeError:
            last = line.strip()
            continue
        if record.msg and record.level not in {"debug", "info", "warning"}:
            last = record.msg
    return last


def _in_runc_words(reason: str, command: str) -> str:
    for prefix in _RUNC_PREFIXES:
        reason = reason.removeprefix(prefix)
    if reason.startswith("executable file `"):
        name = reason.removeprefix("executable file `").partition("`")[0]
        if "/" in name:
            return f'exec: "{name}": stat {name}: no such file or directory'
        return f'exec: "{name}": executable file not found in $PATH'
    if reason == "open executable: Operation not permitted":  # what crun says to a directory
        return f'exec: "{command}": is a directory'
    if reason == "open executable: Permission denied":
        return f'exec: "{command}": permission denied'
    if reason.startswith("chdir `"):
        path, _, error = reason.removeprefix("chdir `").partition("`: ")
        return f'{_CHDIR}{path}") set in config.json failed: {error.lower()}'
    return reason
