"""Identities: one entity and one signing key for every person, every agent and the authority.

- Rights come from the entity, never from how somebody logged in: whoever is not in the catalogue has none.
- A principal's key is named by its entity's id (a name could be changed and would move the right to sign), is Ed25519
  and cannot be exported.
- The principal directory in the registry says whose key is whose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from remit.bootstrap.wanted import Wanted
from remit.catalogue import Catalogue
from remit.errors import Held
from remit.principals import Principal
from remit.registry import PrincipalRecord, Registry
from remit.vault import datakeys, transit
from remit.vault.paths import join, under

STEP_KEY = "remit-authority"
TOKEN_KEY = "remit-token"  # noqa: S105 - a key's name


@dataclass(frozen=True, slots=True)
class Member:
    """An identity to be: its entity's name, SPIFFE ID, policies, and alias on each login mount."""

    name: str
    spiffe_id: str
    policies: tuple[str, ...]
    aliases: Mapping[str, str]


def members(catalogue: Catalogue, *, people_mounts: tuple[str, ...]) -> dict[Principal | None, Member]:
    """Return who there is to be; None stands for the authority.

    Args:
        people_mounts: Login mounts of people; a person's alias there is the name in the catalogue.
    """
    domain = catalogue.trust_domain
    found: dict[Principal | None, Member] = {}
    for name in catalogue.people:
        person = Principal(domain, "user", name)
        aliases = dict.fromkeys(people_mounts, name)
        reader = ("remit-reader",) if name in catalogue.readers else ()
        policies: tuple[str, ...] = ("remit-person", *reader, "remit-revoke")  # as OpenBao sorts them
        found[person] = Member(f"user-{name}", person.spiffe_id, policies, aliases)
    for name in catalogue.agents:
        agent = Principal(domain, "agent", name)
        aliases = {"remit-workload": agent.spiffe_id}
        found[agent] = Member(f"agent-{name}", agent.spiffe_id, ("remit-agent",), aliases)
    authority = f"spiffe://{domain}/authority"
    policies = ("remit-authority", "remit-reap", "remit-revoke")
    found[None] = Member("remit-authority", authority, policies, {"remit-workload": authority})
    return found


async def apply(wanted: Wanted, catalogue: Catalogue, *, accessors: Mapping[str, str], mounts: tuple[str, ...]) -> None:
    """Make entities, aliases, keys and directory entries.

    Args:
        accessors: Accessor of each login mount.
        mounts: Login mounts of people.
    """
    registry = Registry(wanted.vault)
    if await registry.documents.get("epoch") is None:
        await registry.raise_epoch()
        wanted.changed.append("registry")
    own = {STEP_KEY: "ed25519", TOKEN_KEY: "ecdsa-p256", datakeys.NAME: "aes256-gcm96"}
    await asyncio.gather(*(_key(wanted, name, kind) for name, kind in own.items()))
    everyone = members(catalogue, people_mounts=mounts)
    await asyncio.gather(*(_member(wanted, registry, who, member, accessors) for who, member in everyone.items()))
    known = {f"{who.kind}/{who.name}" for who in everyone if who is not None}
    for kind in ("user", "agent"):
        for name in await registry.documents.names(f"principals/{kind}"):
            if f"{kind}/{name}" not in known:
                wanted.warnings.append(
                    f"{kind}/{name} is no longer in the catalogue but still has a key; disable its entity in OpenBao"
                )


async def _member(
    wanted: Wanted, registry: Registry, who: Principal | None, member: Member, accessors: Mapping[str, str]
) -> None:
    path = join("identity/entity/name", member.name)
    entity = {"policies": list(member.policies), "metadata": {"id": member.spiffe_id}}
    await wanted.settings(path, entity, label=f"entity {member.name}")
    answer = await wanted.vault.read(path)
    if answer is None:
        raise Held(f"the entity {member.name} vanished while it was set up", next_action="Run `remit bootstrap` again.")
    held = answer["data"]
    aliases = {(alias["mount_accessor"], alias["name"]) for alias in held.get("aliases") or ()}
    for mount, name in member.aliases.items():
        if (accessors[mount], name) not in aliases:
            await wanted.vault.write(
                "identity/entity-alias", name=name, canonical_id=held["id"], mount_accessor=accessors[mount]
            )
            wanted.changed.append(f"alias {member.name} on {mount}")
    if who is None:
        return
    key = str(held["id"])
    await _key(wanted, key, "ed25519")
    record = PrincipalRecord(who, await transit.public_key(wanted.vault, key), key)
    if await registry.put_principal(record):
        wanted.changed.append(f"principal {who.short}")


async def _key(wanted: Wanted, name: str, kind: str) -> None:
    if await wanted.vault.read(under("transit/keys", name)) is None:
        await wanted.vault.write(under("transit/keys", name), type=kind)
        wanted.changed.append(f"key {name}")
