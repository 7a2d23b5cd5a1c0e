"""The fenced mint: a credential exists only if its chain is still live *after* it was made.

Order, and why (revoking while a credential is being made otherwise leaves it alive until its TTL):

1. the caller has seen the chain live; 2. log in to OpenBao with a signed step token; 3. record the accessor, so that
a revoker finds it; 4. read the credential; 5. look the login up and ask for the chain's standing again; 6. only if both
are alive hand the credential over, otherwise destroy it and refuse.

- Dying between any two lines leaves at most a login whose TTL is a minute, recorded or not yet used.
- A request that mints is never given up: OpenBao would go on with it, and what it makes while its login is being ended
  belongs to nobody.
- Whatever fails after the login ends it; what cannot be ended now is reported as pending, never forgotten.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from remit import jose
from remit.credentials.credential import Credential
from remit.credentials.lease import Lease, Occasion
from remit.errors import NotLive, Refused, RemitError
from remit.presentation import ACCESS_TYP, STEP_TYP, access_token_claims, step_token_claims

if TYPE_CHECKING:
    from remit.catalogue import CredentialProfile
    from remit.chain import Chain
    from remit.registry import Registry
    from remit.vault import StepLogin, Vault

_T = TypeVar("_T")

STEP_AUDIENCE = "openbao"
"""The audience OpenBao's step role is bound to."""
AT_ONCE = 16
"""Credentials one mount is asked for at once. OpenBao makes them one after another for each database; more would only
wait there, holding logins that run out, and take its time from everybody else's status reads."""


async def end_login(vault: Vault, accessor: str) -> None:
    """End a login and all it leased; one that has ended already is what was wanted.

    Raises:
        RemitError: It could not be ended: forbidden, or no answer.
    """
    try:
        await vault.write("auth/token/revoke-accessor", accessor=accessor)
    except Refused as error:
        if error.code != "vault.rejected":  # HashiCorp Vault's word for an accessor it does not know
            raise


class Mint:
    """Mints and destroys credentials.

    Args:
        vault: OpenBao with the authority's own session.
        registry: Where live logins are recorded.
        steps: Signs step tokens. tokens: Signs downstream access tokens.
        issuer: ``iss`` of both, the authority's SPIFFE ID.
        postgres: Connection strings without user, by the mount that makes their users.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        vault: Vault,
        registry: Registry,
        steps: jose.Signer,
        tokens: jose.Signer,
        issuer: str,
        postgres: Mapping[str, str],
        clock: Callable[[], float],
    ) -> None:
        self._vault = vault
        self._registry = registry
        self._steps = steps
        self._tokens = tokens
        self._issuer = issuer
        self._postgres = postgres
        self._clock = clock
        self._lines: dict[str, asyncio.Semaphore] = {}

    async def mint(
        self,
        profile: CredentialProfile,
        *,
        occasion: Occasion,
        chain: Chain,
        longest: int,
        require_live: Callable[[], Awaitable[None]],
    ) -> Lease:
        """Mint one credential behind the fence.

        Args:
            longest: Seconds it may live, however often it is renewed.
            require_live: Reads the chain's standing anew and raises `NotLive` unless every link and principal is live.

        Raises:
            NotLive: The chain stopped being live meanwhile; nothing is left.
            Held: OpenBao did not answer; whatever was made is ended, or dead by its TTL.
        """
        if profile.kind == "token":
            return await self._downstream(profile, occasion=occasion, chain=chain, require_live=require_live)
        until = min(int(self._clock()) + longest, chain.expires_at)
        async with self._room(profile):
            lease = await self._fenced(profile, occasion=occasion, chain=chain, require_live=require_live)
        return replace(lease, until=until)

    def _room(self, profile: CredentialProfile) -> AbstractAsyncContextManager[None]:
        """Return the place in the line for what makes this credential; a static secret needs none."""
        if profile.kind == "secret":
            return nullcontext()
        return self._lines.setdefault(profile.path.partition("/")[0], asyncio.Semaphore(AT_ONCE))

    async def _fenced(
        self,
        profile: CredentialProfile,
        *,
        occasion: Occasion,
        chain: Chain,
        require_live: Callable[[], Awaitable[None]],
    ) -> Lease:
        login = await self._log_in(profile, occasion=occasion, chain=chain)
        root = chain.ids[0]
        try:
            record = {
                "accessor": login.accessor,
                "lease": None,
                "chain": list(chain.ids),
                "principals": [principal.spiffe_id for principal in chain.principals],
                "task": occasion.task,
                "run": occasion.run,
                "step": occasion.step,
                "attempt": occasion.attempt,
                "profile": profile.name,
            }
            await self._registry.live.record(root, occasion.grant, record)
            session = self._vault.as_token(login.token)
            made = await _to_its_end(session.make(profile.path))
            if made is None:
                raise Refused(
                    f"OpenBao has nothing at {profile.path}",
                    code="credential.absent",
                    next_action="Run `remit bootstrap`, or store the secret there.",
                )
            lease = self._lease(profile, made, login=login, occasion=occasion, root=root, chain=chain)
        except BaseException:
            await asyncio.shield(self._end_login(login, root=root, grant=occasion.grant))
            raise
        try:
            # Rule 17, the fence: whoever revokes from here on finds the accessor; whoever did before is seen now.
            # The lease id joins the record meanwhile: with it a revoker sees the database session dead, not only ended.
            # All three are awaited also when one fails: a record written after its lease was forgotten would stay.
            answers = await asyncio.gather(
                session.read("auth/token/lookup-self"),
                require_live(),
                self._registry.live.record(root, occasion.grant, {**record, "lease": lease.lease_id}),
                return_exceptions=True,
            )
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
        except BaseException as error:
            await asyncio.shield(self.destroy(lease))
            if isinstance(error, Refused) and not isinstance(error, NotLive):
                raise NotLive(
                    "the step's login was ended while its credential was made",
                    status="revoked",
                    subject=chain.leaf.jti,
                ) from None
            raise
        return lease

    async def revoke(self, lease: Lease) -> str | None:
        """Destroy the credential, its database sessions with it, before returning; its login and record are left.

        Returns:
            Why it is still pending, or None once it is dead.
        """
        if lease.lease_id is None:
            return None
        try:
            await self._vault.write(f"sys/leases/revoke/{lease.lease_id}", sync=True)
        except RemitError as error:
            return error.code
        return None

    async def end(self, lease: Lease, *, forget: bool = True) -> str | None:
        """End the login of a lease, then forget its record; return why either is still pending, or None."""
        if lease.login is None:
            return None
        return await self._end_login(lease.login, root=lease.root, grant=lease.occasion.grant, forget=forget)

    async def destroy(self, lease: Lease) -> str | None:
        """Destroy a lease with its login and record; return why it is still pending, or None once all are gone."""
        pending = await self.revoke(lease)
        # Ending the login ends its leases too, only not synchronously; what is still pending stays recorded.
        ended = await self.end(lease, forget=pending is None)
        return pending or ended

    async def renew(self, lease: Lease) -> Lease:
        """Extend a live lease by its own lifetime, never beyond its `until`, for tools that run long.

        Raises:
            Held: OpenBao did not answer. Refused: the login or lease is gone.
        """
        if lease.login is None or not lease.ttl:
            return lease
        now = int(self._clock())
        seconds = max(1, min(lease.ttl, lease.until - now))
        session = self._vault.as_token(lease.login.token)
        await session.write("auth/token/renew-self", increment=seconds)
        if lease.lease_id:
            await session.write("sys/leases/renew", lease_id=lease.lease_id, increment=seconds)
        return replace(lease, credential=replace(lease.credential, expires_at=now + seconds))

    async def _log_in(self, profile: CredentialProfile, *, occasion: Occasion, chain: Chain) -> StepLogin:
        claims = step_token_claims(
            jti=str(uuid.uuid4()),
            issuer=self._issuer,
            audience=STEP_AUDIENCE,
            now=int(self._clock()),
            root=chain.ids[0],
            delegation=chain.leaf.jti,
            chain=chain.digest,
            human=chain.root,
            agent=chain.agent,
            task=occasion.task,
            step=occasion.step,
            attempt=occasion.attempt,
            role=profile.role,
        )
        token = await jose.sign(claims, typ=STEP_TYP, signer=self._steps)
        return await self._vault.step_login(token, role=profile.role)

    async def _end_login(self, login: StepLogin, *, root: str, grant: str, forget: bool = True) -> str | None:
        """End a login and all it leased; its record goes only when that was acknowledged."""
        try:
            await end_login(self._vault, login.accessor)
        except RemitError as error:
            return error.code
        if forget:
            try:
                await self._registry.live.forget(root, grant)
            except RemitError as error:
                return error.code
        return None

    async def _downstream(
        self,
        profile: CredentialProfile,
        *,
        occasion: Occasion,
        chain: Chain,
        require_live: Callable[[], Awaitable[None]],
    ) -> Lease:
        audience = profile.audience or occasion.service
        if not audience:
            raise Refused(
                f"{profile.name!r} is a token for the service that is called, and no service is",
                code="credential.audience",
                next_action="Give the profile an audience, or use it in a tool whose resource is a service.",
            )
        claims = access_token_claims(
            jti=occasion.grant,
            issuer=self._issuer,
            audience=audience,
            now=int(self._clock()),
            expires_at=chain.expires_at,
            human=chain.root,
            agents=chain.principals[1:],
            scope=occasion.scope,
            task=occasion.task,
        )
        token = await jose.sign(claims, typ=ACCESS_TYP, signer=self._tokens)
        await require_live()
        credential = Credential(
            profile=profile.name,
            kind=profile.kind,
            user=None,
            expires_at=int(claims["exp"]),
            values={"token": token},
        )
        return Lease(occasion=occasion, root=chain.ids[0], credential=credential)

    def _lease(
        self,
        profile: CredentialProfile,
        made: Mapping[str, Any],
        *,
        login: StepLogin,
        occasion: Occasion,
        root: str,
        chain: Chain,
    ) -> Lease:
        data = made["data"]
        if profile.kind == "secret":
            data = data.get("data", data)  # KV v2 wraps, v1 does not
        values = {str(key): str(value) for key, value in data.items() if value is not None}
        user = values.get("username")
        if profile.kind == "postgres":
            address = self._postgres.get(profile.path.split("/", 1)[0])
            if address is None:
                raise Refused(
                    f"no connection string for the database mount of {profile.name!r}",
                    code="settings.postgres",
                    next_action='Set REMIT_POSTGRES, e.g. {"database": "host=… port=… dbname=…"}.',
                )
            values["dsn"] = f"{address} user={user} password={values['password']}"
        ttl = int(made.get("lease_duration") or 0)
        alive = min(filter(None, (ttl, login.ttl)), default=login.ttl)
        return Lease(
            occasion=occasion,
            root=root,
            login=login,
            lease_id=made.get("lease_id") or None,
            ttl=alive,
            credential=Credential(
                profile=profile.name,
                kind=profile.kind,
                user=user,
                expires_at=min(int(self._clock()) + alive, chain.expires_at),
                values=values,
            ),
        )


async def _to_its_end(call: Coroutine[Any, Any, _T]) -> _T:
    """Await a request to its end, although whoever waits for it is cancelled meanwhile; then be cancelled."""
    request = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(request)
    except asyncio.CancelledError:
        await asyncio.wait({request})
        if not request.cancelled():
            request.exception()  # seen; the cancellation is what is told
        raise
