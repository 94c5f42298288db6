"""Running a template over data, with Go's rules and Go's messages.

Data is what JSON gives, and ``Record`` and ``Struct``. ``MISSING`` stands for Go's invalid value.
"""

from sampan.cli.gotemplate.functions import is_true, printable_value
from sampan.cli.gotemplate.nodes import (
    Action,
    Branch,
    Call,
    Command,
    Fields,
    Jump,
    Literal,
    Name,
    Node,
    Pipe,
    Text,
)
from sampan.cli.gotemplate.parse import TemplateError
from sampan.cli.gotemplate.printf import text_of, type_name
from sampan.cli.gotext import quote
from sampan.cli.record import MISSING, Missing, Nil, Record
from sampan.cli.shapes import Document, Map, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, NoReturn

    from sampan.cli.gotemplate.functions import Function

_DEPTH = 60  # templates that call templates; Go allows 100000, far beyond what anybody means
_NO_VALUE = object()  # no value comes through the pipeline


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Run:
    """One execution of a template. ``text`` is what its trees were parsed from."""

    def __init__(
        self,
        text: str,
        trees: "Mapping[str, list[Node]]",
        functions: "Mapping[str, Function]",
        *,
        strict: bool,
    ) -> None:
        self._text = text
        self._trees = trees
        self._functions = functions
        self._strict = strict  # a map must have the key
        self._typed = False  # the data has known shapes: then a map among them need not
        self._out: list[str] = []
        self._variables: list[tuple[str, Any]] = []
        self._name = ""
        self._depth = 0
        self._node: Node | None = None

    def run(self, data: "Any") -> str:
        """Return what the template writes for ``data``. Raises TemplateError."""
        data = MISSING if data is None else data
        self._typed = isinstance(data, Document)
        self._variables = [("$", data)]
        self._list(data, self._trees[""])
        return "".join(self._out)

    def _fail(self, message: str, node: Node | None = None) -> "NoReturn":
        node = node or self._node
        if node is None:
            raise TemplateError(f"template: {self._name}: {message}")
        before = self._text[: node.at]
        line = before.count("\n") + 1
        column = len(before[before.rfind("\n") + 1 :].encode("utf-8", "surrogateescape"))
        where = f"template: :{line}:{column}: executing {quote(self._name)} at <{node}>"
        raise TemplateError(f"{where}: {message}")

    # -- statements

    def _list(self, dot: "Any", nodes: list[Node]) -> None:
        for node in nodes:
            self._node = node
            if isinstance(node, Text):
                self._out.append(node.text)
            elif isinstance(node, Action):
                value = self._pipe(dot, node.pipe)
                if not node.pipe.variables:
                    self._out.append(text_of(printable_value(value)))
            elif isinstance(node, Branch):
                known = len(self._variables)
                if node.kind == "range":
                    self._range(dot, node)
                else:
                    value = self._pipe(dot, node.pipe)
                    inner = value if node.kind == "with" else dot
                    if is_true(value):
                        self._list(inner, node.body)
                    else:
                        self._list(dot, node.orelse)
                del self._variables[known:]
            elif isinstance(node, Jump):
                raise _Break if node.kind == "break" else _Continue
            elif isinstance(node, Call):
                self._template(dot, node)

    def _range(self, dot: "Any", node: Branch) -> None:
        value = self._pipe(dot, node.pipe)
        known = len(self._variables)
        pairs: Iterable[tuple[Any, Any]]
        if isinstance(value, (list, tuple)):
            pairs = enumerate(value)
        elif isinstance(value, dict):
            pairs = value.pairs() if isinstance(value, Map) else sorted(value.items())
        elif type(value) is int:
            pairs = ((number, number) for number in range(value))
        elif value is None or isinstance(value, (Missing, Nil)):
            pairs = ()
        else:
            self._fail(f"range can't iterate over {text_of(value)}")
        names = node.pipe.variables
        ran = False
        try:
            for key, item in pairs:
                ran = True
                values = (item,) if len(names) < 2 else (key, item)
                for name, given in zip(names, values, strict=False):
                    if node.pipe.assigns:
                        self._assign(name, given)
                    else:
                        self._variables.append((name, given))
                self._turn(item, node.body)
                del self._variables[known:]
        except _Break:
            pass
        if not ran:
            self._list(dot, node.orelse)

    def _turn(self, item: "Any", body: list[Node]) -> None:
        """Run the body of a range once; ``continue`` ends it early."""
        try:
            self._list(item, body)
        except _Continue:
            return

    def _template(self, dot: "Any", node: Call) -> None:
        body = self._trees.get(node.name)
        if body is None:
            self._fail(f"template {quote(node.name)} not defined")
        if self._depth >= _DEPTH:
            self._fail(f"exceeded maximum template depth ({_DEPTH})")
        dot = self._pipe(dot, node.pipe) if node.pipe else MISSING
        outer, name = self._variables, self._name
        self._variables, self._name = [("$", dot)], node.name
        self._depth += 1
        self._list(dot, body)
        self._depth -= 1
        self._variables, self._name = outer, name

    # -- variables

    def _assign(self, name: str, value: "Any") -> None:
        for at in range(len(self._variables) - 1, -1, -1):
            if self._variables[at][0] == name:
                self._variables[at] = (name, value)
                return

    def _variable(self, name: str) -> "Any":
        return next(value for known, value in reversed(self._variables) if known == name)

    # -- pipelines

    def _pipe(self, dot: "Any", pipe: Pipe) -> "Any":
        self._node = pipe
        value: Any = _NO_VALUE
        for command in pipe.commands:
            value = self._command(dot, command, value)
            value = MISSING if value is None else value
        for name in pipe.variables:
            if pipe.assigns:
                self._assign(name, value)
            else:
                self._variables.append((name, value))
        return value

    def _command(self, dot: "Any", command: Command, final: "Any") -> "Any":
        first = command.args[0]
        if isinstance(first, Fields):
            return self._fields(dot, first, command.args, final)
        if isinstance(first, Name):
            self._node = first
            return self._function(dot, first.name, command, command.args[1:], final)
        if isinstance(first, Pipe):
            self._no_arguments(command.args, final)
            return self._pipe(dot, first)
        self._node = first
        self._no_arguments(command.args, final)
        return self._literal(dot, first)

    def _no_arguments(self, args: list[Node], final: "Any") -> None:
        if len(args) > 1 or final is not _NO_VALUE:
            self._fail(f"can't give argument to non-function {args[0]}")

    def _literal(self, dot: "Any", node: Node) -> "Any":
        if not isinstance(node, Literal):
            self._fail(f"can't evaluate command {quote(str(node))}")
        if node.kind == "dot":
            return dot
        if node.kind == "nil":
            self._fail("nil is not a command")
        return self._constant(node)

    def _constant(self, node: Literal) -> "Any":
        if node.kind == "number" and type(node.value) is int and not -(2**63) <= node.value < 2**63:
            self._node = node
            self._fail(f"{node} overflows int")
        return node.value

    def _fields(self, dot: "Any", node: Fields, args: list[Node], final: "Any") -> "Any":
        self._node = node
        if node.of is not None:
            if isinstance(node.of, Literal):
                self._fail("indirection through explicit nil in " + str(node))
            receiver = self._argument(dot, node.of, "value")
        elif node.variable:
            receiver = self._variable(node.variable)
        else:
            receiver = dot
        if not node.names:
            self._no_arguments(args, final)
            return receiver
        self._node = node
        kind = type_name(None if isinstance(receiver, Missing) else receiver)
        for name in node.names[:-1]:
            receiver = self._field(dot, name, node, [], _NO_VALUE, receiver, kind)
            kind = "interface {}"
        return self._field(dot, node.names[-1], node, args[1:], final, receiver, kind)

    def _field(
        self, dot: "Any", name: str, node: Node, args: list[Node], final: "Any", receiver: "Any", kind: str
    ) -> "Any":
        if isinstance(receiver, Missing):
            if self._strict and not self._typed:
                self._fail(f"nil data; no entry for key {quote(name)}")
            return MISSING
        if receiver is None or isinstance(receiver, Nil):
            pointer = receiver.go_type if isinstance(receiver, Nil) else "interface {}"
            self._fail(f"nil pointer evaluating {pointer}.{name}")
        if isinstance(receiver, Record):
            return self._column(dot, name, node, args, final, receiver)
        if not isinstance(receiver, dict):
            self._fail(f"can't evaluate field {name} in type {kind}")
        method = getattr(receiver, "methods", {}).get(name)
        if method is not None:
            return self._method(dot, name, node, args, final, lambda text: method(receiver, text))
        if isinstance(receiver, Struct):
            name = receiver.fields.get(name, name)
        known = name in receiver or (isinstance(receiver, Document) and name in receiver.shapes)
        if known or isinstance(receiver, Map):
            if args or final is not _NO_VALUE:
                self._fail(f"{name} is not a method but has arguments")
            if isinstance(receiver, Document) or (known and isinstance(receiver, Map)):
                return receiver.at(name)
            return receiver[name] if known else MISSING
        if isinstance(receiver, Struct):
            self._fail(f"can't evaluate field {name} in type {receiver.go_type}")
        if self._strict:
            self._fail(f"map has no entry for key {quote(name)}")
        return MISSING

    def _column(
        self, dot: "Any", name: str, node: Node, args: list[Node], final: "Any", row: Record
    ) -> "Any":
        if name in row.methods:
            return self._method(dot, name, node, args, final, lambda text: row.methods[name](row, text))
        if name not in row.columns:
            self._fail(f"can't evaluate field {name} in type {row.go_type}")
        count = len(args) + (final is not _NO_VALUE)
        if count:
            self._fail(f"wrong number of args for {name}: want 0 got {count}")
        return row.columns[name](row)

    def _method(
        self, dot: "Any", name: str, node: Node, args: list[Node], final: "Any", method: "Any"
    ) -> "Any":
        return self._apply(dot, name, (method, ("string",), None), node, args, final)

    def _function(self, dot: "Any", name: str, node: Node, args: list[Node], final: "Any") -> "Any":
        return self._apply(dot, name, self._functions[name], node, args, final)

    def _apply(
        self, dot: "Any", name: str, function: "Function", node: Node, args: list[Node], final: "Any"
    ) -> "Any":
        call, fixed, further = function
        count = len(args) + (final is not _NO_VALUE)
        if further is not None and count < len(fixed):
            self._fail(f"wrong number of args for {name}: want at least {len(fixed)} got {len(args)}")
        if further is None and count != len(fixed):
            self._fail(f"wrong number of args for {name}: want {len(fixed)} got {count}")
        kinds = [*fixed, *[further or ""] * (count - len(fixed))]
        if name in {"and", "or"}:
            return self._short_circuit(dot, name, args, final)
        values = [self._argument(dot, arg, kind) for arg, kind in zip(args, kinds, strict=False)]
        if final is not _NO_VALUE:
            values.append(self._checked(final, kinds[-1]))
        try:
            return call(*values)
        except ValueError as error:
            self._fail(f"error calling {name}: {error}", node)

    def _short_circuit(self, dot: "Any", name: str, args: list[Node], final: "Any") -> "Any":
        value: Any = MISSING
        for arg in args:
            value = self._argument(dot, arg, "value")
            if is_true(value) is (name == "or"):
                return value
        return value if final is _NO_VALUE else final

    # -- arguments

    def _argument(self, dot: "Any", node: Node, kind: str) -> "Any":
        self._node = node
        if isinstance(node, Pipe):
            return self._checked(self._pipe(dot, node), kind)
        if isinstance(node, Fields):
            return self._checked(self._fields(dot, node, [node], _NO_VALUE), kind)
        if isinstance(node, Name):
            return self._checked(self._function(dot, node.name, node, [], _NO_VALUE), kind)
        if not isinstance(node, Literal):
            self._fail(f"can't handle {node} for arg of type {kind}")
        if node.kind == "dot":
            return self._checked(dot, kind)
        if node.kind == "nil":
            if kind in {"string", "int"}:
                self._fail(f"cannot assign nil to {kind}")
            return MISSING if kind == "value" else None
        if kind == "string" and node.kind != "string":
            self._fail(f"expected string; found {node}")
        if kind == "int" and (node.kind != "number" or type(node.value) is not int):
            self._fail(f"expected integer; found {node}")
        return self._constant(node)

    def _checked(self, value: "Any", kind: str) -> "Any":
        """Return a value that may stand for a parameter of ``kind``."""
        if kind == "value":
            return MISSING if value is None else value
        if kind == "any":
            return None if isinstance(value, Missing) else value
        if isinstance(value, Missing) or value is None:
            self._fail(f"invalid value; expected {kind}")
        wanted = str if kind == "string" else int
        if type(value) is not wanted:
            self._fail(f"wrong type for value; expected {kind}; got {type_name(value)}")
        return value
