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

    Without it the first training compiles them. They are stored in $NUMBA_CACHE_DIR, else in $RECAE_CACHE, else in the
    user's cache, else in a private temporary folder. Stored loops fit one make of processor, one version of recae and
    one of numba; elsewhere they are compiled anew. A folder that others can write to is not used. One that cannot be
    written to serves all who may read it.
    """
    from recae.interface.warmup import warm_up

    message("compiling the loops for this processor")
    count, seconds, place = warm_up(lambda what: message(f"using {what}", transient=True))
    if place is None:
        message(f"compiled {count:,} loops in {seconds:.1f} s; they are stored nowhere")
        return
    size = human_bytes(sum(path.stat().st_size for path in place.glob("*.loop")))
    if count:
        message(f"compiled {count:,} loops in {seconds:.1f} s; they are stored in {place} ({size})")
    else:
        message(f"nothing to compile: the loops are stored in {place} ({size})")
