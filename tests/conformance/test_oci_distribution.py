"""The OCI's own conformance suite against our registry, where its program is at hand.

The environment variable ``OCI_CONFORMANCE`` names it: the folder ``conformance`` of the distribution
specification's repository, built with Go. Everything that it knows of is asked for, but for manifests whose
parts are missing: those our registry refuses, as it may.
"""

import os
import subprocess
from pathlib import Path

import pytest
from support.registry_server import sampan_registry

pytestmark = pytest.mark.root


def test_the_whole_suite(tmp_path: Path) -> None:
    program = os.environ.get("OCI_CONFORMANCE")
    if not program:
        pytest.skip("OCI_CONFORMANCE does not name the OCI's distribution conformance program")
    with sampan_registry(tmp_path) as registry:
        wanted = {
            "OCI_REGISTRY": registry.host,
            "OCI_TLS": "disabled",
            "OCI_VERSION": "1.1",
            "OCI_API_BLOBS_DIGEST_HEADER": "true",
            "OCI_API_BLOBS_UPLOAD_CANCEL": "true",
            "OCI_API_MANIFESTS_DIGEST_HEADER": "true",
            "OCI_API_MANIFESTS_TAG_PARAM": "true",
            "OCI_RESULTS_DIR": str(tmp_path / "results"),
        }
        done = subprocess.run(
            [program],
            cwd=tmp_path,
            env={**os.environ, **wanted},
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
    report = done.stdout + done.stderr
    assert done.returncode == 0, report
    assert "FAIL..........................:          0\n" in report
    assert "Error.........................:          0\n" in report
