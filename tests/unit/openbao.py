"""OpenBao in memory, for rules only: what the library asks of it, answered as the real one answers.

- It takes the place of the wire: paths are checked, bodies go through JSON, answers are read by the library's own code.
- It keeps what the real one would keep, and for tests what was minted and what was asked, in order.
- `meanwhile` lets something happen just before or after a request is answered; `broken` answers with a bad status.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from remit import jose
from remit.presentation import STEP_TYP
from remit.vault import Token, Vault
from remit.vault.answers import CONFLICT
from remit.vault.paths import checked

Meanwhile = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Login:
    """A step's login: what it may read, and whether it still lives."""

    accessor: str
    role: str
    alive: bool = True


@dataclass(slots=True)
class Kept:
    """What the server holds.

    Args:
        documents: KV v2: path → record and version. live: KV v1. logins: By token. leases: Lease id → accessor.
        minted: Paths of what a step's login was given. asked: Every request. tokens: Claims of every step token.
    """

    documents: dict[str, tuple[Any, int]] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    logins: dict[str, Login] = field(default_factory=dict)
    leases: dict[str, str] = field(default_factory=dict)
    minted: list[str] = field(default_factory=list)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    before: list[tuple[str, Meanwhile]] = field(default_factory=list)
    after: list[tuple[str, Meanwhile]] = field(default_factory=list)
    broken: dict[str, int] = field(default_factory=dict)


class OpenBao(Vault):
    """The authority's session with it; `as_token` gives another's."""

    def __init__(self, steps: jose.PublicKey) -> None:
        super().__init__("https://127.0.0.1:1", None, Token("authority"))
        self.kept = Kept()
        self.login_ttl = 60
        self._steps = steps
        self._secrets = {"remit-secrets/data/weather-api": {"data": {"key": "w"}, "metadata": {"version": 1}}}

    def meanwhile(self, asked: str, happens: Meanwhile, *, after: bool = False) -> None:
        """Let something happen once, just before (or after) the next request whose ``METHOD path`` begins so."""
        (self.kept.after if after else self.kept.before).append((asked, happens))

    async def call(
        self,
        method: str,
        path: str,
        data: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        repeat: bool = True,
    ) -> tuple[int, bytes]:
        login = self._login
        assert isinstance(login, Token)
        token = (await login.log_in(self._unauthenticated)).token
        body = None if data is None else json.loads(json.dumps(data))
        asked = f"{method} {checked(path)}"
        self.kept.asked.append((method, path, body))
        await self._happens(self.kept.before, asked)
        status, answer = self._answer(method, path, body, token)
        await self._happens(self.kept.after, asked)
        for beginning, bad in self.kept.broken.items():
            if asked.startswith(beginning):
                return bad, b"{}"
        return status, json.dumps(answer).encode() if isinstance(answer, dict) else answer

    async def _unauthenticated(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        expected = "auth/remit-step/cel/login" if self.profile == "openbao" else "auth/remit-step/login"
        assert (method, path) == ("POST", expected)
        asked = f"{method} {path}"
        self.kept.asked.append((method, path, None))
        await self._happens(self.kept.before, asked)
        claims = jose.verify(str(body["jwt"]), typ=STEP_TYP, key=self._steps)
        self.kept.tokens.append(claims)
        assert body["role"] == ("step" if self.profile == "openbao" else f"step-{claims['dbrole']}")
        number = len(self.kept.logins) + 1
        self.kept.logins[f"s.{number}"] = Login(f"a{number}", claims["dbrole"])
        await self._happens(self.kept.after, asked)
        return {"auth": {"client_token": f"s.{number}", "accessor": f"a{number}", "lease_duration": self.login_ttl}}

    async def _happens(self, waiting: list[tuple[str, Meanwhile]], asked: str) -> None:
        one = next((one for one in waiting if asked.startswith(one[0])), None)
        if one is not None:
            waiting.remove(one)
            await one[1]()

    def _answer(self, method: str, path: str, body: Any, token: str) -> tuple[int, Any]:
        kept = self.kept
        if token != "authority":  # a step's own login
            return self._as_step(method, path, body, token)
        match method, path.split("/"):
            case "GET", ["remit", "data", *_] if found := kept.documents.get(path):
                return 200, {"data": {"data": found[0], "metadata": {"version": found[1]}}}
            case "POST", ["remit", "data", *_]:
                version = kept.documents.get(path, (None, 0))[1]
                if "options" in body and body["options"]["cas"] != version:
                    return 400, CONFLICT
                kept.documents[path] = (body["data"], version + 1)
                return 200, {"data": {"version": version + 1}}
            case "LIST", ["remit", "metadata", *rest]:
                return _listed(kept.documents, "/".join(["remit", "data", *rest]))
            case "GET", ["remit-live", *_] if path in kept.live:
                return 200, {"data": kept.live[path]}
            case "POST", ["remit-live", *_]:
                kept.live[path] = body
                return 204, b""
            case "LIST", ["remit-live", *_]:
                return _listed(kept.live, path)
            case "DELETE", ["remit-live", *_]:
                kept.live.pop(path, None)
                return 204, b""
            case "POST", ["auth", "token", "revoke-accessor"]:
                return self._revoked(body["accessor"])
            case "POST", ["sys", "leases", "revoke", *rest] if body == {"sync": True}:
                kept.leases.pop("/".join(rest), None)
                return 204, b""
        return 404, b'{"errors":[]}'

    def _as_step(self, method: str, path: str, body: Any, token: str) -> tuple[int, Any]:
        login = self.kept.logins.get(token)
        if login is None or not login.alive:
            return 403, b'{"errors":["permission denied"]}'
        match method, path.split("/"):
            case "GET", ["auth", "token", "lookup-self"]:
                return 200, {"data": {"ttl": 60}}
            case "POST", ["auth", "token", "renew-self"]:
                return 200, {"auth": {"lease_duration": body["increment"]}}
            case "POST", ["sys", "leases", "renew"] if body["lease_id"] in self.kept.leases:
                return 200, {"lease_duration": body["increment"]}
            case "GET", ["database", "creds", role] if role == login.role:
                self.kept.minted.append(path)
                lease = f"{path}/{len(self.kept.minted)}"
                self.kept.leases[lease] = login.accessor
                user = {"username": f"u{len(self.kept.minted)}", "password": "p"}
                return 200, {"lease_id": lease, "lease_duration": 45, "data": user}
            case "GET", ["remit-secrets", "data", role] if role == login.role and path in self._secrets:
                self.kept.minted.append(path)
                return 200, {"lease_id": "", "lease_duration": 0, "data": self._secrets[path]}
            case "GET", [*_, role] if role == login.role:
                return 404, b'{"errors":[]}'
        return 403, b'{"errors":["1 error occurred: permission denied"]}'

    def _revoked(self, accessor: str) -> tuple[int, Any]:
        found = [one for one in self.kept.logins.values() if one.accessor == accessor and one.alive]
        for one in found:
            one.alive = False
        self.kept.leases = {lease: by for lease, by in self.kept.leases.items() if by != accessor}
        return (204, b"") if found else (400, b'{"errors":["invalid accessor"]}')


def _listed(held: Mapping[str, Any], folder: str) -> tuple[int, Any]:
    names = {
        f"{name}/" if more else name
        for path in held
        if path.startswith(folder + "/")
        for name, more, _ in [path.removeprefix(folder + "/").partition("/")]
    }
    return (200, {"data": {"keys": sorted(names)}}) if names else (404, b"{}")
