"""The codec server: lets the Temporal UI and the `temporal` command show one person what that person may read.

- It asks OpenBao as that person, with their session; it remembers an unwrapped key for seconds only, so who is struck
  off the readers, or logged out, sees nothing more.
- It listens on loopback only. Its address ends in a secret of the state folder, so that another user of the machine
  cannot ask it; a Host header that is not its own is refused, and so is a web page that is not the UI.
- Temporal's protocol: ``POST …/decode`` and ``POST …/encode`` with payloads as protobuf JSON. Whatever is wrong is one
  JSON object with a code, and never a payload.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web
from google.protobuf import json_format
from temporalio.api.common.v1 import Payloads
from temporalio.envconfig import ClientConfig

from remit.codec import Codec
from remit.errors import Held, Refused, RemitError, Usage
from remit.session import Secrets
from remit.vault.datakeys import DataKeys

if TYPE_CHECKING:
    from remit.client.connection import Connection

HOST = "127.0.0.1"
KEEP_SECONDS = 5.0
MOST_BYTES = 16 << 20
_AT_ONCE = 4
_PATIENCE = 3.0
_SECRET = "keys/codec-path"  # noqa: S105 - a file's name
_HEADERS = "Content-Type, X-Namespace"


class CodecServer:
    """Decodes and encodes for one person, between `start` and `close`.

    Args:
        connection: That person's way to OpenBao.
        ui: Origin of the Temporal UI, ``http(s)://host[:port]``; None: no web page may ask.
        port: Port on loopback; 0: any that is free.

    Raises:
        Usage: ``codec.ui``: that is no origin.
    """

    def __init__(self, connection: Connection, *, ui: str | None, port: int) -> None:
        settings = connection.settings
        keys = DataKeys(lambda: connection.vault, keep=KEEP_SECONDS, patience=_PATIENCE)
        self._codec = Codec(keys, encrypts=settings.encrypt)
        self._origin = None if ui is None else _origin(ui)
        self._port = port
        self._path = Secrets(settings.home).made(_SECRET)
        file = str(settings.temporal_config) if settings.temporal_config else None
        self._namespace = ClientConfig.load_client_connect_config(config_file=file).get("namespace") or "default"
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen, and return the endpoint to give to the UI and the command.

        Raises:
            Usage: ``codec.port``: the port is in use.
        """
        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, HOST, self._port).start()
        except OSError:
            await self.close()
            raise Usage(
                f"port {self._port} is in use", code="codec.port", next_action="Give another one with --port."
            ) from None
        self._port = self._runner.addresses[0][1]
        return f"http://{HOST}:{self._port}/{self._path}"

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """Answer whatever happens as one clear error, readable to the UI and to no other page."""
        origin = request.headers.get("Origin")
        try:
            self._require_ours(request, origin)
            answer = _preflight(request) if request.method == "OPTIONS" else await self._converted(request)
        except RemitError as error:
            answer = _refusal(error)
        except web.HTTPRequestEntityTooLarge:
            answer = _refusal(Usage(f"more than {MOST_BYTES >> 20} MiB at once", code="codec.size"))
        if origin is not None and origin == self._origin:
            answer.headers["Access-Control-Allow-Origin"] = origin
        answer.headers.update({"Vary": "Origin", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
        return answer

    def _require_ours(self, request: web.Request, origin: str | None) -> None:
        if request.headers.getall("Host", []) not in ([f"{name}:{self._port}"] for name in (HOST, "localhost")):
            raise Refused("this is not the name this server goes by", code="codec.host")
        if origin is not None and origin != self._origin:
            raise Refused(
                "this page may not ask",
                code="codec.origin",
                next_action="Say where the Temporal UI is: remit codec --ui URL",
            )
        first, _, last = request.path.strip("/").partition("/")
        if not hmac.compare_digest(first.encode(), self._path.encode()):
            raise Refused("there is nothing here", code="codec.path", next_action="Use the address it printed.")
        if last.rpartition("/")[2] not in ("decode", "encode"):
            raise Refused("there is nothing here", code="codec.path", next_action="POST to …/decode or …/encode.")

    async def _converted(self, request: web.Request) -> web.Response:
        if request.method != "POST" or request.content_type != "application/json":
            raise Usage("payloads are POSTed as application/json", code="codec.request")
        if (asked := request.headers.get("X-Namespace")) not in (None, "", self._namespace):
            raise Usage(f"this serves another namespace than {asked[:80]!a}", code="codec.namespace")
        async with self._room:
            payloads = _read(await request.read())
            if request.path.endswith("/decode"):
                done = await self._codec.decode(payloads.payloads)
            else:
                done = await self._codec.encode(payloads.payloads)
            return web.Response(
                text=json_format.MessageToJson(Payloads(payloads=done)), content_type="application/json"
            )


def _preflight(request: web.Request) -> web.Response:
    allowed = {"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": _HEADERS}
    if request.headers.get("Access-Control-Request-Private-Network") == "true":
        allowed["Access-Control-Allow-Private-Network"] = "true"
    return web.Response(status=204, headers=allowed)


def _read(body: bytes) -> Payloads:
    try:
        return json_format.Parse(body, Payloads(), max_recursion_depth=16)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError):
        raise Usage("these are no payloads", code="codec.request") from None


def _refusal(error: RemitError) -> web.Response:
    status = {"codec.size": 413, "codec.path": 404, "login.needed": 401, "codec.payload": 422}.get(error.code)
    if status is None:
        status = 503 if isinstance(error, Held) else 400 if isinstance(error, Usage) else 403
    return web.json_response({"error": error.message, "code": error.code, "next": error.next_action}, status=status)


def _origin(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.username or parts.password:
        raise Usage(f"{address[:120]!a} is not the address of a web page", code="codec.ui")
    return f"{parts.scheme}://{parts.netloc}"
