"""A header that carries the credential to one origin, as httpx and httpx2 let others add one.

- `Auth` is for ``Authorization``, which both clients take off a request that is redirected to another origin. They
  leave any other header on it, so any other header is added beneath the redirects, by a transport.
- Only requests to the one origin that was named carry it, whoever chose the address. (A redirect from http to https on
  the same host keeps what `Auth` put on.)
- No request or response that a tool keeps holds it afterwards: `Auth` takes it off again, a transport sends a copy.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from remit.credentials import current_credential
from remit.errors import Usage

AUTHORIZATION = "Authorization"
_PORTS = {"http": 80, "https": 443}
_Origin = tuple[str, str, int | None]


@dataclass(frozen=True, slots=True, init=False)
class Header:
    """Where a credential's field goes.

    Args:
        to: The origin: ``https://host[:port]``, a name with other letters than ASCII's as ``xn--…``; a path after it
            is of no account.
        field: Field of the credential.
        name: The header's name. scheme: Stands before the value, e.g. ``Bearer``.

    Raises:
        Usage: ``delivery.origin``: `to` is not an origin.
    """

    to: _Origin
    field: str
    name: str
    scheme: str

    def __init__(self, *, to: str, field: str, name: str, scheme: str) -> None:
        for slot, value in (("to", _origin(to)), ("field", field), ("name", name), ("scheme", scheme)):
            object.__setattr__(self, slot, value)

    def goes_to(self, url: Any) -> bool:
        """Tell whether a request to this httpx URL carries it."""
        return (url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS.get(url.scheme)) == self.to

    def value(self) -> str:
        """Return what it says now.

        Raises:
            Refused: ``credential.none`` outside an attempt.
        """
        return f"{self.scheme} {current_credential()[self.field]}".lstrip()

    def on(self, request: Any) -> Any:
        """Return a copy of a request that carries it; the request itself when it goes elsewhere."""
        if not self.goes_to(request.url):
            return request
        headers = request.headers.copy()
        headers[self.name] = self.value()
        return type(request)(
            request.method, request.url, headers=headers, stream=request.stream, extensions=request.extensions
        )


class Flow:
    """The flow of an `Auth`: put on, sent, taken off."""

    def __init__(self, *, to: str, field: str = "token", scheme: str = "Bearer") -> None:
        self._header = Header(to=to, field=field, name=AUTHORIZATION, scheme=scheme)

    def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Authorize one request."""
        if not self._header.goes_to(request.url):
            yield request
            return
        request.headers[AUTHORIZATION] = self._header.value()
        sent = [request]
        try:
            response = yield request
            sent += [response.request, *(earlier.request for earlier in response.history)]
        finally:
            for one in sent:
                one.headers.pop(AUTHORIZATION, None)


class Sending:
    """A transport that sends what another sends, with the header."""

    def __init__(self, *, to: str, name: str, field: str, scheme: str, over: Any) -> None:
        self._header = Header(to=to, field=field, name=name, scheme=scheme)
        self._over = over

    def handle_request(self, request: Any) -> Any:
        """Send one request."""
        return self._over.handle_request(self._header.on(request))

    def close(self) -> None:
        """Close what is beneath."""
        self._over.close()


class AsyncSending(Sending):
    """The same, asynchronous."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send one request."""
        return await self._over.handle_async_request(self._header.on(request))

    async def aclose(self) -> None:
        """Close what is beneath."""
        await self._over.aclose()


def _origin(text: str) -> _Origin:
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        scheme = host = ""
        port = None
    if scheme not in _PORTS or not host or not host.isascii() or "@" in parts.netloc:
        raise Usage(
            f"{text!r} is not an origin",
            code="delivery.origin",
            next_action="Write the scheme and the host that get the credential, e.g. https://api.example.com.",
        )
    return scheme, host, port or _PORTS[scheme]
