"""Samples by figure and engine, and what they come to."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spread:
    """What some samples of one figure come to. ``p90`` is the sample that nine of ten do not exceed."""

    median: float
    least: float
    p90: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """Sum up ``samples``, at least one."""
        ordered = sorted(samples)
        return cls(statistics.median(ordered), ordered[0], ordered[math.ceil(0.9 * len(ordered)) - 1])


@dataclass
class Results:
    """Everything that was measured, and what failed. The order is that of first arrival."""

    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, figure: str, engine: str, value: float) -> None:
        """Keep one sample, in the figure's unit."""
        self.samples.setdefault(figure, {}).setdefault(engine, []).append(value)

    def spread(self, figure: str, engine: str) -> Spread | None:
        """Return the spread of ``figure`` for ``engine``, if it was measured."""
        samples = self.samples.get(figure, {}).get(engine)
        return Spread.of(samples) if samples else None

    def median(self, figure: str, engine: str) -> float | None:
        """Return the median of ``figure`` for ``engine``, if it was measured."""
        spread = self.spread(figure, engine)
        return spread.median if spread else None
