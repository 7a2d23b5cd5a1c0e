"""Entities: the catalogue and a chain as Cedar sees them.

- Entities are always built with the schema; without it Cedar loses the action groups and forbids on groups go silent.
- A principal of another trust domain, or one the catalogue does not know, is an error: names alone would let
  ``spiffe://elsewhere/user/alice`` pass for alice.
- The actions of a delegation are expanded to single actions; what no group or action is called covers nothing.
- A chain never changes, so its entities are kept by its digest and compared with the chain they were built from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

import cedarpy

from remit.catalogue import Agent, Catalogue, Person, nearest
from remit.delegation import Delegation
from remit.policy.schema import Actions
from remit.principals import Principal

if TYPE_CHECKING:
    from remit.chain import Chain

KEPT_CHAINS = 4096
Uid = dict[str, str]


class UnknownName(Exception):
    """A principal or resource the catalogue does not know; its text is one line for people."""


def uid(kind: str, name: str) -> Uid:
    """Return an entity's id in Cedar's JSON form, which needs no quoting of names."""
    return {"type": kind, "id": name}


def reference(kind: str, name: str) -> dict[str, Uid]:
    """Return a value that is an entity."""
    return {"__entity": uid(kind, name)}


def moment(unix: int) -> str:
    """Return a datetime in the one form Cedar reads."""
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"


class Entities:
    """The catalogue's entities, parsed once, and a chain's on top of them.

    Args:
        catalogue: Who and what there is.
        schema: The parsed schema.
        actions: What the schema says about actions.
    """

    def __init__(self, catalogue: Catalogue, schema: cedarpy.Schema, actions: Actions) -> None:
        self._catalogue = catalogue
        self._schema = schema
        self._actions = actions
        self._resources = {name: kind for name, (kind, _) in catalogue.resources.items()}
        self.catalogued = cedarpy.Entities.from_json_str(json.dumps(list(_catalogued(catalogue))), schema)
        self._chains: dict[str, tuple[tuple[Delegation, ...], cedarpy.Entities]] = {}
        self._lock = Lock()

    def resource(self, name: str) -> Uid:
        """Return the dataset, service or model a call names.

        Raises:
            UnknownName: The catalogue does not have it.
        """
        kind = self._resources.get(name)
        if kind is None:
            near = nearest(name, self._resources)
            raise UnknownName(f"there is no resource {name[:80]!r}" + (f" (did you mean {near!r}?)" if near else ""))
        return uid(kind, name)

    def principal(self, principal: Principal) -> Uid:
        """Return a principal's entity id.

        Raises:
            UnknownName: It is of another trust domain, or not in the catalogue.
        """
        known = self._catalogue.people if principal.kind == "user" else self._catalogue.agents
        if principal.trust_domain != self._catalogue.trust_domain or principal.name not in known:
            raise UnknownName(f"{principal.spiffe_id} is not in the catalogue")
        return uid("User" if principal.kind == "user" else "Agent", principal.name)

    def of_chain(self, chain: Chain) -> cedarpy.Entities:
        """Return the catalogue's entities with one for each link of the chain.

        Raises:
            UnknownName: A principal of the chain is not in the catalogue.
        """
        kept = self._chains.get(chain.digest)
        if kept is not None and (kept[0] is chain.links or kept[0] == chain.links):
            return kept[1]
        above: Delegation | None = None
        links = []
        for link in chain.links:
            links.append(self._link(link, above))
            above = link
        built = self.with_added(self.catalogued, links)
        with self._lock:
            while len(self._chains) >= KEPT_CHAINS:
                self._chains.pop(next(iter(self._chains)))
            self._chains[chain.digest] = (chain.links, built)
        return built

    def of_grant(self, grant: Delegation, chain: Chain | None = None) -> cedarpy.Entities:
        """Return the entities in which a delegation about to be made stands below a chain, or at the head of one.

        Raises:
            UnknownName: A principal is not in the catalogue.
        """
        base = self.catalogued if chain is None else self.of_chain(chain)
        return self.with_added(base, [self._link(grant, None if chain is None else chain.leaf)])

    def with_added(self, base: cedarpy.Entities, added: Sequence[dict[str, Any]]) -> cedarpy.Entities:
        """Return a new set of entities, checked against the schema."""
        return base.with_added_json_str(json.dumps(added), self._schema)

    def tenant_of(self, principal: Principal) -> Uid:
        """Return the tenant a principal belongs to.

        Raises:
            UnknownName: It is not in the catalogue.
        """
        name = self.principal(principal)["id"]
        entry = self._catalogue.people[name] if principal.kind == "user" else self._catalogue.agents[name]
        return uid("Tenant", entry.tenant or self._catalogue.tenant)

    def _link(self, link: Delegation, above: Delegation | None) -> dict[str, Any]:
        holder = self.principal(link.delegate)
        root = self.principal(link.sub)
        parents = [holder]
        # A link stands below another only if that one's holder made it; the policies check nothing else of signatures.
        if above is None:
            if link.iss == link.sub:
                parents.append(root)
        elif link.iss == above.delegate:
            parents.append(uid("Delegation", above.jti))
        return {
            "uid": uid("Delegation", link.jti),
            "parents": parents,
            "attrs": {
                "root": {"__entity": root},
                "holder": {"__entity": holder},
                "depth": link.depth,
                "maxDepth": link.max_depth,
                "actions": [reference("Action", name) for name in sorted(self._actions.expand(link.scope.actions))],
                "spaces": [reference("Space", name) for name in link.scope.spaces],
                "purpose": link.purpose,
                "budget": link.scope.budget,
                "expires": moment(link.exp),
            },
        }


def _catalogued(catalogue: Catalogue) -> list[dict[str, Any]]:
    """Return every entity of the catalogue."""
    entries: list[dict[str, Any]] = []

    def add(kind: str, name: str, parents: Sequence[Uid] = (), **attrs: Any) -> None:
        entries.append({"uid": uid(kind, name), "parents": list(parents), "attrs": attrs})

    for tenant in sorted(catalogue.tenants):
        add("Tenant", tenant)
    for role in sorted(set(catalogue.roles)):
        add("Role", role)
    for name, person in catalogue.people.items():
        add("User", name, _groups(person, catalogue), tenant=reference("Tenant", person.tenant or catalogue.tenant))
    for name, agent in catalogue.agents.items():
        add(
            "Agent",
            name,
            _groups(agent, catalogue),
            tenant=reference("Tenant", agent.tenant or catalogue.tenant),
            clearance=agent.clearance,
        )
    for name, space in catalogue.spaces.items():
        add("Space", name, [uid("Tenant", space.tenant or catalogue.tenant)])
    for name, (kind, resource) in catalogue.resources.items():
        add(
            kind,
            name,
            [uid("Space", resource.space)],
            classification=resource.classification,
            purposes=list(resource.purposes),
            members=reference("Role", resource.members),
        )
    return entries


def _groups(entry: Person | Agent, catalogue: Catalogue) -> list[Uid]:
    return [uid("Tenant", entry.tenant or catalogue.tenant), *(uid("Role", role) for role in entry.roles)]
