"""`http.request`: one request to a service of the catalogue, with a token made for this attempt.

- Only to the service's own base address: the path can climb nowhere, redirects are not followed, proxies not used.
- The token names the human, the agent and the one service; it goes into the header and nowhere else.
- Bounded: a response of at most 256 KiB, within 30 s.
- Every attempt of a step carries the same idempotency key, over retries, resumption and resets, so that a service can
  tell a repetition: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field
from temporalio.exceptions import ApplicationError

from remit.temporal import current_credential, step_name, tool

MOST_BYTES = 256 * 1024
_SEGMENT = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,99}"
_BUSY = 429


class Request(BaseModel):
    """What to ask of which service."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    path: Annotated[str, Field(pattern=rf"^(/{_SEGMENT}){{0,20}}/?$")] = ""
    body: dict[str, Any] | None = None


def requests(services: Mapping[str, str]) -> Any:
    """Return the tool.

    Args:
        services: Base address by the service's name.
    """

    @tool(
        name="http.request",
        action="http:request",
        resource=lambda request: request.service,
        credential="service-token",
    )
    async def request(request: Request) -> dict[str, Any]:
        """Return ``{"status", "body"}``; the body as JSON where it is JSON."""
        base = services.get(request.service)
        if base is None:
            raise _refused("http.service", f"the catalogue has no service {request.service!r}")
        headers = {
            "Authorization": f"Bearer {current_credential()['token']}",
            "Idempotency-Key": f'"{step_name()}"',
        }
        async with (
            httpx.AsyncClient(timeout=30, follow_redirects=False, trust_env=False, headers=headers) as client,
            client.stream(request.method, base.rstrip("/") + request.path, json=request.body) as response,
        ):
            return await _answer(response)

    return request


async def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_redirect:
        raise _refused("http.redirect", f"the service answers with a redirect ({response.status_code})")
    if response.is_server_error or response.status_code == _BUSY:
        raise ApplicationError(f"the service answers {response.status_code}", type="http.unavailable")
    data = b""
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > MOST_BYTES:
            raise _refused("http.size", f"the response is longer than {MOST_BYTES // 1024} KiB")
    return {"status": response.status_code, "body": _read(data)}


def _read(data: bytes) -> Any:
    text = data.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _refused(code: str, message: str) -> ApplicationError:
    return ApplicationError(message, type=code, non_retryable=True)
