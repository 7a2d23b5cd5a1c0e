"""Lint: what a policy folder must be before anything is decided with it.

- Every policy parses, fits the schema, and has an ``@id`` of its own.
- ``@approvers`` stands exactly on the forbids that read ``context.approvals``: they alone can be lifted by people, and
  without it nobody would know whom to ask. A permit never reads them.
- A permit never asks where ``context.delegation`` stands: it would union the powers of everyone in the chain.
- Every entity a policy names is in the catalogue; a role nobody could hold would never be noticed otherwise.
- Annotations are known, spans of time are readable. Templates are refused: nothing links them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

import cedarpy
from cedarpy import pst

from remit.catalogue import Catalogue, nearest
from remit.duration import seconds
from remit.policy.findings import Finding, PolicyInvalid
from remit.policy.rules import Rule, asks_where_chain_stands, reads_approvals, roles_in, rule
from remit.policy.schema import Actions, read_actions
from remit.policy.source import SCHEMA, Source, Statement

ANNOTATIONS = ("id", "approvers", "wait", "ttl")
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)


def check(source: Source, catalogue: Catalogue) -> tuple[cedarpy.Schema, Actions, tuple[Rule, ...]]:
    """Parse and lint a policy folder.

    Raises:
        PolicyInvalid: With every finding of the first stage that has any: schema, syntax, then rules.
    """
    where = str(source.folder)
    try:
        schema = cedarpy.Schema.from_str(source.schema)
        actions = read_actions(schema)
    except ValueError as error:
        raise PolicyInvalid(where, [Finding(SCHEMA, 0, _plain(error))]) from None
    if actions.faults:
        raise PolicyInvalid(where, [Finding(SCHEMA, 0, fault) for fault in actions.faults])
    statements = source.statements()
    nodes = _parse(source, statements)
    findings = [
        Finding(statement.file, statement.line, message)
        for statement, node in zip(statements, nodes, strict=True)
        for message in _check(node, catalogue)
    ]
    findings += _repeated(statements, nodes)
    for fault in cedarpy.validate_policies(source.text, schema).errors:
        statement = statements[int(fault.policy_id.removeprefix("policy"))]
        findings.append(Finding(statement.file, statement.line, _without_position(fault)))
    if findings:
        raise PolicyInvalid(where, findings)
    return schema, actions, tuple(rule(node, place) for place, node in enumerate(nodes))


def _parse(source: Source, statements: list[Statement]) -> list[pst.Template]:
    """Return each statement's node, in order."""
    where = str(source.folder)
    try:
        parsed = cedarpy.policies_to_pst(source.text)
    except ValueError as error:
        raise PolicyInvalid(where, list(_unparsable(statements)) or [Finding("*.cedar", 0, _plain(error))]) from None
    if not parsed.static_policies and not parsed.templates:
        raise PolicyInvalid(where, [Finding("*.cedar", 0, "there is no policy in any file")])
    nodes = {**parsed.templates, **parsed.static_policies}
    ordered = [nodes[f"policy{place}"] for place in range(len(nodes)) if f"policy{place}" in nodes]
    if not len(ordered) == len(nodes) == len(statements):
        raise PolicyInvalid(where, [Finding("*.cedar", 0, "the files cannot be split into their policies")])
    return ordered


def _unparsable(statements: list[Statement]) -> Iterator[Finding]:
    for statement in statements:
        try:
            cedarpy.policies_to_pst(statement.text)
        except ValueError as error:
            yield Finding(statement.file, statement.line, _plain(error))


def _check(node: pst.Template, catalogue: Catalogue) -> Iterator[str]:
    notes = node.annotations
    name = notes.get("id")
    if name is None:
        yield "it has no @id"
    elif not _ID.fullmatch(name):
        yield f"its @id {name!r} is not a slug: a-z, 0-9 and '-', at most 63 characters"
    for note in notes:
        if note not in ANNOTATIONS:
            near = nearest(note, ANNOTATIONS)
            yield f"unknown annotation @{note}" + (f" (did you mean @{near}?)" if near else "")
    for note in ("wait", "ttl"):
        if note in notes:
            try:
                seconds(notes[note])
            except ValueError as error:
                yield f"@{note}: {error}"
    yield from _check_approvals(node, catalogue)
    if "ttl" in notes and node.effect == "forbid":
        yield "@ttl stands on a forbid; it belongs on permits"
    if node.effect == "permit" and asks_where_chain_stands(node):
        yield "a permit asks `context.delegation in …`; that would lend it the powers of the whole chain"
    if _has_slots(node):
        yield "it is a template; write the principal and resource out"
    yield from _unknown(node, catalogue)


def _check_approvals(node: pst.Template, catalogue: Catalogue) -> Iterator[str]:
    notes = node.annotations
    reads = reads_approvals(node)
    if reads and node.effect == "permit":
        yield "a permit reads context.approvals; write a forbid that approvals lift"
    if "approvers" in notes:
        if not reads:
            yield "@approvers stands on a policy that does not read context.approvals"
        roles = roles_in(notes["approvers"])
        if not roles:
            yield "@approvers names no role"
        for role in roles:
            if role not in catalogue.roles:
                yield f"@approvers: there is no role {role!r}{_hint(role, catalogue.roles)}"
            elif not any(role in person.roles for person in catalogue.people.values()):
                yield f"@approvers: nobody in the catalogue holds the role {role!r}"
    elif reads and node.effect == "forbid":
        yield "it reads context.approvals but has no @approvers; nobody would be asked"
    if "wait" in notes and "approvers" not in notes:
        yield "@wait stands on a policy without @approvers"


def _unknown(node: pst.Template, catalogue: Catalogue) -> Iterator[str]:
    """Yield the entities a policy names that are not in the catalogue; Cedar's validator knows the actions."""
    known: Mapping[str, Collection[str]] = {
        "Tenant": catalogue.tenants,
        "Role": catalogue.roles,
        "User": catalogue.people,
        "Agent": catalogue.agents,
        "Space": catalogue.spaces,
        "Dataset": catalogue.datasets,
        "Service": catalogue.services,
        "Model": catalogue.models,
    }
    for one in sorted(pst.entity_uids(node), key=str):
        names = known.get(str(one.type))
        if names is not None and one.id not in names:
            yield f"{one} is not in the catalogue{_hint(one.id, names)}"


def _repeated(statements: list[Statement], nodes: list[pst.Template]) -> Iterator[Finding]:
    first: dict[str, Statement] = {}
    for statement, node in zip(statements, nodes, strict=True):
        name = node.annotations.get("id")
        if name is None:
            continue
        if name in first:
            before = first[name]
            yield Finding(
                statement.file, statement.line, f"@id {name!r} is already used at {before.file}:{before.line}"
            )
        first.setdefault(name, statement)


def _has_slots(node: pst.Template) -> bool:
    return any(isinstance(getattr(one, "entity", None), pst.Slot) for one in (node.principal, node.resource))


def _hint(name: str, known: Collection[str]) -> str:
    near = nearest(name, known)
    return f" (did you mean {near!r}?)" if near else ""


def _without_position(error: cedarpy.ValidationError) -> str:
    return _plain(error.error.removeprefix(f"for policy `{error.policy_id}`, "))


def _plain(error: object) -> str:
    """Return an error's text on one line, at most 300 characters."""
    return " ".join(str(error).split())[:300]
