"""A stack of undo steps: whoever acquires something registers first how to give it back."""

import inspect
import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

_log = logging.getLogger(__name__)


class Undo:
    """Asynchronous context manager that runs its steps, newest first, if the block fails or is cancelled.

    Steps take ids rather than live objects and must be idempotent: a step is registered *before* the effect
    it takes back, so it may run although nothing happened. A step may be sync or async. A step that fails is
    logged and does not hide the first error. Leaving the block normally keeps everything.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def add(self, step: Callable[..., object], *args: object) -> None:
        """Register ``step(*args)`` as the way back from what is about to be done."""
        self._steps.append((step, args))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            await self.run()

    async def run(self) -> None:
        """Run every registered step now, newest first, and forget them."""
        while self._steps:
            step, args = self._steps.pop()
            try:
                result = step(*args)
                if inspect.isawaitable(result):
                    await result
            except Exception:
                _log.warning(
                    "undo step failed", exc_info=True, extra={"step": getattr(step, "__qualname__", "")}
                )
