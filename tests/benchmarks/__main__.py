"""Compare this engine with the others on the machine, side by side: ``make bench``, or ``run --help``."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import images, machine, private, report
from benchmarks.bench import Bench, say
from benchmarks.engine import BUSYBOX, LARGE, Engine
from benchmarks.groups import GROUPS
from benchmarks.http import Failed
from benchmarks.peers import given, peers
from benchmarks.results import Results

_RESULTS = Path("bench-results")


def main() -> int:
    """Return 0, or 1 if something failed of our own engine. Speed alone never fails."""
    options = _options()
    if os.geteuid() != 0:
        print("benchmarks need root: they start container engines", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    facts, before, results = machine.look(), machine.load(), Results()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=_work_folder())))
        engines = stack.enter_context(private.sampan(folder / "sampan", options.bin))
        engines += stack.enter_context(peers(folder, _names(options.peers)))
        for engine in engines:
            say(f"{engine.name}: {engine.version}")
        bench = _prepare(folder, engines, results, options)
        try:
            for group in options.only:
                say(f"group {group}")
                GROUPS[group](bench)
        except KeyboardInterrupt:
            say("interrupted: here is what there is")
        finally:
            _forget_images(engines)
    after = machine.load()
    engines += bench.others
    _write(options.json, facts.to_json(), [before, after], engines, results)
    conditions = f"{facts}\nload average {_words(before)} before, {_words(after)} after"
    if options.markdown:
        print(f"{report.ratio_table(results, engines, markdown=True)}\n\n{conditions}.")
    else:
        print(f"{conditions}\n\n{report.full_table(results, engines)}\n")
        print(report.ratio_table(results, engines, markdown=False))
    for failure in results.failures:
        print(f"FAILED {failure}")
    return int(any(engine.failed for engine in engines if engine.is_ours))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/benchmarks/run BIN", description=__doc__)
    parser.add_argument("--bin", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--only", type=_groups, default=list(GROUPS), help=f"some of {','.join(GROUPS)}")
    parser.add_argument("--rounds", type=int, default=10, help="samples of most figures (default 10)")
    parser.add_argument(
        "--peers", default="", help='these peers, or "none" (default: the newest of each kind)'
    )
    parser.add_argument("--json", type=Path, default=_RESULTS / "latest.json", help="where every sample goes")
    parser.add_argument("--markdown", action="store_true", help="print the table of ratios for a README")
    parser.add_argument("--image", type=Path, help="the large image to load (default: one is made)")
    return parser.parse_args()


def _groups(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in GROUPS]:
        raise argparse.ArgumentTypeError(f"no such group: {', '.join(unknown)}")
    return names


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _work_folder() -> Path | None:
    """Peers that run in a file tree of their own still see the folder ``work`` beside their list."""
    file = given()
    return file.parent / "work" if file and (file.parent / "work").is_dir() else None


def _prepare(folder: Path, engines: Sequence[Engine], results: Results, options: argparse.Namespace) -> Bench:
    archive = folder / "large.tar"
    if {"load", "registry", "transfer"}.intersection(options.only):
        say("the images")
        if options.image is not None:
            _link(options.image.resolve(), archive)
        else:
            images.large(folder, _RESULTS / "images")
    small = images.busybox(folder)
    for engine in engines:
        engine.call(engine.ensure_image, BUSYBOX, small)
    lines = images.lines(folder, 8 << 20)
    return Bench(engines, results, options.rounds, folder, archive, _image_name(archive), lines)


def _link(source: Path, target: Path) -> None:
    """Make ``source`` visible as ``target`` in the work folder: not every peer sees all of the file tree."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _image_name(archive: Path) -> str:
    if not archive.exists():
        return LARGE
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        return str(json.load(manifest)[0]["RepoTags"][0])


def _forget_images(engines: Sequence[Engine]) -> None:
    for engine in engines:
        with contextlib.suppress(Failed, OSError):
            engine.call(engine.cli, "rmi", "-f", BUSYBOX, check=False)


def _write(
    path: Path, facts: dict[str, object], load: list[list[float]], engines: Sequence[Engine], results: Results
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": facts,
        "load": {"before": load[0], "after": load[1]},
        "engines": {engine.name: engine.version for engine in engines},
        "figures": report.to_json(results),
        "failures": results.failures,
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _words(numbers: list[float]) -> str:
    return " ".join(f"{value:.2f}" for value in numbers)


if __name__ == "__main__":
    sys.exit(main())
