"""What a worker registers: governed, listed as ungoverned, or the worker does not start.

- A type is one or the other, never both: a pattern that covers a declared tool would ungovern it unseen.
- A governed activity runs on the event loop or in a thread: no credential and no stop reaches another process.
- A Nexus service is served outside any attempt, so it is listed as ungoverned; the tools it calls refuse to run.
- A dynamic activity has no name; each call of it is judged by its own.
- A tool of a framework that can be seen here is mapped, and mapped to run where it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import nexusrpc
from temporalio.worker import WorkerConfig

from remit.errors import Usage
from remit.frameworks import Seen
from remit.frameworks.mcp import CALL, PREFIX
from remit.mapping import Mapping
from remit.temporal import _names as names
from remit.temporal._internal import Internal
from remit.temporal._parts import Facts


def check(config: WorkerConfig, facts: Facts) -> None:
    """Refuse what nobody would govern.

    Raises:
        Usage: ``activity.ambiguous``, ``activity.undeclared``, ``activity.reserved``, ``activity.process`` or
            ``nexus.ungoverned``.
    """
    for name in (*facts.tools, *_named(facts)):
        if not facts.governs(name):
            raise Usage(
                f"{name!r} is declared or mapped, and also listed as ungoverned",
                code="activity.ambiguous",
                next_action="Write the ungoverned names so that none covers a tool, or a node that is mapped.",
            )
    if facts.mapping is not None:
        _check_mapping(facts.mapping, facts)
    for one in config.get("activities") or ():
        _check_activity(one, facts, config.get("activity_executor"))
    if facts.mapped is not None:
        facts.mapped.learn(config.get("activities") or ())
        for seen in facts.mapped.seen(config):
            _check_seen(seen, facts)
    for service in _services(config):
        if facts.governs(service):
            raise Usage(
                f"the Nexus service {service!r} is not listed as ungoverned",
                code="nexus.ungoverned",
                next_action="Its operations carry no delegation: list it in RemitPlugin(ungoverned=…), or leave it.",
            )


def _named(facts: Facts) -> Iterator[str]:
    """Return the activity types and tools that a mapping names as governed."""
    if facts.mapping is not None:
        yield from facts.mapping.nodes
        for name, rule in facts.mapping.tools.items():
            yield from (name, rule.activity or name)


def _check_mapping(mapping: Mapping, facts: Facts) -> None:
    """Refuse a pattern that would ungovern what the mapping gives a meaning."""
    tools = [kind for name, rule in mapping.tools.items() for kind in (name, rule.activity) if kind]
    servers = [f"{PREFIX}{server}.{CALL}" for server in mapping.servers]
    for name in (*tools, *servers, *mapping.nodes, *mapping.children):
        if not facts.governs(name):
            raise Usage(
                f"the mapping says what {name!r} does, and it is also listed as ungoverned",
                code="activity.ambiguous",
                next_action="Write the names listed as ungoverned so that none covers what is mapped.",
            )


def _check_activity(one: Callable[..., Any], facts: Facts, executor: Executor | None) -> None:
    defined = getattr(one, "__temporal_activity_definition", None)
    name = getattr(defined, "name", None)
    if not name or (name in names.OWN and isinstance(getattr(one, "__self__", None), Internal)):
        return
    if name.startswith(names.RESERVED):
        raise Usage(
            f"the activity {name!r} has a name of Remit's own",
            code="activity.reserved",
            next_action="Rename it: names that begin with 'remit.' are reserved.",
        )
    if not facts.governs_activity(name):
        return
    if facts.tool(name) is None:
        raise Usage(
            f"the activity {name!r} declares no action, is not mapped, and is not listed as ungoverned",
            code="activity.undeclared",
            next_action="Declare it with @remit.temporal.tool, map it, or give its name to RemitPlugin(ungoverned=…).",
        )
    if not getattr(defined, "is_async", False) and executor and not isinstance(executor, ThreadPoolExecutor):
        raise Usage(
            f"the tool {name!r} would run in another process, out of reach of its credential and of a stop",
            code="activity.process",
            next_action="Give the worker a ThreadPoolExecutor, or make the tool asynchronous.",
        )


def _check_seen(seen: Seen, facts: Facts) -> None:
    """Refuse a tool nobody would govern, or not where it runs."""
    rule = facts.mapping.tools.get(seen.tool) if facts.mapping else None
    if not facts.governs(seen.tool):
        return
    if rule is None:
        raise Usage(
            f"{seen.where} has a tool {seen.tool!r} that is not mapped",
            code="tool.unmapped",
            next_action="Say in the mapping what it does, or list it as ungoverned.",
        )
    if rule.inline != seen.inline:
        where = "inside the workflow" if seen.inline else "as an activity"
        raise Usage(
            f"the tool {seen.tool!r} of {seen.where} runs {where}, and is mapped otherwise",
            code="tool.inline",
            next_action=f"Map it with inline = {str(seen.inline).lower()}, or run it elsewhere.",
        )


def _services(config: WorkerConfig) -> Iterator[str]:
    for handler in config.get("nexus_service_handlers") or ():
        defined = nexusrpc.get_service_definition(type(handler))
        yield defined.name if defined else type(handler).__name__
