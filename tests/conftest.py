"""What several test files share: one model fitted on the sample purchases, as an object and as a file."""

import sys
from pathlib import Path
from typing import Any

import pytest
from commands import table

from recae.ingest import read_with_report
from recae.modelfile import save
from recae.models import ItemKNN
from recae.recommender import Recommender

if sys.gettrace() is not None:  # coverage of branches, which numba's own would slow down by more than a half
    from numba.core.dispatcher import Dispatcher

    _compile = Dispatcher.compile

    def _compile_untraced(self: Any, signature: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return _compile(self, signature)
        finally:
            sys.settrace(tracer)

    Dispatcher.compile = _compile_untraced

SAMPLE = Path(__file__).parent.parent / "data" / "purchases.csv"

METRICS = {
    "n_users": 200,
    "validation_users": 200,
    "ks": [10, 20, 50],
    "rows": [
        {"model": "itemknn", "recall@10": 0.25, "recall@20": 0.375, "recall@50": 0.5, "ndcg@20": 0.125},
        {
            "model": "popularity",
            "recall@10": 0.0625,
            "recall@20": 0.125,
            "recall@50": None,
            "ndcg@20": 0.0625,
        },
    ],
}


@pytest.fixture(scope="session")
def shop() -> Recommender:
    """A fitted model of the sample purchases; user 42 is one of the 2,000."""
    interactions, _ = read_with_report(SAMPLE)
    return Recommender(
        model=ItemKNN.fit(interactions.matrix, k=20),
        users=interactions.users,
        items=interactions.items,
        item_names=interactions.item_names,
        histories=interactions.matrix,
        metadata={
            "fingerprint": interactions.fingerprint,
            "metrics": METRICS,
            "history": [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}],
            "versions": {"recae": "0.1.0"},
        },
    )


@pytest.fixture(scope="session")
def model_path(shop: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of `shop`; not to be changed."""
    path = tmp_path_factory.mktemp("model") / "shop.recae"
    save(shop, path)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with purchases beside it at ../purchases.csv."""
    (tmp_path / "purchases.csv").write_text(table())
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work
