"""Logs without secrets: a guard over everything this process logs, whichever library says it.

- Message, arguments and traceback lose the secrets of the attempts that live now.
- Control and direction characters are spelled out: a name with a line break in it forges no line.
- It is for a program to install, not for a library: `guard_logs()` at its start, as `worker.py` does.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any

from remit.audit import plain
from remit.credentials.living import known
from remit.credentials.scrub import holds, scrub_text

_UNPRINTABLE = "a log line that could not be put together"


class _Guard:
    """Makes log records as before, then cleans them."""

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._before(*args, **kwargs)
        secrets = known()
        try:
            said = record.getMessage()
        except Exception:
            said = _UNPRINTABLE  # logging would print the arguments instead
            record.msg, record.args = said, ()
        clean = str(plain(scrub_text(said, secrets)))
        if clean != said:
            record.msg, record.args = clean, ()
        if record.exc_info and secrets and (error := record.exc_info[1]) is not None and holds(error, secrets):
            record.exc_text = scrub_text("".join(traceback.format_exception(error)), secrets)
            record.exc_info = None
        return record


def guard_logs() -> None:
    """Clean whatever is logged from now on; once is enough."""
    before = logging.getLogRecordFactory()
    if not isinstance(before, _Guard):
        logging.setLogRecordFactory(_Guard(before))
