"""The results as tables for people, and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.engine import Engine
from benchmarks.figures import FIGURES, Figure
from benchmarks.results import Results

OURS = "sampan"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of ours beside that of the best peer (``peer`` "": none was measured)."""

    figure: Figure
    ours: float
    peer: str
    theirs: float | None
    reached: bool | None

    @property
    def ratio(self) -> float | None:
        """Ours by theirs; None without a peer, or where its figure fell (memory that was given back)."""
        return self.ours / self.theirs if self.theirs is not None and self.theirs > 0 else None


def compare(results: Results, engines: Sequence[Engine]) -> Iterator[Comparison]:
    """Yield every figure that was measured of ours."""
    for figure in FIGURES:
        ours = results.median(figure.key, OURS)
        if ours is None:
            continue
        peers = [engine for engine in engines if engine.family != OURS]
        target = figure.target
        best, theirs = _best(results, figure, peers)
        reached = None
        if target is not None and target.against == "itself":
            reached = ours <= target.ratio
        elif target is not None:
            rivals = [
                engine
                for engine in peers
                if target.against == "any" or (engine.family == target.against and engine.groups is None)
            ]
            best, theirs = _best(results, figure, rivals)
            if theirs is not None:
                ratio = ours / theirs
                reached = ratio >= target.ratio if figure.more_is_better else ratio <= target.ratio
        yield Comparison(figure, ours, best, theirs, reached)


def _best(results: Results, figure: Figure, engines: Sequence[Engine]) -> tuple[str, float | None]:
    values = {
        engine.name: value
        for engine in engines
        if (value := results.median(figure.key, engine.name)) is not None
    }
    if not values:
        return "", None
    best = (max if figure.more_is_better else min)(values, key=lambda name: values[name])
    return best, values[best]


def full_table(results: Results, engines: Sequence[Engine]) -> str:
    """Return all figures of all engines: median [least … p90]."""
    names = [engine.name for engine in engines]
    rows = [["figure", "unit", *names]]
    for figure in FIGURES:
        if figure.key not in results.samples:
            continue
        cells = []
        for name in names:
            spread = results.spread(figure.key, name)
            if spread is None:
                cells.append("")
            elif spread.least == spread.p90:
                cells.append(number(spread.median))
            else:
                cells.append(f"{number(spread.median)} [{number(spread.least)} … {number(spread.p90)}]")
        rows.append([figure.title, figure.unit, *cells])
    return _aligned(rows)


def ratio_table(results: Results, engines: Sequence[Engine], *, markdown: bool) -> str:
    """Return ours beside the best peer, with the target; as a Markdown table, or aligned."""
    rows = [["figure", "ours", "best peer", "ratio", "target", "reached"]]
    for line in compare(results, engines):
        unit, target = line.figure.unit, line.figure.target
        peer = f"{number(line.theirs)} {unit} ({line.peer})" if line.theirs is not None else ""
        ratio = f"{line.ratio:.2f}" if line.ratio is not None else ""
        reached = "" if line.reached is None else "yes" if line.reached else "no"
        ours = f"{number(line.ours)} {unit}"
        rows.append([line.figure.title, ours, peer, ratio, target.text if target else "", reached])
    if not markdown:
        return _aligned(rows)
    rows.insert(1, ["---", "---:", "---:", "---:", "---", "---"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def to_json(results: Results) -> dict[str, object]:
    """Return every sample, by figure and engine."""
    document: dict[str, object] = {}
    for figure in FIGURES:
        engines = results.samples.get(figure.key)
        if engines is None:
            continue
        document[figure.key] = {"title": figure.title, "unit": figure.unit, "samples": engines}
    return document


def number(value: float) -> str:
    """Return ``value`` with three significant digits, but never cut before the point."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{value:.{digits}f}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
