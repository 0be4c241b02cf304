"""`python -m recae`: the command line, as torchrun starts it."""

from recae.cli import main

main(prog_name="recae")
