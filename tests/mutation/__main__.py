"""Mutate: `python -m tests.mutation [MODULE…]`; exit 1 when a mutant survives that nobody has accounted for.

Needs mutmut beside the development packages. One module at a time, in a process of its own; no source is touched.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.mutation.accounted import ACCOUNTED
from tests.mutation.targets import TARGETS

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Try the modules, print survivors as they are found, and a table at the end."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Which changes no test notices")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of: {', '.join(TARGETS)}")
    given = parser.parse_args()
    if unknown := set(given.modules) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    rows, failed = [], False
    for module in given.modules or TARGETS:
        told = _tried(module)
        known = ACCOUNTED.get(module, {})
        named = [(one, f"{one['function']}: {_change(one['diff'])}") for one in told["survivors"]]
        new = [(one, name) for one, name in named if name not in known]
        for one, _ in new:
            say(f"SURVIVED src/remit/{module.replace('.', '/')}.py:{one['line']} in {one['function']}\n{one['diff']}")
        if told["problem"]:
            say(f"PROBLEM {module}: {told['problem']}")
        for name in sorted(set(known) - {name for _, name in named}):
            say(f"NOT ANY MORE {module}: {name}")
        failed = failed or bool(new or told["problem"])
        mutants, survived = told["mutants"], len(named)
        rows.append(
            f"| `{module}` | {mutants} | {mutants - survived} | {survived} | {len(new)} | {told['seconds']} s |"
        )
        say(rows[-1])
    say("\n| module | mutants | killed | survived | not accounted for | time |\n|---|---|---|---|---|---|")
    say("\n".join(rows))
    return 1 if failed else 0


def _tried(module: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.mutation.trial", module, *TARGETS[module]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    last = done.stdout.rstrip().rpartition("\n")[2]
    if not last.startswith("{"):
        return {"mutants": 0, "survivors": [], "problem": done.stdout[-2000:] + done.stderr[-2000:], "seconds": 0}
    return dict(json.loads(last))


def _change(diff: str) -> str:
    """Return a change in one line: what stands there now, or what is gone."""
    lines = diff.splitlines()
    told = [line for line in lines if line.startswith("+") and line[1:].strip() != "pass"]
    told = told or [line for line in lines if line.startswith("-")]
    return " ".join(f"{line[0] if line[0] == '-' else ''}{line[1:].strip()}" for line in told)


def say(line: str) -> None:
    """Write a line now."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
