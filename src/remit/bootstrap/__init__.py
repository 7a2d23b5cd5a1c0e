"""Bootstrap: sets an OpenBao or Vault up for Remit, any number of times.

- Needs an address and the operator's token, and works the same on the embedded server and on somebody's cluster.
- Whatever is already as wanted is left alone; a second run writes nothing. Nothing is ever deleted.
- Generated secrets are returned once, to the caller.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from remit.bootstrap import database, identities, logins, policies
from remit.bootstrap.result import Bootstrapped, OidcProvider, PostgresConnection, WorkloadTrust
from remit.bootstrap.wanted import Wanted
from remit.catalogue import Catalogue
from remit.live import LIVE_MOUNT
from remit.registry import MOUNT
from remit.vault import Vault, transit
from remit.vault.paths import join
from remit.vault.steps import MOUNT as STEPS

__all__ = ["Bootstrapped", "OidcProvider", "PostgresConnection", "WorkloadTrust", "bootstrap"]

SECRETS = "remit-secrets"


async def bootstrap(
    vault: Vault,
    catalogue: Catalogue,
    *,
    folder: Path,
    workload: WorkloadTrust | None = None,
    databases: Sequence[PostgresConnection] = (),
    passwords: Mapping[str, str] | None = None,
    reset: Collection[str] = (),
    oidc: OidcProvider | None = None,
    stored: Mapping[str, Mapping[str, str]] | None = None,
) -> Bootstrapped:
    """Set everything up that is not yet as wanted.

    Args:
        vault: A session with the operator's rights.
        catalogue: Who and what there is.
        folder: The policy folder, with ``openbao/*.hcl``.
        workload: Who vouches for workloads; None: an issuer is made the first time and its key returned.
        databases: Where users are minted.
        passwords: Passwords for people made now; others are generated. None: people have no passwords.
        reset: Names of people who get a new password, e.g. because a run that made theirs was interrupted.
        oidc: How people log in, besides or instead.
        stored: Values of ``secret`` profiles to store where there is none yet, by the last part of their path.

    Raises:
        Refused: ``bootstrap.mount``, or the session may not do this. Held: OpenBao did not answer.
        Usage: ``bootstrap.policy``.
    """
    wanted = Wanted(vault)
    texts = policies.texts(folder, catalogue)
    await wanted.mounts(
        {
            "transit": ("transit", {}),
            MOUNT: ("kv", {"version": "2"}),
            LIVE_MOUNT: ("kv", {"version": "1"}),
            SECRETS: ("kv", {"version": "2"}),
            **{one.mount: ("database", {}) for one in databases},
        }
    )
    people = (*(("userpass",) if passwords is not None else ()), *(("oidc",) if oidc else ()))
    methods = {logins.WORKLOADS: "jwt", STEPS: "jwt", **{name: name for name in people}}
    accessors = await wanted.auth(methods)
    await policies.apply(wanted, texts)
    await identities.apply(wanted, catalogue, accessors=accessors, mounts=people)
    key = await logins.workloads(wanted, catalogue, workload)
    made = {}
    if passwords is not None:
        made = await logins.people(wanted, catalogue, passwords=passwords, reset=reset)
    if oidc is not None:
        await logins.oidc(wanted, oidc)
    await logins.steps(wanted, catalogue, longest=policies.step_seconds(catalogue), profile=vault.profile)
    for one in databases:
        await database.apply(wanted, catalogue, one)
    await _store(wanted, stored or {})
    await _look(wanted, catalogue)
    token_key = await transit.public_key(vault, identities.TOKEN_KEY)
    jwk = {**token_key.jwk, "kid": token_key.kid, "alg": token_key.alg, "use": "sig"}
    return Bootstrapped(tuple(wanted.changed), made, key, {"keys": [jwk]}, tuple(wanted.warnings))


async def _store(wanted: Wanted, stored: Mapping[str, Mapping[str, str]]) -> None:
    for name, values in stored.items():
        path = join(f"{SECRETS}/data", name)
        if not await _is_stored(wanted.vault, path):
            await wanted.vault.write(path, data=dict(values), options={"cas": 0})
            wanted.changed.append(f"secret {name}")


async def _look(wanted: Wanted, catalogue: Catalogue) -> None:
    """Warn of what would only be noticed later."""
    answer = await wanted.vault.read("sys/mounts")
    present = {} if answer is None else answer["data"]
    for mount in policies.minting_mounts(catalogue):
        if f"{mount}/" not in present:
            wanted.warnings.append(f"credential profiles name the mount {mount}/, and nothing is mounted there")
    for profile in catalogue.credentials.values():
        if profile.kind == "secret" and not await _is_stored(wanted.vault, profile.path):
            wanted.warnings.append(f"credential profile {profile.name}: nothing is stored at {profile.path}")


async def _is_stored(vault: Vault, path: str) -> bool:
    """Tell whether a secret is there without reading it: OpenBao's log would show a credential given out."""
    folder, _, name = path.replace("/data/", "/metadata/", 1).rpartition("/")
    return name in await vault.list(folder)
