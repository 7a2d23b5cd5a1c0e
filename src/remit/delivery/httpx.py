"""httpx: clients that give one origin, and no other, a header with the running attempt's credential.

- Needs httpx 0.28.
"""

from __future__ import annotations

import httpx

from remit.delivery._header import AsyncSending, Flow, Sending


class Auth(Flow, httpx.Auth):
    """``Authorization``, for synchronous and asynchronous clients; it overrules what the client itself would say.

    Args:
        to: The origin that gets it. field: Field of the credential. scheme: Stands before it.

    Raises:
        Usage: ``delivery.origin``: `to` is not an origin.
        Refused: ``credential.none`` for a request outside an attempt, before anything is sent.

    Example:
        httpx.AsyncClient(auth=Auth(to="https://api.example.com"))
    """


class Transport(Sending, httpx.BaseTransport):
    """Any header, for a synchronous client; also when it follows redirects.

    Args:
        to: The origin that gets it. name: The header's name. field: Field of the credential.
        scheme: Stands before it.
        over: Sends; by default a plain transport, without proxies.

    Raises:
        Usage, Refused: As of `Auth`.

    Example:
        httpx.Client(transport=Transport(to="https://api.example.com", name="X-Api-Key"))
    """

    def __init__(
        self, *, to: str, name: str, field: str = "token", scheme: str = "", over: httpx.BaseTransport | None = None
    ) -> None:
        super().__init__(to=to, name=name, field=field, scheme=scheme, over=over or httpx.HTTPTransport())


class AsyncTransport(AsyncSending, httpx.AsyncBaseTransport):
    """Any header, for an asynchronous client; see `Transport`."""

    def __init__(
        self,
        *,
        to: str,
        name: str,
        field: str = "token",
        scheme: str = "",
        over: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(to=to, name=name, field=field, scheme=scheme, over=over or httpx.AsyncHTTPTransport())
