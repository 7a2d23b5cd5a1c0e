"""The command `remit`: thin commands over `remit.client` and `remit.embedded`.

- Nothing heavy is imported before a command needs it: `remit --help` is quick.
- Every failure is one or two lines on stderr and an exit status: 0 done, 1 refused or failed, 2 usage, 3 unreachable.
"""


def main() -> None:
    """Run the command line and exit."""
    from remit.cli.entry import main as run

    run()
