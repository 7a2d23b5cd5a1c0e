"""What people are shown: complete, and unable to act on their terminal."""

import pytest
from rich.console import Console

from remit.cli import tasks, terminal

HOSTILE = [
    "plain\x1b[2J\x1b[1;1Happroved",
    "two\nlines\r\nand a carriage return",
    "\u202eevil\u202c bidi",
    "[bold red]markup[/bold red]",
    "```\nfence",
    "zero\u200bwidth",
    "\u05d0\u05d1 right to left",
    "\x07bell\x00nul",
]


def rendered(renderable) -> str:
    console = Console(width=60, force_terminal=False, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_elsewhere_does_not_act(text):
    shown = rendered(terminal.safe(text))
    assert not any(ord(one) < 32 and one != "\n" for one in shown)
    assert "\u202e" not in shown
    assert "\u200b" not in shown


def test_markup_stays_text():
    assert "[bold red]x[/]" in rendered(terminal.safe("[bold red]x[/]"))


def waiting(**arguments):
    return {
        "request": "r1",
        "action": "report:publish",
        "resource": "reports",
        "input": arguments,
        "approvers": ["data-steward"],
        "since": "2026-01-01T00:00:00+00:00",
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_an_approver_sees_hostile_arguments_spelled_out(text):
    shown = rendered(tasks.request(waiting(sql=text)))
    assert not any(ord(one) < 32 and one != "\n" for one in shown)
    assert "\u202e" not in shown
    assert "\u05d0" not in shown


def test_an_approver_sees_every_character_however_long_the_argument():
    sql = "select " + ", ".join(f"column_{number}" for number in range(200))
    shown = rendered(tasks.request(waiting(sql=sql, table="delays")))
    together = "".join(line.strip() for line in shown.splitlines()).replace(" ", "")
    assert sql.replace(" ", "") in together
    assert "\u2026" not in shown


def test_an_argument_named_to_deceive_is_spelled_out_too():
    shown = rendered(tasks.request(waiting(**{"sql\x1b[8m": "drop"})))
    assert "\x1b" not in shown
    assert "\\u001b" in shown


def test_a_spiffe_id_is_shortened_for_people():
    assert terminal.short("spiffe://remit.local/user/alice") == "user/alice"
    assert terminal.short("other") == "other"
