"""What a careful team would write by hand: an ungoverned activity that gets its own credential from OpenBao.

- It logs in with the worker's signed identity, reads ``database/creds``, queries, revokes the lease, then its token.
- hvac in a thread, one kept TLS session for each thread, the identity token reused while it is fresh.
- Its own auth mount, role and policy, no wider than it needs.
"""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

import hvac
import jwt
import psycopg
import requests
from cryptography.hazmat.primitives import serialization
from temporalio import activity

from benchmarks.tools import QUERY
from remit.embedded import Stack
from remit.embedded.provision import IDENTITY_KEY

MOUNT = "bench-jwt"
ROLE = "flights"
POLICY = """
path "database/creds/flights-ro" { capabilities = ["read"] }
path "sys/leases/revoke" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
"""
_FRESH = 30.0


def allow(stack: Stack) -> None:
    """Set OpenBao up for it, as its operator would."""
    admin = hvac.Client(stack.openbao.address, token=stack.openbao.admin_token(), verify=str(stack.openbao.ca))
    public = serialization.load_pem_private_key((stack.home / IDENTITY_KEY).read_bytes(), password=None).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    admin.sys.create_or_update_policy(ROLE, POLICY)
    admin.sys.enable_auth_method("jwt", path=MOUNT)
    admin.write_data(f"auth/{MOUNT}/config", data={"jwt_validation_pubkeys": [pem], "jwt_supported_algs": ["EdDSA"]})
    admin.write_data(
        f"auth/{MOUNT}/role/{ROLE}",
        data={
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": ["openbao"],
            "token_policies": [ROLE],
            "token_no_default_policy": True,
            "token_ttl": 60,
        },
    )


class ByHand:
    """The activity and what it keeps between calls.

    Args:
        stack: Where OpenBao and PostgreSQL are.
    """

    def __init__(self, stack: Stack) -> None:
        self._address = stack.openbao.address
        self._ca = str(stack.openbao.ca)
        self._dsn = stack.postgres.dsn
        self._key = (stack.home / IDENTITY_KEY).read_bytes()
        self._kept = threading.local()
        self._identity = ("", 0.0)

    @activity.defn(name=QUERY)
    def query(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Query with a credential of its own."""
        login = self._client("").auth.jwt.jwt_login(ROLE, self._token(), use_token=False, path=MOUNT)
        client = self._client(login["auth"]["client_token"])
        try:
            made = client.secrets.database.generate_credentials(ROLE + "-ro")
            try:
                user, password = made["data"]["username"], made["data"]["password"]
                with psycopg.connect(f"{self._dsn} user={user} password={password}", autocommit=True) as session:
                    row = session.execute("select 1").fetchone()
            finally:
                client.sys.revoke_lease(made["lease_id"])
        finally:
            client.auth.token.revoke_self()
        return {"rows": [list(row or ())]}

    def _client(self, token: str) -> hvac.Client:
        session = getattr(self._kept, "session", None)
        if session is None:
            session = self._kept.session = requests.Session()
            session.verify = self._ca
        return hvac.Client(self._address, token=token, session=session, verify=self._ca)

    def _token(self) -> str:
        token, until = self._identity
        now = time.time()
        if now > until:
            claims = {"sub": "spiffe://remit.local/agent/flight-analyst", "aud": "openbao", "jti": str(uuid.uuid4())}
            token = jwt.encode({**claims, "iat": int(now), "exp": int(now) + 60}, self._key, algorithm="EdDSA")
            self._identity = (token, now + _FRESH)
        return token
