"""Run the benchmarks: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from benchmarks import byhand, past, pure, steps, stopping, stops
from benchmarks.bench import POLICIES, opened
from benchmarks.figures import Measure
from benchmarks.report import document, tables
from benchmarks.steps import Plan
from remit.embedded import Stack
from remit.embedded.provision import provision
from remit.policy import PolicyEngine

NAMES = ("steps", "credential", "history", "chain", "decision", "revoke", "past")
FULL, FULL_MINTED = Plan(rounds=5, steps=40, tasks=50, each=10), Plan(rounds=3, steps=20, tasks=50, each=5)
QUICK, QUICK_MINTED = Plan(rounds=3, steps=20, tasks=50, each=5), Plan(rounds=2, steps=10, tasks=50, each=2)

SIZES = (1, 20, 200)
"""Running tasks under the delegation that is revoked."""


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Governed against ungoverned.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), metavar="PATH", help="default bench.json")
    parser.add_argument(
        "--tasks", type=int, action="append", metavar="N", help="running tasks of a revocation; default 1, 20 and 200"
    )
    parser.add_argument("--revocations", type=int, metavar="N", help="of each size; default few, to be short")
    return parser.parse_args(arguments)


def machine() -> dict[str, Any]:
    """Return what it runs on."""
    return {
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


async def on_stack(stack: Stack, chosen: set[str], given: argparse.Namespace) -> list[Measure]:
    """Measure what needs the servers."""
    quick = bool(given.quick)
    found: list[Measure] = []
    async with opened(stack) as bench:
        if "steps" in chosen:
            found += await steps.without_credential(bench, QUICK if quick else FULL)
        if "credential" in chosen:
            found += await steps.with_credential(bench, QUICK_MINTED if quick else FULL_MINTED)
        if "history" in chosen:
            found.append(await steps.history(bench))
        if "revoke" in chosen:
            for number in given.tasks or SIZES:
                times = given.revocations or _repeats(number, quick=quick)
                revoked = await stopping.revocations(bench, number, times=times)
                if revoked.stops:
                    found += stops.measures(number, revoked.stops)
                if revoked.broke is not None:
                    found.append(stops.broken(number, revoked.broke, waited=stopping.GONE * 1000))
        if "past" in chosen:
            few, many = (10, 2000) if given.revocations else (10, 200)
            found += await past.measured(bench, few=few, many=many, times=30 if given.revocations else 10)
    return found


def _repeats(tasks: int, *, quick: bool) -> int:
    """Return how often a number of tasks is revoked: enough for a percentile, not longer than a minute."""
    return (20 if quick else 40) if tasks == 1 else max(1, (40 if quick else 100) // tasks)


def quiet() -> None:
    """Keep the SDK's warnings about what is stopped on purpose out of the result."""
    for name in ("temporalio.activity", "temporalio.workflow", "temporalio.worker"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    errors = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=errors)), error_if_already_set=False)


def run(given: argparse.Namespace, console: Console) -> list[Measure]:
    """Run what was chosen."""
    chosen = set(given.only or NAMES)
    found: list[Measure] = []
    with tempfile.TemporaryDirectory(prefix="remit-bench-") as folder:
        times = 50 if given.quick else 300
        if "chain" in chosen:
            found += pure.verification(PolicyEngine.load(POLICIES).groups, times=times)
        if "decision" in chosen:
            found += pure.decisions(POLICIES, Path(folder) / "policies", times=times)
        if chosen - {"chain", "decision"}:
            stack = Stack(
                Path(folder) / "home", port_base=0, bootstrap=lambda started: provision(started, policies=POLICIES)
            )
            console.print("Starting the embedded stack …", style="dim")
            stack.start()
            try:
                byhand.allow(stack)
                found = [
                    *asyncio.run(on_stack(stack, chosen, given)),
                    *found,
                ]
            finally:
                stack.stop()
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the JSON."""
    given, console = options(arguments), Console()
    # Being told to end is Ctrl-C: what was started is stopped in order.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    quiet()
    found = run(given, console)
    for one in tables(found):
        console.print(one)
    text = json.dumps(document(found, machine=machine(), quick=given.quick), indent=2, ensure_ascii=False)
    given.json.write_text(text + "\n", encoding="utf-8")
    console.print(f"Written to {given.json}", style="dim")


if __name__ == "__main__":
    main()
