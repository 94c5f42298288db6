"""Three hundred containers of every engine: how long they take to start, what they weigh, how lists cope.

The engines take turns, ten containers each: what else the machine does meanwhile slows all of them alike.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final
from urllib.parse import quote

from benchmarks import memory
from benchmarks.bench import Bench, Record, now
from benchmarks.engine import BUSYBOX, Engine
from benchmarks.http import Failed

_GROUP: Final = "scale"
_MANY: Final = 100
_TURN: Final = 10
_SIDE_BY_SIDE: Final = 4
_NAMES: Final = [f"bench-{number}" for number in range(3 * _MANY)]


def scale(bench: Bench) -> None:
    """Measure the group."""
    before: dict[str, float] = {}

    def settle(engine: Engine, record: Record) -> None:
        if engine.fresh_rss is not None:
            record("rss fresh", engine.fresh_rss)
        before[engine.name] = _rss(engine)
        record("rss idle", before[engine.name])

    def weigh(engine: Engine, record: Record) -> None:
        with engine.api() as api:
            ids = [container["Id"] for container in api.ask_json("GET", "/containers/json")]
        if len(ids) != _MANY:
            raise Failed(f"{len(ids)} containers run, not {_MANY}")
        helpers = sum(memory.pss(pid) for pid in memory.helpers_of(ids)) / _MANY
        growth = (_rss(engine) - before[engine.name]) / _MANY
        record("memory helper", helpers)
        record("memory growth", growth)
        record("memory container", helpers + growth)

    try:
        bench.interleave(_GROUP, settle, 1, warm=0)
        _in_turns(bench, "start 100", _NAMES[:_MANY], _start_by_cli)
        bench.interleave(_GROUP, weigh, 1, warm=0)
        _in_turns(bench, "start 100 api", _NAMES[_MANY : 2 * _MANY], _start_by_api)
        bench.interleave(_GROUP, _list, 7, warm=0)
        bench.interleave(_GROUP, _start_the_rest, 1, warm=0)
        time.sleep(1)  # late work of the last starts belongs to the measurement
        bench.interleave(_GROUP, lambda engine, record: record("rss 300", _rss(engine)), 1, warm=0)
    finally:
        bench.interleave(_GROUP, _remove, 1, warm=0)
        for engine in bench.engines:
            if _GROUP in engine.failed:
                engine.call(engine.remove, *_NAMES)


def _in_turns(
    bench: Bench, figure: str, names: Sequence[str], start: Callable[[Engine, Sequence[str]], None]
) -> None:
    """Start ``names`` on every engine, some at a time; ``figure`` is each one's own time in all."""
    spent: dict[str, float] = {}

    def turn(some: Sequence[str], engine: Engine, _: Record) -> None:
        started = now()
        start(engine, some)
        spent[engine.name] = spent.get(engine.name, 0.0) + now() - started

    for first in range(0, len(names), _TURN):
        bench.interleave(_GROUP, partial(turn, names[first : first + _TURN]), 1, warm=0)
    bench.interleave(_GROUP, lambda engine, record: record(figure, spent[engine.name]), 1, warm=0)


def _start_by_cli(engine: Engine, names: Sequence[str]) -> None:
    for name in names:
        engine.run("-d", "--name", name, BUSYBOX, "sleep", "100000")


def _start_by_api(engine: Engine, names: Sequence[str]) -> None:
    with engine.api() as api:
        for name in names:
            body = engine.create_body("sleep", "100000")
            container = api.ask_json("POST", f"/containers/create?name={quote(name)}", body)["Id"]
            api.ask("POST", f"/containers/{container}/start")


def _list(engine: Engine, record: Record) -> None:
    with engine.api() as api:
        for _ in range(3):
            started = now()
            api.ask("GET", "/containers/json")
            record("list 200", (now() - started) * 1000)
    record("ps 200", engine.cli("ps").seconds * 1000)


def _start_the_rest(engine: Engine, _: Record) -> None:
    """Start the last hundred, several at a time: only their number matters."""
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        list(pool.map(lambda name: _start_by_api(engine, [name]), _NAMES[2 * _MANY :]))


def _remove(engine: Engine, record: Record) -> None:
    started = now()
    engine.remove(*_NAMES)
    record("remove", now() - started)


def _rss(engine: Engine) -> float:
    return memory.daemon_rss(engine.daemon) if engine.daemon is not None else 0.0
