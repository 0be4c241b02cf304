"""Make data/purchases.csv: two years of an invented shop with planted tastes, bots and returns.

    python scripts/make_sample.py [--out data/purchases.csv]

What is planted, so that a test can ask whether it was found (see data/README.md):

* ``TASTES``: every taste is two categories; ``taste_of(category)`` names it. A customer has one to three.
* Brands: every category has five; a customer likes one or two of each category and rarely buys the others.
* ``bots()``: customers without any taste, who buy all through the night at a fixed interval.
* Returns: rows with a negative quantity, each after a purchase of the same item by the same customer.

The output has the same bytes on every machine and Python version: chance comes only from ``Random.random()``,
whose sequence Python guarantees, and the arithmetic on it is only +, -, * and /, which IEEE 754 rounds
exactly. Nothing but the standard library is needed.
"""

from __future__ import annotations

import argparse
import csv
import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path
from random import Random

SEED = 20240229
N_CUSTOMERS = 2_000
N_BOTS = 20
FIRST_DAY = datetime(2023, 1, 1)  # the shop's clock is UTC, written without an offset
N_DAYS = 731
COLUMNS = ("user_id", "item_id", "item_name", "category", "quantity", "price", "timestamp")

TASTES: dict[str, tuple[str, str]] = {
    "kitchen": ("Coffee & Tea", "Baking"),
    "outdoors": ("Garden", "Hiking & Camping"),
    "studio": ("Art Supplies", "Knitting & Sewing"),
    "family": ("Toys & Games", "Party"),
    "wellness": ("Bath & Body", "Candles & Scent"),
    "desk": ("Stationery", "Books & Reading"),
}

# category -> (five brands, ten products, cheapest and dearest price in cents, busiest month)
CATEGORIES: dict[str, tuple[str, str, tuple[int, int], int]] = {
    "Coffee & Tea": (
        "Alder & Bean, Monsoon Leaf, Night Owl, Copper Kettle, Far Harbour",
        "Espresso Beans, Filter Roast, Breakfast Tea, Green Tea, Chai Mix, "
        "Milk Frother, Tea Strainer, Stoneware Mug, Cold Brew Jar, Storage Tin",
        (350, 3200),
        11,
    ),
    "Baking": (
        "Millstone, Sugar Lane, Golden Crumb, Rye & Rise, Marzipan House",
        "Bread Flour, Cake Tin, Vanilla Extract, Cookie Cutters, Proving Basket, "
        "Piping Set, Dark Chocolate Drops, Rolling Pin, Silicone Mat, Sprinkle Mix",
        (250, 2800),
        12,
    ),
    "Garden": (
        "Green Thicket, Loam & Root, Wildacre, Stonewall, Bluebell Yard",
        "Hand Trowel, Seed Box, Watering Can, Plant Labels, Pruning Shears, "
        "Bird Feeder, Terracotta Pot, Herb Planter, Garden Gloves, Compost Caddy",
        (300, 4500),
        5,
    ),
    "Hiking & Camping": (
        "Granite Ridge, Tarn & Fell, Kestrel, Longtrail, Ember Camp",
        "Wool Socks, Head Torch, Water Bottle, Trail Snack Box, Camp Stove, "
        "Dry Bag, Folding Cup, First Aid Pouch, Trekking Poles, Rain Cover",
        (500, 6500),
        7,
    ),
    "Art Supplies": (
        "Umber Works, Sable & Hog, Cobalt Lane, Paper Moon, Vermilion",
        "Sketchbook, Watercolour Set, Brush Roll, Charcoal Sticks, Acrylic Tubes, "
        "Ink Bottle, Palette Knife, Canvas Board, Pastel Box, Masking Tape",
        (300, 3900),
        10,
    ),
    "Knitting & Sewing": (
        "Fleece & Fold, Bobbin Row, Moorland Wool, Thimble Hill, Silk Yard",
        "Merino Skein, Bamboo Needles, Crochet Hook Set, Quilting Cotton, Thread Box, "
        "Pin Cushion, Fabric Scissors, Button Jar, Stitch Markers, Embroidery Hoop",
        (250, 3400),
        11,
    ),
    "Toys & Games": (
        "Little Fox, Tumbledown, Button Bear, Rocket & Co, Treehouse",
        "Wooden Train, Memory Cards, Puzzle, Building Blocks, Plush Rabbit, "
        "Marble Run, Kite, Finger Puppets, Dominoes, Stacking Rings",
        (400, 4900),
        12,
    ),
    "Party": (
        "Confetti Club, Balloon Street, Jubilee, Lantern Lane, Hooray House",
        "Paper Bunting, Birthday Candles, Cake Topper, Paper Plates, Party Hats, "
        "Balloon Pack, Treat Bags, Napkin Pack, Table Runner, Photo Props",
        (150, 1600),
        6,
    ),
    "Bath & Body": (
        "Salt & Fern, Olive Grove, Cloudwater, Rosehip Row, Harbour Soap",
        "Hand Soap, Bath Salts, Body Lotion, Shampoo Bar, Lip Balm, "
        "Loofah, Bath Oil, Hand Cream, Face Cloth, Foot Scrub",
        (300, 2600),
        2,
    ),
    "Candles & Scent": (
        "Amber Hour, Wick & Wild, Cedar Room, Lavender Hill, Smoke & Fig",
        "Pillar Candle, Tea Lights, Reed Diffuser, Scented Jar, Incense Sticks, "
        "Wax Melts, Candle Snuffer, Room Spray, Taper Pair, Oil Burner",
        (250, 3600),
        12,
    ),
    "Stationery": (
        "Foolscap, Quill & Co, Paperweight, Margin Notes, Letterbox",
        "Dotted Notebook, Fountain Pen, Weekly Planner, Sticky Notes, Pencil Case, "
        "Wax Seal Kit, Envelope Set, Gel Pens, Desk Calendar, Washi Tape",
        (200, 3300),
        9,
    ),
    "Books & Reading": (
        "Lamplight Press, Dog-Eared, Harbour House, Second Storey, Blue Spine",
        "Mystery Novel, Poetry Anthology, Reading Lamp, Bookends, Travel Atlas, "
        "Cookbook, Short Stories, Book Tote, Bookmark Set, Field Guide",
        (400, 3800),
        8,
    ),
}

# People shop by day, more in the evening: weight of every hour of the day.
HOUR_WEIGHTS = (1, 0, 0, 0, 0, 1, 3, 6, 9, 11, 12, 12, 13, 11, 10, 10, 11, 13, 15, 18, 20, 17, 10, 4)
MONTH_WEIGHTS = (9, 8, 9, 9, 10, 9, 8, 8, 10, 11, 15, 17)
WEEKDAY_WEIGHTS = (9, 9, 9, 10, 11, 14, 13)
QUANTITIES = ((1, 70), (2, 16), (3, 5), (4, 4), (6, 3), (12, 2))


@dataclass(frozen=True)
class Item:
    """One product: ``rank`` is its place (0 best) among its brand's products."""

    item_id: str
    name: str
    category: str
    brand: str
    rank: int
    price: int  # cents


@dataclass(frozen=True)
class Customer:
    """One planted customer; a bot has neither tastes nor brands."""

    user_id: str
    is_bot: bool
    tastes: dict[str, float]  # taste -> share of the purchases that are not noise
    brands: dict[str, tuple[str, ...]]  # category -> liked brands
    n_lines: int  # purchased lines, before returns


def taste_of(category: str) -> str:
    """Return the planted taste to which a category belongs; an unknown category is a KeyError."""
    return {c: taste for taste, pair in TASTES.items() for c in pair}[category]


def bots() -> frozenset[str]:
    """Return the user ids of the planted bots."""
    return frozenset(c.user_id for c in customers() if c.is_bot)


def _rng(stream: int) -> Random:
    # One stream a part: changing how customers are drawn leaves the catalogue as it is.
    return Random(SEED * 10 + stream)  # noqa: S311 - sample data, no secret


def _below(rng: Random, n: int) -> int:
    return min(int(rng.random() * n), n - 1)


def _pick(rng: Random, weights: Sequence[float]) -> int:
    """Draw a position with probability proportional to its weight."""
    sums = list(accumulate(weights))
    return min(bisect_right(sums, rng.random() * sums[-1]), len(weights) - 1)


def _shuffled(rng: Random, n: int) -> list[int]:
    # Not Random.shuffle: only random() is promised to stay the same in later Python versions.
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = _below(rng, i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def brands_of(category: str) -> list[str]:
    """Return the five brands of a category, the most popular first."""
    return CATEGORIES[category][0].split(", ")


def catalogue() -> list[Item]:
    """Return the 600 products by category, brand and place within the brand."""
    rng = _rng(1)
    n_items = sum(len(b.split(", ")) * len(p.split(", ")) for b, p, _, _ in CATEGORIES.values())
    numbers = _shuffled(rng, n_items)  # an item's number says nothing about its category
    items: list[Item] = []
    for category, (_, product_names, (cheapest, dearest), _) in CATEGORIES.items():
        products = product_names.split(", ")
        for brand in brands_of(category):
            for rank, p in enumerate(_shuffled(rng, len(products))):
                u = rng.random()
                price = cheapest + int((dearest - cheapest) * u * u) // 50 * 50 + 45
                item_id = f"P{numbers[len(items)] + 1:03d}"
                items.append(Item(item_id, f"{brand} {products[p]}", category, brand, rank, price))
    return items


def customers() -> list[Customer]:
    """Return the planted customers, user ids "1" to "2000"; "42" likes the kitchen and nothing else."""
    rng = _rng(2)
    robots: set[int] = set()
    while len(robots) < N_BOTS:
        robots.add(1 + _below(rng, N_CUSTOMERS))
        robots.discard(42)
    taste_names = list(TASTES)
    result = []
    for number in range(1, N_CUSTOMERS + 1):
        n_tastes = 1 + _pick(rng, (50, 35, 15))
        chosen = [taste_names[t] for t in _shuffled(rng, len(taste_names))[:n_tastes]]
        shares = [0.5 + rng.random() for _ in chosen]
        brands: dict[str, tuple[str, ...]] = {}
        for category in CATEGORIES:
            names = brands_of(category)
            first = _pick(rng, (5, 4, 3, 3, 2))
            second = _pick(rng, (5, 4, 3, 3, 2))  # the same again: a customer of one brand
            brands[category] = tuple(names[b] for b in dict.fromkeys((first, second)))
        n_lines = 3 + int(5.5 / (1.02 - rng.random()))  # a heavy tail: most buy ten things, a few hundreds
        n_lines = min(n_lines, 150)
        if number == 42:
            chosen, shares, n_lines = ["kitchen"], [1.0], 28
            brands["Coffee & Tea"] = ("Night Owl", "Copper Kettle")
            brands["Baking"] = ("Rye & Rise",)
        if number in robots:
            result.append(Customer(str(number), True, {}, {}, 150 + _below(rng, 60)))
            continue
        *_, total = accumulate(shares)  # not sum(): Python 3.12 changed how it rounds
        tastes = {t: s / total for t, s in zip(chosen, shares, strict=True)}
        liked = {c: brands[c] for t in chosen for c in TASTES[t]}
        result.append(Customer(str(number), False, tastes, liked, n_lines))
    return result


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    user_id: str
    item: Item
    quantity: int
    time: datetime


def _season(category: str, month: int) -> float:
    away = abs(CATEGORIES[category][3] - month)
    return 1.0 + 1.5 / (1 + min(away, 12 - away))


def _shopping_times(rng: Random, n: int) -> list[datetime]:
    """Return n distinct times of a person, in order, between a first and a last day as a customer."""
    first = _below(rng, N_DAYS - 90) if rng.random() < 0.6 else 0
    last = N_DAYS if rng.random() < 0.7 else first + 60 + _below(rng, N_DAYS - first - 60)
    days = [FIRST_DAY + timedelta(days=d) for d in range(first, last)]
    weights = list(accumulate(MONTH_WEIGHTS[d.month - 1] * WEEKDAY_WEIGHTS[d.weekday()] for d in days))
    times: set[datetime] = set()
    while len(times) < n:
        day = days[min(bisect_right(weights, rng.random() * weights[-1]), len(days) - 1)]
        hour, second = _pick(rng, HOUR_WEIGHTS), _below(rng, 3600)
        times.add(day + timedelta(hours=hour, seconds=second))
    return sorted(times)


class _Shop:
    """The catalogue with its popularity: brands by their order, products of a brand by a Zipf law."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.shelves: dict[tuple[str, str], list[Item]] = {}
        for item in items:
            self.shelves.setdefault((item.category, item.brand), []).append(item)
        self.popularity = [self._weight(i) for i in items]

    @staticmethod
    def _weight(item: Item) -> float:
        category_weight = 1.0 + list(CATEGORIES).index(item.category) % 5 / 2
        return category_weight / (1 + brands_of(item.category).index(item.brand)) / (1 + item.rank)

    def of_brand(self, rng: Random, category: str, brand: str) -> Item:
        shelf = self.shelves[category, brand]
        return shelf[_pick(rng, [1 / (1 + item.rank) for item in shelf])]

    def any_item(self, rng: Random) -> Item:
        return self.items[_pick(rng, self.popularity)]


def _person(rng: Random, shop: _Shop, who: Customer) -> list[Line]:
    sizes: list[int] = []
    while sum(sizes) < who.n_lines:
        sizes.append(min(1 + _pick(rng, (40, 25, 15, 10, 6, 4)), who.n_lines - sum(sizes)))
    lines: list[Line] = []
    tastes, shares = list(who.tastes), list(who.tastes.values())
    for time, size in zip(_shopping_times(rng, len(sizes)), sizes, strict=True):
        basket: dict[str, Item] = {}
        while len(basket) < size:
            u = rng.random()
            if u > 0.85 and lines:  # bought again
                item = lines[_below(rng, len(lines))].item
            elif u < 0.12:  # noise: presents, errands, offers
                item = shop.any_item(rng)
            else:
                pair = TASTES[tastes[_pick(rng, shares)]]
                category = pair[_pick(rng, [_season(c, time.month) for c in pair])]
                liked = who.brands[category]
                all_brands = brands_of(category)
                brand = liked[_below(rng, len(liked))] if rng.random() < 0.85 else all_brands[_below(rng, 5)]
                item = shop.of_brand(rng, category, brand)
            basket[item.item_id] = item
        for item in basket.values():
            quantity = QUANTITIES[_pick(rng, [w for _, w in QUANTITIES])][0]
            lines.append(Line(who.user_id, item, quantity, time))
            if rng.random() < 0.012:
                lines.append(_returned(rng, lines[-1]))
    return [line for line in lines if line.time < FIRST_DAY + timedelta(days=N_DAYS)]


def _returned(rng: Random, bought: Line) -> Line:
    back = bought.time + timedelta(days=2 + _below(rng, 26), seconds=_below(rng, 30_000))
    return Line(bought.user_id, bought.item, -(1 + _below(rng, bought.quantity)), back)


def _bot(rng: Random, shop: _Shop, who: Customer) -> list[Line]:
    interval = timedelta(hours=(1, 2, 3, 6)[_below(rng, 4)])
    start = FIRST_DAY + timedelta(days=_below(rng, N_DAYS - 60), hours=_below(rng, 24))
    stock = len(shop.items)
    return [
        Line(who.user_id, shop.items[_below(rng, stock)], 1, start + i * interval) for i in range(who.n_lines)
    ]


def purchases() -> list[Line]:
    """Return every row of the table, ordered by time, user and item."""
    shop = _Shop(catalogue())
    lines: list[Line] = []
    for number, who in enumerate(customers()):
        rng = _rng(100 + number)
        lines += _bot(rng, shop, who) if who.is_bot else _person(rng, shop, who)
    return sorted(lines, key=lambda x: (x.time, int(x.user_id), x.item.item_id, x.quantity))


def as_csv(lines: Sequence[Line]) -> bytes:
    """Return the table as UTF-8 CSV with a header and Unix line ends."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines:
        item = line.item
        price = f"{item.price // 100}.{item.price % 100:02d}"
        writer.writerow(
            (
                line.user_id,
                item.item_id,
                item.name,
                item.category,
                line.quantity,
                price,
                line.time.isoformat(),
            )
        )
    return text.getvalue().encode()


def main() -> None:
    """Write the table to --out."""
    default = Path(__file__).resolve().parent.parent / "data" / "purchases.csv"
    parser = argparse.ArgumentParser(description="Make the sample data.")
    parser.add_argument("--out", type=Path, default=default, help="default: data/purchases.csv")
    out: Path = parser.parse_args().out
    lines = purchases()
    out.write_bytes(as_csv(lines))
    print(f"{len(lines)} rows written to {out}")


if __name__ == "__main__":
    main()
