"""Output of commands that show objects: lists as tables, templates or JSON, and ``inspect``.

``Formatter`` does lists. A table of plain columns, which the usual ones are and most of the users' own
(``table {{.Names}}\\t{{.Status}}``), is made without the template engine: loading that takes longer than the
rest of a ``ps``. What the engine makes looks the same, so the choice cannot be seen.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.rows.base import Options, Row

KINDS = ("container", "diff", "disk", "history", "image", "network", "search", "stats", "volume")


class FormatError(ValueError):
    """A format that cannot be used; ``str()`` is Docker's message."""


def template_text(source: str) -> str:
    """Return the template in a value of ``--format``: without ``table``, ``\\t`` and ``\\n`` made real."""
    if source == "table":
        return ""
    if source == "json":
        return "{{json .}}"
    return source.removeprefix("table").strip(" ").replace("\\t", "\t").replace("\\n", "\n")


class Formatter:
    """One way to show a list of objects of ``kind``.

    ``source``: the value of ``--format`` ("": the usual table). ``quiet``: ids only. ``trunc``: ids and long
    texts are cut. ``size``, ``digests``: columns besides. ``human``: ages and sizes in words. ``now``: what
    ages count from, seconds since 1970, the present unless given.
    """

    def __init__(
        self,
        kind: str,
        source: str = "",
        *,
        quiet: bool = False,
        trunc: bool = True,
        size: bool = False,
        digests: bool = False,
        human: bool = True,
        now: float | None = None,
    ) -> None:
        self._module: Any = __import__(f"sampan.cli.rows.{kind}", fromlist=("Row",))
        from sampan.cli.rows.base import Options

        self._options = Options(trunc=trunc, human=human, size=size, digests=digests, now=now)
        self._columns: tuple[str, ...] | None = None
        self.source = self._choose(kind, source or "table", quiet=quiet)
        self._is_table = self.source.startswith("table")
        self._template: Any = None
        if self._columns is None:
            self._columns = _plain_columns(template_text(self.source))

    def _choose(self, kind: str, source: str, *, quiet: bool) -> str:
        """Return the template that ``source`` stands for; for the usual table, set its columns."""
        module = self._module
        if quiet and (kind == "container" or source == "table") and source != "raw":
            return str(getattr(module, "QUIET", "{{.ID}}"))
        if source == "table":
            self._columns = module.table(self._options) if hasattr(module, "table") else module.TABLE
            return "table "
        if source == "raw" and hasattr(module, "raw"):
            return str(module.QUIET_RAW if quiet else module.raw(self._options))
        return str(module.custom(source, self._options)) if hasattr(module, "custom") else source

    def uses(self, column: str) -> bool:
        """Tell whether the output shows ``column``: the engine need not work out what nobody sees.

        Raises FormatError for a template that is wrong, in the words of ``ps``, which asks first.
        """
        if self._columns is not None and set(self._columns) <= set(self._module.HEADERS):
            return column in self._columns
        from sampan.cli.gotemplate import Template, TemplateError

        asked: set[str] = set()
        try:
            template = Template(template_text(self.source))
        except TemplateError as error:
            raise FormatError(f"failed to parse template: {error}") from error
        try:
            template.render(_probe(self._module.Row, self._options, asked))
        except TemplateError as error:
            raise FormatError(f"failed to execute template: {error}") from error
        return column in asked

    def rows(self, items: "list[dict[str, Any]]") -> "list[Row]":
        """Return the rows that show ``items``."""
        module = self._module
        if hasattr(module, "rows"):
            found: list[Row] = module.rows(items, self._options, self.source)
            return found
        return [module.Row(item, self._options) for item in items]

    def render(self, items: "list[dict[str, Any]]") -> str:
        """Return the whole output for ``items``, objects in the API's spelling. Raises FormatError."""
        module, rows = self._module, self.rows(items)
        if self._columns is not None and all(name in module.Row.columns for name in self._columns):
            return self._render_columns(rows, self._columns)
        return self._render_template(rows)

    def _render_columns(self, rows: "list[Row]", names: tuple[str, ...]) -> str:
        columns = self._module.Row.columns
        instead = getattr(self._module, "INSTEAD", {}) if self.source == "table " else {}
        cells: list[list[str]] = []
        for name in names:
            other = instead.get(name, "")
            title = [self._module.HEADERS[name]] if self._is_table else []
            texts = map(str, map(columns[name], rows))
            cells.append([*title, *([text or other for text in texts] if other else texts)])
        if not self._is_table:
            return "".join(["\t".join(row) + "\n" for row in zip(*cells, strict=True)])
        from sampan.cli.columns import align_columns

        return align_columns(cells)

    def _render_template(self, rows: "list[Row]") -> str:
        from sampan.cli.gotemplate import Template, TemplateError

        try:
            template = Template(template_text(self.source))
            text = "".join([f"{template.render(row)}\n" for row in rows])
            if not self._is_table:
                return text
            header = template.render(Header(self._module.HEADERS), header=True)
        except TemplateError as error:
            raise FormatError(f"template parsing error: {error}") from error
        from sampan.cli.columns import align

        return align(f"{header}\n{text}")


class Header(dict[str, str]):
    """Titles by column, as a table's header is made of them; ``.Label "a.b-c"`` is ``b c`` there."""

    methods = {"Label": lambda _, name: name.rpartition(".")[2].replace("-", " ").replace("_", " ")}  # noqa: RUF012


def _plain_columns(text: str) -> tuple[str, ...] | None:
    """Return the columns of a template that is nothing but ``{{.Name}}`` between tabs, else None."""
    names = []
    for cell in text.split("\t"):
        if not cell.startswith("{{") or not cell.endswith("}}"):
            return None
        name = cell[2:-2].strip(" ")
        if name[:1] != "." or not name[1:].isalnum() or not name.isascii():
            return None
        names.append(name[1:])
    return tuple(names)


def _probe(row_class: "type[Row]", options: "Options", asked: set[str]) -> "Row":
    """Return an empty row that notes in ``asked`` which of its columns a template asks for."""

    def noting(name: str) -> "Any":
        def column(row: "Row") -> object:
            asked.add(name)
            return row_class.columns[name](row)

        return column

    class Probe(row_class):  # type: ignore[misc, valid-type]  # a class made at run time
        __slots__ = ()
        columns = {name: noting(name) for name in row_class.columns}  # noqa: RUF012

    probe: Row = Probe({}, options)
    return probe


def render_object(document: "dict[str, Any]", source: str, go_type: str = "") -> str:
    """Return one object under a template or as ``json``, as ``version`` and ``info`` show themselves.

    ``go_type``: what Docker's client calls the object, for the message about a field that it has not; without
    it such a field is ``<no value>``. Raises FormatError.
    """
    from sampan.cli.gotemplate import Template, TemplateError
    from sampan.cli.shapes import Struct

    if go_type and not isinstance(document, Struct):
        document = Struct(document, go_type)
    try:
        return Template(template_text(source)).render(document)
    except TemplateError as error:
        raise FormatError(f"template parsing error: {error}") from error


def render_inspect(items: "list[dict[str, Any]]", source: str = "") -> str:
    """Return what ``inspect`` prints for objects of the engine: JSON, or a template for each.

    Fields that the API leaves out when they are empty can be asked for all the same. Raises FormatError.
    """
    if source in {"", "json"}:
        from sampan.cli.gojson import to_json

        if source == "json":
            return to_json(items, html=True) + "\n"
        from sampan.cli.inspect import indented

        return indented(items) + "\n"
    from sampan.cli.gotemplate import Template, TemplateError
    from sampan.cli.inspect import completed

    try:
        template = Template(source)
    except TemplateError as error:
        raise FormatError(f"template parsing error: {error}") from error
    out: list[str] = []
    for item in items:
        try:
            text = template.render(completed(item), strict=True)
        except TemplateError:
            try:
                text = template.render(item, strict=True)
            except TemplateError as error:
                raise FormatError(f"template parsing error: {error}") from error
        out.append(text + "\n")
    return "".join(out) or "\n"
