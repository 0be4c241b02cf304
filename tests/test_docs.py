"""Tests of the documents: examples run, commands and options exist, nothing that exists is left unsaid."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from commands import recae
from documents import BESIDE, PAGES, ROOT, anchors, arguments, blocks, commands, lines, prose

from recae import kinds, pipeline
from recae.cli import main
from recae.journal import Journal, Purchase
from recae.kinds.rows import BUILT_IN
from recae.modelfile import FIXED, FORMAT_VERSION
from recae.reading import KNOWN_NAMES
from recae.reading.names import Name

README = PAGES["README.md"]
CHANGELOG = BESIDE["CHANGELOG.md"]
ALL = PAGES | BESIDE
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

TOOLS = ("cd", "export", "git", "iconv", "pip", "zcat")
"""Programs of others that an example may start."""

ELSEWHERE = {
    "--device cuda": "needs a GPU",
    "--engine ray": "needs a cluster, or starts Ray, which test_score_ray.py and test_ray_train.py do",
    "env:SHOP": "needs PostgreSQL, which test_reading_databases.py and test_score_database.py have",
    "serve ": "waits for requests, which test_cli_serve.py makes",
    "torchrun": "starts processes, which test_torchrun.py does",
    "train purchases.csv --resume": "needs a training that was interrupted, which test_checkpoint_cli.py has",
    "tune purchases.csv --resume": "needs a study that was interrupted, which test_cli_tune.py has",
    "train - ": "reads the standard input, which test_reading_stdin.py gives",
}
"""What cannot be run as it stands in a page, and why."""


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data/ in it, as in a fresh clone; what an example writes stays there."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECAE_MODEL", raising=False)
    return tmp_path


# Python


@pytest.fixture(scope="module")
def shared_models() -> dict[tuple[Any, ...], Any]:
    """What the examples of Python have trained so far, by source and options."""
    return {}


@pytest.fixture
def trained_once(shared_models: dict[tuple[Any, ...], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples that train on the sample alike share one training; no other test is touched."""
    train = pipeline.train

    def once(source: Any, **options: Any) -> Any:
        if not isinstance(source, str):
            return train(source, **options)
        key = (source, *((name, value) for name, value in sorted(options.items()) if value is not None))
        if key not in shared_models:
            shared_models[key] = train(source, **options)
        return shared_models[key]

    monkeypatch.setattr(pipeline, "train", once)


@pytest.mark.usefixtures("trained_once")
@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if blocks(text, "python")])
def test_python_examples_run(page: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for code in blocks(PAGES[page], "python"):
        exec(compile(code, page, "exec"), {"__name__": "example"})
        assert ("print(" in code) == bool(capsys.readouterr().out), code


# commands


def script_command(path: Path) -> click.Command | None:
    """The click command of a script of Python, if it has one."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up here
    spec.loader.exec_module(module)
    return module.main if isinstance(module.main, click.Command) else None


@pytest.mark.parametrize("line", commands())
def test_commands_exist_with_their_options(line: str) -> None:
    program, rest = arguments(line)
    if program == "recae":
        assert rest[0] in main.commands, line
        command, rest = main.commands[rest[0]], rest[1:]
    elif program.startswith("scripts/"):
        path = ROOT / program
        assert path.is_file(), line
        assert os.access(path, os.X_OK) or path.suffix == ".py", line
        found = script_command(path) if path.suffix == ".py" else None
        if found is None:
            return
        command = found
    else:
        assert program in TOOLS, f"is {program!r} really wanted? {line}"
        return
    # raises a usage error for an option or a number of arguments that the command does not take
    command.make_context(program, rest, resilient_parsing=False).close()


def test_a_wrong_example_would_be_noticed() -> None:
    for wrong in (["--user", "42", "--bogus"], ["extra"]):
        with pytest.raises(click.UsageError):
            main.commands["recommend"].make_context("recommend", wrong)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small autoencoder of the sample, which has codes for similar items and maps."""
    path = tmp_path_factory.mktemp("trained") / "model.recae"
    made = recae(
        "train",
        ROOT / "data" / "purchases.csv",
        "--out",
        path,
        "--kind",
        "sigmoid",
        "--factors",
        "16",
        "--epochs",
        "1",
    )
    assert made.exit_code == 0, made.stderr
    return path


def part_of_the_sample(users: int) -> list[str]:
    """Its header, and the rows of the first users."""
    header, *rows = (ROOT / "data" / "purchases.csv").read_text(encoding="utf-8").splitlines()
    return [header, *(row for row in rows if int(row.partition(",")[0]) <= users)]


@pytest.fixture
def shop_folder(copy: Path, trained: Path) -> Path:
    """A folder with what the pages speak of: the sample, parts of it, and a model of the sample."""
    for name in ("purchases.csv", "baskets.csv", "week.csv"):
        (copy / name).write_text("\n".join(part_of_the_sample(150)) + "\n")
    shutil.copy(trained, copy / "model.recae")
    (copy / "users.txt").write_text("1\n2\nnobody\n")
    (copy / "sold-out.txt").write_text("P001\n")
    (copy / "rules.toml").write_text('[exclude]\nids = ["P001"]\n[[pins]]\nid = "P017"\n')
    with Journal.open(copy / "purchases.db") as journal:
        journal.add(Purchase("42", "P017"))
    rows = [f"P{i:03},{'Gifts' if i % 5 else 'Tea'}" for i in range(1, 601)]
    (copy / "items.csv").write_text("\n".join(["item_id,category", *rows]) + "\n")
    return copy


def runs(line: str, commands: tuple[str, ...]) -> bool:
    """Whether it is one of these commands of recae, and can be run as it stands."""
    program, rest = arguments(line)
    return program == "recae" and rest[0] in commands and not any(part in f"{line} " for part in ELSEWHERE)


LOOKING = (
    "anomalies",
    "doctor",
    "embed",
    "explain",
    "inspect",
    "map",
    "recommend",
    "rules",
    "score",
    "settings",
    "similar",
)


@pytest.mark.parametrize("line", [line for line in commands() if runs(line, LOOKING)])
def test_commands_run(line: str, shop_folder: Path) -> None:
    result = recae(*arguments(line)[1])
    # doctor --strict has 1 for warnings, of which the sample has some
    assert result.exit_code == ("doctor" in line and "--strict" in line), result.stderr
    assert "--out" in line or result.stdout


@pytest.mark.thorough
@pytest.mark.parametrize(
    "page",
    [
        page
        for page, text in PAGES.items()
        if any(runs(line, ("train", "tune", "evaluate")) for line in lines(text))
    ],
)
def test_trainings_run(page: str, copy: Path) -> None:
    """What trains is run on some hundred rows, the lines of a page in their order, with two epochs and trials."""
    header, *chosen = part_of_the_sample(150)
    for name in ("purchases.csv", "baskets.csv"):
        (copy / name).write_text("\n".join([header, *chosen]) + "\n")
    events = [f"{row},{event}" for row in chosen for event in ("view", "cart", "purchase")]
    (copy / "events.csv").write_text("\n".join([f"{header},event", *events]) + "\n")
    write_parts(copy, chosen)
    items = dict(row.split(",")[1:4:2] for row in chosen)
    rows = [f"{item},Product {item},{category},9.99" for item, category in items.items()]
    (copy / "products.csv").write_text("\n".join(["item_id,name,category,price", *rows]) + "\n")
    (copy / "rules.toml").write_text('[exclude]\nids = ["P001"]\n')
    for line in lines(PAGES[page]):
        if runs(line, ("doctor", "train", "tune", "evaluate", "inspect")):
            _, rest = arguments(line)
            if rest[0] in ("tune", "evaluate"):
                rest += ["--trials", "2"]
            rest = ["purchases.csv" if part.startswith("data/") else part for part in rest]
            result = recae(*rest)
            assert result.exit_code in (0, 1 if "doctor" in line else 0), (line, result.stderr)
            if rest[0] == "inspect" and "--toml" in rest:
                (copy / "settings.toml").write_text(result.stdout)


def write_parts(folder: Path, rows: list[str]) -> None:
    """Write the tables of the page on files: a folder, a pattern, packed text, a database, orders and their lines."""
    import gzip
    import sqlite3

    (folder / "orders").mkdir()
    cells = [row.split(",") for row in rows]
    text = "user_id,item_id\n" + "".join(f"{row[0]},{row[1]}\n" for row in cells)
    pq.write_table(
        pa.table({"user_id": [row[0] for row in cells], "item_id": [row[1] for row in cells]}),
        folder / "orders" / "2024-01.parquet",
    )
    (folder / "purchases.csv.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "bags.txt").write_text("P001\n")
    (folder / "exclusions.txt").write_text("P002\n")
    orders = {(row[0], row[-1]): number for number, row in enumerate(cells)}
    (folder / "orders.csv").write_text(
        "order_id,customer_id\n" + "".join(f"{n},{user}\n" for (user, _), n in orders.items())
    )
    (folder / "lines.csv").write_text(
        "order_id,product_id\n" + "".join(f"{orders[row[0], row[-1]]},{row[1]}\n" for row in cells)
    )
    pairs = list(dict.fromkeys((row[0], row[1]) for row in cells))
    train = [pair for number, pair in enumerate(pairs) if number % 5]
    users, items = ({pair[place] for pair in train} for place in (0, 1))
    test = [pair for pair in pairs[::5] if pair[0] in users and pair[1] in items]
    for name, part in (("test.csv", test), ("train.csv", train)):
        (folder / name).write_text("user_id,item_id\n" + "".join(f"{user},{item}\n" for user, item in part))
    with sqlite3.connect(folder / "shop.db") as database:
        database.execute("create table purchases (user_id, item_id)")
        database.executemany("insert into purchases values (?, ?)", [row[:2] for row in cells])
    database.close()


def test_what_cannot_be_run_is_there() -> None:
    assert [part for part in ELSEWHERE if not any(part in f"{line} " for line in commands())] == []


# nothing left unsaid


@pytest.mark.parametrize("name", main.commands)
def test_every_command_and_option_is_documented(name: str) -> None:
    command = main.commands[name]
    assert any(f"recae {name}" in text for text in PAGES.values())
    text = command.get_help(click.Context(command, info_name=name))
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"recae {name} {parameter.opts[0]} has no help"
            assert parameter.hidden or all(
                option in text for option in parameter.opts + parameter.secondary_opts
            )
        else:
            assert parameter.metavar
            meant = parameter.metavar.strip("[]")
            assert meant in (command.help or ""), f"recae {name} says nothing of {meant}"


def test_options_that_the_documents_name_exist() -> None:
    known = {"--help", "--thorough", "--version"}
    for command in main.commands.values():
        known |= {option for p in command.params for option in [*p.opts, *p.secondary_opts]}
    named = {option for text in PAGES.values() for option in re.findall(r"`(--[a-z][a-z-]*)", prose(text))}
    assert named
    assert named - known == set()


def test_the_table_of_column_names() -> None:
    page = PAGES["docs/data.md"]
    rows = re.findall(r"^\| (\w+) \| `--(\w+)-column` \| (.+) \|$", page, re.MULTILINE)
    assert [role for role, _, _ in rows] == list(KNOWN_NAMES)
    for role, option, names in rows:
        assert option == role
        listed = names.split(", ")
        fits = {name: {other: Name(name).preference(other) for other in KNOWN_NAMES} for name in listed}
        for name, preferences in fits.items():
            rank = preferences.pop(role)
            assert rank is not None, name
            assert all(other is None or other > rank for other in preferences.values()), (name, preferences)
        # the order of preference is a promise, too
        known = [name for name in listed if name in KNOWN_NAMES[role]]
        assert known == [name for name in KNOWN_NAMES[role] if name in listed] == listed[: len(known)]
        assert listed[0] == KNOWN_NAMES[role][0]
    others = re.findall(r"^\| ([\w, ]+) \| `--rating-column`, … \| (.+) \|$", page, re.MULTILINE)
    ((roles, names),) = others
    groups = dict(zip(roles.split(", "), (part.split(", ") for part in names.split("; ")), strict=True))
    assert list(groups) == ["rating", "event", "status"]
    for role, listed in groups.items():
        assert [name for name in listed if Name(name).preference(role) is None] == []
        assert f"--{role}-column" in main.commands["train"].get_help(click.Context(main.commands["train"]))


def test_every_kind_has_a_page() -> None:
    for row in BUILT_IN:
        page = PAGES[f"docs/models/{row.name}.md"]
        assert f"<!-- generated: settings {row.name} -->" in page
        assert f"--kind {row.name}" in page


def test_the_page_on_kinds_says_what_a_row_has() -> None:
    named = re.findall(r"^\| .+ \| (`.+) \|$", PAGES["docs/models/plugin.md"], re.MULTILINE)
    fields = {field for cell in named for field in re.findall(r"`([a-z_]+)`", cell)}
    assert fields
    assert fields <= set(kinds.Kind.__dataclass_fields__)


def test_the_page_on_the_model_file_names_every_tensor() -> None:
    page = PAGES["docs/reference/model-file.md"]
    rows = re.findall(r"^\| `([\w.]+)` \| ([UIF]\d+) \|", page, re.MULTILINE)
    assert dict(rows) == FIXED
    assert f"This is version {FORMAT_VERSION} of the format" in page


def test_errors_of_the_faq_are_those_of_the_code() -> None:
    # texts that go on in the next line are joined
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "recae").rglob("*.py"))
    said = re.sub(r'"\s*\n\s*f?"', "", code)
    headings = re.findall(r"^### (.+)$", PAGES["docs/faq.md"].partition("\n## Errors\n")[2], re.MULTILINE)
    assert headings
    parts = [part.strip(" ,;[]'") for heading in headings for part in heading.split("…")]
    assert [part for part in parts if part not in said] == []


def test_paths_that_the_documents_name_exist() -> None:
    named = {
        path
        for text in ALL.values()
        for path in re.findall(r"`((?:recae|scripts|tests|data|docs)/[\w./-]*)`", text)
    }
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_links_inside_the_documents_lead_somewhere() -> None:
    found = []
    for page, text in ALL.items():
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]+))?\)", prose(text)):
            path = (ROOT / page).parent / target if target else ROOT / page
            if "://" in target:
                continue
            if not path.exists():
                found.append((page, target))
            # generated parts have headings of their own, which the strict build of the site checks
            elif (
                anchor
                and "<!-- generated" not in path.read_text("utf-8")
                and anchor not in anchors(path.read_text("utf-8"))
            ):
                found.append((page, f"{target}#{anchor}"))
    assert found == []


# the README and what stands beside it


def test_the_readme_is_short_and_names_the_tests() -> None:
    assert len(README.splitlines()) <= 200
    assert "scripts/test" in lines(README)
    assert re.search(r"^!\[.+\]\(docs/pictures/.+\)$", README, re.MULTILINE)


def test_forms_and_workflow_of_the_forge() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))
    called = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert "scripts/test" in called
    assert all((ROOT / program).is_file() for program in called)
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert path.name == "config.yml" or {"name", "description", "body"} <= set(form)


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


# the changelog


def test_the_changelog_is_kept() -> None:
    headings = re.findall(r"^## \[(.+?)\]", CHANGELOG, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert CHANGELOG.startswith("# Changelog\n")


def test_every_dependency_has_its_reason() -> None:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    names = {re.match(r"[\w.-]+", line)[0] for group in groups for line in group}  # type: ignore[index]
    reasons = re.findall(r"^- `([\w.-]+)`(?: \(.+\))?: (\S.*)$", CHANGELOG, re.MULTILINE)
    assert names - {name for name, _ in reasons} == set()
    assert len({name for name, _ in reasons}) == len(reasons)
