"""The default profile's program in a process of the real kernel."""

import subprocess
import sys

import pytest
from support.facts import facts

from sampan.kernel import seccomp
from sampan.kernel.host import probe
from sampan.kernel.seccomp import compile_filter
from sampan.runtime.capabilities import granted
from sampan.runtime.seccomp_profile import DEFAULT, SeccompPrograms
from sampan.wire.containers import HostConfig

pytestmark = pytest.mark.root
CODE = """
import ctypes, sys
program = sys.stdin.buffer.read()
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(program) // 8, program)), 0, 0) == 0, ctypes.get_errno()
for number in map(int, sys.argv[1:]):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
    print(number, ctypes.get_errno() if result < 0 else 0)
"""


@pytest.mark.skipif(not seccomp.available(), reason="libseccomp.so.2 is not installed")
def test_the_kernel_takes_it() -> None:
    host = probe()
    if host.architecture != "x86_64":
        pytest.skip("system call numbers are those of x86-64")
    section = SeccompPrograms(host).section(DEFAULT, granted(HostConfig(), facts()))
    assert section is not None
    # unshare, mount_setattr, mseal (newer than libseccomp), one that no profile knows, getppid
    calls = ["272", "442", "462", "4000", "110"]
    done = subprocess.run(
        [sys.executable, "-c", CODE, *calls], input=compile_filter(section), capture_output=True, check=False
    )
    found = {int(number): int(result) for number, result in map(bytes.split, done.stdout.splitlines())}
    assert done.returncode == 0, done.stderr.decode()
    assert (found[272], found[442], found[4000], found[110]) == (1, 1, 38, 0)
    assert found[462] != 1
