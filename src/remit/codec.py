"""Payload codec: what Temporal stores of a task is encrypted; who may read it is OpenBao's own policy (decision 0021).

    converter = encrypting(vault)                                  # or encrypting(vault, over=your own converter)
    client = await Client.connect(address, data_converter=converter, plugins=[RemitPlugin(…)])

- The whole payload, its metadata too, is sealed with AES-256-GCM under a data key and a random nonce; the wrapped key
  stands beside it and is authenticated with it.
- Whatever is not encrypted passes through decoding as it is: older histories stay readable.
- Failures are encrypted too: message, stack trace, details. Only an outage of OpenBao itself is told in clear, for
  then nothing can be encrypted; it says nothing but that, and the step is held.
- Neither an outage nor a missing right ever lets plain text out.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from datetime import timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import ApplicationErrorCategory
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, FailureConverter, PayloadCodec, PayloadConverter
from temporalio.exceptions import ApplicationError

from remit.errors import HELD, Held, Refused
from remit.vault import Vault
from remit.vault.datakeys import DataKeys

ENCODING = b"binary/remit-encrypted"
KEY = "remit-key"
"""Metadata: the data key as OpenBao wrapped it."""
_NO_PAYLOAD = "codec.payload"
_HIDDEN = "Encoded failure"
_NONCE = 12
_RETRY = timedelta(seconds=5)
_CAUSES = 8


class Codec(PayloadCodec):
    """Encrypts and reads payloads.

    Args:
        keys: Data keys, seen as whoever this is; None: nobody. Then nothing that is encrypted can be read.
        within: The user's own codec; encryption goes round it.
        encrypts: Whether payloads are encrypted; what is encrypted already can be read either way.
        passes: Whether a payload that only looks encrypted is left as it is, unread. A worker must: it decodes whatever
            anybody signals, and one that raises never gets past that signal.
    """

    def __init__(
        self,
        keys: DataKeys | None,
        *,
        within: PayloadCodec | None = None,
        encrypts: bool = True,
        passes: bool = False,
    ) -> None:
        self._keys = keys
        self._passes = passes
        self._within = within
        self._encrypts = encrypts

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encrypt payloads, each under the data key of the hour.

        Raises:
            Refused: This session may not encrypt. Held: OpenBao did not answer.
        """
        inner = list(payloads) if self._within is None else await self._within.encode(payloads)
        if not self._encrypts or not inner:
            return inner
        key = await self._required().to_encrypt(len(inner))
        sealed = []
        for payload in inner:
            nonce = os.urandom(_NONCE)
            data = nonce + key.cipher.encrypt(nonce, payload.SerializeToString(), _bound(key.wrapped))
            sealed.append(Payload(metadata={"encoding": ENCODING, KEY: key.wrapped}, data=data))
        return sealed

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Read encrypted payloads; others pass.

        Raises:
            Refused: ``codec.forbidden``, ``codec.payload``. Held: OpenBao did not answer.
        """
        try:
            read = await self._read(payloads)
        except Refused as error:
            if not self._passes or error.code != _NO_PAYLOAD:
                raise
            read = [await self._tried(one) for one in payloads]
        return read if self._within is None else await self._within.decode(read)

    async def _read(self, payloads: Sequence[Payload]) -> list[Payload]:
        wrapped = [one.metadata.get(KEY, b"") for one in payloads if _is_sealed(one)]
        if not wrapped:
            return list(payloads)
        keys = await self._required().to_read(wrapped)
        return [_opened(one, keys[one.metadata[KEY]]) if _is_sealed(one) else one for one in payloads]

    async def _tried(self, payload: Payload) -> Payload:
        try:
            return (await self._read([payload]))[0]
        except Refused as error:
            if error.code != _NO_PAYLOAD:
                raise
            return payload

    def _required(self) -> DataKeys:
        if self._keys is None:
            raise Refused(
                "payloads are encrypted, and this client has no session with OpenBao",
                code="codec.session",
                next_action="Make the client with one.",
            )
        return self._keys


class Failures(FailureConverter):
    """Encrypts what a failure says; made over the user's own converter by `encrypting`."""

    over: type[FailureConverter]

    def __init__(self) -> None:
        self._over = self.over()

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Convert an exception; message and stack trace become a payload, which the codec encrypts."""
        held = _held(exception)
        if held is not None:
            failure.message = "Held: something needed did not answer"
            told = failure.application_failure_info
            told.type = HELD + held
            told.next_retry_delay.FromTimedelta(_RETRY)
            told.category = ApplicationErrorCategory.APPLICATION_ERROR_CATEGORY_BENIGN
            return
        self._over.to_failure(exception, payload_converter, failure)
        _hide(failure, payload_converter)

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """Convert a failure back."""
        return self._over.from_failure(failure, payload_converter)


def encrypting(
    vault: Vault | Callable[[], Vault], *, over: DataConverter = DataConverter.default, keep: float | None = None
) -> DataConverter:
    """Return a data converter that encrypts with keys only this OpenBao unwraps.

    Args:
        vault: A session that may encrypt, and read; or what returns it when it is first needed.
        over: The converter it goes round; its own codec and converters work as before, on the plain side.
        keep: Seconds an unwrapped key is remembered; default: an hour.
    """
    session = (lambda: vault) if isinstance(vault, Vault) else vault
    return sealing(DataKeys(session) if keep is None else DataKeys(session, keep=keep), over=over)


def reading(keys: DataKeys, *, over: DataConverter = DataConverter.default, passes: bool = False) -> DataConverter:
    """Return a data converter that encrypts nothing and reads what was encrypted before."""
    made = Codec(keys, within=over.payload_codec, encrypts=False, passes=passes)
    return dataclasses.replace(over, payload_codec=made)


def sealing(
    keys: DataKeys | None, *, over: DataConverter = DataConverter.default, passes: bool = False
) -> DataConverter:
    """Return a data converter that encrypts with these keys; without any it refuses to encrypt, and to read."""
    failures = type("EncryptedFailures", (Failures,), {"over": over.failure_converter_class})
    return dataclasses.replace(
        over, payload_codec=Codec(keys, within=over.payload_codec, passes=passes), failure_converter_class=failures
    )


def _is_sealed(payload: Payload) -> bool:
    return payload.metadata.get("encoding") == ENCODING


def _bound(wrapped: bytes) -> bytes:
    return ENCODING + b"\n" + wrapped


def _opened(payload: Payload, cipher: AESGCM) -> Payload:
    data = payload.data
    try:
        plain = cipher.decrypt(data[:_NONCE], data[_NONCE:], _bound(payload.metadata[KEY]))
        return Payload.FromString(plain)
    except (InvalidTag, ValueError, DecodeError):
        raise Refused(
            "an encrypted payload was changed, or is not whole",
            code=_NO_PAYLOAD,
            next_action="Look at who may write to this Temporal namespace.",
        ) from None


def _held(exception: BaseException | None) -> str | None:
    """Return the code of the outage behind an exception: an attempt's, or the codec's in Temporal's words.

    Without OpenBao its facts could not be encrypted, so none are told.
    """
    for _ in range(_CAUSES):
        if isinstance(exception, Held):
            return exception.code
        if isinstance(exception, ApplicationError) and exception.details:
            facts = exception.details[0]
            return str(facts["code"]) if isinstance(facts, dict) and facts.get("remit") == Held.__name__ else None
        if exception is None:
            return None
        exception = exception.__cause__
    return None


def _hide(failure: Failure, payload_converter: PayloadConverter) -> None:
    """Move message and stack trace, also of the causes, to where the codec encrypts them."""
    at = failure
    while True:
        # A failure that was read and is passed on says in clear what stands in its encoded attributes too.
        if (at.message, at.stack_trace) not in (("", ""), (_HIDDEN, "")):
            said = {"message": at.message, "stack_trace": at.stack_trace}
            at.encoded_attributes.CopyFrom(payload_converter.to_payloads([said])[0])
            at.message, at.stack_trace = _HIDDEN, ""
        if not at.HasField("cause"):
            return
        at = at.cause
