"""What the documentation site takes from the code: settings, commands, the HTTP interface; and formulas as MathML.

MkDocs calls the functions `on_…` (see `hooks` in mkdocs.yml). A comment in a page, such as
`<!-- generated: settings sigmoid -->`, stands for a part that is made here when the site is built.
"""

from __future__ import annotations

import html
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the site is that of this checkout, whatever is installed

GENERATED = re.compile(r"^<!-- generated: ([a-z]+)(?: ([\w-]+))? -->$", re.MULTILINE)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the generated parts into a page."""
    return GENERATED.sub(lambda found: PARTS[found[1]](*filter(None, [found[2]])), markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Turn formulas into MathML, which browsers show without a script."""
    return FORMULA.sub(_formula, content)


def _formula(found: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    return convert(html.unescape(found[3]).strip(), display="block" if found[2] == "[" else "inline")


def cell(text: str) -> str:
    """Return a text as the cell of a table in Markdown, with nothing in it that Markdown would read."""
    return re.sub(r"([\\`*_{}\[\]#|$])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def settings_table(kind: str) -> str:
    """Return the settings of a kind of model, from its class."""
    from recae.cli.settings import text_of
    from recae.kinds import find
    from recae.settings import settings_of

    rows = [
        [f"`{s.name}`", f"`{text_of(s.default)}`", cell(s.wanted), cell(s.meaning)]
        for s in settings_of(find(kind).settings_class()).values()
    ]
    return table(["setting", "default", "value", "meaning"], rows)


def search_space(kind: str) -> str:
    """Return what `recae tune` searches for a kind of model."""
    from recae.kinds import find

    found = find(kind)
    if not found.space:
        return f"`recae tune --kind {kind}` has nothing to search.\n"
    words = ", ".join(f"`{d.name}`{cell(d.in_words().removeprefix(d.name))}" for d in found.space)
    return f"`recae tune --kind {kind}` searches {words}.\n"


def protocols_table() -> str:
    """Return the protocols of `recae evaluate`."""
    from recae.splits.rows import PROTOCOLS

    rows = [[f"`{p.name}`", cell(p.title), cell(p.meaning)] for p in PROTOCOLS.values()]
    return table(["protocol", "what is tested", "what it means"], rows)


def commands() -> str:
    """Return every command: usage, what its help says, and a table of its options."""
    from recae.cli import main

    parts = [_command("recae", main, level=2)]
    parts += [_command(f"recae {name}", command, level=2) for name, command in main.commands.items()]
    return "\n".join(parts)


def _command(name: str, command: click.Command, level: int) -> str:
    context = click.Context(command, info_name=name)
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [f"{'#' * level} {name}\n", f"```text\n{usage}\n```\n", _prose(command.help or "")]
    options: dict[str, list[list[str]]] = {}
    for option in command.get_params(context):
        if isinstance(option, click.Option) and not option.hidden and option.help:
            record = option.get_help_record(context)
            if record is not None:
                heading = str(getattr(option, "heading", "Other options"))
                names = record[0].replace("|", "\\|")
                options.setdefault(heading, []).append([f"`{names}`", cell(record[1])])
    parts += [f"**{heading}**\n\n{table(['option', 'meaning'], rows)}" for heading, rows in options.items()]
    return "\n".join(parts)


def _prose(text: str) -> str:
    """Return a help text as Markdown: paragraphs after click's mark \\b, and indented ones, keep their lines."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", text.replace("\f", "").strip()):
        lines = paragraph.splitlines()
        if lines[0].strip() == "\b":
            kept = lines[1:]
            margin = min(len(line) - len(line.lstrip()) for line in kept if line.strip())
            block = "\n".join(line[margin:].rstrip() for line in kept)
            parts.append(f"```text\n{block}\n```\n")
        else:
            parts.append(cell(" ".join(lines)).replace("\\`", "`") + "\n")
    return "\n".join(parts)


def http_api() -> str:
    """Return the HTTP interface from its OpenAPI description: paths, parameters, answers and schemas."""
    from recae.serving.app import create_app
    from recae.serving.metrics import Metrics
    from recae.serving.routes import ServeSettings

    description = create_app(None, Metrics(), ServeSettings()).openapi()  # type: ignore[arg-type]
    parts = []
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            parts.append(
                f"### {method.upper()} {cell(path)} {{ #{method}-{re.sub('[^a-z]+', '-', path).strip('-')} }}\n"
            )
            said = operation.get("description") or operation.get("summary", "")
            parts.append(cell(said).replace("\\`", "`") + "\n")
            rows = [
                [f"`{p['name']}`", p["in"], _type(p["schema"]), cell(p.get("description", ""))]
                for p in operation.get("parameters", [])
            ]
            if rows:
                parts.append(table(["parameter", "in", "type", "meaning"], rows))
            body = operation.get("requestBody")
            if body:
                schema = next(iter(body["content"].values()))["schema"]
                parts.append(f"Body: {_type(schema)}\n")
            answers = [
                [f"`{code}`", cell(answer.get("description", "")), _content(answer)]
                for code, answer in operation["responses"].items()
            ]
            parts.append(table(["status", "meaning", "content"], answers))
    parts.append("## Schemas\n")
    for name, schema in description["components"]["schemas"].items():
        parts.append(f"### {name}\n")
        if schema.get("description"):
            parts.append(cell(schema["description"]).replace("\\`", "`") + "\n")
        needed = schema.get("required", [])
        rows = [
            [
                f"`{member}`" + ("" if member in needed else " (optional)"),
                _type(found),
                cell(found.get("description", "")) + _default(found),
            ]
            for member, found in schema.get("properties", {}).items()
        ]
        if rows:
            parts.append(table(["member", "type", "meaning"], rows))
    return "\n".join(parts)


def _content(answer: dict[str, Any]) -> str:
    return ", ".join(
        f"`{media}`{': ' + _type(found['schema']) if found.get('schema') else ''}"
        for media, found in answer.get("content", {}).items()
    )


def _default(schema: dict[str, Any]) -> str:
    return f" Default: `{json.dumps(schema['default'])}`." if "default" in schema else ""


def _type(schema: dict[str, Any]) -> str:
    """Return the type of a JSON schema in words, with links to the schemas that it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(part) for part in schema[several]))
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    kind = str(schema.get("type", "any value"))
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    bounds = [
        f"{words} {schema[key]}"
        for key, words in (
            ("minimum", "from"),
            ("maximum", "to"),
            ("maxItems", "at most"),
            ("maxLength", "at most"),
        )
        if key in schema
    ]
    return f"{kind} {' '.join(bounds)}".strip()


PARTS: dict[str, Callable[..., str]] = {
    "settings": settings_table,
    "search": search_space,
    "protocols": protocols_table,
    "commands": commands,
    "http": http_api,
}
"""What a comment in a page may ask for."""
