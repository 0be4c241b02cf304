"""The doctor on items that are no products, and the file that leaves them out of a training."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from commands import recae, refused
from doctors import Row, clean_rows, examined, found, write

from recae.examination import Severity
from recae.examination.products import is_service


@pytest.mark.parametrize(
    "name",
    [
        "POSTAGE", "DOTCOM POSTAGE", "Next Day Carriage", "Manual", "Bank Charges", "Discount", "CRUK Commission",
        "5p carrier bag", "Carrier Bags", "Plastic bag", "Versandkosten", "Rabatt 10%", "Gutschein", "Frais de port",
        "Sac de caisse", "Gift voucher £20.00", "Adjust bad debt", "Delivery fee", "SAMPLES", "Pfand",
        "Gastos de envío", "AMAZON FEE",
    ],
)  # fmt: skip
def test_names_of_what_is_no_product(name: str) -> None:
    assert is_service(name)


@pytest.mark.parametrize(
    "name",
    [
        "JUMBO BAG RED RETROSPOT", "Postage stamp print", "Dry Bag", "Treat Bags", "Tawny Port", "Delivery van, wooden",
        "The Adjustment Bureau", "Manual coffee grinder", "Free range eggs", "Standard", "", "Bananas", "Gift Box",
        "Bank of England money box",
    ],
)  # fmt: skip
def test_names_of_products(name: str) -> None:
    assert not is_service(name)


def shop(extra: list[Row], n_users: int = 200) -> list[Row]:
    """A shop of two tastes with prices, in which each product has one price or another near it."""
    rng = random.Random(5)
    rows = []
    for n, row in enumerate(clean_rows(n_users, 60, 8)):
        item = int(row["item_id"][1:])
        rows.append({**row, "price": f"{(2 + item) * rng.choice((1, 0.9)):.2f}", "order": n // 4})
    return rows + extra


def sold(item: str, title: str, number: int, price: float | None = None) -> list[Row]:
    rng = random.Random(7)
    return [
        {
            "user_id": f"u{n:03d}", "item_id": item, "timestamp": f"2022-04-{n % 28 + 1:02d} 12:{n % 60:02d}:00",
            "quantity": "1", "title": title, "price": f"{price or rng.lognormvariate(2, 2):.2f}", "order": 9000 + n,
        }
        for n in range(number)
    ]  # fmt: skip


def test_a_shop_of_products_has_none(tmp_path: Path) -> None:
    seen = examined(tmp_path, shop([]))
    assert seen.no_products == ()
    assert "items-no-products" not in {finding.code for finding in seen.findings}


@pytest.mark.some(1)
@pytest.mark.parametrize(("number", "severity"), [(3, Severity.NOTE), (90, Severity.WARNING)])
def test_a_telling_name_is_enough(number: int, severity: Severity, tmp_path: Path) -> None:
    finding = found(tmp_path, shop(sold("P900", "POSTAGE", number, 18.0)))["items-no-products"]
    assert (finding.severity, finding.column) == (severity, "item_id")
    assert finding.text.startswith("1 item looks like no product")
    assert finding.examples == (f"'P900' (POSTAGE): {number} users; its name says so",)


def test_prices_all_over_are_enough(tmp_path: Path) -> None:
    (item,) = examined(tmp_path, shop(sold("P900", "Entry 900", 60))).no_products
    assert (item.id, item.users) == ("P900", 60)
    assert item.why[0].startswith("its price runs from ")


@pytest.mark.thorough
def test_an_id_unlike_the_others_needs_a_second_reason(tmp_path: Path) -> None:
    assert examined(tmp_path, shop(sold("M", "Entry 900", 9, 4.0))).no_products == ()
    (item,) = examined(tmp_path, shop(sold("M", "Entry 900", 60))).no_products
    assert item.why[1] == "its id is unlike the others"
    (item,) = examined(tmp_path, shop(sold("POST", "", 9, 4.0))).no_products
    assert item.why[0] == "its id says so"


def tasteful(n_users: int = 1200) -> list[Row]:
    """Users who each buy of one of eight groups of twelve products."""
    rng = random.Random(2)
    return [
        {"user_id": f"u{user}", "item_id": f"P{user % 8 * 12 + place:03d}"}
        for user in range(n_users)
        for place in rng.sample(range(12), 6)
    ]


@pytest.mark.thorough
def test_company_of_chance_is_a_second_reason(tmp_path: Path) -> None:
    rng = random.Random(3)
    bag = [{"user_id": f"u{user}", "item_id": "BAG"} for user in range(1200) if rng.random() < 0.4]
    (item,) = examined(tmp_path, tasteful() + bag).no_products
    assert item.id == "BAG"
    assert item.why == ("its id is unlike the others", "users buy it with nothing in particular")
    one_taste = [{"user_id": f"u{user}", "item_id": "TOY"} for user in range(0, 1200, 8)]
    assert examined(tmp_path, tasteful() + one_taste).no_products == ()


def test_the_advice_followed_to_the_letter_leaves_them_out(folder: Path) -> None:
    rows = shop(sold("P900", "POSTAGE", 90, 18.0) + sold("P901", "Manual", 40, 3.0))
    write(folder / "p.csv", rows)
    result = recae("doctor", "p.csv", "--json")
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert [item["id"] for item in content["no_products"]] == ["P900", "P901"]
    (finding,) = [finding for finding in content["findings"] if finding["code"] == "items-no-products"]
    commands = finding["advice"].split("`")[1::2]
    assert commands == [
        "recae doctor p.csv --write-exclusions exclusions.txt",
        "recae train p.csv --exclude-items exclusions.txt",
    ]
    written = recae(*commands[0].split()[1:])
    assert written.exit_code == 0
    assert "wrote 2 ids of items that look like no products to exclusions.txt" in written.stderr
    assert (folder / "exclusions.txt").read_text() == "P900\nP901\n"
    again = json.loads(recae("doctor", "p.csv", "--exclude-items", "exclusions.txt", "--json").stdout)
    assert again["no_products"] == []
    assert again["filtered"] == {"excluded item": 130}


def test_where_there_are_none_the_file_is_empty_and_leaves_nothing_out(folder: Path) -> None:
    write(folder / "p.csv", clean_rows())
    assert recae("doctor", "p.csv", "--write-exclusions", "none.txt").exit_code == 0
    assert (folder / "none.txt").read_text() == ""
    assert recae("doctor", "p.csv", "--exclude-items", "none.txt").exit_code == 0
    refused(recae("doctor", "p.csv", "--write-exclusions", "none.csv"), "give a name that ends in .txt")
    refused(recae("doctor", "p.csv", "--write-exclusions", "p.csv"), "give a name that ends in .txt")
