"""Build the C shim into the package: the only part of Sampan that is not Python.

``sampan/_bin/sampan-shim`` is made from ``shim/sampan-shim.c`` for wheels and editable installs alike, with
the first of these that works: ``$CC`` if set, ``musl-gcc -static`` (the smallest), ``cc -static``, ``cc``.
Everything else about the package is in pyproject.toml.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.errors import ExecError

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

HERE = Path(__file__).parent
SOURCE = HERE / "shim" / "sampan-shim.c"
TARGET = Path("sampan", "_bin", "sampan-shim")
FLAGS = ["-std=gnu11", "-O2", "-s", "-Wall", "-Wextra", "-Wno-unused-parameter"]
NO_COMPILER = """
sampan needs a C compiler for its container monitor (one file, the C library only); none of these worked:
{tried}
Install one and try again; on Debian and Ubuntu:
    apt-get install --no-install-recommends musl-tools gcc libc6-dev
"""


def compilers() -> list[list[str]]:
    """Return the commands to try, the best first."""
    if chosen := shlex.split(os.environ.get("CC", "")):
        return [[*chosen, "-static"], chosen]
    return [["musl-gcc", "-static"], ["cc", "-static"], ["cc"]]


def build_shim(target: Path) -> None:
    """Compile the shim to ``target``, replacing what is there. Raises ExecError with advice."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".new")
    tried = []
    for compiler in compilers():
        command = [*compiler, *FLAGS, "-o", str(fresh), str(SOURCE)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            tried.append(f"    {shlex.join(compiler)}: {error.strerror}")
            continue
        if done.returncode == 0:
            fresh.replace(target)  # a running shim keeps the file that it was started from
            return
        complaint = done.stderr.strip().partition("\n")[0]
        tried.append(f"    {shlex.join(compiler)}: {complaint}")
    raise ExecError(NO_COMPILER.format(tried="\n".join(tried)))


class BuildWithShim(build_py):
    """Builds the shim beside the Python files: in the build directory, or in an editable install's tree."""

    def run(self) -> None:
        super().run()
        if sys.platform == "linux":
            build_shim((HERE if self.editable_mode else Path(self.build_lib)) / TARGET)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:  # noqa: FBT001, FBT002 - theirs
        outputs: list[str] = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, str(Path(self.build_lib) / TARGET)]


class PlatformWheel(bdist_wheel):
    """A wheel for this architecture and any Python 3: it holds a program, but no extension module."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", super().get_tag()[2])


setup(
    cmdclass={"build_py": BuildWithShim, "bdist_wheel": PlatformWheel},
    scripts=[
        "bin/sampan",
        "bin/sampand",
        "bin/sampan-registry",
    ],  # launchers of our own: pip's start Python with site, which is slow
)
