"""sslyze finds nothing wrong with a running ingressd.

sslyze has no grades. What it measures against Mozilla's intermediate configuration (versions, ciphers, groups, chain
and key of the certificate, known attacks) has to hold in all; and so has what Mozilla says nothing of but is more
than a trifle. Not looked at are the trust stores of browsers, which know nothing of the test's authority, and stapling
of OCSP, which ingressd does not do.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.control.process import DEADLINE, REAL, Running, ingressd
from tests.control.test_run_tls import HOST, write
from tests.kit.pki import Authority

CA = Authority()


def scan(running: Running, folder: Path, *options: str) -> dict[str, Any]:
    """What sslyze finds, by scan command. Asserts that it says that all is as Mozilla has it."""
    authorities, report = folder / "ca.crt", folder / "report.json"
    authorities.write_bytes(CA.pem)
    command = [os.environ["INGRESSD_SSLYZE"], "--mozilla_config=intermediate", "--resum", "--early_data", "--reneg"]
    command += ["--certinfo_ca_file", str(authorities), "--json_out", str(report), *options]
    done = subprocess.run(
        [*command, f"127.0.0.1:{running.https_port}"], capture_output=True, text=True, timeout=2 * DEADLINE
    )
    _, _, verdict = done.stdout.partition("COMPLIANCE AGAINST")
    assert done.returncode == 0, verdict or done.stdout + done.stderr
    assert ": OK - Compliant." in verdict, verdict
    (server,) = json.loads(report.read_text())["server_scan_results"]
    attempts: dict[str, dict[str, Any]] = server["scan_result"]
    return {name: attempt["result"] for name, attempt in attempts.items() if attempt["status"] == "COMPLETED"}


def assert_nothing_else(found: dict[str, Any]) -> None:
    """What Mozilla's configuration does not say."""
    assert not found["tls_1_3_early_data"]["supports_early_data"], "a request could be replayed"
    assert not found["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"]
    for deployment in found["certificate_info"]["certificate_deployments"]:
        assert deployment["received_chain_has_valid_order"]
        assert not deployment["received_chain_contains_anchor_certificate"]
    for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        assert not found[f"{version}_cipher_suites"]["accepted_cipher_suites"]
    for version in ("tls_1_2", "tls_1_3"):
        assert found[f"{version}_cipher_suites"]["accepted_cipher_suites"]


@pytest.mark.parametrize("key", ["ecdsa", "rsa"])
def test_a_host_with_a_certificate(key: str, tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    write(folder, Authority("Issuer", CA).issue(HOST, key=key))
    with ingressd(REAL, folder, "--workers=2") as running:
        running.ready()
        found = scan(running, tmp_path, "--sni", HOST)
        assert_nothing_else(found)
        assert found["session_resumption"]["tls_ticket_resumption_result"] == "FULLY_SUPPORTED"


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    """Else the tests above would show nothing."""
    folder = tmp_path / "manifests"
    folder.mkdir()
    write(folder, CA.issue(HOST))
    with ingressd(REAL, folder, "--workers=1") as running:
        running.ready()
        with pytest.raises(AssertionError, match="certificate_path_validation"):
            scan(running, tmp_path, "--sni", "other.example")
