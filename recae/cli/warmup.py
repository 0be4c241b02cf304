"""`recae warmup`: compiles the loops before they are needed, as for the image of a container."""

from __future__ import annotations

import click

from recae.cli.help import Command
from recae.cli.output import human_bytes, message


@click.command(cls=Command)
def warmup() -> None:
    """Compile the loops that training and scoring run on, and store them for all later runs.

    \b
      recae warmup
      NUMBA_CACHE_DIR=/opt/recae/loops recae warmup

    Without it the first training compiles them, about a minute of a processor. They are stored in
    $NUMBA_CACHE_DIR, else beside recae's own files where these may be written, else in the user's cache. Stored loops
    fit one make of processor, one version of recae and one of numba; elsewhere they are compiled anew. The folder must
    be writable for whoever uses them.
    """
    from recae.interface.warmup import warm_up

    message("compiling the loops for this processor")
    count, seconds, place = warm_up(lambda what: message(f"using {what}", transient=True))
    size = sum(path.stat().st_size for path in place.rglob("*.nb[ci]"))
    if count:
        message(
            f"compiled {count:,} loops in {seconds:.1f} s; they are stored in {place} ({human_bytes(size)})"
        )
    else:
        message(f"nothing to compile: the loops are stored in {place} ({human_bytes(size)})")
