"""Rules for lists: what a file may say, what it means for a model's items, and lists against brute force."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from recae.errors import ConfigError
from recae.ids import IdMap
from recae.item_table import TEXT, ItemTable
from recae.list_rules import AppliedRules, ListRules, apply_list_rules, read_list_rules
from recae.listing import Listing, unit_vectors
from recae.ranking import top_k

ITEMS = IdMap(["a", "b", "c", "d", "e", "f"])
TABLE = ItemTable(
    IdMap(["a", "b", "c", "d", "e", "new"]),
    pa.table(
        {
            "category": pa.array(["Home > Mugs", "Home", "Homes", "Toys > Cars", None, "Toys"], TEXT),
            "brand": pa.array(["X", "Y", "X", "X", None, "Y"], TEXT),
            "price": pa.array([5.0, 10.0, 20.0, None, 1.0, 2.0]),
            "available": pa.array([True, False, None, True, True, True]),
            "since": pa.array(["2024-11-30", "2024-01-01", "", None, "2024-12-24", "x"], TEXT),
        }
    ),
)


def applied(text: str, tmp_path: Path, table: ItemTable | None = TABLE) -> AppliedRules:
    path = tmp_path / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return apply_list_rules(read_list_rules(path), ITEMS, table)


def barred(text: str, tmp_path: Path) -> str:
    return "".join(np.array(list(ITEMS))[applied(text, tmp_path).barred])


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("", ""),
        ('[exclude]\nids = ["b", "zz"]', "b"),
        ('[exclude]\ncategories = ["Home"]', "ab"),  # not Homes
        ('[exclude]\ncategories = ["Home > Mugs", "Toys"]', "ad"),
        ('[exclude]\nbrands = ["X"]\nprice_to = 1', "acde"),
        ("[exclude]\nprice_from = 10", "bc"),
        ("[exclude]\navailable = false", "b"),
        ("[only]\navailable = true", "bcf"),
        ("[only]\nprice_from = 2\nprice_to = 12", "cdef"),
        ('[only]\nbrands = ["X"]\nprice_to = 30', "bdef"),  # of both keys
        ('as_of = 2024-12-30\n[exclude]\nage_to = 10\nage_column = "since"', "e"),
        ('as_of = 2024-12-30\n[only]\nage_from = 30\nage_column = "since"', "cdef"),
    ],
)
def test_what_nobody_gets(text: str, out: str, tmp_path: Path) -> None:
    assert barred(text, tmp_path) == out


def test_boosts_add_up_and_are_of_what_all_keys_name(tmp_path: Path) -> None:
    text = '[[boosts]]\nbrands = ["X"]\nprice_to = 10\nby = 0.5\n[[boosts]]\nids = ["a", "f"]\nby = -2'
    found = applied(text, tmp_path).boost
    assert found is not None
    assert found.tolist() == [-1.5, 0, 0, 0, 0, -2]


def test_what_names_nothing_is_remarked(tmp_path: Path) -> None:
    text = '[exclude]\nids = ["zz", 7]\nbrands = ["Z"]\n[[pins]]\nid = "q"'
    assert applied(text, tmp_path).remarks == (
        "exclude: not in the model, 2 of the ids: 'zz', '7'",
        "exclude: not in the model, 1 of the brands: 'Z'",
        "pins: not in the model, 1 of the ids: 'q'",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[exclude]\nid = [1]", "exclude.id"),
        ("[exclude]\nids = []", "at least 1 item"),
        ("[exclude]\nprice_from = -1", "greater than or equal to 0"),
        ("[exclude]\nprice_from = nan", "finite"),
        ("[exclude]\nage_from = 3", "go with age_column"),
        ("[caps]\nlevel = 1", "give category, too"),
        ('[[pins]]\nid = "a"\n[[pins]]\nid = "b"', "two pins have the same place"),
        ('[[boosts]]\nids = ["a"]', "by: Field required"),
        ("exclude = 3", "exclude"),
        ("[exclude", "are not TOML"),
        ('[exclude]\nage_from = 1\nage_column = "brand"', "holds no dates such as 2024-11-30, found 'X'"),
        ('[exclude]\nage_from = 1\nage_column = "colour"', "the table of items has category, brand, price"),
        ("[only]\nprice_from = 1000", "the rules leave none of the model's 6 items"),
    ],
)
def test_what_is_wrong_is_a_sentence(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        applied(text, tmp_path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_rule_by_price_needs_a_table(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs a table of items.*recae items"):
        applied("[exclude]\nprice_from = 1", tmp_path, None)
    assert applied('[exclude]\nids = ["a"]', tmp_path, None).barred.sum() == 1


@pytest.mark.parametrize(("content", "said"), [(b"\xff", "UTF-8"), (None, "cannot be read")])
def test_a_file_that_is_none(content: bytes | None, said: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "r.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_list_rules(tmp_path / "r.toml")


def test_an_age_counts_from_today(tmp_path: Path) -> None:
    rules = ListRules.model_validate({"exclude": {"age_to": 1, "age_column": "since"}})
    today = dt.datetime.now(dt.UTC).date()
    table = ItemTable(IdMap(["a", "b"]), pa.table({"since": pa.array([str(today), "2000-01-01"], TEXT)}))
    assert apply_list_rules(rules, IdMap(["a", "b"]), table).barred.tolist() == [True, False]


def brute_force(
    scores: np.ndarray,
    n: int,
    rules: AppliedRules | None,
    diversity: float,
    vectors: np.ndarray,
    out: set[int],
) -> list[int]:
    """A list by the words of the guide, a place at a time, over a Python list of all items."""
    values = [float(x) for x in scores]
    caps, pins, barred = [], {}, set()
    if rules is not None:
        if rules.boost is not None:
            finite = [x for x in values if np.isfinite(x)]
            mean = sum(finite) / len(finite)
            deviation = np.float32((sum((x - mean) ** 2 for x in finite) / len(finite)) ** 0.5)
            values = [float(np.float32(x) + deviation * b) for x, b in zip(values, rules.boost, strict=True)]
        caps, barred = list(rules.caps), set(np.flatnonzero(rules.barred))
        pins = dict(rules.pins)
    may = [i for i in range(len(values)) if i not in barred | out and not np.isnan(values[i])]
    n = min(n, len(may))
    pins = {place: item for place, item in pins.items() if place < n and item in may}
    order = sorted((i for i in may if i not in pins.values()), key=lambda i: (-values[i], i))
    low, high = (min(values[i] for i in order), max(values[i] for i in order)) if order else (0, 0)
    found: list[int] = []

    def full(item: int) -> bool:
        pinned_or_found = {*found, *pins.values()}
        return any(
            codes[item] >= 0 and sum(codes[o] == codes[item] for o in pinned_or_found) >= most
            for codes, most in caps
        )

    while len(found) < n:
        if len(found) in pins:
            found.append(pins[len(found)])
            continue
        order = [i for i in order if i not in found and not full(i)]
        if not order:
            break

        def worth(i: int) -> float:
            relevance = 1.0 if high == low else (values[i] - low) / (high - low)
            likeness = max((float(vectors[i] @ vectors[s]) for s in found), default=0.0)
            return (1 - diversity) * relevance - diversity * likeness

        found.append(max(order, key=worth) if diversity else order[0])
    return (found + [item for place, item in sorted(pins.items()) if place >= len(found)])[:n]


@pytest.mark.parametrize("seed", range(30))
def test_lists_are_those_of_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_items = int(rng.integers(1, 60))
    scores = rng.normal(size=(4, n_items)).astype(np.float32)
    if seed % 3 == 0:
        scores = np.round(scores)  # ties
    if seed % 7 == 0:
        scores[0, 0] = np.nan
    caps = tuple(
        (rng.integers(-1, 4, n_items).astype(np.int32), int(rng.integers(1, 4)))
        for _ in range(rng.integers(0, 3))
    )
    places = rng.permutation(8)[: rng.integers(0, 3)]
    pinned = rng.permutation(n_items)[: places.size]
    pins = tuple(sorted((int(p), int(i)) for p, i in zip(places, pinned, strict=False)))
    boost = rng.normal(size=n_items).astype(np.float32) if seed % 2 else None
    rules = AppliedRules(rng.random(n_items) < 0.2, boost, caps, pins)
    vectors = unit_vectors(rng.normal(size=(n_items, 5)).astype(np.float32))
    diversity = float(rng.choice([0.0, 0.3, 1.0]))
    exclude = sp.csr_matrix((rng.random((4, n_items)) < 0.2).astype(np.float32))
    lengths = rng.integers(1, 12, 4)
    found = Listing(rules, diversity, vectors).rank(scores, lengths, exclude)
    for row in range(4):
        out = set(exclude[row].indices.tolist())
        wanted = brute_force(
            scores[row], int(lengths[row]), rules, diversity, vectors.astype(np.float64), out
        )
        assert [int(i) for i in found.items[row] if i >= 0] == wanted


def test_many_of_one_category_do_not_hide_the_rest() -> None:
    """The candidates are widened until a list is full."""
    scores = np.arange(5000, 0, -1, dtype=np.float32)[None]
    codes = np.zeros(5000, dtype=np.int32)
    codes[-3:] = 1, 2, -1
    rules = AppliedRules(np.zeros(5000, np.bool_), None, ((codes, 1),), ())
    assert Listing(rules).rank(scores, 5).items.tolist() == [[0, 4997, 4998, 4999, -1]]


def test_without_rules_lists_are_the_usual_ones() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    assert (Listing().rank(scores, 7).items == top_k(scores, 7).items).all()
    allowed = np.arange(50) % 2 == 0
    barred_too = Listing(AppliedRules(~allowed, None, (), ()))
    assert barred_too.plain
    assert (barred_too.rank(scores, 7).items == top_k(scores, 7, candidates=allowed).items).all()


def test_full_diversity_takes_what_is_least_alike() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    scores = np.array([[4, 3, 2, 1]], dtype=np.float32)
    assert Listing(None, 1.0, vectors).rank(scores, 3).items.tolist() == [[0, 3, 2]]


def test_the_fingerprint_tells_rules_apart(tmp_path: Path) -> None:
    texts = ["", '[exclude]\nids = ["a"]', "[caps]\nbrand = 1", "[caps]\nbrand = 2", '[[pins]]\nid = "a"',
             '[[boosts]]\nids = ["a"]\nby = 1']  # fmt: skip
    assert len({applied(text, tmp_path).fingerprint for text in texts}) == len(texts)
    assert applied(texts[3], tmp_path).fingerprint == applied(texts[3], tmp_path).fingerprint


def test_the_guides_rules_are_rules(tmp_path: Path) -> None:
    guide = (Path(__file__).parent.parent / "docs" / "guides" / "rules.md").read_text(encoding="utf-8")
    (tmp_path / "rules.toml").write_text(guide.split("```toml\n")[1].split("```")[0], encoding="utf-8")
    read = read_list_rules(tmp_path / "rules.toml")
    assert read.caps is not None
    assert (read.caps.category, read.caps.level, read.pins[0].id, read.boosts[0].by) == (3, 1, "P017", 0.5)
