"""The metrics against a public library, ir_measures over pytrec_eval, wherever it has them."""

import ir_measures
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import AP, RR, P, R, Success, nDCG

from recae.metrics import METRICS, compute

KS = (1, 2, 3, 5, 10, 30)
THEIRS = {"recall": R, "precision": P, "ndcg": nDCG, "map": AP, "mrr": RR, "hit_rate": Success}


def by_library(measure, ranked: np.ndarray, held_out: sp.csr_matrix) -> np.ndarray:
    """Values of a measure of ir_measures, (B,); NaN for users of whom nothing is held out, whom it does not know."""
    qrels = {str(u): {str(i): 1 for i in row.indices} for u, row in enumerate(held_out) if row.nnz}
    # the library sorts by score, so that the lists' places become scores that fall, without ties
    run = {
        u: {str(i): float(len(ranked[int(u)]) - place) for place, i in enumerate(ranked[int(u)]) if i >= 0}
        for u in qrels
    }
    values = np.full(held_out.shape[0], np.nan)
    for user in qrels:
        values[int(user)] = 0  # one whose list is empty is measured as 0, but left out by the library
    for found in ir_measures.iter_calc([measure], qrels, run):
        values[int(found.query_id)] = found.value
    return values


def in_our_terms(name: str, values: np.ndarray, held_out: sp.csr_matrix, k: int) -> np.ndarray:
    """The library's values with recae's denominators.

    They differ for AP alone: trec_eval's `map_cut` divides by the number held out, recae by min(k, that).
    """
    if name != "map":
        return values
    n_held = np.diff(held_out.indptr)
    return values * n_held / np.maximum(np.minimum(k, n_held), 1)


@st.composite
def lists(draw):
    """Ranked lists (B, 30), some of them short or empty, and what is held out, with more than k and none among it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_users, n_items = draw(st.integers(1, 12)), draw(st.integers(1, 60))
    ranked = np.full((n_users, max(KS)), -1, dtype=np.int32)
    for user in range(n_users):
        filled = int(rng.integers(0, min(n_items, max(KS)) + 1))
        ranked[user, :filled] = rng.permutation(n_items)[:filled]
    share = rng.choice([0, 0.05, 0.3, 1], size=(n_users, 1))
    return ranked, sp.csr_matrix((rng.random((n_users, n_items)) < share).astype(np.float32))


@pytest.mark.parametrize("name", THEIRS)
@given(lists())
def test_agrees_with_ir_measures(name, problem):
    ranked, held_out = problem
    ours = compute(ranked, held_out, (name,), KS)
    for k in KS:
        wanted = in_our_terms(name, by_library(THEIRS[name] @ k, ranked, held_out), held_out, k)
        np.testing.assert_allclose(ours[f"{name}@{k}"], wanted, rtol=1e-12, atol=1e-15)


def test_capped_recall_is_the_larger_of_the_librarys_recall_and_precision():
    # |L ∩ T| / min(k, n): the library has the two denominators apart
    rng = np.random.default_rng(5)
    held_out = sp.csr_matrix((rng.random((40, 60)) < rng.uniform(0, 0.5, (40, 1))).astype(np.float32))
    ranked = np.stack([rng.permutation(60)[:30] for _ in range(40)])
    for k in KS:
        both = [by_library(measure @ k, ranked, held_out) for measure in (R, P)]
        ours = compute(ranked, held_out, ("capped_recall",), (k,))[f"capped_recall@{k}"]
        np.testing.assert_allclose(ours, np.maximum(*both), rtol=1e-12)


def test_every_metric_is_compared():
    assert {*THEIRS, "capped_recall"} == set(METRICS)
