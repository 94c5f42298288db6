"""Certificates for tests of TLS."""

import subprocess
from pathlib import Path


def make_pki(folder: Path) -> Path:
    """Make an authority, and certificates of it for localhost: ``server`` and ``client``; return ``folder``.

    Files: ca.pem, server-cert.pem, server-key.pem, client-cert.pem, client-key.pem.
    """
    folder.mkdir(parents=True, exist_ok=True)
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=test ca", "-keyout", "ca-key.pem", "-out", "ca.pem")
    (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1,IP:198.51.100.1\n")
    for name in ("server", "client"):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}-key.pem", "-out", f"{name}.csr")
        sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-days", "2"]
        openssl(*sign, "-CAcreateserial", "-extfile", "ext", "-out", f"{name}-cert.pem")
    return folder
