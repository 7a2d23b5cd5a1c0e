"""Telling: what the tour prints, and what it holds itself to.

- A claim is printed only with the outcome of its check; one that does not hold ends the tour.
"""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from remit.audit import plain
from remit.errors import RemitError


class NotHeld(RemitError):
    """Something the tour shows did not hold."""

    default_code = "demo.not-held"


class Teller:
    """Prints scenes, facts and checked claims."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.held = 0

    def scene(self, number: int, title: str) -> None:
        """Open a scene."""
        self.console.print()
        self.console.print(Panel(Text(f"{number}  {title}", style="bold"), expand=False, border_style="cyan"))

    def does(self, who: str, what: str) -> None:
        """Say what a person does, as the command they would type."""
        self.console.print(Text.assemble(("  ", ""), (f"{who:>6} ", "bold cyan"), (what, "")))

    def fact(self, label: str, value: object) -> None:
        """Show something that was read from a real server."""
        self.show(Text.assemble((f"{label}  ", "dim"), (str(plain(str(value))), "")))

    def table(self, rows: list[dict[str, object]]) -> None:
        """Show a few rows."""
        shown = Table(*rows[0], box=None, header_style="dim", padding=(0, 2, 0, 0)) if rows else Table()
        for row in rows:
            shown.add_row(*(str(plain(str(value))) for value in row.values()))
        self.show(shown)

    def show(self, what: RenderableType) -> None:
        """Show anything else, indented."""
        from rich.padding import Padding

        self.console.print(Padding(what, (0, 0, 0, 9)))

    def claim(self, holds: object, what: str) -> None:
        """Print a claim with a tick.

        Raises:
            NotHeld: It does not hold.
        """
        if not holds:
            self.console.print(Text.assemble(("       ✗ ", "bold red"), (what, "red")))
            raise NotHeld(f"this did not hold: {what}", next_action="Run it with --keep and look at the stack.")
        self.held += 1
        self.console.print(Text.assemble(("       ✓ ", "bold green"), (what, "")))
