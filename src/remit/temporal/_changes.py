"""Changes: what a run does and older runs did not; each run says so once, in its first turn.

- A replay is told of a patch's marker when it comes to the workflow task that recorded it. Code after a local activity
  may have run in a later task than it replays in: a query that comes while one runs splits the task (measured, SDK
  1.35). Asked there, `workflow.patched` says no, and the history no longer replays.
- In the first turn of a run nothing was waited for, so nothing can be split: what is asked there holds for all of it.
- A run that was under way before asks for each change where it comes to it, as it did.
"""

from __future__ import annotations

from temporalio import workflow

_ALL = "remit-changes-1"
_ALL_AND_MAPPED = "remit-changes-1-mapped"
_MAPPED = "remit-mapped-children"


class Changes:
    """The changes of one run.

    Args:
        mapping: Whether this worker has a mapping.
    """

    def __init__(self, *, mapping: bool) -> None:
        self._mapping = mapping
        self._all = False
        self._mapped: bool | None = None

    def begin(self) -> None:
        """Record that the run makes them all, or learn that it does; the first thing a run does."""
        if workflow.unsafe.is_replaying():
            mapped, plain = workflow.patched(_ALL_AND_MAPPED), workflow.patched(_ALL)
            self._all = mapped or plain
        else:
            mapped, self._all = self._mapping, workflow.patched(_ALL_AND_MAPPED if self._mapping else _ALL)
        self._mapped = mapped if self._all else None

    def made(self, name: str) -> bool:
        """Tell whether the run makes a change."""
        return self._all or workflow.patched(name)

    @property
    def apart(self) -> bool:
        """Whether the workflow's own code, a framework's here, begins apart from the look that opens the task.

        It may ask `workflow.patched` in its first turn; after a local activity the answer would not last.
        """
        return self._all and self._mapped is True

    @property
    def mapped(self) -> bool:
        """Whether the mapping says what children are handed: not for a run that began without one."""
        if self._mapped is None:
            here = self._mapping or workflow.unsafe.is_replaying()
            self._mapped = here and workflow.patched(_MAPPED)
        return self._mapped
