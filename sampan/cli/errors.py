"""How a command ends other than well."""


class CommandError(Exception):
    """A command failed: ``str()`` (nothing if empty) goes to standard error, ``status`` is the exit code."""

    def __init__(self, message: str = "", status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Terminated(Exception):
    """A signal ended the client while it had something to put back first."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by signal {number}")
        self.number = number
