"""The help of every command: options under headings, and lines that break between words at any width."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import click
from click.formatting import HelpFormatter

from recae.cli.output import write
from recae.display import starting

_Function = TypeVar("_Function", bound=Callable[..., Any])

WIDEST = 100
"""Columns that are still read with ease."""

_NARROWEST = 30

_FILES = ("PATH", "FILE", "FOLDER", "ITEMS", "PURCHASES", "SOURCE", "TABLE")
"""What stands for the name of a file, among other things, in the help."""

_LAST = "Other options"
_HEADING = "heading"
_TERM = 30  # columns of an option and what stands for its value; the meaning of a longer one begins below
# What a line may be broken between: words, and quoted texts as a whole, since a shell reads them so.
_PARTS = r"""(?:'[^']*'|"[^"]*"|[^\s'"]|['"])+"""


def under(heading: str, *options: Callable[[Any], Any]) -> Callable[[_Function], _Function]:
    """Return a decorator that adds options, in their order, under a heading of the help.

    Args:
        heading: of the help; options of several calls with the same heading stand together.
        options: decorators such as those that `click.option` returns. A heading inside wins over one outside.
    """

    def add(function: _Function) -> _Function:
        before = len(vars(function).get("__click_params__", ()))
        for option in reversed(options):
            function = option(function)
        for parameter in vars(function)["__click_params__"][before:]:
            vars(parameter).setdefault(
                _HEADING, heading
            )  # click's own class, so that any option can be under one
        return function

    return add


class Formatter(HelpFormatter):
    """Help as text: whatever the width, a line ends between two words."""

    def __init__(self, width: int) -> None:
        """Start with nothing; `width` is the number of columns."""
        super().__init__(width=width)

    def write_text(self, text: str) -> None:
        """Write paragraphs. Of one that begins with a line of \\b each line is one, and breaks as `broken` says."""
        paragraphs = [
            paragraph for paragraph in re.split(r"\n[ ]*\n", text.expandtabs()) if paragraph.strip()
        ]
        for number, paragraph in enumerate(paragraphs):
            lines = paragraph.strip("\n").split("\n")
            if number:
                self.write("\n")
            if lines[0].strip() == "\b":
                for line in lines[1:]:
                    for part in broken(line, self.width - self.current_indent):
                        self.write(f"{'':>{self.current_indent}}{part}\n")
            else:
                joined = " ".join(line.strip() for line in lines)
                for part in _filled(joined.split(), self.width - self.current_indent):
                    self.write(f"{'':>{self.current_indent}}{part}\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = _TERM, col_spacing: int = 2) -> None:
        """Write terms with their meanings beside them; where there is little room, below."""
        rows = list(rows)
        widest = max((len(term) for term, _ in rows if len(term) <= col_max), default=0)
        first = widest + col_spacing + self.current_indent
        below = self.width - first < 30
        if below:
            first = self.current_indent + 4
        for term, meaning in rows:
            lines = _filled(meaning.split(" "), self.width - first)
            start = f"{'':>{self.current_indent}}{term.rstrip()}"
            if not below and len(start) <= first - col_spacing and lines:
                start = f"{start:<{first}}{lines.pop(0)}"
            self.write(f"{start}\n")
            for line in lines:
                self.write(f"{'':>{first}}{line}\n")


def broken(line: str, width: int) -> list[str]:
    """Return a line as lines of at most `width` columns, as far as its words are no longer.

    What does not fit goes on below: under the second column where the line has two, four columns in elsewhere. A
    command for a shell ends in a backslash where it goes on.
    """
    if len(line) <= width:
        return [line]
    indent = len(line) - len(line.lstrip())
    column = re.match(r" *\S.*?\S {2,}(?=\S)", line)
    if column is not None and len(column[0]) < width - 20:
        head, words = column[0], line[len(column[0]) :].split()
        first, *more = _filled(words, width - len(head))
        return [head + first, *(f"{'':>{len(head)}}{part}" for part in more)]
    if re.match(r" *([A-Z_]+=\S+ +)?(recae|torchrun|zcat|curl) ", line):
        words = re.findall(rf"(?:--[\w-]+ (?!-))?{_PARTS}", line)  # an option and its value stay together
        lines = [f"{part} \\" for part in _filled(words, width - indent - 6)]
        lines[-1] = lines[-1].removesuffix(" \\")
    else:
        lines = _filled(line.split(), width - indent - 4)
    return [f"{'':>{indent + 4 * (number > 0)}}{part}" for number, part in enumerate(lines)]


def _filled(words: Sequence[str], width: int) -> list[str]:
    """Return lines of words, as many a line as fit; an empty word keeps the gap before a default."""
    lines: list[str] = []
    line = ""
    for word in words:
        if line and len(line) + 1 + len(word) > width:
            lines.append(line.rstrip())
            line = ""
        line = f"{line} {word}" if line else word
    return [*lines, line] if line.strip() else lines


class Command(click.Command):
    """A command whose options stand under headings, in the order in which the headings come first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Let a shell complete the names of files where a text is one."""
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            if parameter.type is click.STRING and parameter.metavar in _FILES:
                parameter.type = click.Path(
                    readable=False
                )  # which looks at nothing but is one for completion

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a terminal shows at once what it begins with, before anything heavy is imported."""
        text = ""
        if (source := ctx.params.get("source")) is not None:
            from recae.reading import hide_password

            text = f"reading {hide_password(source)}"
        elif (model := ctx.params.get("model_path")) is not None:
            text = f"loading {model}"
        with starting(text) if text else nullcontext():
            return super().invoke(ctx)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help, formatted."""
        return help_of(self, ctx)

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return --help, whose text is written like any result: a full disk is a sentence."""
        return printed(super().get_help_option(ctx))

    def format_options(self, ctx: click.Context, formatter: HelpFormatter) -> None:
        """Write the options under their headings; those without one come last, with --help."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                groups.setdefault(getattr(parameter, _HEADING, _LAST), []).append(record)
        last = groups.pop(_LAST)
        terms = (len(term) for records in [*groups.values(), last] for term, _ in records)
        widest = max((length for length in terms if length <= _TERM), default=0)
        for heading, records in [*groups.items(), (_LAST if groups else "Options", last)]:
            with formatter.section(heading):
                # padded, so that the meanings under all headings stand below one another
                formatter.write_dl([(f"{term:<{widest}}", meaning) for term, meaning in records])


def printed(option: click.Option | None) -> click.Option | None:
    """Let an option --help of click's print by `recae.cli.output.write`; returns it."""

    def show(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            write(f"{ctx.get_help()}\n", sys.stdout)
            ctx.exit()

    if option is not None:
        option.callback = show
    return option


def help_of(command: click.Command, ctx: click.Context) -> str:
    """Return the help of a command, as wide as the terminal, within reason."""
    width = ctx.terminal_width
    if width is None:
        import shutil

        width = max(min(shutil.get_terminal_size().columns, WIDEST), _NARROWEST)
    formatter = Formatter(width)
    command.format_help(ctx, formatter)
    return formatter.getvalue().rstrip("\n")


def usage_sentence(error: click.UsageError) -> str:
    """Return what is wrong with a command line as one sentence that says where to look."""
    text = " ".join(error.format_message().split()).removesuffix(".")
    text = re.sub(r"\. \(?Did you mean (.*)\?\)?$", r"; did you mean \1?", text)
    path = "" if error.ctx is None else error.ctx.command_path
    command = " ".join(["recae", *path.split()[1:]])  # however the program was started
    return f"{text[:1].lower()}{text[1:]}{' ' if text.endswith('?') else '; '}see '{command} --help'"
