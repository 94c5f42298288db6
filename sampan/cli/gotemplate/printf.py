"""Go's ``fmt``: what ``{{.}}``, ``print`` and ``printf`` write.

Values are what JSON gives: None, bool, int, float, str, list, dict, and complex for constants of templates.
The verbs and flags, and the marks of a wrong call (``%!d(string=x)``), are those of Go.
"""

from sampan.cli.gotext import escape, may_be_raw, printable, quote
from sampan.cli.record import Missing, Nil
from sampan.cli.shapes import Document, Map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_REPLACEMENT = "\ufffd"
_TOO_LARGE = 1_000_000  # widths and precisions beyond are no numbers to Go


def type_name(value: "Any") -> str:
    """Return the Go type of ``value`` as messages and ``%T`` name it."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float, complex, str)):
        return {"int": "int", "float": "float64", "complex": "complex128", "str": "string"}[
            type(value).__name__
        ]
    if isinstance(value, (list, tuple)):
        return "[]interface {}"
    if named := getattr(value, "go_type", ""):
        return str(named)
    return "map[string]interface {}"


def sprint(values: "Sequence[Any]") -> str:
    """Write values as ``print`` does: a space between two neighbours of which neither is text."""
    out: list[str] = []
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            out.append(" ")
        out.append(text_of(value))
    return "".join(out)


def sprintln(values: "Sequence[Any]") -> str:
    """Write values as ``println`` does: spaces between all, a line's end behind."""
    return " ".join(map(text_of, values)) + "\n"


def text_of(value: "Any") -> str:
    """Write one value as ``%v`` does."""
    return value if isinstance(value, str) else _Formatter().value(value, "v")


def sprintf(template: str, values: "Sequence[Any]") -> str:
    """Write ``values`` by ``template``."""
    return _Printer(template, values).run()


class _Printer:
    """One call of printf: walks over the template and picks the arguments."""

    def __init__(self, template: str, values: "Sequence[Any]") -> None:
        self._text = template
        self._values = values
        self._at = 0
        self._argument = 0
        self._reordered = False
        self._good = True
        self._after_index = False

    def run(self) -> str:
        out: list[str] = []
        while self._at < len(self._text):
            mark = self._text.find("%", self._at)
            if mark < 0:
                out.append(self._text[self._at :])
                break
            out.append(self._text[self._at : mark])
            self._at = mark + 1
            out.append(self._directive())
        if not self._reordered and self._argument < len(self._values):
            extra = [
                "<nil>" if value is None else f"{type_name(value)}={text_of(value)}"
                for value in self._values[self._argument :]
            ]
            out.append(f"%!(EXTRA {', '.join(extra)})")
        return "".join(out)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _directive(self) -> str:
        form = _Formatter()
        self._good, self._after_index = True, False
        while (flag := self._peek()) and flag in "#0+- ":
            form.set_flag(flag)
            self._at += 1
        bad = self._width(form)
        bad += self._precision(form)
        if not self._after_index:
            self._index()
        verb = self._peek()
        if not verb:
            return f"{bad}%!(NOVERB)"
        self._at += 1
        if verb == "%":
            return f"{bad}%"
        if not self._good:
            return f"{bad}%!{verb}(BADINDEX)"
        if self._argument >= len(self._values):
            return f"{bad}%!{verb}(MISSING)"
        value = self._values[self._argument]
        self._argument += 1
        if verb == "v":
            form.to_go_syntax()
        return bad + form.value(value, verb)

    def _width(self, form: "_Formatter") -> str:
        self._index()
        if self._peek() == "*":
            self._at += 1
            width = self._number_argument()
            if width is not None and width < 0:
                width = -width
                form.set_flag("-")
            form.width = width
            self._after_index = False
            return "" if width is not None else "%!(BADWIDTH)"
        form.width = self._digits()
        if self._after_index and form.width is not None:
            self._good = False
        return ""

    def _precision(self, form: "_Formatter") -> str:
        if self._peek() != "." or self._at + 1 >= len(self._text):
            return ""
        self._at += 1
        if self._after_index:
            self._good = False
        self._index()
        if self._peek() == "*":
            self._at += 1
            precision = self._number_argument()
            form.precision = precision if precision is not None and precision >= 0 else None
            self._after_index = False
            return "" if precision is not None else "%!(BADPREC)"
        form.precision = self._digits() or 0
        return ""

    def _digits(self) -> int | None:
        start = self._at
        while self._peek() and self._peek() in "0123456789":
            self._at += 1
        if self._at == start:
            return None
        number = int(self._text[start : self._at][:9])
        if number > _TOO_LARGE:
            self._at = len(self._text)
            return None
        return number

    def _number_argument(self) -> int | None:
        if self._argument >= len(self._values):
            return None
        value = self._values[self._argument]
        self._argument += 1
        return value if type(value) is int and abs(value) <= _TOO_LARGE else None

    def _index(self) -> None:
        """Take ``[n]``: the argument that comes next."""
        self._after_index = False
        if self._peek() != "[":
            return
        self._reordered = True
        end = self._text.find("]", self._at)
        digits = self._text[self._at + 1 : end] if end >= 0 else ""
        self._at = end + 1 if end >= 0 else self._at + 1
        if digits.isdecimal() and digits.isascii() and 1 <= int(digits) <= len(self._values):
            self._argument = int(digits) - 1
            self._after_index = True
        else:
            self._good = False
            self._after_index = end >= 0


class _Formatter:
    """Flags, width and precision of one directive, and how a value looks under them."""

    def __init__(self) -> None:
        self.width: int | None = None
        self.precision: int | None = None
        self._sharp = self._zero = self._plus = self._minus = self._space = False
        self._go_syntax = False  # %#v

    def set_flag(self, flag: str) -> None:
        match flag:
            case "#":
                self._sharp = True
            case "0":
                self._zero = not self._minus  # zeros are put on the left only
            case "+":
                self._plus = True
            case "-":
                self._minus, self._zero = True, False
            case " ":
                self._space = True

    def to_go_syntax(self) -> None:
        self._go_syntax, self._sharp, self._plus = self._sharp, False, False

    def value(self, value: "Any", verb: str) -> str:
        if isinstance(value, (Missing, Nil)):
            value = None
        if verb == "T":
            return self._pad(self._cut(type_name(value)))
        if value is None:
            return self._pad("<nil>") if verb == "v" else self._bad(value, verb)
        if isinstance(value, bool):
            return self._pad(str(value).lower()) if verb in {"t", "v"} else self._bad(value, verb)
        if isinstance(value, int):
            return self._integer(value, verb)
        if isinstance(value, float):
            return self._float(value, verb)
        if isinstance(value, str):
            return self._string(value, verb)
        if isinstance(value, complex):
            real = self._float(value.real, verb)
            plus, self._plus = self._plus, True
            imaginary = self._float(value.imag, verb)
            self._plus = plus
            return f"({real}{imaginary}i)"
        if isinstance(value, (list, tuple)):
            return self._list(value, verb)
        return self._map(value, verb)

    def _bad(self, value: "Any", verb: str) -> str:
        if value is None:
            return f"%!{verb}(<nil>)"
        return f"%!{verb}({type_name(value)}={_Formatter().value(value, 'v')})"

    # -- composed values

    def _list(self, values: "Sequence[Any]", verb: str) -> str:
        if self._go_syntax:
            return f"{type_name(values)}{{{', '.join(self._element(value, verb) for value in values)}}}"
        return f"[{' '.join(self._element(value, verb) for value in values)}]"

    def _map(self, value: "Any", verb: str) -> str:
        if isinstance(value, Document):
            return f"{{{' '.join(self._element(value.at(name), verb) for name in value)}}}"
        if isinstance(value, Map):
            pairs = list(value.pairs())
        else:
            pairs = sorted(value.items() if isinstance(value, dict) else value.as_dict().items())
        if self._go_syntax:
            body = ", ".join(f"{quote(key)}:{self._element(item, verb)}" for key, item in pairs)
            return f"{type_name(value)}{{{body}}}"
        key_verb = verb if verb in {"v", "s", "q"} else "s"
        body = " ".join(f"{self.value(key, key_verb)}:{self._element(item, verb)}" for key, item in pairs)
        return f"map[{body}]"

    def _element(self, value: "Any", verb: str) -> str:
        if value is None:
            if self._go_syntax:
                return "interface {}(nil)"
            return "<nil>" if verb in {"v", "s"} else f"%!{verb}(<nil>)"
        return self.value(value, verb)

    # -- text

    def _pad(self, text: str) -> str:
        missing = (self.width or 0) - len(text)
        if missing <= 0:
            return text
        if self._minus:
            return text + " " * missing
        return ("0" if self._zero else " ") * missing + text

    def _pad_blank(self, text: str) -> str:
        """Pad with spaces even where zeros were asked for: they are in already."""
        zero, self._zero = self._zero, False
        text = self._pad(text)
        self._zero = zero
        return text

    def _cut(self, text: str) -> str:
        return text if self.precision is None else text[: self.precision]

    def _string(self, text: str, verb: str) -> str:
        if verb == "q" or (verb == "v" and self._go_syntax):
            text = self._cut(text)
            if self._sharp and may_be_raw(text):
                return self._pad(f"`{text}`")
            return self._pad(quote(text, ascii_only=self._plus))
        if verb in {"v", "s"}:
            return self._pad(self._cut(text))
        if verb in {"x", "X"}:
            return self._hex(text.encode("utf-8", "surrogateescape"), verb)
        return self._bad(text, verb)

    def _hex(self, data: bytes, verb: str) -> str:
        data = data if self.precision is None else data[: self.precision]
        digits = [f"{byte:02x}" for byte in data]
        if self._sharp and digits:
            digits = [f"0x{pair}" for pair in digits] if self._space else [f"0x{digits[0]}", *digits[1:]]
        text = (" " if self._space else "").join(digits)
        return self._pad(text.upper() if verb == "X" else text)

    # -- numbers

    def _integer(self, number: int, verb: str) -> str:
        if verb in {"v", "d"}:
            return self._digits(number, 10, verb)
        if verb in {"b", "o", "O", "x", "X"}:
            return self._digits(number, {"b": 2, "x": 16, "X": 16}.get(verb, 8), verb)
        if verb == "c":
            return self._pad(_rune(number))
        if verb == "q":
            return self._pad(escape(_rune(number), "'", ascii_only=self._plus))
        if verb == "U":
            return self._unicode(number)
        return self._bad(number, verb)

    def _digits(self, number: int, base: int, verb: str) -> str:
        size = abs(number)
        sign = "-" if number < 0 else "+" if self._plus else " " if self._space else ""
        least = 0
        if self.precision is not None:
            least = self.precision
            if not least and not size:
                return " " * (self.width or 0)
        elif self._zero and self.width is not None:
            least = self.width - len(sign)
        text = format(size, {2: "b", 8: "o", 10: "d", 16: "x"}[base]).rjust(least, "0")
        if self._sharp:
            text = {2: "0b", 16: "0x"}.get(base, "0" if base == 8 and text[0] != "0" else "") + text
        if verb == "X":
            text = text.upper()
        if verb == "O":
            text = f"0o{text}"
        return self._pad_blank(sign + text)

    def _unicode(self, number: int) -> str:
        code = number & 0xFFFF_FFFF_FFFF_FFFF
        text = f"U+{code:0{max(4, self.precision or 0)}X}"
        if self._sharp and code <= 0x10FFFF and printable(chr(code)):
            text += f" '{chr(code)}'"
        return self._pad_blank(text)

    def _float(self, number: float, verb: str) -> str:
        precision = self.precision
        if verb == "v":
            verb = "g"
        if verb in {"e", "E", "f", "F"}:
            precision = 6 if precision is None else precision
        elif verb not in {"b", "g", "G", "x", "X"}:
            return self._bad(number, verb)
        text = float_text(number, "f" if verb == "F" else verb, precision)
        sign, text = ("-", text[1:]) if text[0] == "-" else ("+", text.removeprefix("+"))
        if self._space and sign == "+" and not self._plus:
            sign = " "
        if text[0] in "IN":
            return self._pad_blank(text if text[0] == "N" and sign == "+" and not self._plus else sign + text)
        if self._sharp and verb != "b":
            text = _with_point(text, verb, precision)
        if sign == "+" and not self._plus:
            return self._pad(text)
        if self._zero and self.width is not None and self.width > len(text) + 1:
            return sign + text.rjust(self.width - 1, "0")
        return self._pad(sign + text)


def _rune(number: int) -> str:
    return chr(number) if 0 <= number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF else _REPLACEMENT


def _with_point(text: str, verb: str, precision: int | None) -> str:
    """Add a decimal point, and for ``g`` the zeros that ``#`` keeps."""
    cut = len(text)
    for mark in "pP" if verb in {"x", "X"} else "eE":
        if mark in text:
            cut = text.index(mark)
    number, tail = text[:cut], text[cut:]
    missing = (6 if precision is None else precision) if verb in {"g", "G", "x"} else 0
    significant = number.removeprefix("0x").removeprefix("0X") if verb in {"x", "X"} else number
    missing -= len(significant.replace(".", "").lstrip("0"))
    if verb == "x":
        missing -= 1  # the x of 0x counts in Go
    if "." not in number:
        if number == "0":
            missing -= 1
        number += "."
    return number + "0" * max(missing, 0) + tail


def float_text(number: float, verb: str, precision: int | None) -> str:
    """Write a float as Go's FormatFloat; ``precision`` None: as many digits as it needs."""
    if number != number:
        return "NaN"
    if number in {float("inf"), float("-inf")}:
        return "+Inf" if number > 0 else "-Inf"
    if verb == "b":
        return _binary(number)
    if verb in {"x", "X"}:
        return _hexadecimal(number, precision).upper() if verb == "X" else _hexadecimal(number, precision)
    if precision is None:
        text = _shortest(number)
    elif verb in {"g", "G"}:
        text = format(number, f".{precision or 1}g")
    else:
        text = format(number, f".{precision}{verb.lower()}")
    return text.upper() if verb in {"E", "G"} else text


def _shortest(number: float) -> str:
    """Write the fewest digits that give ``number`` back; with an exponent if it is below -4 or from 6 on."""
    sign = "-" if repr(number)[0] == "-" else ""
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or "0")
    point -= len(whole + fraction) - len(digits) if digits else 0
    digits = digits.rstrip("0")
    if not digits:
        return f"{sign}0"
    power = point - 1
    if power < -4 or power >= 6:
        tail = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{tail}e{'-' if power < 0 else '+'}{abs(power):02d}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if point >= len(digits):
        return sign + digits.ljust(point, "0")
    return f"{sign}{digits[:point]}.{digits[point:]}"


def _binary(number: float) -> str:
    """Write mantissa and power of two as integers: ``4503599627370496p-52``."""
    sign = "-" if repr(number)[0] == "-" else ""
    if number == 0:
        return f"{sign}0p-1074"
    mantissa, power = _mantissa(abs(number))
    return f"{sign}{mantissa}p{power:+d}"


def _mantissa(number: float) -> tuple[int, int]:
    """Return the 53 bits of a positive float, fewer if it is denormal, and the power of two of the last."""
    top, _, power = number.hex().removeprefix("0x").partition("p")
    whole, _, fraction = top.partition(".")
    return int(whole + fraction.ljust(13, "0"), 16), int(power) - 52


def _hexadecimal(number: float, precision: int | None) -> str:
    sign = "-" if repr(number)[0] == "-" else ""
    if number == 0:
        digits, power = "0", 0
        fraction = "0" * (precision or 0)
    else:
        mantissa, power = _mantissa(abs(number))
        shift = 53 - mantissa.bit_length()
        mantissa, power = mantissa << shift, power - shift + 52
        if precision is not None and precision < 13:
            drop = (13 - precision) * 4
            half = 1 << (drop - 1)
            rest, mantissa = mantissa & ((1 << drop) - 1), mantissa >> drop
            mantissa += rest > half or (rest == half and mantissa & 1)
            mantissa <<= drop
            if mantissa >> 53:
                mantissa, power = mantissa >> 1, power + 1
        text = f"{mantissa:014x}"
        digits, fraction = text[0], text[1:].rstrip("0") if precision is None else text[1:][:precision]
        fraction = fraction.ljust(precision or 0, "0")
    return f"{sign}0x{digits}{f'.{fraction}' if fraction else ''}p{'-' if power < 0 else '+'}{abs(power):02d}"
