"""From the text of a template to its tree, with Go's checks and Go's messages."""

from sampan.cli.gotemplate.lex import tokens
from sampan.cli.gotemplate.literals import parse_character, parse_number, unquote
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
from sampan.cli.gotext import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import NoReturn

    from sampan.cli.gotemplate.lex import Token

_OPERANDS = (
    "bool",
    "character",
    "complex",
    "dot",
    "field",
    "identifier",
    "number",
    "nil",
    "raw",
    "string",
    "variable",
    "(",
)
_KEYWORDS = ("block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with")


class TemplateError(Exception):
    """A template is wrong, or does not fit its data. ``str()`` is Go's message (``template: :1: …``)."""


def parse(text: str, functions: "Container[str]") -> dict[str, list[Node]]:
    """Return the trees of ``text``: its own under "", and those it defines under their names.

    ``functions``: the names that may be called. Raises TemplateError.
    """
    trees: dict[str, list[Node]] = {}
    parser = _Parser(text, functions, trees)
    trees[""] = parser.whole()
    return trees


class _Parser:
    def __init__(self, text: str, functions: "Container[str]", trees: dict[str, list[Node]]) -> None:
        self._tokens = tokens(text)
        self._at = 0  # index of the next token
        self._furthest = 0  # index of the last token looked at: messages tell its line
        self._functions = functions
        self._trees = trees
        self._variables = ["$"]
        self._loops = 0
        self._action_line = 0

    # -- tokens

    def _peek(self) -> "Token":
        self._furthest = max(self._furthest, self._at)
        return self._tokens[self._at]

    def _next(self) -> "Token":
        token = self._peek()
        if self._at < len(self._tokens) - 1:
            self._at += 1
        return token

    def _back(self, token: "Token") -> None:
        """Put back ``token``, the one just read; the last of all was never taken away."""
        self._at -= token is not self._tokens[-1]

    def _next_non_space(self) -> "Token":
        while (token := self._next())[0] == "space":
            pass
        return token

    def _peek_non_space(self) -> "Token":
        while self._peek()[0] == "space":
            self._at += 1
        return self._peek()

    def _expect(self, kind: str, context: str) -> "Token":
        token = self._next_non_space()
        if token[0] != kind:
            self._unexpected(token, context)
        return token

    def _fail(self, message: str) -> "NoReturn":
        raise TemplateError(f"template: :{self._tokens[self._furthest][3]}: {message}")

    def _unexpected(self, token: "Token", context: str) -> "NoReturn":
        if token[0] != "error":
            self._fail(f"unexpected {_shown(token)} in {context}")
        message = token[2]
        if self._action_line not in {0, token[3]}:
            message += "" if message.endswith(" action") else " in action"
            message += f" started at :{self._action_line}"
        self._fail(message)

    # -- lists and actions

    def whole(self) -> list[Node]:
        found: list[Node] = []
        while self._peek()[0] != "eof":
            if self._peek()[0] == "left":
                here = self._at
                self._next()
                if self._next_non_space()[0] == "define":
                    self._definition()
                    continue
                self._at = here
            node = self._text_or_action()
            if isinstance(node, Jump) and node.kind in {"end", "else"}:
                self._fail(f"unexpected {node}")
            found.append(node)
        return found

    def _definition(self) -> None:
        context = "define clause"
        name = self._template_name(self._next_non_space(), context)
        self._expect("right", context)
        outer, self._variables = self._variables, ["$"]
        loops, self._loops = self._loops, 0
        body, end = self._items()
        if end.kind != "end":
            self._fail(f"unexpected {end} in {context}")
        self._variables, self._loops = outer, loops
        self._define(name, body)

    def _define(self, name: str, body: list[Node]) -> None:
        """Keep a definition, unless it is empty and there is another; two that are not are an error."""
        if _is_empty(self._trees.get(name, [])):
            self._trees[name] = body
        elif not _is_empty(body):
            self._fail(f"template: multiple definition of template {quote(name)}")

    def _items(self) -> tuple[list[Node], Jump]:
        found: list[Node] = []
        while self._peek_non_space()[0] != "eof":
            node = self._text_or_action()
            if isinstance(node, Jump) and node.kind in {"end", "else"}:
                return found, node
            found.append(node)
        return self._fail("unexpected EOF")

    def _text_or_action(self) -> Node:
        token = self._next_non_space()
        if token[0] == "text":
            return Text(token[1], token[2])
        if token[0] != "left":
            self._unexpected(token, "input")
        self._action_line = token[3]
        node = self._action()
        self._action_line = 0
        return node

    def _action(self) -> Node:
        token = self._next_non_space()
        match token[0]:
            case "if" | "range" | "with":
                return self._branch(token[0])
            case "block":
                return self._block()
            case "template":
                return self._call()
            case "break" | "continue":
                end = self._next_non_space()
                if end[0] != "right":
                    self._unexpected(end, f"{{{{{token[0]}}}}}")
                if not self._loops:
                    self._fail(f"{{{{{token[0]}}}}} outside {{{{range}}}}")
                return Jump(token[1], token[0])
            case "end":
                return Jump(self._expect("right", "end")[1], "end")
            case "else":
                following = self._peek_non_space()
                if following[0] not in {"if", "with"}:
                    self._expect("right", "else")
                return Jump(following[1], "else")
        self._back(token)
        at = self._peek()[1]
        return Action(at, self._pipeline("command", "right"))

    def _branch(self, kind: str) -> Branch:
        known = len(self._variables)
        pipe = self._pipeline(kind, "right")
        self._loops += kind == "range"
        body, end = self._items()
        self._loops -= kind == "range"
        orelse: list[Node] = []
        if end.kind == "else":
            if kind in {"if", "with"} and self._peek()[0] == kind:
                self._next()
                orelse = [self._branch(kind)]
            else:
                orelse, end = self._items()
                if end.kind != "end":
                    self._fail(f"expected end; found {end}")
        del self._variables[known:]
        return Branch(pipe.at, kind, pipe, body, orelse)

    def _block(self) -> Call:
        context = "block clause"
        token = self._next_non_space()
        name = self._template_name(token, context)
        pipe = self._pipeline(context, "right")
        outer, self._variables = self._variables, ["$"]
        loops, self._loops = self._loops, 0
        body, end = self._items()
        if end.kind != "end":
            self._fail(f"unexpected {end} in {context}")
        self._variables, self._loops = outer, loops
        self._define(name, body)
        return Call(token[1], name, pipe)

    def _call(self) -> Call:
        context = "template clause"
        token = self._next_non_space()
        name = self._template_name(token, context)
        pipe = None
        if self._peek_non_space()[0] == "right":
            self._next()
        else:
            pipe = self._pipeline(context, "right")
        return Call(token[1], name, pipe)

    def _template_name(self, token: "Token", context: str) -> str:
        if token[0] not in {"string", "raw"}:
            self._unexpected(token, context)
        return self._unquote(token[2])

    def _unquote(self, text: str) -> str:
        try:
            return unquote(text)
        except ValueError as error:
            self._fail(str(error))

    # -- pipelines

    def _pipeline(self, context: str, end: str) -> Pipe:
        pipe = Pipe(self._peek_non_space()[1])
        self._declarations(pipe, context)
        while (token := self._next_non_space())[0] != end:
            if token[0] not in _OPERANDS:
                self._unexpected(token, context)
            self._back(token)
            pipe.commands.append(self._command())
        if not pipe.commands:
            self._fail(f"missing value for {context}")
        for stage, command in enumerate(pipe.commands[1:], start=2):
            if isinstance(command.args[0], Literal):
                self._fail(f"non executable command in pipeline stage {stage}")
        return pipe

    def _declarations(self, pipe: Pipe, context: str) -> None:
        """Read ``$x :=``, ``$x =`` or, for range, ``$k, $v :=`` if such a thing stands here."""
        while self._peek_non_space()[0] == "variable":
            here = self._at
            variable = self._next()[2]
            kind, _, text, _ = self._peek_non_space()
            comma = kind == "char" and text == ","
            if kind not in {"assign", "declare"} and not comma:
                self._at = here
                return
            self._next()
            pipe.assigns = kind == "assign"
            pipe.variables.append(variable)
            self._variables.append(variable)
            if not comma:
                return
            if context != "range" or len(pipe.variables) > 1:
                self._fail(f"too many declarations in {context}")
            if self._peek_non_space()[0] not in {"variable", "right", ")"}:
                self._fail("range can only initialize variables")

    def _command(self) -> Command:
        command = Command(self._peek_non_space()[1], [])
        while True:
            self._peek_non_space()
            operand = self._operand()
            if operand is not None:
                command.args.append(operand)
            token = self._next()
            if token[0] == "space":
                continue
            if token[0] in {"right", ")"}:
                self._back(token)
            elif token[0] != "pipe":
                self._unexpected(token, "operand")
            break
        if not command.args:
            self._fail("empty command")
        return command

    def _operand(self) -> Node | None:
        node = self._term()
        if node is None or self._peek()[0] != "field":
            return node
        at = self._peek()[1]
        names: list[str] = []
        while self._peek()[0] == "field":
            names.append(self._next()[2][1:])
        if isinstance(node, Literal):
            self._fail(f"unexpected . after term {quote(str(node))}")
        if isinstance(node, Fields):
            return Fields(at, (*node.names, *names), node.variable, node.of)
        return Fields(at, tuple(names), "", node)

    def _term(self) -> Node | None:
        kind, at, text, _ = token = self._next_non_space()
        match kind:
            case "identifier":
                if text not in self._functions:
                    self._fail(f"function {quote(text)} not defined")
                return Name(at, text)
            case "dot" | "nil":
                return Literal(at, kind, "." if kind == "dot" else "nil")
            case "bool":
                return Literal(at, kind, text, text == "true")
            case "variable":
                if text not in self._variables:
                    self._fail(f"undefined variable {quote(text)}")
                return Fields(at, (), text)
            case "field":
                return Fields(at, (text[1:],))
            case "number" | "character" | "complex":
                return self._number(token)
            case "string" | "raw":
                return Literal(at, "string", text, self._unquote(text))
            case "(":
                return self._pipeline("parenthesized pipeline", ")")
        self._back(token)
        return None

    def _number(self, token: "Token") -> Literal:
        kind, at, text, _ = token
        try:
            if kind == "character":
                return Literal(at, "number", text, parse_character(text))
            if kind == "complex":
                cut = max(text.rfind("+"), text.rfind("-"))
                value = parse_number(text[:cut]) + parse_number(text[cut:])
                return Literal(at, "number", text, value)
            return Literal(at, "number", text, parse_number(text))
        except ValueError as error:
            self._fail(str(error))


def _is_empty(body: list[Node]) -> bool:
    return all(isinstance(node, Text) and not node.text.strip() for node in body)


def _shown(token: "Token") -> str:
    """Return a token as messages show it: quoted, keywords in angle brackets, long ones cut."""
    kind, _, text, _ = token
    if kind == "eof":
        return "EOF"
    if kind in _KEYWORDS:
        return f"<{text}>"
    return f"{quote(text[:10])}..." if len(text.encode("utf-8", "surrogateescape")) > 10 else quote(text)
