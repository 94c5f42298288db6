"""Living beside the old iptables ("legacy"), which nftables neither shows nor overrules.

Where their FORWARD chain drops by default, it gets the same two accepts for each bridge as in ``foreign``, by
the program ``iptables-legacy``: the one place where the engine runs another program for its networks, and
only on hosts that use those tables.
"""

import logging
import shutil
from collections.abc import Sequence
from typing import Final

from sampan.kernel import xtables
from sampan.networks.firewall.foreign import MARK

_log = logging.getLogger(__name__)
_PROGRAM: Final = "iptables-legacy"
_FLAGS: Final = {"iifname": "-i", "oifname": "-o"}


def plan_legacy(listed: Sequence[str], bridges: Sequence[str]) -> list[list[str]]:
    """Return the argument lists that turn ``listed`` (``-S FORWARD``) into accepts for just ``bridges``."""
    wanted = {
        f"{MARK} {side} {bridge}": ["FORWARD", flag, bridge, "-m", "comment", "--comment"]
        for bridge in bridges
        for side, flag in _FLAGS.items()
    }
    present: set[str] = set()
    commands: list[list[str]] = []
    for line in listed:
        comment = line.partition('--comment "')[2].partition('"')[0]
        if comment.startswith(MARK):
            present.add(comment)
            if comment not in wanted:
                _, side, bridge = comment.rsplit(" ", 2)
                match = ["-m", "comment", "--comment", comment]
                commands.append(["-D", "FORWARD", _FLAGS[side], bridge, *match, "-j", "ACCEPT"])
    for comment, rule in wanted.items():
        if comment not in present:
            commands.append(["-I", *rule, comment, "-j", "ACCEPT"])
    return commands


def pass_legacy(bridges: Sequence[str]) -> None:
    """Let the traffic of ``bridges``, and of no other bridge, pass the old FORWARD chain where it drops."""
    try:
        if not xtables.in_use():
            return
        drops = xtables.forward_drops()
        if not shutil.which(_PROGRAM):
            if drops and bridges:
                _log.warning(
                    "the old iptables drop what is forwarded, and iptables-legacy is not there to change it",
                    extra={"bridges": list(bridges)},
                )
            return
        listed = _run("-S", "FORWARD").splitlines()
        for words in plan_legacy(listed, bridges if drops else ()):
            _log.info("adjust the old FORWARD chain", extra={"command": " ".join([_PROGRAM, *words])})
            _run(*words)
    except OSError as error:
        _log.warning("the old iptables cannot be looked at", extra={"error": str(error)})


def _run(*words: str) -> str:
    import subprocess

    done = subprocess.run([_PROGRAM, "-w", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{_PROGRAM} {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
