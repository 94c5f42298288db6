"""``system dial-stdio``: standard input and output tied to the daemon's socket, for a client over ssh."""

from sampan.cli.streams import Relay
from sampan.client.wire import dial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.cli.app import App
    from sampan.cli.parser import Parsed


def dial_stdio(app: "App", parsed: "Parsed") -> None:
    """Copy both ways until the daemon hangs up."""
    app.client.close()  # has made sure that the daemon runs; this connection is the other client's
    wire = dial(app.endpoint)
    try:
        Relay(wire, framed=False, stdin=True).run()
    finally:
        wire.close()
