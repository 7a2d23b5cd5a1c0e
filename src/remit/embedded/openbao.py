"""The embedded OpenBao: raft on one node, TLS on loopback, unseals and initialises itself.

- No root token and no password exist: the operator logs in with a local Ed25519 key
  (``keys/operator.pem``), for ten minutes at a time.
- Requests of the ``initialize`` block run once, at the first start; a first start that did not reach
  its end is wiped and begun again, since OpenBao refuses to resume it.
- Health 429 is a node that is not active yet: only 200 counts.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import jwt
import urllib3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from remit.embedded import tls
from remit.embedded.ports import HOST, Ports
from remit.embedded.process import Command, open_log
from remit.embedded.programs import program
from remit.embedded.state import StateFolder
from remit.errors import Held

NAME = "openbao"
_UNSEAL_KEY = "keys/unseal.key"
_OPERATOR_KEY = "keys/operator.pem"
_OPERATOR_PUBLIC = "keys/operator.pub"
_CONFIG = "openbao/openbao.hcl"
_ISSUER = "dev-operator"

_TEMPLATE = """\
storage "raft" {
  path = @data@
  node_id = "dev"
  performance_multiplier = 1
}
cluster_addr = @cluster@
api_addr = @address@
default_lease_ttl = "5m"
max_lease_ttl = "24h"
listener "tcp" {
  address = @listen@
  tls_cert_file = @certificate@
  tls_key_file = @key@
  tls_min_version = "tls13"
}
seal "static" {
  current_key_id = "dev-1"
  current_key = @unseal@
}
audit "file" "file" {
  options {
    file_path = @audit@
    hmac_accessor = "false"
    mode = "0600"
  }
}
initialize "auth" {
  request "policy" {
    operation = "update"
    path = "sys/policies/acl/admin"
    data = { policy = @policy@ }
  }
  request "mount" {
    operation = "update"
    path = "sys/auth/bootstrap"
    data = { type = "jwt" }
  }
  request "config" {
    operation = "update"
    path = "auth/bootstrap/config"
    data = { bound_issuer = @issuer@, jwt_supported_algs = ["EdDSA"], jwt_validation_pubkeys = { eval_source = "file", eval_type = "string", path = @operator@ } }
  }
  request "role" {
    operation = "update"
    path = "auth/bootstrap/role/admin"
    data = { role_type = "jwt", user_claim = "sub", bound_audiences = ["openbao"], bound_subject = "operator", token_policies = ["admin"], token_ttl = "10m", token_max_ttl = "10m" }
  }
}
"""  # noqa: E501
_ADMIN = 'path "*" { capabilities = ["create","read","update","patch","delete","list","sudo"] }'


@dataclass(frozen=True, slots=True)
class OpenBao:
    """The server of one state folder."""

    state: StateFolder
    ports: Ports

    @property
    def name(self) -> str:
        """Return the name of record, folder and log."""
        return NAME

    @property
    def address(self) -> str:
        """Return the API's URL."""
        return f"https://{HOST}:{self.ports.openbao}"

    @property
    def ca(self) -> Path:
        """Return the PEM file of its certificate authority."""
        return self.state.path / tls.CA

    def prepare(self) -> Command:
        """Write keys and configuration and return what to run."""
        if not self.state.completed(NAME):
            self.state.wipe(NAME)
        tls.ensure(self.state, now=dt.datetime.now(dt.UTC))
        self.state.secret(_UNSEAL_KEY, lambda: os.urandom(32))
        self.state.write(_OPERATOR_PUBLIC, _public_pem(self._operator_key()))
        data = self.state.folder(NAME) / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        config = self.state.write(_CONFIG, self._config(data))
        argv = (str(program("bao")), "server", "-config", str(config), "-log-level", "warn")
        return Command(NAME, "OpenBao", argv, data.parent)

    def ready(self) -> bool:
        """Tell whether it is initialised, unsealed and active."""
        with self._http(timeout=2.0) as http:
            try:
                return http.request("GET", f"{self.address}/v1/sys/health").status == 200
            except urllib3.exceptions.HTTPError:
                return False

    def finish(self) -> None:
        """See that the operator can log in, and record that the first start is done."""
        if not self.state.completed(NAME):
            self.admin_token()
            self.state.complete(NAME)

    def admin_token(self) -> str:
        """Log the operator in: a token with every right, for ten minutes.

        Raises:
            Held: ``vault.unreachable`` when OpenBao does not answer or refuses.
        """
        now = int(time.time())
        claims = {"iss": _ISSUER, "aud": "openbao", "sub": "operator", "iat": now, "exp": now + 60}
        token = jwt.encode(claims, self._operator_key(), algorithm="EdDSA")
        with self._http(timeout=10.0) as http:
            try:
                answer = http.request(
                    "POST",
                    f"{self.address}/v1/auth/bootstrap/login",
                    json={"role": "admin", "jwt": token},
                    redirect=False,
                )
            except urllib3.exceptions.HTTPError as error:
                raise self._unreachable(type(error).__name__) from error
        if answer.status != 200:
            raise self._unreachable(f"status {answer.status}")
        return str(answer.json()["auth"]["client_token"])

    def _unreachable(self, why: str) -> Held:
        return Held(
            f"the embedded OpenBao does not let its operator in ({why})",
            code="vault.unreachable",
            next_action="See its log logs/openbao.log in the state folder; start the stack with: remit dev",
        )

    def _operator_key(self) -> ed25519.Ed25519PrivateKey:
        pem = self.state.secret(_OPERATOR_KEY, _new_private_pem)
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise TypeError(f"{_OPERATOR_KEY} is not an Ed25519 key")
        return key

    def _http(self, *, timeout: float) -> urllib3.PoolManager:
        return urllib3.PoolManager(ca_certs=str(self.ca), retries=False, timeout=timeout)

    def _config(self, data: Path) -> str:
        home = self.state.path
        values = {
            "data": str(data),
            "cluster": f"https://{HOST}:{self.ports.openbao_cluster}",
            "address": self.address,
            "listen": f"{HOST}:{self.ports.openbao}",
            "certificate": str(home / tls.CERTIFICATE),
            "key": str(home / tls.KEY),
            "unseal": f"file://{home / _UNSEAL_KEY}",
            "audit": str(open_log(self.state, "openbao-audit")),
            "policy": _ADMIN,
            "issuer": _ISSUER,
            "operator": str(home / _OPERATOR_PUBLIC),
        }
        config = _TEMPLATE
        for name, value in values.items():
            config = config.replace(f"@{name}@", json.dumps(value))
        return config


def _new_private_pem() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(key: ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
