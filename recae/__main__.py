"""The program `recae`: guarded against signals first, then the command line; `python -m recae` is the same."""

from recae.signals import guard, leave_early


def run() -> None:
    """Run the command line as the whole of this process."""
    guard()
    from recae.cli import main  # takes a while, in which a signal may come

    try:
        main(prog_name="recae")
    except SystemExit as end:
        leave_early(end.code)
        raise


if __name__ == "__main__":
    run()
