"""Run a soak: `python -m tests.soak [--seed N] [--tasks N] [--seconds N] [--kills N]`; exit 1 if an invariant broke."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path

from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from tests.soak.run import soaked


def main() -> int:
    """Soak, print what was done and every violation."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Random stops and kills, then invariants")
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="the same seed, the same plan")
    parser.add_argument("--tasks", type=int, default=230, help="planned; some are stopped before they start")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--principals", type=int, default=4)
    given = parser.parse_args()
    errors = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))  # it is killed on purpose
    Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=errors)), error_if_already_set=False)
    say(f"seed {given.seed}")
    with tempfile.TemporaryDirectory(prefix="remit-soak-") as folder:
        done, violations = asyncio.run(
            soaked(
                Path(folder),
                seed=given.seed,
                tasks=given.tasks,
                seconds=given.seconds,
                kills=given.kills,
                principals=given.principals,
                say=say,
            )
        )
    say(json.dumps(done, indent=2))
    for violation in violations:
        say(f"VIOLATION {violation}")
    say(f"{len(violations)} violations (seed {given.seed})")
    return 1 if violations else 0


def say(line: str) -> None:
    """Write a line now."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
