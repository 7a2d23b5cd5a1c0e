"""The names Remit uses inside Temporal; everything that begins with ``remit.`` is its own."""

from __future__ import annotations

from fnmatch import fnmatchcase

from temporalio.common import SearchAttributeKey

RESERVED = "remit."

NOTICE = "remit.notice"
"""Signal: something about this chain changed; go and read. Carries no authority."""
DECIDE = "remit.decide"
"""Signal and update: a signed approval or rejection."""
RESUME = "remit.resume"
"""Signal and update: a reference to a fresh delegation."""
VIEW = "remit.view"
"""Query: what `remit show` prints."""

STATUS = "remit.status"
ADMIT = "remit.admit"
ADOPT = "remit.adopt"
ALLOW = "remit.allow"
DELEGATE = "remit.delegate"
HAND = "remit.hand"
AGENTS, CHILDREN = "agents", "children"
"""What `HAND` looks up in the mapping."""
SEAL = "remit.seal"
INLINE = "remit.inline"
"""Decides a tool call that runs inside the workflow; a step like any other, and does nothing itself."""
INTERNAL = frozenset({STATUS, ADMIT, ADOPT, ALLOW, DELEGATE, HAND, SEAL})
"""Local activities of the plugin itself."""
OWN = INTERNAL | {INLINE}
"""Everything it registers."""

ROOT = SearchAttributeKey.for_keyword("RemitRoot")
AGENT = SearchAttributeKey.for_keyword("RemitAgent")
DELEGATIONS = SearchAttributeKey.for_keyword_list("RemitDelegations")
STATE = SearchAttributeKey.for_keyword("RemitState")
SEARCH_ATTRIBUTES = (ROOT, AGENT, DELEGATIONS, STATE)
"""What a namespace must know before tasks are started in it."""


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Tell whether a name is one of these; ``*`` in a pattern stands for any text."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)
