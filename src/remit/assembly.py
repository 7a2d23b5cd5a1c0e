"""Assembly: from settings to the parts that run, and nothing else.

- A worker's authority has a session of its own; each agent it runs as has another. Neither can do what the other may.
- What is opened here is closed here, in reverse order: what is still held is destroyed, the log is written through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from remit import jose, telemetry
from remit.audit import AuditLog
from remit.authority import Authority
from remit.bootstrap.identities import STEP_KEY, TOKEN_KEY
from remit.catalogue import Catalogue
from remit.credentials import Mint
from remit.errors import Held
from remit.identity import Presenter, identities
from remit.ledger import Ledger
from remit.policy import PolicyEngine
from remit.policy.source import CATALOGUE
from remit.principals import Principal
from remit.registry import Registry
from remit.sealing import Sealing
from remit.settings import Settings
from remit.vault import JwtLogin, Login, TransitSigner, Vault

if TYPE_CHECKING:
    from temporalio.client import Client, Plugin
    from temporalio.converter import DataConverter

PENDING_SECONDS = 5.0
"""Between tries to destroy leases that are pending."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a worker needs."""

    settings: Settings
    catalogue: Catalogue
    policy: PolicyEngine
    registry: Registry
    vault: Vault
    audit: AuditLog
    authority: Authority
    presenter: Presenter


def load_policy(settings: Settings) -> tuple[Catalogue, PolicyEngine]:
    """Return the catalogue, services where the settings say they are, and the policies over it.

    Raises:
        Usage: ``catalogue.invalid`` or ``policy.invalid``, with every finding.
    """
    catalogue = Catalogue.load(settings.policies / CATALOGUE)
    if settings.services:
        catalogue = catalogue.located(settings.services)
    return catalogue, PolicyEngine.load(settings.policies, catalogue)


def open_vault(settings: Settings, login: Login) -> Vault:
    """Return OpenBao as the settings describe it, seen through this login."""
    return Vault(
        settings.openbao_address,
        settings.openbao_ca,
        login,
        namespace=settings.openbao_namespace,
        profile=settings.openbao_profile,
    )


@asynccontextmanager
async def assemble(settings: Settings) -> AsyncIterator[Parts]:
    """Build authority and presenter, and close them at the end.

    Raises:
        Usage: The settings, catalogue or policies are wrong. Refused: OpenBao does not know this worker.
        Held: OpenBao does not answer.
    """
    catalogue, policy = load_policy(settings)
    proof = identities(settings, trust_domain=catalogue.trust_domain)
    async with AsyncExitStack() as closing:
        if (traces := telemetry.configure()) is not None:
            closing.callback(traces.shutdown)
        vault = open_vault(settings, JwtLogin("authority", lambda: proof.token("authority")))
        await closing.enter_async_context(vault)
        registry = Registry(vault)
        await registry.epoch()  # tells at once whether OpenBao answers and is set up
        audit = AuditLog(settings.audit_folder, clock=time.time)
        ledger = Ledger(registry)
        signer = await TransitSigner.open(vault, STEP_KEY)
        sealing = Sealing(
            audit=audit, heads=registry.heads, signer=signer, trust_domain=catalogue.trust_domain, clock=time.time
        )
        mint = Mint(
            vault=vault,
            registry=registry,
            steps=signer,
            tokens=await TransitSigner.open(vault, TOKEN_KEY),
            issuer=f"spiffe://{catalogue.trust_domain}/authority",
            postgres=settings.postgres,
            clock=time.time,
        )
        authority = Authority(
            registry=registry,
            policy=policy,
            catalogue=catalogue,
            mint=mint,
            ledger=ledger,
            audit=audit,
            sealing=sealing,
            clock=time.time,
        )
        closing.push_async_callback(authority.close)

        async def signer_of(agent: Principal) -> jose.Signer:
            session = open_vault(settings, JwtLogin("agent", lambda: proof.token(f"agent-{agent.name}")))
            try:
                signer = await TransitSigner.open(session)
            except BaseException:
                await session.close()  # it is asked for again as long as the agent is locked out
                raise
            closing.push_async_callback(session.close)
            return signer

        presenter = Presenter(registry, signer_of=signer_of, clock=time.time)
        for again in (asyncio.create_task(_destroy_pending(authority)), asyncio.create_task(sealing.run())):
            closing.callback(again.cancel)
        yield Parts(settings, catalogue, policy, registry, vault, audit, authority, presenter)


async def _destroy_pending(authority: Authority) -> None:
    """Try again and again to destroy what OpenBao or a database could not destroy when its step ended."""
    while True:
        await asyncio.sleep(PENDING_SECONDS)
        await authority.retry_pending()


async def temporal_client(
    settings: Settings,
    *,
    vault: Vault | Callable[[], Vault] | None = None,
    plugins: Sequence[Plugin] = (),
    interceptors: Sequence[Any] = (),
) -> Client:
    """Connect to Temporal as its standard client configuration says.

    Args:
        vault: The session payloads are encrypted and read with, or what returns it. Without one the client reads
            nothing that is encrypted, and where payloads are to be encrypted it sends none.

    Raises:
        Held: ``temporal.unreachable``.
    """
    from temporalio.client import Client
    from temporalio.contrib.opentelemetry import TracingInterceptor
    from temporalio.envconfig import ClientConfig

    options = dict(
        ClientConfig.load_client_connect_config(
            config_file=str(settings.temporal_config) if settings.temporal_config else None
        )
    )
    options.setdefault("target_host", "localhost:7233")
    # Outermost, so that the spans of an attempt belong to the span of its activity.
    tracing = [TracingInterceptor()] if telemetry.recording() else []
    try:
        return await Client.connect(
            **{  # type: ignore[arg-type]
                **options,
                "data_converter": _converter(settings, vault),
                "plugins": list(plugins),
                "interceptors": [*tracing, *interceptors],
            }
        )
    except RuntimeError as error:
        raise Held(
            f"Temporal at {options['target_host']} does not answer",
            code="temporal.unreachable",
            next_action="Start the stack with `remit dev`, or look at Temporal's client configuration.",
        ) from error


def _converter(settings: Settings, vault: Vault | Callable[[], Vault] | None) -> DataConverter:
    """Return what converts payloads: the one place where the setting is looked at."""
    from temporalio.converter import DataConverter

    from remit import codec
    from remit.vault.datakeys import DataKeys

    worker = isinstance(vault, Vault)  # people's sessions are opened when first asked for
    keys = None if vault is None else DataKeys((lambda: vault) if isinstance(vault, Vault) else vault)
    if settings.encrypt:
        return codec.sealing(keys, passes=worker)
    return DataConverter.default if keys is None else codec.reading(keys, passes=worker)
