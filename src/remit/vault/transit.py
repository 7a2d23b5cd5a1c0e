"""Transit: signing keys that never leave OpenBao.

- A principal's key is named by the id of its identity entity, and only that entity's sessions may use it.
- Signatures wanted at the same time go in one request.
- A signature counts only if it was made by the very key the signer stands for: after a rotation it is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from remit import jose
from remit.errors import Held, Refused
from remit.vault.client import Vault
from remit.vault.paths import under
from remit.vault.shared import Batch

MOUNT = "transit"


class TransitSigner:
    """One key in Transit, as a `remit.jose.Signer`.

    Args:
        vault: A session that may sign with it.
        name: The key's name: the entity id of its principal.
        key: Its public half.
        mount: The transit mount.
    """

    def __init__(self, vault: Vault, *, name: str, key: jose.PublicKey, mount: str = MOUNT) -> None:
        self._vault = vault
        self._path = under(f"{mount}/sign", name)
        self._key = key
        self._version: bytes | None = None
        self._options = {"marshaling_algorithm": "jws", "hash_algorithm": "sha2-256"} if key.alg == "ES256" else {}
        self._batch: Batch[bytes, bytes] = Batch(self._signed)

    @classmethod
    async def open(cls, vault: Vault, name: str | None = None, *, mount: str = MOUNT) -> TransitSigner:
        """Return the signer of a key by name, or of the session's own principal.

        Raises:
            Refused: ``transit.key``: there is no such key, or it is of another type. Held: OpenBao did not answer.
        """
        name = name or await vault.entity_id()
        return cls(vault, name=name, key=await public_key(vault, name, mount=mount), mount=mount)

    @property
    def key(self) -> jose.PublicKey:
        """Return the public half."""
        return self._key

    async def sign(self, data: bytes) -> bytes:
        """Return the raw signature (64 bytes).

        Raises:
            Refused: ``vault.forbidden``: the session may not use this key; ``transit.rotated``. Held: No answer.
        """
        return await self._batch(data)

    async def _signed(self, items: Sequence[bytes]) -> Sequence[bytes | Exception]:
        inputs = [{"input": base64.b64encode(item).decode()} for item in items]
        answer = await self._vault.write(self._path, batch_input=inputs, **self._options)
        results: Sequence[Mapping[str, Any]] = (answer or {}).get("data", {}).get("batch_results") or ()
        if len(results) != len(items):
            raise Held(f"{self._path}: an incomplete answer", code="vault.failed")
        return [self._read(result, item) for result, item in zip(results, items, strict=True)]

    def _read(self, result: Mapping[str, Any], item: bytes) -> bytes | Exception:
        prefix, _, encoded = str(result.get("signature", "")).rpartition(":")
        try:
            signature = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=self._altchars)
        except ValueError:
            signature = b""
        if len(signature) != 64:
            return Refused(f"{self._path}: no signature", code="transit.rejected")
        version = prefix.encode()
        if version != self._version:
            # Looked at once for each version of the key, not for each signature.
            if not self._key.verifies(signature, item):
                return Refused(
                    f"{self._path} signs with another key than the directory has",
                    code="transit.rotated",
                    next_action="Run `remit bootstrap` to publish the new key.",
                )
            self._version = version
        return signature

    @property
    def _altchars(self) -> bytes | None:
        return b"-_" if self._options else None


async def public_key(vault: Vault, name: str, *, mount: str = MOUNT) -> jose.PublicKey:
    """Return the public half of a key's newest version.

    Raises:
        Refused: ``transit.key``. Held: OpenBao did not answer.
    """
    return (await public_keys(vault, name, mount=mount))[0]


async def public_keys(vault: Vault, name: str, *, mount: str = MOUNT) -> tuple[jose.PublicKey, ...]:
    """Return the public halves of all versions of a key that can still verify, newest first.

    Raises:
        Refused: ``transit.key``. Held: OpenBao did not answer.
    """
    data = (await vault.read(under(f"{mount}/keys", name)) or {}).get("data") or {}
    versions = {int(number): held for number, held in (data.get("keys") or {}).items() if isinstance(held, Mapping)}
    found = [_public(str(versions[number].get("public_key", "")), data.get("type")) for number in sorted(versions)]
    if not found or None in found or max(versions) != data.get("latest_version"):
        raise Refused(
            f"transit has no Ed25519 or P-256 key {name!r}", code="transit.key", next_action="Run `remit bootstrap`."
        )
    return tuple(key for key in reversed(found) if key is not None)


def _public(text: str, kind: object) -> jose.PublicKey | None:
    if kind == "ed25519":
        x = base64.urlsafe_b64encode(base64.b64decode(text)).rstrip(b"=").decode()
        return jose.public_key({"kty": "OKP", "crv": "Ed25519", "x": x})
    if kind == "ecdsa-p256":
        loaded = serialization.load_pem_public_key(text.encode())
        if isinstance(loaded, ec.EllipticCurvePublicKey):
            return jose.public_key(jose.public_jwk(loaded))
    return None
