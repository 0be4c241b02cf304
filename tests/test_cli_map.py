"""`recae map` as it is typed: the page, what is said about it, and every refusal before any work."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import SAMPLE, names, recae, refused, trained
from modelfiles import popular, recommender

from recae.modelfile import load, save
from recae.reading import read_interactions


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the sample purchases, trained for long enough to tell their categories apart."""
    path = tmp_path_factory.mktemp("map") / "sample.recae"
    settings = ("--kind", "sigmoid", "--factors", "64", "--epochs", "6", "--seed", "1")
    result = recae("train", SAMPLE, *settings, "--out", path)
    assert result.exit_code == 0, result.stderr
    return path


def data_of(page: Path) -> dict[str, Any]:
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.S
    )
    assert found is not None
    return json.loads(found[1])


@pytest.mark.thorough
def test_the_map_of_the_sample_keeps_its_categories_together(sample: Path, folder: Path) -> None:
    result = recae("map", "--out", "map.html", "--categories", SAMPLE, "--json", model=sample)
    assert result.exit_code == 0, result.stderr
    data = data_of(folder / "map.html")
    interactions = read_interactions(SAMPLE)
    owners = np.bincount(interactions.matrix.indices, minlength=len(interactions.items))
    assert data["owners"] == sorted(owners.tolist(), reverse=True)
    assert data["owners"] == [owners[interactions.items.row(item)] for item in data["item_id"]]
    kinds = {
        fields[1]: fields[3] for fields in (line.split(",") for line in SAMPLE.read_text().splitlines()[1:])
    }
    assert [data["categories"][code] for code in data["category"]] == [
        kinds[item] for item in data["item_id"]
    ]
    plane = np.array([data["x"], data["y"]], float).T
    apart = ((plane[:, None] - plane[None]) ** 2).sum(axis=2)
    np.fill_diagonal(apart, np.inf)
    label = np.array(data["category"])
    agreement = (label[apart.argsort(axis=1)[:, :10]] == label[:, None]).mean()
    assert agreement > 0.35  # twelve categories of equal size: 0.083 by chance
    assert json.loads(result.stdout) == {
        "path": "map.html",
        "kind": "items",
        "method": "tsne",
        "seed": 0,
        "points": 600,
        "left_out": 0,
        "categories": 12,
        "coloured_by": "categories",
    }
    # on a busy machine the progress of the layout is said before
    assert result.stderr.splitlines()[-1].startswith("wrote a map of 600 products to map.html in ")
    assert names(folder) == ["map.html"]


def test_the_same_question_gives_the_same_bytes(sample: Path, folder: Path) -> None:
    for name in ("a.html", "b.html", "c.html"):
        seed = "1" if name == "c.html" else "0"
        assert recae("map", "--out", name, "--seed", seed, "--limit", "50", model=sample).exit_code == 0
    assert (folder / "a.html").read_bytes() == (folder / "b.html").read_bytes()
    assert data_of(folder / "a.html")["x"] != data_of(folder / "c.html")["x"]


def test_customers_by_the_category_of_most_of_their_items(sample: Path, folder: Path) -> None:
    result = recae(
        "map",
        "--users",
        "--method",
        "pca",
        "--limit",
        "300",
        "--out",
        "u.HTM",
        "--categories",
        SAMPLE,
        model=sample,
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert "Left out: 1,700 beyond --limit.\n" in result.stderr
    assert "wrote a map of 300 customers to u.HTM" in result.stderr
    data = data_of(folder / "u.HTM")
    kinds = {
        fields[1]: fields[3] for fields in (line.split(",") for line in SAMPLE.read_text().splitlines()[1:])
    }
    shop = load(sample)
    assert shop.users is not None
    assert shop.histories is not None
    for user, code, owns in list(zip(data["item_id"], data["category"], data["owners"], strict=True))[::17]:
        items = shop.histories[shop.users.row(user, "user")].indices
        counts = Counter(kinds[shop.items.id(int(item))] for item in items)
        assert data["categories"][code] == min(counts, key=lambda kind: (-counts[kind], kind))
        assert owns == items.size


def test_the_page_is_self_contained_and_its_script_is_the_one_allowed(sample: Path, folder: Path) -> None:
    assert recae("map", "--out", "map.html", "--method", "pca", model=sample).exit_code == 0
    page = (folder / "map.html").read_text("utf-8")
    script = page[page.rindex("<script>") + 8 : page.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in page
    assert re.findall(r"(?:https?:)?//[a-z]", page.replace("// ", "")) == []
    assert not re.search(r"\son[a-z]+=|javascript:|\beval\(|new Function|innerHTML|@import|url\(", page)
    assert "{{" not in page
    # the purchases say which category an item is of, and the model's table of items has it
    assert "category" in data_of(folder / "map.html")
    assert "category-column" not in page


def test_clusters_instead_of_categories(sample: Path, folder: Path) -> None:
    arguments = ("map", "--out", "map.html", "--method", "pca")
    result = recae(*arguments, "--clusters", "5", "--json", model=sample)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["categories"], found["coloured_by"]) == (5, "clusters")
    data = data_of(folder / "map.html")
    assert len(set(data["categories"])) == 5
    assert set(data["category"]) == set(range(5))
    result = recae(*arguments, "--clusters", "0", "--json", model=sample)
    assert json.loads(result.stdout)["coloured_by"] is None
    refused(recae(*arguments, "--clusters", "2", "--categories", "x.csv", model=sample), "give one of them")
    assert recae(*arguments, "--clusters", "13", model=sample).exit_code == 2


def test_without_opentsne_the_map_is_laid_out_by_neighbours(
    sample: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = recae("map", "--out", "map.html", "--json", model=sample)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["method"] == "neighbours"
    assert "pip install 'recae[map]'" in result.stderr
    refused(recae("map", "--out", "x.html", "--method", "tsne", model=sample), "pip install 'recae[map]'")
    assert names(folder) == ["map.html"]


def test_a_model_that_scores_everybody_alike_has_no_map(folder: Path) -> None:
    save(popular(), folder / "popular.recae")
    for what in ("--items", "--users"):
        refused(
            recae("map", what, "--out", "map.html", "--model", "popular.recae"),
            "'popularity'",
            "train another",
        )
    assert names(folder) == ["popular.recae"]
    save(recommender(), folder / "knn.recae")
    assert recae("map", "--out", "map.html", "--method", "pca", "--model", "knn.recae").exit_code == 0


def test_refusals_come_before_the_model_is_read(folder: Path) -> None:
    model = ("--model", "none.recae")
    refused(recae("map", "--out", "map.png", *model), "must end in .html")
    refused(recae("map", "--out", "none/map.html", *model), "'none' does not exist")
    refused(recae("map", "--out", "maps/", *model), "names no file")
    refused(recae("map", "--out", "m.html", "--item-column", "x", *model), "give that file")
    refused(recae("map", "--out", "m.html", *model), "none.recae")
    (folder / "kinds.html").write_text("item,category\n")
    refused(
        recae("map", "--out", "kinds.html", "--categories", "kinds.html", *model),
        "it is also the input",
    )
    assert recae("map").exit_code == 2
    assert recae("map", "--out", "m.html", "--limit", "0").exit_code == 2
    assert recae("map", "--out", "m.html", "--method", "umap").exit_code == 2
    assert names(folder) == ["kinds.html"]


def test_categories_that_do_not_fit_are_refused_and_nothing_is_written(folder: Path) -> None:
    trained("../purchases.csv")
    (folder / "kinds.csv").write_text("item,kind\ni1,Tea\n")
    arguments = ("map", "--out", "map.html", "--method", "pca", "--categories", "kinds.csv")
    refused(recae(*arguments), "no column is recognised as the category", "--category-column", "'kind'")
    refused(recae(*arguments, "--category-column", "sort"), "'sort' is not in the table")
    result = recae(*arguments, "--item-column", "item", "--category-column", "kind", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["categories"] == 1
    assert Counter(data_of(folder / "map.html")["category"]) == {-1: 29, 0: 1}
    assert names(folder) == ["kinds.csv", "map.html", "model.recae"]


def test_ctrl_c_leaves_the_older_map(sample: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    (folder / "map.html").write_text("older")
    monkeypatch.setattr("recae.insight.mapping.layout", interrupted)
    result = recae("map", "--out", "map.html", model=sample)
    assert result.exit_code == 130
    assert result.stderr == "interrupted: no partial file is left\n"
    assert (folder / "map.html").read_text() == "older"
    assert names(folder) == ["map.html"]
