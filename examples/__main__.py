"""`python -m examples NAME`: an example on real servers, from permit to resume."""

from __future__ import annotations

import argparse
import sys

from examples.running import NAMES
from examples.stage import run
from remit.errors import RemitError

parser = argparse.ArgumentParser(prog="python -m examples", description=__doc__)
parser.add_argument("name", choices=NAMES)
parser.add_argument("--keep", action="store_true", help="leave the servers up")
given = parser.parse_args()
try:
    run(given.name, keep=given.keep)
except RemitError as error:
    print(error.diagnostics(), file=sys.stderr)  # noqa: T201
    sys.exit(error.exit_status)
