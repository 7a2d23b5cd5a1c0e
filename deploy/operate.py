"""Logs the operator of the Compose stack in to OpenBao and runs a command with that session, for ten minutes at most.

- The operator's private key is the only way in; it is mounted into the one-shot jobs alone.
- The token is in the command's environment (``BAO_TOKEN``) and nowhere else.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import jwt
import urllib3

ISSUER = "remit-operator"
LIFETIME = 60
"""Seconds the signed token may be used to log in."""


def log_in(address: str, *, ca: Path, key: Path, now: int) -> str:
    """Return an operator's token.

    Args:
        address: OpenBao's URL. ca: Its certificate authority. key: The operator's Ed25519 key, PEM.
        now: Unix seconds.

    Raises:
        RuntimeError: When OpenBao refuses.
        urllib3.exceptions.HTTPError: When it does not answer.
    """
    claims = {"iss": ISSUER, "aud": "openbao", "sub": "operator", "iat": now, "exp": now + LIFETIME}
    token = jwt.encode(claims, key.read_bytes(), algorithm="EdDSA")
    with urllib3.PoolManager(ca_certs=str(ca), retries=False, timeout=10.0) as http:
        answer = http.request(
            "POST", f"{address}/v1/auth/bootstrap/login", json={"role": "admin", "jwt": token}, redirect=False
        )
    if answer.status != 200:
        raise RuntimeError(f"OpenBao does not let the operator in: status {answer.status}")
    return str(answer.json()["auth"]["client_token"])


def main() -> None:
    """Run the command given as arguments."""
    address, ca = os.environ["REMIT_OPENBAO_ADDRESS"], Path(os.environ["REMIT_OPENBAO_CA"])
    os.environ["BAO_TOKEN"] = log_in(address, ca=ca, key=Path(os.environ["OPERATOR_KEY_FILE"]), now=int(time.time()))
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 (the command is Compose's own)


if __name__ == "__main__":
    main()
