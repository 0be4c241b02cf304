"""`recae completion`: a script that lets a shell complete commands, options, kinds of model and files."""

from __future__ import annotations

import click

from recae.cli.help import Command
from recae.cli.output import write

SHELLS = ("bash", "zsh", "fish")


@click.command(cls=Command)
@click.argument("shell", metavar="SHELL", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print a script that completes what is typed after recae; SHELL is bash, zsh or fish.

    \b
      recae completion bash > ~/.local/share/bash-completion/completions/recae
      recae completion zsh > ~/.zfunc/_recae
      recae completion fish > ~/.config/fish/completions/recae.fish
      eval "$(recae completion bash)"

    The first three are for good, the last one is for the shell it is typed in. In zsh, ~/.zfunc must be in $fpath
    before compinit is called.
    """
    import sys

    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    group = click.get_current_context().find_root().command
    if found is None:  # click has these three
        raise LookupError(shell)
    script = found.source_template % found(group, {}, "recae", "_RECAE_COMPLETE").source_vars()
    write(script.strip() + "\n", sys.stdout)
