"""What a process logs while attempts live in it."""

from __future__ import annotations

import contextvars
import io
import logging
from collections.abc import Iterator

import pytest

from remit.credentials import guard_logs, living

SECRET = "s3cr3t-canary-77aa"


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """What a handler wrote, with the guard on and an attempt alive."""
    before = logging.getLogRecordFactory()
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    logger = logging.getLogger("somebodys.library")
    logger.addHandler(handler)
    logger.propagate = False
    guard_logs()
    guard_logs()
    living.begin("grant", (SECRET,))
    yield out
    living.end("grant")
    logger.removeHandler(handler)
    logger.propagate = True
    logging.setLogRecordFactory(before)


def test_message_arguments_and_traceback_lose_the_secret(said: io.StringIO) -> None:
    logger = logging.getLogger("somebodys.library")
    logger.warning("token %s", SECRET)
    logger.warning(f"token {SECRET}")
    logger.warning("%(a)s 100%%", {"a": SECRET})
    try:
        try:
            raise KeyError(SECRET)
        except KeyError as error:
            raise RuntimeError(f"dsn {SECRET}") from error
    except RuntimeError:
        logger.exception("it failed")
    text = said.getvalue()
    assert SECRET not in text
    assert text.count("[redacted]") == 5
    assert "[redacted] 100%" in text
    assert "Traceback" in text


def test_a_line_that_cannot_be_put_together_shows_no_arguments(
    said: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("somebodys.library").warning("%d things", SECRET)
    assert SECRET not in said.getvalue() + "".join(capsys.readouterr())
    assert "could not be put together" in said.getvalue()


def test_a_name_forges_no_line(said: io.StringIO) -> None:
    name = 'child\r\n2026-01-01 ERROR root all is lost \x1b[31m{"level": "error"}\u202e'
    logging.getLogger("somebodys.library").warning("%s goes on waiting", name)
    assert said.getvalue().count("\n") == 1
    assert "\r" not in said.getvalue()
    assert "\x1b" not in said.getvalue()
    assert "\u202e" not in said.getvalue()
    assert "\\u000d\\u000a2026" in said.getvalue()


def test_without_the_guard_it_would_be_there() -> None:
    """The tests above can fail: this is what they would see."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    logger = logging.Logger("unguarded")
    logger.addHandler(handler)
    living.begin("grant", (SECRET,))
    try:
        logger.warning("token %s", SECRET)
    finally:
        living.end("grant")
    assert SECRET in out.getvalue()


def test_afterwards_nothing_is_remembered_elsewhere() -> None:
    def attempt() -> tuple[str, ...]:
        living.begin("other", ("one-secret",))
        living.end("other")
        return living.known()

    # An attempt's own failure is converted after it has ended, in the task that it was.
    assert contextvars.Context().run(attempt) == ("one-secret",)
    assert contextvars.Context().run(living.known) == ()
