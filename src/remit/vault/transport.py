"""Transport: hvac on urllib3, with Remit's rules.

- Redirects are not followed (hvac and requests would send the token along), paths are checked before I/O (requests
  collapses ``..``), TLS roots are given, every request has a deadline.
- Errors are Remit's (`answers`); only 404 stays hvac's own ``InvalidPath``, as its callers expect.
- For operators' scripts and library users; Remit's own traffic goes over `wire`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import hvac
import hvac.adapters
import hvac.exceptions
import urllib3

from remit.errors import Held
from remit.vault import answers
from remit.vault.paths import checked

CONNECT_SECONDS = 2.0
READ_SECONDS = 10.0


class Transport(hvac.adapters.Adapter):  # type: ignore[misc]  # hvac is untyped
    """hvac's adapter interface over one pool.

    Args:
        base_uri: Address.
        ca: TLS roots (PEM); None: the system's.
        token: Secret; empty for none.
        namespace: OpenBao namespace.
    """

    def __init__(self, base_uri: str, *, ca: Path | None, token: str = "", namespace: str | None = None) -> None:
        # hvac's own __init__ would open a requests session.
        self.base_uri = base_uri.rstrip("/")
        self.token = token
        self.namespace = namespace
        self.allow_redirects = False
        self.ignore_exceptions = False
        self.strict_http = False
        self.request_header = True
        self.session = None
        self._kwargs: dict[str, Any] = {}
        self._pool = urllib3.PoolManager(
            ca_certs=str(ca) if ca else None,
            cert_reqs="CERT_REQUIRED",
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            retries=False,
            maxsize=8,
        )

    def close(self) -> None:
        """End the connections."""
        self._pool.clear()

    def get_login_token(self, response: Any) -> str:
        """Return the token of a login's answer."""
        return str(response["auth"]["client_token"])

    def request(
        self, method: str, url: str, headers: dict[str, str] | None = None, raise_exception: bool = True, **kwargs: Any
    ) -> Any:
        """Send one request; return the JSON object of a 200, otherwise urllib3's response.

        Raises:
            Refused, Held: As `remit.vault.Vault.read`. hvac.exceptions.InvalidPath: 404.
        """
        path = url.strip("/")
        target = f"{self.base_uri}/{checked(path)}"
        sent = {**(headers or {}), "X-Vault-Request": "true"}
        if self.token:
            sent["X-Vault-Token"] = self.token
        if self.namespace:
            sent["X-Vault-Namespace"] = self.namespace
        if wrap_ttl := kwargs.pop("wrap_ttl", None):
            sent["X-Vault-Wrap-TTL"] = str(wrap_ttl)
        body = kwargs.pop("json", None)
        fields = kwargs.pop("params", None)
        if method.lower() == "list":
            method, fields = "GET", {**(fields or {}), "list": "true"}
        if fields:
            target += "?" + urlencode({key: value for key, value in fields.items() if value is not None})
        try:
            answer = self._pool.request(
                method.upper(),
                target,
                headers={**sent, "Content-Type": "application/json"} if body is not None else sent,
                body=json.dumps(body).encode() if body is not None else None,
                redirect=False,
                retries=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise Held(
                f"{method.upper()} {path}: OpenBao at {self.base_uri} does not answer: {type(error).__name__}",
                code="vault.unreachable",
                next_action="Check that it runs and that address and TLS roots are right.",
            ) from None
        if answer.status == 200:
            return answers.parse(answer.data, asked=path)
        if answer.status == 404 and raise_exception:
            raise hvac.exceptions.InvalidPath(f"nothing at {path}", method=method, url=path)
        if answer.status >= 300 and raise_exception:
            raise answers.failure(answer.status, answer.data, asked=path)
        return answer


def hvac_client(address: str, *, ca: Path | None = None, token: str = "", namespace: str | None = None) -> hvac.Client:
    """Return an hvac client that goes by Remit's rules."""
    transport = Transport(address, ca=ca, token=token, namespace=namespace)
    # An empty token, not None: hvac would otherwise look for one in the environment and the home folder.
    return cast(hvac.Client, hvac.Client(url=address, token=token, adapter=lambda **_: transport))
