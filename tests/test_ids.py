"""IdMap: exact text both ways, unknown ids, nearest ids, stored form."""

import time
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recae.errors import ConfigError, DataError, UnknownIdError
from recae.ids import IdMap

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
id_lists = st.lists(texts, unique=True, max_size=30)


def levenshtein(a: bytes, b: bytes) -> int:
    """The slow oracle: the recursion of Wagner and Fischer, cell by cell."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y)))
    return row[-1]


@given(id_lists)
def test_id_and_row_are_inverse(ids: list[str]) -> None:
    ids_map = IdMap(ids)
    assert len(ids_map) == len(ids)
    assert list(ids_map) == ids
    assert [ids_map.row(ids_map.id(row)) for row in range(len(ids))] == list(range(len(ids)))
    assert ids_map.rows(ids).tolist() == list(range(len(ids)))
    assert ids_map.rows(pa.array(ids, pa.string())).tolist() == list(range(len(ids)))
    assert ids_map.ids(np.arange(len(ids))[::-1]).to_pylist() == ids[::-1]


@given(id_lists, texts)
def test_an_unknown_id_is_minus_one_or_an_error(ids: list[str], other: str) -> None:
    ids_map = IdMap(ids)
    assert (other in ids_map) == (other in ids)
    if other not in ids:
        assert ids_map.rows([other]).tolist() == [-1]
        assert ids_map.rows(pa.array([other, None], pa.string())).tolist() == [-1, -1]
        with pytest.raises(UnknownIdError, match="no user "):
            ids_map.row(other, "user")


@given(id_lists)
def test_the_stored_form_gives_the_map_back(ids: list[str]) -> None:
    ids_map = IdMap(ids)
    data, offsets = ids_map.to_arrays()
    assert (data.dtype, offsets.dtype, offsets.shape) == (np.uint8, np.int64, (len(ids) + 1,))
    assert data.tobytes() == "".join(ids).encode()
    assert IdMap.from_arrays(data, offsets) == ids_map
    assert IdMap.from_arrays(data.copy(), offsets.copy()).rows(ids).tolist() == list(range(len(ids)))


@given(id_lists.filter(bool), texts, st.integers(1, 5))
def test_nearest_agrees_with_a_slow_edit_distance(ids: list[str], query: str, n: int) -> None:
    def key(text: str) -> tuple[int, int, str]:
        a, b = text.encode()[:40], query.encode()[:40]
        common = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        return levenshtein(a, b), -common, text

    assert IdMap(ids).nearest(query, n) == sorted(ids, key=key)[:n]
    assert IdMap(sorted(ids)).nearest(query, n) == sorted(ids, key=key)[:n]


def test_ids_are_exact_text() -> None:
    ids = ["007", "7", "7.0", " 7", "12345678901234567890", "A B", "a,b", "é", "e\u0301", "日本", "NA", ""]
    ids_map = IdMap(ids)
    assert [ids_map.id(ids_map.row(id_)) for id_ in ids] == ids
    assert "07" not in ids_map


def test_an_unknown_id_names_the_nearest() -> None:
    ids_map = IdMap([str(number) for number in range(1000, 1300)])
    with pytest.raises(
        UnknownIdError, match=r"^no user '1234x' in the model; nearest: '1234', '123\d', '123\d'$"
    ):
        ids_map.row("1234x", "user")
    with pytest.raises(UnknownIdError, match="no item"):
        IdMap([]).row("a", "item")
    assert ids_map.nearest("1", 0) == []


def test_undecodable_arguments_are_unknown() -> None:
    ids_map = IdMap(["a", "b"])
    assert "\udcff" not in ids_map
    assert ids_map.rows(["b", "\udcff"]).tolist() == [1, -1]
    with pytest.raises(UnknownIdError, match="nearest"):
        ids_map.row("\udcff")


def test_rows_of_few_and_of_many_agree() -> None:
    ids = [f"{number * 7919 % 100_003:06d}" for number in range(20_000)]
    ids_map = IdMap(ids)
    few = [ids[5], "x", ids[19_999]]
    assert ids_map.rows(few).tolist() == [5, -1, 19_999]
    assert ids_map.rows(ids * 2).tolist() == [*range(20_000), *range(20_000)]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", "b", "a"], "'a' occurs twice"),
        (["a", None], "row 1"),
        (pa.array([1.5, 2]), "double"),
        (["a", 1.5], "text"),
        ([True], "text"),
        ("ab", "a list"),
        (["1", 1], "'1' occurs twice"),
        (["\udcff"], "UTF-8"),
    ],
)
def test_ids_that_cannot_be_a_map(ids: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        IdMap(ids)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_every_textual_arrow_type_is_taken(kind: pa.DataType) -> None:
    array = pa.array(["b", "a"], kind)
    assert list(IdMap(array)) == ["b", "a"]
    assert list(IdMap(pa.chunked_array([array[:1], array[1:]]))) == ["b", "a"]
    assert list(IdMap(array[1:])) == ["a"]
    data, offsets = IdMap(array[1:]).to_arrays()
    assert (data.tobytes(), offsets.tolist()) == (b"a", [0, 1])


@pytest.mark.parametrize("row", [-1, 2])
def test_rows_outside_are_an_index_error(row: int) -> None:
    ids_map = IdMap(["a", "b"])
    with pytest.raises(IndexError, match=str(row)):
        ids_map.id(row)
    with pytest.raises(IndexError, match=str(row)):
        ids_map.ids(np.array([0, row]))


@pytest.mark.parametrize(
    ("data", "offsets", "message"),
    [
        (b"ab", [1, 2], "offsets"),
        (b"ab", [0, 1], "offsets"),
        (b"ab", [0, 2, 1, 2], "offsets"),
        (b"ab", [0, 3], "offsets"),
        (b"ab", [], "offsets"),
        (b"\xff", [0, 1], "UTF-8"),
        ("é".encode(), [0, 1, 2], "cuts a character"),
        (b"aa", [0, 1, 2], "occurs twice"),
    ],
)
def test_stored_ids_are_not_trusted(data: bytes, offsets: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        IdMap.from_arrays(np.frombuffer(data, np.uint8), np.array(offsets, np.int64))


def test_stored_ids_of_another_type_are_refused() -> None:
    with pytest.raises(DataError, match="int32"):
        IdMap.from_arrays(np.zeros(1, np.uint8), np.array([0, 1], np.int32))  # type: ignore[arg-type]  # on purpose


def test_equality_is_by_content_and_order() -> None:
    assert IdMap(["a", "b"]) == IdMap(["a", "b"])
    assert IdMap(["a", "b"]) != IdMap(["b", "a"])
    assert IdMap(["a"]) != ["a"]
    assert repr(IdMap(["a"])) == "IdMap(1 ids: 'a')"


def test_a_million_ids_are_searched_in_time() -> None:
    ids_map = IdMap(pa.array(np.char.mod("%08d", np.arange(1_000_000))))
    start = time.process_time()
    assert ids_map.nearest("x0123456")[0] == "00123456"
    assert time.process_time() - start < 4  # 0.3 s measured; the rest is for slow machines


@pytest.mark.parametrize(
    "value", [42, "42", np.int64(42), np.uint8(42), np.str_("42"), 42.0, np.float64(42), np.float32(42)]
)
def test_a_whole_number_is_the_id_of_its_digits(value: object) -> None:
    ids_map = IdMap(["7", "42", "x"])
    assert value in ids_map
    assert ids_map.row(value, "user") == 1  # type: ignore[arg-type]  # what is taken beside str and int
    assert ids_map.rows([value, "nobody"]).tolist() == [1, -1]  # type: ignore[list-item]  # likewise
    assert list(IdMap([value])) == ["42"]  # type: ignore[list-item]  # likewise


@pytest.mark.parametrize("value", [True, False, None, 4.2, float("nan"), float("inf"), [42], {"a": 1}, b"42"])
def test_other_types_are_no_ids(value: object) -> None:
    ids_map = IdMap(["1", "42", "True"])
    assert value not in ids_map
    with pytest.raises(ConfigError, match="the id of a user is text or a whole number, found"):
        ids_map.row(value, "user")  # type: ignore[arg-type]  # wrong on purpose


def test_lists_of_numbers_are_rows_too() -> None:
    ids_map = IdMap(np.arange(5_000))
    wanted = [17, -1, 4_999]
    for ids in ([17, 5_000, 4_999], np.array([17, 5_000, 4_999]), pa.array([17, 5_000, 4_999])):
        assert ids_map.rows(ids).tolist() == wanted
        assert IdMap(["17", "4999"]).rows(ids).tolist() == [0, -1, 1]
    assert IdMap(UUID(int=n) for n in range(2)).id(1) == "00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize("ids", ["17", 17, {"17": 1}])
def test_what_is_no_list_is_not_taken_for_one(ids: object) -> None:
    with pytest.raises(ConfigError, match="given as a list"):
        IdMap(["17"]).rows(ids)  # type: ignore[arg-type]  # wrong on purpose
