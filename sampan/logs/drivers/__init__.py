"""The log drivers whose files can be read back."""

from typing import Final

from sampan.logs.driver import LogDriver
from sampan.logs.drivers.json_file import JsonFile
from sampan.logs.drivers.local import Local

DRIVERS: Final[tuple[LogDriver, ...]] = (JsonFile(), Local())
