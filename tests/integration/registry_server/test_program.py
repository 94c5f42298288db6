"""``sampan registry`` as a person runs it: in the foreground, with certificates, and with a second one."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from support.daemon import CHECKOUT
from support.pki import make_pki
from support.registry_checks import DATA, pull
from support.registry_server import SampanRegistry, digest
from support.registry_server import sampan_registry as serving

pytestmark = pytest.mark.root
PROGRAM = (str(CHECKOUT / "bin/sampan"), "registry")


def test_in_the_foreground_until_it_is_told_to_end(tmp_path: Path) -> None:
    registry = SampanRegistry(tmp_path, program=PROGRAM)
    registry.start()
    try:
        registry.push_image("a", "1", content=DATA)
        assert "0 manifests and 0 blobs removed: 0B\n" in registry.collect()
        assert "--older-than must be at least 60 seconds" in registry.collect("--older-than=1s")
        second = subprocess.run(
            [*PROGRAM, "serve", "--addr", registry.host, "--root", tmp_path / "other"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert second.returncode == 1
        assert f"cannot listen on {registry.host}: Address already in use\n" in second.stderr
    finally:
        registry.stop()
    assert (tmp_path / "log").read_text().endswith('level=info msg="registry ends"\n')


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--htpasswd", "/does/not/exist"], "cannot read /does/not/exist: No such file or directory\n"),
        (["--tls-cert", "x", "--tls-key", "y"], 'could not load X509 key pair (cert: "x", key: "y")'),
        (["--root", "/proc/none"], "cannot use /proc/none: "),
        (["--addr", "256.1.1.1:1"], "cannot listen on 256.1.1.1:1: "),
    ],
)
def test_what_it_cannot_start_with(tmp_path: Path, flags: list[str], words: str) -> None:
    command = [*PROGRAM, "serve", "--root", str(tmp_path), "--addr", "127.0.0.1:0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_renewed_certificate(tmp_path: Path) -> None:
    first, second = make_pki(tmp_path / "first"), make_pki(tmp_path / "second")
    used = shutil.copytree(first, tmp_path / "used")
    with serving(tmp_path, tls=used) as registry:
        data = registry.push_image("a", "1", content=DATA * 100)
        assert pull(registry, "a", "blobs", digest(DATA * 100), Range="bytes=7-").body == (DATA * 100)[7:]
        shutil.copytree(second, used, dirs_exist_ok=True)
        os.kill(registry.pid, signal.SIGHUP)
        wanted = ssl.PEM_cert_to_DER_cert((second / "server-cert.pem").read_text())
        while certificate(registry.host) != wanted:
            pass
        assert pull(registry, "a", "manifests", "1").body == data


def certificate(host: str) -> bytes:
    """Return the certificate that is shown at ``host``."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    name, _, port = host.partition(":")
    with socket.create_connection((name, int(port)), 20) as plain, context.wrap_socket(plain) as tls:
        return tls.getpeercert(binary_form=True) or b""
