"""The entry point: parse, run, and turn whatever happens into an exit status.

- 0 done · 1 refused or failed · 2 usage · 3 something needed is unreachable · 130 interrupted.
- A failure nobody foresaw is one line with its type and the code `internal`; REMIT_DEBUG=1 adds the traceback.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from remit.cli import (
    assistant,
    auditing,
    checks,
    codec,
    decisions,
    explaining,
    people,
    policies,
    stack,
    stops,
    tasks,
    verifying,
    watching,
)
from remit.cli.options import BEFORE, Before
from remit.errors import RemitError

INTERRUPTED = 130

_PANELS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("Stack", (stack.dev, stack.stop, stack.demo, stack.status, checks.doctor, checks.bootstrap)),
    ("Tasks", (people.login, tasks.submit, tasks.tasks, tasks.show, watching.watch, tasks.resume, assistant.mcp)),
    ("Decisions", (decisions.approvals, decisions.approve, decisions.reject)),
    ("Stopping", (stops.revoke, stops.suspend, stops.reinstate, stops.delegations)),
    ("Evidence", (explaining.explain, verifying.verify, codec.codec)),
)

app = typer.Typer(
    name="remit",
    help="Agents act only within their remit.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _panel, _commands in _PANELS:
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
app.add_typer(auditing.app, name="audit", rich_help_panel="Evidence")
app.add_typer(policies.app, name="policy", rich_help_panel="Evidence")


@app.callback()
def _before(
    home: Annotated[Path | None, typer.Option("--home", metavar="FOLDER", help="State folder.")] = None,
    person: Annotated[str | None, typer.Option("--as", metavar="NAME", help="The person to act as.")] = None,
) -> None:
    BEFORE.set(Before(home, person))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    status = run(sys.argv[1:] if arguments is None else arguments)
    if "temporalio.bridge.temporal_sdk_bridge" in sys.modules:
        # Its native threads may call into an interpreter that is being taken down, which aborts (status 134)
        # after all was done; so what is left to do is done here and the interpreter is not taken down.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    try:
        status = app(list(arguments), prog_name="remit", standalone_mode=False)
        sys.stdout.flush()
    except RemitError as error:
        return _refuse(error)
    except typer.TyperException as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _internal(error)
    return status if isinstance(status, int) else 0


def _refuse(error: RemitError) -> int:
    from remit.cli.terminal import refuse

    return refuse(error)


def _usage(error: typer.TyperException) -> int:
    """Say in one line what is wrong with the command line, with the nearest right name."""
    from remit.cli.terminal import err, safe

    message = " ".join(error.format_message().split()).rstrip(".")
    option = getattr(error, "option_name", None)
    context = getattr(error, "ctx", None)
    if option and context is not None:
        known = [name for parameter in context.command.params for name in parameter.opts]
        message = f"No such option {option!r}" if message.startswith("No such option") else message
        if near := get_close_matches(option, known, n=1):
            message += f". Did you mean {near[0]!r}?"
    if not message:  # no command at all: its help was shown
        return 2
    err().print(safe(f"{message} [usage]"), soft_wrap=True)
    return 2


def _internal(error: Exception) -> int:
    from remit.cli.terminal import err, safe

    if os.environ.get("REMIT_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    err().print(safe(f"an unforeseen {type(error).__name__} ended the command [internal]"), soft_wrap=True)
    err().print("Run it again with REMIT_DEBUG=1 to see where, and report it.", soft_wrap=True)
    return 1
