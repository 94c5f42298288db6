"""An event, for the templates of ``events``: Go's names of its fields, and its own JSON."""

from sampan.cli.record import Record
from sampan.cli.shapes import Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_JSON_ORDER = ("status", "id", "from", "Type", "Action", "Actor", "scope", "time", "timeNano")
_OLD = ("status", "id", "from")


class Row(Record):
    """One event of the stream, ``item`` in the API's spelling."""

    __slots__ = ("item",)
    go_type = "*events.Message"

    def __init__(self, item: "dict[str, Any]") -> None:
        self.item = item

    def as_dict(self) -> "dict[str, Any]":
        """Return the event as the API writes it; the fields of old only where they say something."""
        found = {
            name: self.item[name]
            for name in _JSON_ORDER
            if name in self.item and (name not in _OLD or self.item[name])
        }
        if attributes := (self.item.get("Actor") or {}).get("Attributes"):
            found["Actor"] = {**self.item["Actor"], "Attributes": dict(sorted(attributes.items()))}
        return found

    def actor(self) -> "dict[str, Any]":
        """Return who it happened to."""
        actor = self.item.get("Actor") or {}
        return {"ID": actor.get("ID", ""), "Attributes": Map(actor.get("Attributes") or {})}


Row.columns = {
    "Status": lambda row: row.item.get("status", ""),
    "ID": lambda row: row.item.get("id", ""),
    "From": lambda row: row.item.get("from", ""),
    "Type": lambda row: row.item.get("Type", ""),
    "Action": lambda row: row.item.get("Action", ""),
    "Actor": Row.actor,
    "Scope": lambda row: row.item.get("scope", ""),
    "Time": lambda row: row.item.get("time", 0),
    "TimeNano": lambda row: row.item.get("timeNano", 0),
}
