"""The category of each item, from tables of every sort, against a count by hand."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

from recae.errors import ColumnError, DataError, SourceError
from recae.ids import IdMap
from recae.insight.categories import Categories, read_categories

ITEMS = IdMap(["a", "b", "c", "10", "11"])


def found(path: Path, **columns: str) -> dict[str, str | None]:
    categories = read_categories(path, ITEMS, **columns)
    assert categories.codes.dtype == np.int32
    assert categories.codes.shape == (len(ITEMS),)
    return {ITEMS.id(i): categories.names[code] for i, code in enumerate(categories.codes) if code >= 0}


def write(folder: Path, text: str, name: str = "kinds.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_most_frequent_category_wins_and_the_first_by_text_among_equals(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "user,Product ID,CATEGORY\n1,a,Tea\n2,a,Pot\n3,a,Tea\n4,b,Zoo\n5,b, Ant \n6,x,Tea\n7,c,\n8,,Tea\n",
    )
    assert found(path) == {"a": "Tea", "b": "Ant"}


def test_random_rows_agree_with_a_count_by_hand(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = [
        (ITEMS.id(int(i)), f"k{k}")
        for i, k in zip(rng.integers(0, 5, 200), rng.integers(0, 4, 200), strict=True)
    ]
    path = write(tmp_path, "item\tcategory\n" + "".join(f"{i}\t{k}\n" for i, k in rows), "kinds.tsv")
    expected = {}
    for item in {i for i, _ in rows}:
        counts = Counter(k for i, k in rows if i == item)
        expected[item] = min(counts, key=lambda k: (-counts[k], k))
    assert found(path) == expected


def test_columns_by_name_and_ids_that_went_through_floats(tmp_path: Path) -> None:
    path = write(tmp_path, "code,shelf,category\n10.0,Up,x\n11.0,Down,x\n")
    assert found(path, item_column="code", category_column="shelf") == {"10": "Up", "11": "Down"}
    parquet = tmp_path / "kinds.parquet"
    pq.write_table(
        pa.table({"item_id": [10.0, 11.0, None], "genre": pa.array(["p", "q", "r"]).dictionary_encode()}),
        parquet,
    )
    assert found(parquet) == {"10": "p", "11": "q"}


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("item,kind\na,b\n", {}, "no column is recognised as the category; name it with --category-column"),
        ("thing,category\na,b\n", {}, "no column is recognised as the item"),
        ("item,category\na,b\n", {"category_column": "shelf"}, "column 'shelf' is not in the table"),
        (
            "item,category,category\na,b,c\n",
            {},
            "several columns are called 'category'; name .* with --category-column, such as 'category_2'; found: ",
        ),
    ],
)
def test_columns_that_cannot_be_told(
    tmp_path: Path, text: str, columns: dict[str, str], message: str
) -> None:
    with pytest.raises(ColumnError, match=message) as caught:
        read_categories(write(tmp_path, text), ITEMS, **columns)
    assert "kinds.csv" in str(caught.value)
    assert "found: '" in str(caught.value)


def test_long_tables_are_not_spelled_out(tmp_path: Path) -> None:
    path = write(tmp_path, ",".join(f"c{i}" for i in range(40)) + "\n" + ",".join("1" * 40) + "\n")
    with pytest.raises(ColumnError, match="'c29' and 10 more"):
        read_categories(path, ITEMS)


def test_a_table_of_another_shop(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no item of the model has a category in .*kinds\.csv"):
        read_categories(write(tmp_path, "item,category\nz,Tea\na,\n"), ITEMS)
    with pytest.raises(SourceError, match="there is no file"):
        read_categories(tmp_path / "none.csv", ITEMS)


def test_a_user_gets_the_category_of_most_items() -> None:
    categories = Categories(["p", "q", "r"], np.array([1, 0, 1, -1, 2], np.int32))
    histories = sp.csr_matrix(
        np.array(
            [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, 1]], np.float32
        )
    )
    assert categories.of_users(histories).tolist() == [1, 0, -1, -1, 2]
