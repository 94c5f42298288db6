"""The tree of a parsed template. ``str()`` of a node is its text in messages; ``at`` is its position."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Node:
    """A part of a template."""

    __slots__ = ("at",)

    def __init__(self, at: int) -> None:
        self.at = at


class Text(Node):
    """What is written as it stands."""

    __slots__ = ("text",)

    def __init__(self, at: int, text: str) -> None:
        super().__init__(at)
        self.text = text


class Literal(Node):
    """A constant: truth value, number, text; or nil, or dot. ``kind`` tells which."""

    __slots__ = ("kind", "text", "value")

    def __init__(self, at: int, kind: str, text: str, value: "Any" = None) -> None:
        super().__init__(at)
        self.kind = kind
        self.text = text
        self.value = value

    def __str__(self) -> str:
        return self.text


class Name(Node):
    """A function's name."""

    __slots__ = ("name",)

    def __init__(self, at: int, name: str) -> None:
        super().__init__(at)
        self.name = name

    def __str__(self) -> str:
        return self.name


class Fields(Node):
    """``.a.b`` of the dot, of a variable (``$x.a.b``: ``variable``) or of what is in parentheses (``of``)."""

    __slots__ = ("names", "of", "variable")

    def __init__(self, at: int, names: tuple[str, ...], variable: str = "", of: Node | None = None) -> None:
        super().__init__(at)
        self.names = names
        self.variable = variable
        self.of = of

    def __str__(self) -> str:
        start = f"({self.of})" if isinstance(self.of, Pipe) else str(self.of or self.variable)
        return start + "".join(f".{name}" for name in self.names)


class Command(Node):
    """An operand, or a function or field with its arguments."""

    __slots__ = ("args",)

    def __init__(self, at: int, args: list[Node]) -> None:
        super().__init__(at)
        self.args = args

    def __str__(self) -> str:
        return " ".join(f"({arg})" if isinstance(arg, Pipe) else str(arg) for arg in self.args)


class Pipe(Node):
    """Commands, each fed the value of the one before; the last value may be given to variables."""

    __slots__ = ("assigns", "commands", "variables")

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.variables: list[str] = []
        self.assigns = False  # to variables there are; else it declares them
        self.commands: list[Command] = []

    def __str__(self) -> str:
        start = f"{', '.join(self.variables)} {'=' if self.assigns else ':='} " if self.variables else ""
        return start + " | ".join(map(str, self.commands))


class Action(Node):
    """``{{pipeline}}``: its value is written unless it goes to a variable."""

    __slots__ = ("pipe",)

    def __init__(self, at: int, pipe: Pipe) -> None:
        super().__init__(at)
        self.pipe = pipe

    def __str__(self) -> str:
        return f"{{{{{self.pipe}}}}}"


class Branch(Node):
    """``if``, ``with`` or ``range`` (``kind``) with its two lists."""

    __slots__ = ("body", "kind", "orelse", "pipe")

    def __init__(self, at: int, kind: str, pipe: Pipe, body: list[Node], orelse: list[Node]) -> None:
        super().__init__(at)
        self.kind = kind
        self.pipe = pipe
        self.body = body
        self.orelse = orelse

    def __str__(self) -> str:
        return f"{{{{{self.kind} {self.pipe}}}}}"


class Jump(Node):
    """``break`` or ``continue`` (``kind``), and while parsing also ``else`` and ``end``."""

    __slots__ = ("kind",)

    def __init__(self, at: int, kind: str) -> None:
        super().__init__(at)
        self.kind = kind

    def __str__(self) -> str:
        return f"{{{{{self.kind}}}}}"


class Call(Node):
    """``template "name" pipeline``."""

    __slots__ = ("name", "pipe")

    def __init__(self, at: int, name: str, pipe: Pipe | None) -> None:
        super().__init__(at)
        self.name = name
        self.pipe = pipe

    def __str__(self) -> str:
        from sampan.cli.gotext import quote

        return f"{{{{template {quote(self.name)}{f' {self.pipe}' if self.pipe else ''}}}}}"
