"""``context``: the saved addresses of daemons, and which one is in force."""

from sampan.cli.commands.processes import natural_key
from sampan.cli.errors import CommandError
from sampan.cli.format import FormatError, render_inspect
from sampan.cli.lists import check_template
from sampan.cli.lists import show as show_list
from sampan.client.config import DEFAULT_CONTEXT, find_endpoint
from sampan.client.contexts import ContextStore, valid_name
from sampan.client.errors import ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

_OF_THE_ENVIRONMENT: "Final" = "Current SAMPAN_HOST or DOCKER_HOST based configuration"
_IN_MEMORY: "Final" = "<IN MEMORY>"


def list_contexts(app: "App", parsed: "Parsed") -> None:
    """Print the contexts by name, the one in force marked."""
    flags = parsed.flags
    store, current = ContextStore(app.config.directory), app.context
    rows = [_row(DEFAULT_CONTEXT, _OF_THE_ENVIRONMENT, _default_host(app))]
    rows += [_row(context.name, context.description, context.host) for context in store.list_contexts()]
    if all(row["Name"] != current for row in rows):
        rows.append(_row(current, "", "", _problem(store, current)))
    rows.sort(key=lambda row: natural_key(row["Name"]))
    source = "" if flags["quiet"] else flags["format"]
    for row in rows:
        row["Current"] = row["Name"] == current
        if row["Current"] and not flags["quiet"] and source in {"", "table"}:
            row["Name"] += " *"
    show_list(app, "context", rows, source, quiet=flags["quiet"])
    if variable := _overriding(app):
        _warn(app, variable, "a context")


def show(app: "App", parsed: "Parsed") -> None:
    """Print the name of the context in force."""
    app.out(app.context)


def use(app: "App", parsed: "Parsed") -> None:
    """Put a context in force for the commands to come."""
    name, config = parsed.args[0], app.config
    if name != DEFAULT_CONTEXT:
        if not valid_name(name):
            raise CommandError(
                f'context name "{name}" is invalid, names are validated against regexp '
                '"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"'
            )
        ContextStore(config.directory).find(name)
    wanted = "" if name == DEFAULT_CONTEXT else name
    if config.problem:
        raise CommandError(f"the settings cannot be read, so they are not changed: {config.problem}")
    if config.text("currentContext") != wanted:
        config.data["currentContext"] = wanted
        if not wanted:
            del config.data["currentContext"]
        try:
            config.save()
        except OSError as error:
            raise CommandError(f"write {config.path}: {(error.strerror or '').lower()}") from error
    app.out(name)
    app.err(f'Current context is now "{name}"')
    if wanted and (variable := _overriding(app)):
        _warn(app, variable, f'"{name}"')


def inspect(app: "App", parsed: "Parsed") -> None:
    """Print what is saved of contexts: those named, or the one in force."""
    found, failures = [], []
    for name in parsed.args or [app.context]:
        try:
            found.append(_document(app, name))
        except ClientError as error:
            failures.append(str(error))
    source = parsed.flags["format"]
    if source not in {"", "json"}:
        check_template(source)
    try:
        app.write(render_inspect(found, source))
    except FormatError as error:
        failures.append(str(error))
    if failures:
        raise CommandError("\n".join(failures))


def _row(name: str, description: str, host: str, error: str = "") -> "dict[str, Any]":
    return {"Name": name, "Description": description, "DockerEndpoint": host, "Error": error}


def _default_host(app: "App") -> str:
    try:
        return find_endpoint(app.environ, app.config, context=DEFAULT_CONTEXT).host
    except ClientError:
        return ""


def _problem(store: ContextStore, name: str) -> str:
    try:
        store.find(name)
    except ClientError as error:
        return str(error)
    return ""


def _overriding(app: "App") -> str:
    """Return the variable that goes before the contexts, "" if none does."""
    return next((name for name in ("SAMPAN_HOST", "DOCKER_HOST") if app.environ.get(name)), "")


def _warn(app: "App", variable: str, wanted: str) -> None:
    app.err(
        f"Warning: {variable} environment variable overrides the active context. To use {wanted}, either set "
        f"the global --context flag, or unset {variable} environment variable."
    )


def _document(app: "App", name: str) -> "dict[str, Any]":
    if name == DEFAULT_CONTEXT:
        endpoint = {"Host": _default_host(app), "SkipTLSVerify": False}
        return {
            "Name": name,
            "Metadata": {},
            "Endpoints": {"docker": endpoint},
            "TLSMaterial": {},
            "Storage": {"MetadataPath": _IN_MEMORY, "TLSPath": _IN_MEMORY},
        }
    store = ContextStore(app.config.directory)
    context = store.find(name)
    return {
        "Name": name,
        "Metadata": context.meta.get("Metadata") or {},
        "Endpoints": context.meta.get("Endpoints") or {},
        "TLSMaterial": store.tls_listing(name),
        "Storage": {"MetadataPath": store.meta_folder(name), "TLSPath": store.tls_folder(name)},
    }
