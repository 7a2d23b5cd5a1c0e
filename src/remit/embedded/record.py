"""``stack.json``: what runs of a stack, for other processes to find.

- Written by the owner each time something changes, removed when it stops; a killed owner leaves it behind,
  so nobody believes it without looking at the processes it names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from remit.embedded.process import Identity
from remit.embedded.state import StateFolder
from remit.errors import Held

_FILE = "stack.json"


@dataclass(frozen=True, slots=True)
class Record:
    """The record of one running stack.

    Args:
        ready: The bootstrap is done.
        port_base: First of its ports.
        owner: The process that started it and stops it.
        processes: By name, what the owner started.
        addresses: By name, where things are.
    """

    ready: bool
    port_base: int
    owner: Identity
    processes: Mapping[str, Identity]
    addresses: Mapping[str, str]

    def down(self) -> list[str]:
        """Return the names of its processes that do not run."""
        return [name for name, identity in self.processes.items() if identity.process() is None]

    def write(self, state: StateFolder) -> None:
        """Replace the record."""
        document = {
            "ready": self.ready,
            "port_base": self.port_base,
            "owner": self.owner.document(),
            "processes": {name: identity.document() for name, identity in self.processes.items()},
            "addresses": dict(self.addresses),
        }
        state.write_json(_FILE, document)

    @classmethod
    def read(cls, state: StateFolder) -> Record | None:
        """Read the record; None when there is none, or none that makes sense."""
        match state.read_json(_FILE):
            case {
                "ready": bool(ready),
                "port_base": int(port_base),
                "owner": owner,
                "processes": dict(processes),
                "addresses": dict(addresses),
            }:
                owner_identity = Identity.parse(owner)
                identities = {str(name): Identity.parse(value) for name, value in processes.items()}
                known = {name: value for name, value in identities.items() if value}
                if owner_identity and len(known) == len(identities):
                    return cls(ready, port_base, owner_identity, known, addresses)
        return None

    @staticmethod
    def remove(state: StateFolder) -> None:
        """Remove the record."""
        (state.path / _FILE).unlink(missing_ok=True)


def running(home: Path) -> Record:
    """Return the record of the stack that runs in the state folder ``home``.

    One of its processes being down does not make it stopped: ``down()`` tells.

    Raises:
        RemitError: ``state.…`` when the folder cannot be used.
        Held: ``stack.stopped`` when none runs, or it is not ready yet.
    """
    record = Record.read(StateFolder.open(home)) if home.exists() else None
    if record is None or not record.ready or len(record.down()) == len(record.processes):
        raise Held(f"no stack is running in {home}", code="stack.stopped", next_action="Start it with: remit dev")
    return record
