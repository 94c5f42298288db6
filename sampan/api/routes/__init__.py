"""The routes of the Engine API, a module for each subject."""

from typing import Final

from sampan.api.router import Routes
from sampan.api.routes import system

GROUPS: Final[tuple[Routes, ...]] = (system.routes,)
