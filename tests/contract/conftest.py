"""``--driver-table`` prints which case of the contract held on which driver, as the documentation has it."""

import re
from typing import Final

import pytest

_CASE: Final = re.compile(r"::(test_\w+)\[(.+)\]$")
_SIGNS: Final = {"passed": "✓", "failed": "✗", "error": "✗", "skipped": "–"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--driver-table", action="store_true", help="print the table of drivers and cases")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption("--driver-table"):
        return
    from support.disks import PLACES

    places = [place.id for place in PLACES]
    rows: dict[str, dict[str, list[str]]] = {}
    for outcome in _SIGNS:
        for report in terminalreporter.stats.get(outcome, []):
            if (found := _CASE.search(getattr(report, "nodeid", ""))) is None:
                continue
            case, parameters = found[1], found[2]
            place = next((p for p in places if parameters == p or parameters.startswith(f"{p}-")), None)
            if place is not None:
                rows.setdefault(case, {}).setdefault(place, []).append(outcome)
    seen = [place for place in places if any(_sign(row.get(place)) in "✓✗" for row in rows.values())]
    terminalreporter.write_line(f"\n| case | {' | '.join(seen)} |")
    terminalreporter.write_line("|---|" + "---|" * len(seen))
    for case in sorted(rows):
        signs = " | ".join(_sign(rows[case].get(place)) for place in seen)
        title = case.removeprefix("test_").replace("_", " ")
        terminalreporter.write_line(f"| {title} | {signs} |")


def _sign(outcomes: list[str] | None) -> str:
    if not outcomes:
        return "–"
    for worst in ("failed", "error", "passed", "skipped"):
        if worst in outcomes:
            return _SIGNS[worst]
    return "–"
