"""What the documentation site takes from the code: settings, commands, the HTTP interface; notebooks; formulas.

MkDocs calls the functions `on_…` (see `hooks` in mkdocs.yml). A comment in a page, such as
`<!-- generated: settings sigmoid -->`, stands for a part that is made here when the site is built. The notebooks in
docs/notebooks become pages; with RECAE_NOTEBOOKS=run in the environment they are run first. Formulas become MathML.
"""

from __future__ import annotations

import html
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the site is that of this checkout, whatever is installed

GENERATED = re.compile(r"^<!-- generated: ([a-z]+)(?: ([\w-]+))? -->$", re.MULTILINE)
CODES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # colours and movements of a terminal
PUT_OUT = re.compile(r'<div data-output="([\w-]+)"></div>')
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)

OUTPUTS: dict[str, str] = {}
"""Place in a page → what a cell of a notebook put out there, as HTML."""


ORDER = ("start", "evaluate", "batch", "serve", "embeddings")
"""The notebooks in the order to read them; others come last."""


def notebooks() -> list[Path]:
    """Return the notebooks, the first to read first."""
    found = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
    return sorted(found, key=lambda path: ORDER.index(path.stem) if path.stem in ORDER else len(ORDER))


def on_config(config: Any, **_: Any) -> None:
    """Put the pages of the notebooks below the guide on notebooks."""
    pages = [f"notebooks/{path.stem}.md" for path in notebooks()]
    for section in config.nav:
        for entries in section.values():
            for entry in entries if isinstance(entries, list) else ():
                if pages and isinstance(entry, dict) and entry.get("Notebooks") == "guides/notebooks.md":
                    entry["Notebooks"] = ["guides/notebooks.md", *pages]


def on_files(files: Any, config: Any) -> None:
    """Add the changelog, and a page for each notebook."""
    from mkdocs.structure.files import File

    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "changelog.md", content=changes))

    for path in notebooks():
        name = f"notebooks/{path.stem}.md"
        files.append(File.generated(config, name, content=notebook_page(path)))


def notebook_page(path: Path) -> str:
    """Return a notebook as Markdown; what its cells put out is put in by `on_page_content`, as it is."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if os.environ.get("RECAE_NOTEBOOKS") == "run":
        import nbformat
        from nbclient import NotebookClient

        content = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        NotebookClient(content, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    parts = []
    for cell_ in content["cells"]:
        text = "".join(cell_["source"]).strip()
        if cell_["cell_type"] == "markdown":
            parts.append(re.sub(r"\]\(([\w-]+)\.ipynb", r"](\1.md", text))
        elif text:
            parts.append(f"```python\n{text}\n```")
        for output in cell_.get("outputs", []):
            shown = _shown(output)
            if shown:
                number = f"{path.stem}-{len(OUTPUTS)}"
                OUTPUTS[number] = shown
                parts.append(f'<div data-output="{number}"></div>')
    return "\n\n".join([*parts, f"[This page as a notebook]({path.name})"]) + "\n"


def _shown(output: Any) -> str:
    """Return what a cell put out as HTML: the richest form that a page can show; nothing of stderr."""
    if output["output_type"] == "stream":
        return (
            ""
            if output["name"] == "stderr"
            else f"<pre>{html.escape(CODES.sub('', ''.join(output['text'])))}</pre>"
        )
    data = output.get("data", {})
    if "text/html" in data:
        return "".join(data["text/html"])
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            encoded = "".join(data[kind]).replace("\n", "")
            return f'<img alt="drawn by the cell above" src="data:{kind};base64,{encoded}">'
    if "image/svg+xml" in data:
        return "".join(data["image/svg+xml"])
    return f"<pre>{html.escape(''.join(data['text/plain']))}</pre>" if "text/plain" in data else ""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the generated parts into a page."""
    return GENERATED.sub(lambda found: PARTS[found[1]](*filter(None, [found[2]])), markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Turn formulas into MathML, which browsers show without a script, and put in what notebooks put out."""
    content = FORMULA.sub(_formula, content)
    return PUT_OUT.sub(lambda found: f'<div class="output">{OUTPUTS[found[1]]}</div>', content)


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
