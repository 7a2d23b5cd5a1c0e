"""`python -m remit.cli` is `remit`."""

from remit.cli.entry import main

main()
