"""A worker's identities: tokens from files or from a local issuer, and what happens without one."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest

from remit.errors import Refused, Usage
from remit.identity import IdentityFolder, IdentityIssuer, identities
from remit.jose import LocalSigner
from remit.settings import Settings


def test_a_token_is_read_anew_each_time(tmp_path: Path) -> None:
    folder = IdentityFolder(tmp_path)
    (tmp_path / "authority.jwt").write_text("first\n")
    assert folder.token("authority") == "first"
    (tmp_path / "authority.jwt").write_text("rotated\n")
    assert folder.token("authority") == "rotated"


def test_a_worker_without_an_agents_token_is_not_that_agent(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        IdentityFolder(tmp_path).token("agent-report-writer")
    assert caught.value.code == "identity.none"


@pytest.mark.parametrize(
    ("workload", "subject"),
    [
        ("authority", "spiffe://remit.local/authority"),
        ("agent-flight-analyst", "spiffe://remit.local/agent/flight-analyst"),
    ],
)
def test_the_local_issuer_names_the_workload(tmp_path: Path, workload: str, subject: str) -> None:
    signer = LocalSigner.generate()
    (tmp_path / "key.pem").write_bytes(signer.to_pem())
    token = IdentityIssuer(tmp_path / "key.pem", trust_domain="remit.local").token(workload)
    key = jwt.PyJWK({**signer.key.jwk, "alg": "EdDSA"})
    claims = jwt.decode(token, key, algorithms=["EdDSA"], audience="openbao")
    assert claims["sub"] == subject
    assert claims["exp"] - claims["iat"] == 60


def test_no_identity_and_no_key_say_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(Usage) as caught:
        identities(Settings(home=tmp_path), trust_domain="remit.local")
    assert caught.value.code == "settings.identity"
    assert "REMIT_IDENTITY" in caught.value.next_action
    with pytest.raises(Usage):
        IdentityIssuer(tmp_path / "none.pem", trust_domain="remit.local")
