"""The lines of Docker's JSON stream that loading, pulling and pushing an image write."""

from collections.abc import Callable
from typing import Final

from sampan.base.ids import short_id
from sampan.base.units import human_size
from sampan.wire.system import Progress

_WIDTH: Final = 50  # characters of a bar


def stream_line(text: str) -> Progress:
    """Return a line of text for people."""
    return Progress(stream=text + "\n")


def action_line(action: str, digest: str) -> Progress:
    """Return what happens to the layer or blob ``digest``."""
    return Progress(status=action, id=short_id(digest), progress_detail={})


def transfer_line(action: str, digest: str, current: int, total: int) -> Progress:
    """Return how far ``action`` is with ``digest``: bytes so far and in all; 0 in all: it has no length."""
    if not total:
        return action_line(action, digest)
    return Progress(
        status=action,
        id=short_id(digest),
        progress=render_bar(current, total),
        progress_detail={"current": current, "total": total},
    )


def layer_progress(progress: Callable[[Progress], None]) -> Callable[[str, int, int], None]:
    """Return what reports a layer being read: diffID, bytes so far, bytes in all."""

    def show(diff_id: str, current: int, total: int) -> None:
        progress(
            Progress(
                status="Loading layer",
                id=short_id(diff_id),
                progress=render_bar(current, total),
                progress_detail={"current": current, "total": total},
            )
        )

    return show


def render_bar(current: int, total: int) -> str:
    """Render ``[=====>     ]  512kB/1.024MB`` as Docker's daemon does for old clients."""
    if current <= 0 and total <= 0:
        return ""
    if total <= 0:
        return f"{human_size(current):>8}"
    done = min(int(current / total * 100) // 2, _WIDTH)
    return f"[{'=' * done}>{' ' * (_WIDTH - done)}] {human_size(current):>8}/{human_size(total)}"
