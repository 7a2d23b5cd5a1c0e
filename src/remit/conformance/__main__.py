"""The command: ``python -m remit.conformance module:Adapter``.

Exit status: 0 every scenario held · 1 one was violated or is not supported · 2 it could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn, cast

from temporalio.runtime import Runtime, TelemetryConfig

from remit.conformance.governor import Adapter
from remit.conformance.report import as_json, as_text
from remit.conformance.scenarios import SCENARIOS
from remit.conformance.suite import BOUND, PATIENCE, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite and print what it found; return the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.list:
        sys.stdout.write("".join(f"{one.id}\n    {one.promise}\n" for one in SCENARIOS.values()))
        return 0
    if not given.adapter:
        parser.error("name an adapter: module:attribute")
    # Temporal's core logs to stdout, and its SDK warns of what was stopped meanwhile: here that is no news.
    warnings.filterwarnings("ignore", "Cannot find activity to cancel")
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=None)), error_if_already_set=False)
    try:
        adapter = _loaded(given.adapter)
        report = asyncio.run(
            run(
                adapter,
                address=given.address,
                namespace=given.namespace,
                only=given.only,
                bound=given.bound,
                patience=given.patience,
            )
        )
    except (ImportError, AttributeError, ValueError, RuntimeError) as error:
        parser.exit(2, f"{parser.prog}: {type(error).__name__}: {error}\n")
    sys.stdout.write(f"{as_json(report) if given.json else as_text(report)}\n")
    return 0 if report.held else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m remit.conformance", description="Judge a governor of Temporal activities."
    )
    parser.add_argument("adapter", nargs="?", metavar="module:attribute", help="opens the governor: see README.md")
    parser.add_argument("--address", default="localhost:7233", help="Temporal's address (%(default)s)")
    parser.add_argument("--namespace", default="default", help="Temporal's namespace (%(default)s)")
    parser.add_argument("--only", action="append", default=[], choices=list(SCENARIOS), metavar="ID", help="repeatable")
    parser.add_argument(
        "--bound", type=float, default=BOUND, help="seconds a running activity has to stop (%(default)g)"
    )
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds for allowed work (%(default)g)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--list", action="store_true", help="the scenarios, and what each promises")
    return parser


def _loaded(name: str) -> Adapter:
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ValueError(f"{name!r} is not module:attribute")
    return cast(Adapter, getattr(import_module(module), attribute))


def _leave(status: int) -> NoReturn:
    """End the process as it is: Temporal's native threads may abort an interpreter that is being taken down."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    try:
        _leave(main())
    except SystemExit as left:  # how argparse ends
        _leave(left.code if isinstance(left.code, int) else 2)
