"""The notebooks: stored without outputs, and run to their end in a process of their own each."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from commands import PATIENCE
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "notebooks"
OF_KERNEL = "[IPKernelApp]"
"""In a line that the kernel writes on how it is reached."""

NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def book(name: str) -> Any:
    found = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(found)
    return found


def test_there_are_five() -> None:
    assert NOTEBOOKS == ["batch", "embeddings", "evaluate", "serve", "start"]
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"]({name}.ipynb)" in listed for name in NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_they_are_stored_without_outputs(name: str) -> None:
    found = book(name)
    assert found.cells[0].cell_type == "markdown"
    assert found.cells[0].source.startswith("# ")
    for cell in found.cells:
        assert len(cell.source) < 900
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n" == text


def run(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a notebook; return it with its outputs."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    monkeypatch.setenv("PATH", path)  # where `recae` is
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    found = book(name)
    before = set(FOLDER.iterdir())
    NotebookClient(found, timeout=PATIENCE, resources={"metadata": {"path": str(FOLDER)}}).execute()
    assert set(FOLDER.iterdir()) == before  # what a notebook writes goes elsewhere
    for cell in found.cells:
        for output in cell.get("outputs", []):
            said = output.text.splitlines() if output.get("name") == "stderr" else []
            assert [
                line for line in said if OF_KERNEL not in line
            ] == []  # such as a warning of another library
    return found


def texts(found: Any) -> str:
    """All outputs as text."""
    outputs = [output for cell in found.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output.data.get("text/plain", "") for output in outputs)


def test_start_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run("start", monkeypatch)
    assert "Recommender: sigmoid" in texts(found)
    kinds = {
        kind for cell in found.cells for output in cell.get("outputs", []) for kind in output.get("data", {})
    }
    assert {"text/html", "image/png"} <= kinds
    assert found.cells[-1].outputs[0].data["text/plain"] == "True"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("batch", ["nothing was done", "part-00000.parquet", "Purchases: "]),
        ("embeddings", ["Map: 600 items by t-SNE", "worst_item_1"]),
        ("evaluate", ["Report: 2 models, protocol strong", "Report: 2 models, protocol time"]),
        ("serve", ["serving ", "'source': 'popular'", "143"]),
    ],
)
def test_the_others_run(name: str, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = texts(run(name, monkeypatch))
    for text in said:
        assert text in found
