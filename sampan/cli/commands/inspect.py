"""``inspect`` for objects of any kind, and for containers, images and networks alone."""

from sampan.base.errors import EngineError, InvalidParameter, NotFound, NotImplementedHere, Unavailable
from sampan.cli.errors import CommandError
from sampan.cli.format import FormatError, render_inspect
from sampan.cli.lists import check_template
from sampan.client.session import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from sampan.cli.app import App
    from sampan.cli.parser import Parsed

    Json = dict[str, Any]

TYPES: "Final" = (
    "config",
    "container",
    "image",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "task",
    "volume",
)
# Without a type these are tried, in Docker's order; what swarm has, only where there is one.
_TRIED: "Final" = ("container", "image", "network", "volume")
_OF_SWARM: "Final" = ("service", "task", "node", "secret", "config")


def inspect_any(app: "App", parsed: "Parsed") -> None:
    """Print what is known about objects of one kind, or of whatever kind has the name."""
    flags = parsed.flags
    kind, size = flags["type"], flags["size"]
    names = '", "'.join(TYPES)
    if "type" in flags and not kind:
        raise CommandError(f'type is empty: must be one of "{names}"')
    if kind and kind not in TYPES:
        raise CommandError(f'unknown type: "{kind}": must be one of "{names}"')
    search = _Search(app, size=size)
    _inspect(app, parsed, (lambda name: search.find(kind, name)) if kind else search.find_any)


def inspect_containers(app: "App", parsed: "Parsed") -> None:
    """Print what is known about containers."""
    _inspect(app, parsed, lambda name: app.client.inspect(name, size=parsed.flags["size"]))


def inspect_images(app: "App", parsed: "Parsed") -> None:
    """Print what is known about images."""
    from sampan.cli.platforms import parse_platform

    platform = parse_platform(parsed.flags["platform"])
    _inspect(app, parsed, lambda name: app.client.inspect_image(name, platform=platform))


def inspect_networks(app: "App", parsed: "Parsed") -> None:
    """Print what is known about networks."""
    verbose = parsed.flags["verbose"]
    _inspect(app, parsed, lambda name: app.client.inspect_network(name, verbose=verbose))


def inspect_volumes(app: "App", parsed: "Parsed") -> None:
    """Print what is known about volumes."""
    _inspect(app, parsed, app.client.inspect_volume)


class _Search:
    """Finds objects by name among those of all kinds."""

    def __init__(self, app: "App", *, size: bool) -> None:
        self._app = app
        self._size = size
        self._swarm: bool | None = None

    def find(self, kind: str, name: str) -> "Json":
        """Return the object of ``kind``. Raises EngineError."""
        client = self._app.client
        if kind == "container":
            return client.inspect(name, size=self._size)
        if kind == "image":
            found = client.inspect_image(name)
        elif kind == "network":
            found = client.inspect_network(name)
        else:
            tail = "/json" if kind == "plugin" else ""
            query = {"insertDefaults": True} if kind == "service" else None
            found = client.begin("GET", f"/{kind}s/{quote(name)}{tail}", query).result()
        if self._size:
            self._app.err(f"WARNING: --size ignored for {kind}")
        return found

    def find_any(self, name: str) -> "Json":
        """Return the first object with this name. Raises CommandError if there is none."""
        for kind in _TRIED:
            if found := self._try(kind, name):
                return found
        if self._is_manager():
            for kind in _OF_SWARM:
                if found := self._try(kind, name):
                    return found
        if found := self._try("plugin", name):
            return found
        raise CommandError(f"Error: No such object: {name}")

    def _try(self, kind: str, name: str) -> "Json | None":
        try:
            return self.find(kind, name)
        except (NotFound, NotImplementedHere):
            return None
        except InvalidParameter as error:
            if "invalid reference format" in str(error):
                return None
            raise
        except EngineError as error:
            if "not supported" in str(error):
                return None
            raise

    def _is_manager(self) -> bool:
        if self._swarm is None:
            try:
                self._swarm = bool((self._app.client.info().get("Swarm") or {}).get("ControlAvailable"))
            except EngineError as error:
                self._app.err(str(error))
                self._swarm = False
        return self._swarm


def _inspect(app: "App", parsed: "Parsed", find: "Callable[[str], Json]") -> None:
    """Print the objects that are found, then raise CommandError for those that are not."""
    source = parsed.flags["format"]
    show_each = source not in {"", "json"}
    if show_each:
        check_template(source)
    found = []
    texts = []
    failures = []
    for name in parsed.args:
        try:
            item = find(name)
            found.append(item)
            if show_each:
                texts.append(render_inspect([item], source))
        except Unavailable:
            raise
        except (EngineError, CommandError, FormatError) as error:
            failures.append(str(error))
    app.write("".join(texts) or "\n" if show_each else render_inspect(found, source))
    if failures:
        raise CommandError("\n".join(failures))
