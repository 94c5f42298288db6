"""A run of the harness: who is measured, and how rounds go. What is measured stands in ``groups``."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.engine import Engine
from benchmarks.http import Failed
from benchmarks.results import Results

_ERRORS: Final = (Failed, OSError, ValueError, KeyError, subprocess.SubprocessError)
Record = Callable[[str, float], None]
now = time.perf_counter


@dataclass
class Bench:
    """A run of the harness.

    ``folder`` is for files, ``archive`` the large image, ``image`` its name, ``lines`` a file for logs.
    ``others`` are peers that are no engines; whoever measures them adds them.
    """

    engines: Sequence[Engine]
    results: Results
    rounds: int
    folder: Path
    archive: Path
    image: str
    lines: Path
    others: list[Engine] = field(default_factory=list)

    def interleave(
        self, group: str, measure: Callable[[Engine, Record], None], rounds: int, *, warm: int = 1
    ) -> None:
        """Call ``measure`` for each engine, round by round; the first ``warm`` rounds are not recorded."""
        for number in range(warm + rounds):
            for engine in self.engines:
                if engine.takes_part(group):
                    self.attempt(group, engine, measure, record=number >= warm)

    def attempt(
        self, group: str, engine: Engine, measure: Callable[[Engine, Record], None], *, record: bool = True
    ) -> None:
        """Call ``measure`` in the engine's place; if it fails, the engine is out of the group."""

        def keep(figure: str, value: float) -> None:
            if record:
                self.results.add(figure, engine.name, value)

        try:
            engine.call(measure, engine, keep)
        except _ERRORS as error:
            engine.failed.add(group)
            self.results.failures.append(f"{group}, {engine.name}: {error}")
            say(f"FAILED {self.results.failures[-1]}")


def say(text: str) -> None:
    """Tell the person who waits."""
    print(time.strftime("[%H:%M:%S]"), text, file=sys.stderr, flush=True)
