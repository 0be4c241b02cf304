"""The entries of scripts/published_tables.py, and the real Gowalla split where it is at hand."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from publishedfiles import of, published, published_data, published_tables, results

from recae.selection.fit import make_settings


@pytest.mark.parametrize("name", published_tables.DATASETS)
def test_an_entry_is_whole(name):
    entry = published_tables.DATASETS[name]
    n_metrics = len(published_tables.METRICS[entry.table])
    assert entry.layout in published_data.READERS
    for figure in [*entry.figures.values(), *entry.others]:
        assert len(figure.values) == n_metrics
        assert all(0 < value < 1 for value in figure.values)
        assert figure.source
    assert set(entry.figures) | set(entry.settings) <= set(published.FITTABLE)
    assert set(published_tables.KINDS[entry.table]) - set(entry.figures) == {"sigmoid"}
    for kind, settings in entry.settings.items():
        make_settings(kind, settings)
    if entry.rounded:
        assert entry.counts[2] % entry.rounded == 0
    for remote in entry.remotes:
        algorithm, _, digits = (remote.checksum or "").partition(":")
        assert (remote.checksum is None) == (name == "msd")
        assert re.fullmatch(r"https?://[\w.]+/\S+", remote.address)
        assert len(digits) == {"": 0, "md5": 32, "git-blob": 40}[algorithm]
        assert bool(remote.origin) == bool(remote.checksum)
    assert bool(entry.held_out) == (entry.table == "mult-vae")


def test_gowalla_is_the_published_one():
    """The popularity row on the real split: what BARS published, and a count in a few lines of its own."""
    folder = Path(os.environ.get("RECAE_DATA", "")) / "gowalla"
    if not os.environ.get("RECAE_DATA") or not folder.is_dir():
        pytest.skip("the Gowalla matrices are not here: RECAE_DATA does not name a folder with gowalla/")
    found = results("lightgcn", "--data", "gowalla", "--from", folder, "--kind", "popularity")
    assert found["counts_as_published"] is True
    figures = of(found, "popularity")
    assert all(each["covered"] for each in figures.values())
    train, test = (sp.csr_matrix(sp.load_npz(folder / f"{part}.npz")) for part in ("train", "test"))
    best = np.argsort(-np.bincount(train.indices, minlength=train.shape[1]), kind="stable").tolist()
    recall, ndcg = [], []
    for histories, held_out in zip(
        *(np.split(part.indices, part.indptr[1:-1]) for part in (train, test)), strict=True
    ):
        owned, wanted = set(histories.tolist()), set(held_out.tolist())
        first = [item for item in best[: len(owned) + 20] if item not in owned][:20]
        gains = [1 / np.log2(place + 2) for place in range(20)]
        recall.append(len(wanted.intersection(first)) / len(wanted))
        gain = sum(gain for item, gain in zip(first, gains, strict=True) if item in wanted)
        ndcg.append(gain / sum(gains[: len(wanted)]))
    assert figures["Recall@20"]["mean"] == pytest.approx(np.mean(recall), abs=1e-12)
    assert figures["NDCG@20"]["mean"] == pytest.approx(np.mean(ndcg), abs=1e-12)
    # ItemPop on gowalla_m1, as the log of the benchmark's authors prints it
    assert np.mean(recall) == pytest.approx(0.04163097892995584, abs=1e-9)
    assert np.mean(ndcg) == pytest.approx(0.03168992927421666, abs=1e-9)
