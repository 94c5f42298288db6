"""``network ls``."""

from sampan.cli.commands.processes import natural_key
from sampan.cli.lists import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.app import App
    from sampan.cli.parser import Parsed


def list_networks(app: "App", parsed: "Parsed") -> None:
    """Print networks, by name."""
    flags = parsed.flags
    source = flags["format"] or ("" if flags["quiet"] else app.config.text("networksFormat"))
    networks = app.client.networks(flags["filter"])
    networks.sort(key=lambda network: natural_key(network["Name"]))
    show(app, "network", networks, source, quiet=flags["quiet"], trunc=not flags["no-trunc"])
