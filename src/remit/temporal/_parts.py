"""What the plugin is given: the authority, the presenter, and what it knows about activities.

- The authority and the presenter are interfaces, so that both can run apart from agent code.
- An activity is governed (a tool names its action, resource and credential), or listed as ungoverned, or refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from remit.temporal._mapped import Mapped
from remit.temporal._names import RESERVED, matches

if TYPE_CHECKING:  # workflow code imports this module, and nothing that talks to a server
    from remit.attempt import Admission, Attempt, Grant, Unasked
    from remit.chain import Chain
    from remit.delegation import Reference, Scope
    from remit.jose import Signer
    from remit.mapping import Mapping as Meaning
    from remit.principals import Principal
    from remit.standing import Standpoint
    from remit.tool import Use


class Authority(Protocol):
    """What is asked of `remit.authority.Authority`."""

    async def authorize(self, attempt: Attempt, presentation: Awaitable[str]) -> Grant:
        """Decide one attempt and mint its credential."""

    async def release(self, grant: Grant, *, outcome: str, code: str | None = None) -> None:
        """End a grant; never raises."""

    async def watch(self, grant: Grant) -> None:
        """Raise `NotLive` when a running grant's chain is not live any more, `Refused` when it may not go on."""

    async def describe(self, reference: Reference) -> tuple[Chain, tuple[Standpoint, ...]]:
        """Return a chain and the standing of every link and principal of it."""

    async def admit(
        self, token: str, *, request: Mapping[str, Any], reference: Reference, namespace: str, task: str
    ) -> Admission:
        """Tell whether a decision counts for a waiting request."""

    async def refuse(self, attempt: Unasked, error: BaseException) -> None:
        """Record an attempt that ended before it could be asked about."""

    @property
    def delegating(self) -> Delegating:
        """What hands authority on."""


@runtime_checkable
class Seals(Protocol):
    """An authority that signs how far its records go; not every one does."""

    async def seal(self) -> Mapping[str, Any] | None:
        """Have what was recorded so far signed; return ``{"writer", "seq", "head"}``."""


class Delegating(Protocol):
    """What is asked of `remit.delegating.Delegating`."""

    async def delegate(
        self,
        *,
        parent: Reference,
        agent: str,
        scope: Scope,
        expires_in: int,
        max_depth: int,
        namespace: str,
        task: str,
        first_run: str,
        child: str,
        signer: Signer,
    ) -> Reference:
        """Make the next link, for the execution `child`; `task` must be the one that holds the parent."""

    async def adopt(self, *, namespace: str, task: str, first_run: str, old: Reference, new: Reference) -> None:
        """Let a task go on under a fresh delegation."""

    async def allow(self, reference: Reference, *, namespace: str, task: str, first_run: str, child: str) -> None:
        """Let the execution `child` use the same delegation; `task` must be one that holds it."""


class Presenter(Protocol):
    """Who signs for the agents whose code this worker runs, each with its own key."""

    async def present(self, attempt: Attempt) -> str:
        """Return the leaf agent's proof for this attempt, as compact JWS."""

    async def signer(self, agent: Principal) -> Signer:
        """Return what signs delegations this agent makes."""


class Describes(Protocol):
    """A tool's declaration: `remit.tool.Tool`, or anything that reads off an activity's arguments what they ask for."""

    @property
    def name(self) -> str:
        """Activity type."""

    def use(self, arguments: Sequence[Any]) -> Use:
        """Return what these arguments ask for.

        Raises:
            RemitError: They do not fit.
        """


@dataclass(frozen=True, slots=True)
class Facts:
    """What workflow and activity interceptors know of a worker's activities.

    Args:
        tools: Activity type → its declaration.
        ungoverned: Activity and workflow types that carry no authority; ``*`` stands for any text.
        heartbeat: Heartbeat timeout of governed activities that set none.
        mapped: What a mapping makes of the others, if there is one.
    """

    tools: Mapping[str, Describes] = field(default_factory=dict)
    ungoverned: tuple[str, ...] = ()
    heartbeat: timedelta = timedelta(seconds=10)
    mapped: Mapped | None = None

    @property
    def mapping(self) -> Meaning | None:
        """The mapping, if there is one."""
        return self.mapped.meaning if self.mapped else None

    def governs(self, name: str) -> bool:
        """Tell whether an activity or workflow type is governed."""
        return name.startswith(RESERVED) or not matches(name, self.ungoverned)

    def governs_activity(self, name: str) -> bool:
        """Tell whether an activity type is governed; one that only lists what a framework has is not."""
        return self.governs(name) and not (
            name not in self.tools and self.mapped is not None and self.mapped.lists(name)
        )

    def tool(self, activity: str) -> Describes | None:
        """Return what an activity type means: its own declaration, else what the mapping says."""
        return self.tools.get(activity) or (self.mapped.tool(activity) if self.mapped else None)
