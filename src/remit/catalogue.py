"""Catalogue: the people, agents, spaces, resources and credential profiles there are.

- Closed and frozen: an unknown key, a repeated key or a name that leads nowhere is an error that names the nearest
  right one.
- Names reach OpenBao paths, SQL and logs, so they are ASCII, lower case and bounded.
- A resource's id is unique over datasets, services and models: a call names it without its type.
- It holds no secret and decides nothing; Cedar decides with what it says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from remit.duration import seconds
from remit.errors import Usage
from remit.principals import PRINCIPAL_NAME, SAFE_NAME, TRUST_DOMAIN, Principal

_T = TypeVar("_T")

_PATH = re.compile(r"[a-z0-9][a-z0-9-]{0,62}(?:/[a-z0-9][a-z0-9-]{0,62})*", re.ASCII)


def nearest(name: str, known: Collection[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name most like this one, or None when none is like it."""
    return next(iter(get_close_matches(name, sorted(known), n=1, cutoff=cutoff)), None)


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{value[:80]!r} is not {what}")
        return value

    return AfterValidator(check)


def _base_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise ValueError("it must be http(s)://host[:port][/path], without user or password")
    if parts.query or parts.fragment or parts.port == 0 or any(part == ".." for part in parts.path.split("/")):
        raise ValueError("it must have no query, no fragment, no port 0 and no '..'")
    return value.rstrip("/")


Name = Annotated[str, _matching(SAFE_NAME, "a name: a-z, 0-9 and '-', at most 63 characters")]
PrincipalName = Annotated[str, _matching(PRINCIPAL_NAME, "a principal's name: a-z, 0-9 and '-', at most 41 characters")]
Purpose = Annotated[str, _matching(re.compile(rf"\*|{SAFE_NAME.pattern}", re.ASCII), "a purpose: a slug, or *")]
Classification = Annotated[int, Field(strict=True, ge=0, le=3)]
Seconds = Annotated[int, BeforeValidator(lambda value: value if type(value) is int else seconds(value)), Field(gt=0)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Owned(_Entry):
    """What belongs to a tenant; `tenant` None is the catalogue's own."""

    display: str = ""
    tenant: Name | None = None


class Person(Owned):
    """A human."""

    roles: tuple[Name, ...] = ()


class Agent(Owned):
    """An agent; `clearance` is the highest classification it may touch (0 to 3)."""

    roles: tuple[Name, ...] = ()
    clearance: Classification


class Space(Owned):
    """Where resources are; delegations name spaces."""


class Resource(_Entry):
    """What a call touches: a dataset, or what services and models add to.

    `classification` is 0 public, 1 internal, 2 confidential or 3 restricted; `purposes` may hold ``*`` for any;
    `members` is the role of the people who may use it.
    """

    display: str = ""
    space: Name
    classification: Classification
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1)]
    members: Name


class Service(Resource):
    """An HTTP API: requests go below `url` and nowhere else, with tokens for `audience`."""

    url: Annotated[str, AfterValidator(_base_address)]
    audience: Name


class CredentialProfile(_Entry):
    """What a tool can ask to have minted.

    `kind`: ``postgres`` (a database user), ``secret`` (a stored value), ``engine`` (any ``<mount>/creds/<role>``) or
    ``token`` (a downstream access token). `path` is read in OpenBao with the step policy ``step-<role>``; a token has
    neither. `audience` is a token's only reader, None: the service that is called. `ttl` is the longest
    one attempt's credential lives, however often it is renewed; one that is not renewed lives a minute.
    """

    name: Name
    kind: Literal["postgres", "secret", "engine", "token"]
    path: Annotated[str, _matching(re.compile(rf"|{_PATH.pattern}", re.ASCII), "an OpenBao path")] = ""
    role: Annotated[str, _matching(re.compile(rf"|{SAFE_NAME.pattern}", re.ASCII), "a role's name")] = ""
    audience: Name | None = None
    ttl: Seconds = 300

    @model_validator(mode="after")
    def _fits_its_kind(self) -> CredentialProfile:
        if self.kind == "token":
            if self.path or self.role:
                raise ValueError("a token has no path and no role")
        elif self.audience is not None:
            raise ValueError("only a token has an audience")
        elif not self.path or not self.role:
            raise ValueError(f"a {self.kind} credential needs a path and a role")
        elif self.kind in ("postgres", "engine") and not re.fullmatch(r"[^/]+/creds/[^/]+", self.path):
            raise ValueError("its path must be <mount>/creds/<role>")
        return self


class Catalogue(_Entry):
    """Everything Cedar can be asked about, and what can be minted.

    `readers` are the people who may read encrypted payloads; nobody, unless they are named.

    Raises:
        Usage: ``catalogue.invalid`` from `parse` and `load`; ``catalogue.unknown`` from the look-ups.
    """

    trust_domain: Annotated[str, _matching(TRUST_DOMAIN, "a trust domain")]
    tenant: Name
    roles: tuple[Name, ...]
    people: Mapping[PrincipalName, Person]
    readers: tuple[PrincipalName, ...] = ()
    agents: Mapping[PrincipalName, Agent]
    spaces: Mapping[Name, Space]
    datasets: Mapping[Name, Resource] = {}
    services: Mapping[Name, Service] = {}
    models: Mapping[Name, Resource] = {}
    credentials: Mapping[Name, CredentialProfile] = {}

    @model_validator(mode="before")
    @classmethod
    def _name_profiles(cls, data: Any) -> Any:
        """Give each credential profile its key as its name."""
        if isinstance(data, dict) and isinstance(profiles := data.get("credentials"), dict):
            named = {
                name: {"name": name, **profile} if isinstance(profile, dict) else profile
                for name, profile in profiles.items()
            }
            return {**data, "credentials": named}
        return data

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Catalogue:
        wrong = [*self._dangling()]
        wrong += [
            f"credentials.{key}: it is named {one.name!r}" for key, one in self.credentials.items() if one.name != key
        ]
        ids = [*self.datasets, *self.services, *self.models]
        wrong += [f"{name!r} names two resources" for name in sorted({one for one in ids if ids.count(one) > 1})]
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def _dangling(self) -> Iterator[str]:
        for kind, holders in (("people", self.people), ("agents", self.agents)):
            for name, holder in holders.items():
                for role in holder.roles:
                    if role not in self.roles:
                        yield f"{kind}.{name}: there is no role {role!r}{_hint(role, self.roles)}"
        for name in self.readers:
            if name not in self.people:
                yield f"readers: there is no person {name!r}{_hint(name, self.people)}"
        for kind, resources in (("datasets", self.datasets), ("services", self.services), ("models", self.models)):
            for name, resource in resources.items():
                if resource.space not in self.spaces:
                    yield f"{kind}.{name}: there is no space {resource.space!r}{_hint(resource.space, self.spaces)}"
                if resource.members not in self.roles:
                    yield f"{kind}.{name}: there is no role {resource.members!r}{_hint(resource.members, self.roles)}"

    @classmethod
    def load(cls, path: Path) -> Catalogue:
        """Read a catalogue file."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise _invalid(str(path), f"it cannot be read: {error}") from None
        return cls.parse(text, source=str(path))

    @classmethod
    def parse(cls, text: str, *, source: str = "catalogue") -> Catalogue:
        """Read a catalogue from YAML text."""
        try:
            data = yaml.load(text, Loader=_Strict)  # noqa: S506 - _Strict is a SafeLoader
        except (yaml.YAMLError, RecursionError) as error:
            raise _invalid(source, " ".join(str(error).split())) from None
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _invalid(source, "; ".join(_findings(error))) from None

    @property
    def tenants(self) -> frozenset[str]:
        """Return every tenant that is named anywhere."""
        owned: tuple[Owned, ...] = (*self.people.values(), *self.agents.values(), *self.spaces.values())
        return frozenset({self.tenant, *(one.tenant for one in owned if one.tenant)})

    @property
    def resources(self) -> Mapping[str, tuple[str, Resource]]:
        """Return each resource with its Cedar entity type, by its id."""
        kinds = (("Dataset", self.datasets), ("Service", self.services), ("Model", self.models))
        return {name: (kind, one) for kind, entries in kinds for name, one in entries.items()}

    def located(self, services: Mapping[str, str]) -> Catalogue:
        """Return a copy in which these services are at other base addresses.

        Args:
            services: Base address by the service's name.
        """
        moved = {name: {**self.service(name).model_dump(), "url": url} for name, url in services.items()}
        try:
            return type(self).model_validate(
                {**self.model_dump(), "services": {**self.model_dump()["services"], **moved}}
            )
        except ValidationError as error:
            raise _invalid("the services' addresses", "; ".join(_findings(error))) from None

    def person(self, name: str) -> Person:
        """Return a person by name."""
        return _known("person", name, self.people)

    def agent(self, name: str) -> Agent:
        """Return an agent by name."""
        return _known("agent", name, self.agents)

    def space(self, name: str) -> Space:
        """Return a space by name."""
        return _known("space", name, self.spaces)

    def service(self, name: str) -> Service:
        """Return a service by name."""
        return _known("service", name, self.services)

    def credential(self, name: str) -> CredentialProfile:
        """Return a credential profile by name."""
        return _known("credential", name, self.credentials)

    def principal(self, short: str) -> Principal:
        """Return ``user/<name>`` or ``agent/<name>`` as a principal of this trust domain."""
        kind, _, name = short.partition("/")
        if kind not in ("user", "agent"):
            wanted = "Write user/NAME or agent/NAME."
            raise Usage(f"{short[:80]!r} names no principal", code="catalogue.unknown", next_action=wanted)
        _ = self.person(name) if kind == "user" else self.agent(name)
        return Principal(self.trust_domain, "user" if kind == "user" else "agent", name)


def _known(kind: str, name: str, entries: Mapping[str, _T]) -> _T:
    try:
        return entries[name]
    except KeyError:
        near = nearest(name, entries)
        listed = f"Did you mean {near!r}?" if near else f"There are: {', '.join(sorted(entries)) or 'none'}."
        raise Usage(
            f"there is no {kind} {name[:80]!r} in the catalogue", code="catalogue.unknown", next_action=listed
        ) from None


def _hint(name: str, known: Collection[str]) -> str:
    near = nearest(name, known)
    return f" (did you mean {near!r}?)" if near else ""


def _invalid(source: str, what: str) -> Usage:
    return Usage(
        f"{source} is not a valid catalogue: {what}", code="catalogue.invalid", next_action="Correct it there."
    )


def _findings(error: ValidationError) -> Iterator[str]:
    for finding in error.errors(include_url=False, include_context=False):
        where = ".".join(map(str, finding["loc"]))
        if finding["type"] == "extra_forbidden":
            key = str(finding["loc"][-1])
            yield f"unknown key {where!r}{_hint(key, _keys(finding['loc']))}"
        elif finding["type"] == "missing":
            yield f"{where} is missing"
        else:
            message = finding["msg"].removeprefix("Value error, ")
            yield f"{where}: {message}" if where else message


def _keys(where: tuple[int | str, ...]) -> Collection[str]:
    """Return the keys there could be at the place of an unknown one."""
    entries: dict[str, type[_Entry]] = {
        "people": Person,
        "agents": Agent,
        "spaces": Space,
        "services": Service,
        "credentials": CredentialProfile,
    }
    model: type[_Entry] = Catalogue if len(where) == 1 else entries.get(str(where[0]), Resource)
    return model.model_fields.keys() - {"name"}


class _Strict(yaml.SafeLoader):
    """YAML without repeated keys: the last one would win silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            value = self.construct_object(key, deep=True)
            if not isinstance(value, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key must be text, not {value!r}", key.start_mark
                )
            if value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {value!r} is there twice", key.start_mark)
            seen.add(value)
        return super().construct_mapping(node, deep)
