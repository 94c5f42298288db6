"""Commands that speak of registries: pull, push, login, logout."""

import posix

from sampan.base.errors import EngineError, Unauthorized
from sampan.cli.app import STDERR, STDIN, STDOUT, encode, write
from sampan.cli.errors import CommandError
from sampan.client.credentials import Credentials, registry_key, server_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed
    from sampan.oci.reference import Reference

_UNENCRYPTED = """
WARNING! Your credentials are stored unencrypted in '{}'.
Configure a credential helper to remove this warning. See
https://docs.docker.com/go/credential-store/
"""


def pull(app: "App", parsed: "Parsed") -> None:
    """Fetch an image, or all tags of a name, and print what it is called in full."""
    flags = parsed.flags
    quiet, everything = flags["quiet"], flags["all-tags"]
    reference = _reference(parsed.args[0])
    if everything and not reference.is_name_only:
        raise CommandError("tag can't be used with --all-tags/-a")
    if reference.is_name_only and not everything:
        reference = reference.with_default_tag()
        if not quiet:
            app.out(f"Using default tag: {reference.tag}")
    fetch(app, reference, flags["platform"] or "", fd=None if quiet else STDOUT)
    app.out(str(reference))


def fetch(app: "App", reference: "Reference", platform: str, *, fd: int | None) -> None:
    """Fetch ``reference`` (a name alone: all its tags), showing progress on ``fd``. Raises EngineError."""
    from sampan.cli.progress import show

    messages = app.client.pull(
        reference.name_only().familiar,
        reference.digest or reference.tag,
        platform=platform,
        auth=Credentials(app.config).header(registry_key(reference.domain)),
    )
    show(app, messages, fd=fd)


def push(app: "App", parsed: "Parsed") -> None:
    """Send an image, or all tags of a name, to its registry."""
    from sampan.cli.platforms import parse_platform
    from sampan.cli.progress import show

    flags = parsed.flags
    quiet, everything = flags["quiet"], flags["all-tags"]
    reference = _reference(parsed.args[0])
    if everything and not reference.is_name_only:
        raise CommandError("tag can't be used with --all-tags/-a")
    if reference.is_name_only and not everything:
        reference = reference.with_default_tag()
        if not quiet:
            app.out(f"Using default tag: {reference.tag}")
    if reference.digest:
        raise CommandError("cannot push a digest reference")
    messages = app.client.push(
        reference.name_only().familiar,
        reference.tag,
        platform=parse_platform(flags["platform"]),
        auth=Credentials(app.config).header(registry_key(reference.domain)),
    )
    show(app, messages, fd=None if quiet else STDOUT)
    if quiet:
        app.out(str(reference))


def search(app: "App", parsed: "Parsed") -> None:
    """Print the repositories of a registry that fit some words."""
    from sampan.cli.lists import show

    flags, term = parsed.flags, parsed.args[0]
    first, slash, _ = term.partition("/")
    host = first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"
    found = app.client.search(
        term,
        limit=flags["limit"] or 0,
        filters=dict(flags["filter"]),
        auth=Credentials(app.config).header(registry_key(host)),
    )
    show(app, "search", found, flags["format"] or "", trunc=not flags["no-trunc"])


def _reference(text: str) -> "Reference":
    from sampan.oci.reference import parse_normalized

    return parse_normalized(text)


def login(app: "App", parsed: "Parsed") -> None:
    """Check a name and a password with a registry, and keep them."""
    flags = parsed.flags
    key = server_key(parsed.args[0] if parsed.args else "")
    username, password = flags["username"] or "", flags["password"] or ""
    if password:
        app.err("WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
        if flags["password-stdin"]:
            raise CommandError("conflicting options: cannot specify both --password and --password-stdin")
    if flags["password-stdin"]:
        if not username:
            raise CommandError("the --password-stdin option requires --username to be set")
        password = _read_all().rstrip("\n").rstrip("\r")
    credentials = Credentials(app.config)
    if not username and not password and (known := credentials.find(key)):
        try:
            _log_in(app, credentials, key, known, stored=True)
        except Unauthorized as error:
            app.err(f"Login did not succeed, error: {error}")
            username = known.get("username", "")
        else:
            return
    username, password = _ask(username, password)
    _log_in(app, credentials, key, {"username": username, "password": password, "serveraddress": key})


def _log_in(
    app: "App", credentials: Credentials, key: str, known: dict[str, str], *, stored: bool = False
) -> None:
    if stored:
        name = known.get("username", "")
        app.out("Authenticating with existing credentials..." + (f" [Username: {name}]" if name else ""))
    answer: dict[str, Any] = app.client.login({**known, "serveraddress": key})
    kept = dict(known)
    if token := answer.get("IdentityToken"):
        kept["identitytoken"] = str(token)
        kept["password"] = ""
    try:
        path = credentials.save(key, kept)
    except OSError as error:
        raise CommandError(f"error saving credentials: {error}") from error
    if path and not stored:
        app.err(_UNENCRYPTED.format(path))
    if status := answer.get("Status"):
        app.out(str(status))


def _ask(username: str, password: str) -> tuple[str, str]:
    """Ask the user for what is missing. Raises CommandError."""
    if username and password:
        return username, password
    if not posix.isatty(STDIN):
        raise CommandError("Error: Cannot perform an interactive login from a non TTY device")
    if not username:
        write(STDOUT, encode("Username: "))
        username = _read_line()
        if not username:
            raise CommandError("Error: Non-null Username Required")
    if not password:
        password = _read_secret()
        if not password:
            raise CommandError("Error: Password Required")
    return username, password


def _read_secret() -> str:
    """Read a line that is not shown."""
    import termios

    before = termios.tcgetattr(STDIN)
    silent = list(before)
    silent[3] &= ~termios.ECHO
    write(STDOUT, encode("Password: "))
    termios.tcsetattr(STDIN, termios.TCSADRAIN, silent)
    try:
        return _read_line()
    finally:
        termios.tcsetattr(STDIN, termios.TCSADRAIN, before)
        write(STDERR, b"\n")


def _read_line() -> str:
    text = b""
    while not text.endswith(b"\n") and (data := posix.read(STDIN, 1)):
        text += data
    return text.decode("utf-8", "surrogateescape").strip()


def _read_all() -> str:
    text = b""
    while data := posix.read(STDIN, 65536):
        text += data
    return text.decode("utf-8", "surrogateescape")


def logout(app: "App", parsed: "Parsed") -> None:
    """Forget the credentials of a registry."""
    key = server_key(parsed.args[0] if parsed.args else "")
    app.out(f"Removing login credentials for {key}")
    try:
        Credentials(app.config).erase(key)
    except (EngineError, OSError) as error:
        raise CommandError(f"WARNING: could not erase credentials:\n{error}") from error
