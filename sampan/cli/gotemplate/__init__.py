"""Go's text/template: what ``--format`` takes, down to the messages for what it does not.

Loaded only for formats that are templates; the usual tables of ``ps`` and others are made without it.
"""

from sampan.cli.gotemplate.exec import Run
from sampan.cli.gotemplate.functions import FUNCTIONS, HEADER_FUNCTIONS
from sampan.cli.gotemplate.parse import TemplateError, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Template", "TemplateError"]


class Template:
    """A parsed template with Go's functions and Docker's. Raises TemplateError for text that is none."""

    def __init__(self, text: str) -> None:
        self._text = text
        try:
            self._trees = parse(text, FUNCTIONS)
        except RecursionError:
            raise TemplateError("template: :1: max expression depth exceeded") from None

    def render(self, data: "Any", *, strict: bool = False, header: bool = False) -> str:
        """Return what the template writes for ``data`` (JSON values, ``Record``, ``Struct``).

        ``strict``: a key that a map lacks is an error, not ``<no value>``. ``header``: for the titles of a
        table, which functions that change text leave alone. Raises TemplateError.
        """
        functions = HEADER_FUNCTIONS if header else FUNCTIONS
        try:
            return Run(self._text, self._trees, functions, strict=strict).run(data)
        except RecursionError:
            raise TemplateError("template: :1: exceeded maximum template depth") from None
