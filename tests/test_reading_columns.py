"""Reading: which column is which, in the layouts of public data sets and of shops' exports."""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recae.errors import ColumnError
from recae.reading.columns import choose_column, choose_columns, find_order, name_columns
from recae.reading.engine import Engine
from recae.reading.names import BASKET_NAMES, KNOWN_NAMES, Name, split_words
from recae.reading.options import ReadOptions
from recae.reading.roles import Columns
from recae.reading.table import Note, Table

_NAMES = [
    "Ada",
    "Ben",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gwen",
    "Hal",
    "Ida",
    "Jon",
    "Kim",
    "Lou",
    "Max",
    "Nia",
    "Ole",
    "Pia",
    "Quin",
    "Ray",
    "Sue",
    "Tom",
    "Uma",
    "Vic",
    "Wes",
    "Yan",
    "Zoe",
]
_KINDS = ["Tea", "Cup", "Soap", "Honey", "Plate", "Candle", "Lamp", "Spoon"]


@dataclass(frozen=True)
class Line:
    """A line of an order."""

    row: int
    order: int
    user: int
    item: int
    position: int
    quantity: int
    time: datetime
    seed: int

    @property
    def iso(self) -> str:
        return self.time.isoformat(sep=" ")

    @property
    def day(self) -> str:
        return self.iso[:10]

    @property
    def unix(self) -> str:
        return str(int(self.time.timestamp()))

    @property
    def person(self) -> str:
        return f"{_NAMES[self.user % 25]} {_NAMES[self.user // 25 + 3]}berg"

    @property
    def email(self) -> str:
        return f"kim{self.user}@example.com"

    @property
    def product(self) -> str:
        return f"{_KINDS[self.item % 8]} No. {self.item // 8}"

    @property
    def price(self) -> str:
        return f"{1 + self.item * 7 % 30}.{self.item % 10}9"

    @property
    def user_id(self) -> str:
        return f"{5000 + self.user}"

    @property
    def item_id(self) -> str:
        return f"{300 + self.item}"

    @property
    def kind(self) -> str:
        return self.product.split()[0]

    @property
    def sku(self) -> str:
        return f"SKU-{self.item:04}"

    @property
    def rating(self) -> int:
        return 1 + self.seed % 5

    def later(self, days: int) -> str:
        return (self.time + timedelta(days=days)).isoformat(sep=" ")

    def one_of(self, *words: str) -> str:
        return words[self.seed % len(words)]


def _lines(orders: int = 200) -> list[Line]:
    chance = random.Random(7)
    found: list[Line] = []
    for order in range(orders):
        user, time = chance.randrange(60), datetime(2023, 1, 4, 8, 0) + timedelta(minutes=order * 611)
        basket = {min(int(chance.expovariate(1) * 12), 79) for _ in range(chance.randint(1, 6))}
        for position, item in enumerate(chance.sample(sorted(basket), len(basket)), 1):
            row = len(found) + 1
            found.append(
                Line(
                    row,
                    7000 + order,
                    user,
                    item,
                    position,
                    chance.randint(1, 4),
                    time,
                    chance.randrange(10**6),
                )
            )
    return found


LINES = _lines()

Cell = Callable[[Line], Any]

user, item, order, row, position, quantity = map(
    attrgetter, ("user_id", "item_id", "order", "row", "position", "quantity")
)
product, person, email, price, kind, sku = map(
    attrgetter, ("product", "person", "email", "price", "kind", "sku")
)
iso, day, unix, rating = map(attrgetter, ("iso", "day", "unix", "rating"))


def empty(x: Line) -> None:
    """Return a cell without a value."""


def always(value: str) -> Cell:
    return lambda x: value


def one_of(*words: str) -> Cell:
    return lambda x: x.one_of(*words)


def later(days: int) -> Cell:
    return lambda x: x.later(days + x.order % 3)


def make(
    engine: Engine, layout: Mapping[str, Cell], lines: list[Line] | None = None, header: bool = True
) -> Table:
    """Return a table of text, as one read from a file."""
    columns = list(layout) if header else [str(i + 1) for i in range(len(layout))]
    cells = [
        [None if (v := cell(x)) is None else str(v) for x in (LINES if lines is None else lines)]
        for cell in layout.values()
    ]
    data = pa.table([pa.array(column, pa.string()) for column in cells], names=columns)
    name = engine.store(f"SELECT * FROM {engine.register(data)}")
    return Table("purchases.csv", engine, name, engine.describe(name), header=header)


def _cell(rows: list[list[str]], column: int, line: Line) -> str:
    return rows[line.row - 1][column]


def rows_of(engine: Engine, names: list[str], rows: list[list[str]]) -> Table:
    """Return a small table of given cells."""
    cells = {name: partial(_cell, rows, i) for i, name in enumerate(names)}
    return make(
        engine, cells, [Line(i + 1, 0, 0, 0, 0, 0, datetime(2023, 1, 1), 0) for i in range(len(rows))]
    )


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(2**28) as opened:
        yield opened


Chosen = tuple[Columns, tuple[Note, ...]]


def chosen(engine: Engine, layout: Mapping[str, Cell], **options: Any) -> Chosen:
    return choose_columns(make(engine, layout), ReadOptions.of(options))


LAYOUTS: dict[str, tuple[dict[str, Cell], str]] = {
    "instacart, joined": (
        {"order_id": order, "product_id": item, "add_to_cart_order": position, "reordered": one_of("0", "1"),
         "user_id": user, "eval_set": always("prior"), "order_number": lambda x: x.order % 9 + 1,
         "order_dow": one_of("0", "1", "2"), "order_hour_of_day": one_of("08", "09", "17"),
         "product_name": product, "aisle_id": lambda x: x.item % 8, "department_id": lambda x: x.item % 4},
        "user 'user_id', item 'product_id', name 'product_name'",
    ),
    "dunnhumby, the complete journey": (
        {"household_key": user, "BASKET_ID": order, "DAY": lambda x: 1 + x.order // 3, "PRODUCT_ID": item,
         "QUANTITY": quantity, "SALES_VALUE": price, "STORE_ID": one_of("3", "4"), "RETAIL_DISC": always("0.0"),
         "TRANS_TIME": lambda x: x.time.strftime("%H%M").lstrip("0") or "0",
         "WEEK_NO": lambda x: 1 + x.order // 20, "COUPON_DISC": always("0.0"),
         "COUPON_MATCH_DISC": always("0.0")},
        "user 'household_key', item 'PRODUCT_ID', quantity 'QUANTITY'",
    ),
    "dunnhumby, let's get sort-of-real": (
        {"SHOP_WEEK": always("200607"), "SHOP_DATE": lambda x: x.day.replace("-", ""), "SHOP_WEEKDAY": one_of("1", "7"),
         "SHOP_HOUR": one_of("8", "9", "20"), "QUANTITY": quantity, "SPEND": price,
         "PROD_CODE": lambda x: f"PRD{x.item:07}", "PROD_CODE_10": lambda x: f"CL{x.item % 9}",
         "CUST_CODE": lambda x: f"CUST{x.user:010}", "CUST_PRICE_SENSITIVITY": one_of("UM", "LA"),
         "BASKET_ID": order, "BASKET_SIZE": one_of("L", "S"), "STORE_CODE": one_of("STORE1", "STORE2")},
        "user 'CUST_CODE', item 'PROD_CODE', time 'SHOP_DATE', quantity 'QUANTITY'",
    ),
    "ta-feng": (
        {"TRANSACTION_DT": lambda x: x.time.strftime("%m/%d/%Y"), "CUSTOMER_ID": user,
         "AGE_GROUP": one_of("25-29", "30-34"), "PIN_CODE": one_of("105", "115"),
         "PRODUCT_SUBCLASS": lambda x: x.item % 8, "PRODUCT_ID": item, "AMOUNT": quantity, "ASSET": price,
         "SALES_PRICE": price},
        "user 'CUSTOMER_ID', item 'PRODUCT_ID', time 'TRANSACTION_DT', quantity 'AMOUNT'",
    ),
    "ta-feng, chinese": (
        {"交易日期時間": iso, "會員卡號": user, "年齡層": one_of("A", "B"), "區域代碼": one_of("C", "D"),
         "商品分類": lambda x: x.item % 8, "原始商品ID": item, "數量": quantity, "成本": price,
         "銷售金額": price},
        "user '會員卡號', item '原始商品ID', time '交易日期時間', quantity '數量'",
    ),
    "online retail II": (
        {"Invoice": order, "StockCode": item, "Description": product, "Quantity": quantity, "InvoiceDate": iso,
         "Price": price, "Customer ID": user, "Country": always("United Kingdom")},
        "user 'Customer ID', item 'StockCode', time 'InvoiceDate', quantity 'Quantity', name 'Description'",
    ),
    "h&m": (
        {"t_dat": day, "customer_id": user, "article_id": item, "price": price, "sales_channel_id": one_of("1", "2")},
        "user 'customer_id', item 'article_id', time 't_dat'",
    ),
    "retailrocket": (
        {"timestamp": lambda x: x.unix + "736", "visitorid": user, "event": one_of("view", "addtocart", "transaction"),
         "itemid": item, "transactionid": lambda x: x.one_of("17", "18") if x.seed % 9 == 0 else None},
        "user 'visitorid', item 'itemid', time 'timestamp', event 'event'",
    ),
    "olist, joined": (
        {"order_id": order, "customer_id": lambda x: f"c{x.order}", "order_status": one_of("delivered", "canceled"),
         "order_purchase_timestamp": iso, "order_approved_at": later(1),
         "order_delivered_customer_date": later(9), "order_estimated_delivery_date": later(20),
         "customer_unique_id": lambda x: f"u{x.user}", "customer_zip_code_prefix": one_of("1", "2"),
         "order_item_id": position, "product_id": item, "seller_id": one_of("s1", "s2", "s3"),
         "shipping_limit_date": later(3), "price": price, "review_score": rating,
         "review_creation_date": later(12), "product_category_name": kind},
        "user 'customer_unique_id', item 'product_id', time 'order_purchase_timestamp', rating 'review_score', "
        "status 'order_status'",
    ),
    "movielens": (
        {"userId": user, "movieId": item, "rating": rating, "timestamp": unix, "title": product, "genres": kind},
        "user 'userId', item 'movieId', time 'timestamp', name 'title', rating 'rating'",
    ),
    "diginetica": (
        {"session_id": user, "item_id": item, "timeframe": lambda x: x.seed % 9_000_000, "eventdate": day},
        "user 'session_id', item 'item_id', time 'eventdate'",
    ),
    "yoochoose, with names": (
        {"Session ID": user, "Timestamp": lambda x: x.time.isoformat() + ".277Z", "Item ID": item, "Price": price,
         "Quantity": quantity},
        "user 'Session ID', item 'Item ID', time 'Timestamp', quantity 'Quantity'",
    ),
    "last.fm, hetrec": (
        {"userID": user, "artistID": item, "weight": lambda x: x.seed % 5000},
        "user 'userID', item 'artistID'",
    ),
    "last.fm 1k, with names": (
        {"userid": user, "timestamp": lambda x: x.time.isoformat() + "Z", "artid": lambda x: f"a{x.item // 4}",
         "artname": lambda x: f"Band {x.item // 4}", "traid": item, "traname": product},
        "user 'userid', item 'traid', time 'timestamp', name 'traname'",
    ),
    "goodreads": (
        {"user_id": user, "book_id": item, "is_read": one_of("0", "1"), "rating": rating,
         "is_reviewed": one_of("0", "1")},
        "user 'user_id', item 'book_id', rating 'rating'",
    ),
    "goodreads, reviews": (
        {"user_id": user, "book_id": item, "review_id": row, "rating": rating,
         "review_text": one_of("good", "bad", "so so"),
         "date_added": lambda x: x.time.strftime("%a %b %d %H:%M:%S -0700 %Y"),
         "date_updated": lambda x: x.time.strftime("%a %b %d %H:%M:%S -0700 %Y"), "n_votes": one_of("0", "3")},
        "user 'user_id', item 'book_id', time 'date_added', rating 'rating'",
    ),
    "book-crossing": (
        {"User-ID": user, "ISBN": lambda x: f"{x.item:010}", "Book-Rating": one_of("0", "5", "10")},
        "user 'User-ID', item 'ISBN', rating 'Book-Rating'",
    ),
    "anime": (
        {"user_id": user, "anime_id": item, "rating": one_of("-1", "8", "10", "7")},
        "user 'user_id', item 'anime_id', rating 'rating'",
    ),
    "steam, reviews": (
        {"app_id": item, "helpful": one_of("0", "5"), "funny": always("0"), "date": day,
         "is_recommended": one_of("true", "false"), "hours": lambda x: x.seed % 999 / 10, "user_id": user,
         "review_id": row},
        "user 'user_id', item 'app_id', time 'date'",
    ),
    "netflix": (
        {"MovieID": item, "CustomerID": user, "Rating": rating, "Date": day},
        "user 'CustomerID', item 'MovieID', time 'Date', rating 'Rating'",
    ),
    "yelp": (
        {"review_id": row, "user_id": user, "business_id": item, "stars": rating, "useful": one_of("0", "1"),
         "text": one_of("Great", "Bad"), "date": iso},
        "user 'user_id', item 'business_id', time 'date', rating 'stars'",
    ),
    "foursquare": (
        {"userId": user, "venueId": lambda x: f"4bf58dd8d4{x.item:04}", "venueCategoryId": lambda x: f"c{x.item % 8}",
         "venueCategory": kind, "latitude": lambda x: f"40.{x.item:04}",
         "longitude": lambda x: f"-73.{x.item:04}", "timezoneOffset": always("-240"),
         "utcTimestamp": lambda x: x.time.strftime("%a %b %d %H:%M:%S +0000 %Y")},
        "user 'userId', item 'venueId', time 'utcTimestamp'",
    ),
    "amazon reviews, 2018": (
        {"reviewerID": user, "asin": item, "reviewerName": person, "verified": always("True"),
         "reviewText": one_of("a", "b"), "overall": rating, "summary": one_of("Five Stars", "Good"),
         "unixReviewTime": unix, "reviewTime": lambda x: x.time.strftime("%m %-d, %Y")},
        "user 'reviewerID', item 'asin', time 'unixReviewTime', rating 'overall'",
    ),
    "amazon reviews, tsv": (
        {"marketplace": always("US"), "customer_id": user, "review_id": row, "product_id": item,
         "product_parent": lambda x: x.item // 2, "product_title": product, "product_category": kind,
         "star_rating": rating, "helpful_votes": always("0"), "review_headline": one_of("Five Stars", "Good"),
         "review_date": day},
        "user 'customer_id', item 'product_id', time 'review_date', name 'product_title', rating 'star_rating'",
    ),
    "groceries": (
        {"Member_number": user, "Date": lambda x: x.time.strftime("%d-%m-%Y"), "itemDescription": product},
        "user 'Member_number', item 'itemDescription', time 'Date'",
    ),
    "superstore": (
        {"Row ID": row, "Order ID": order, "Order Date": lambda x: x.time.strftime("%-m/%-d/%Y"), "Ship Date": later(2),
         "Ship Mode": always("Standard Class"), "Customer ID": user, "Customer Name": person,
         "Segment": always("Consumer"), "Country": always("US"), "City": one_of("Bonn", "Ulm"),
         "Postal Code": one_of("1", "2"), "Product ID": item, "Category": kind, "Sub-Category": kind,
         "Product Name": product, "Sales": price, "Quantity": quantity, "Discount": always("0.2"),
         "Profit": price},
        "user 'Customer ID', item 'Product ID', time 'Order Date', quantity 'Quantity', name 'Product Name'",
    ),
    "superstore, through R": (
        {"Row.ID": row, "Order.ID": order, "Ship.Date": later(2), "Order.Date": day, "Customer.ID": user,
         "Customer.Name": person, "Product.ID": item, "Product.Name": product, "Quantity": quantity},
        "user 'Customer.ID', item 'Product.ID', time 'Order.Date', quantity 'Quantity', name 'Product.Name'",
    ),
    "adventureworks": (
        {"ProductKey": item, "OrderDateKey": lambda x: x.day.replace("-", ""), "DueDateKey": always("20240101"),
         "ShipDateKey": always("20240101"), "CustomerKey": user, "PromotionKey": one_of("1", "2"),
         "CurrencyKey": one_of("6", "100"), "SalesTerritoryKey": one_of("1", "9"),
         "SalesOrderNumber": lambda x: f"SO{x.order}", "SalesOrderLineNumber": position,
         "RevisionNumber": always("1"), "OrderQuantity": quantity, "UnitPrice": price, "OrderDate": iso,
         "DueDate": later(5), "ShipDate": later(3)},
        "user 'CustomerKey', item 'ProductKey', time 'OrderDate', quantity 'OrderQuantity'",
    ),
    "woocommerce": (
        {"Order Number": order, "Order Status": one_of("Completed", "Cancelled"), "Order Date": iso,
         "Customer Note": empty, "First Name (Billing)": lambda x: x.person.split()[0],
         "Last Name (Billing)": lambda x: x.person.split()[1], "City (Billing)": one_of("Bonn", "Ulm"),
         "Email (Billing)": email, "Payment Method Title": always("PayPal"), "Order Total Amount": price,
         "SKU": sku, "Item #": position, "Item Name": product, "Quantity": quantity, "Item Cost": price,
         "Coupon Code": empty},
        "user 'Email (Billing)', item 'SKU', time 'Order Date', quantity 'Quantity', name 'Item Name', "
        "status 'Order Status'",
    ),
    "woocommerce, guests": (
        {"order_id": order, "date_created": iso, "customer_id": lambda x: 900 + x.user if x.user % 3 == 0 else 0,
         "billing_email": email, "product_id": item, "variation_id": always("0"), "name": product,
         "quantity": quantity},
        "user 'billing_email', item 'product_id', time 'date_created', quantity 'quantity', name 'name'",
    ),
    "magento": (
        {"item_id": row, "order_id": order, "customer_id": user, "created_at": iso, "product_id": item, "sku": sku,
         "name": product, "qty_ordered": quantity, "qty_refunded": always("0.0000"), "qty_invoiced": quantity},
        "user 'customer_id', item 'product_id', time 'created_at', quantity 'qty_ordered', name 'name'",
    ),
    "shopware": (
        {"id": row, "orderID": order, "ordernumber": lambda x: 20000 + x.order, "customernumber": user,
         "ordertime": iso,
         "articleID": item, "articleordernumber": sku, "price": price, "quantity": quantity, "name": product,
         "status": always("0")},
        "user 'customernumber', item 'articleID', time 'ordertime', quantity 'quantity', name 'name'",
    ),
    "prestashop": (
        {"id_order_detail": row, "id_order": order, "id_customer": user, "product_id": item,
         "product_attribute_id": always("0"), "product_name": product, "product_quantity": quantity,
         "product_reference": sku, "date_add": iso, "date_upd": later(4)},
        "user 'id_customer', item 'product_id', time 'date_add', quantity 'product_quantity', "
        "name 'product_name'",
    ),
    "shopify": (
        {"Name": lambda x: f"#{x.order}", "Email": email,
         "Financial Status": lambda x: x.one_of("paid", "refunded") if x.position == 1 else None,
         "Paid at": lambda x: x.iso + " +0100" if x.position == 1 else None,
         "Fulfillment Status": always("fulfilled"), "Fulfilled at": later(1), "Accepts Marketing": always("no"),
         "Created at": lambda x: x.iso + " +0100", "Lineitem quantity": quantity, "Lineitem name": product,
         "Lineitem price": price, "Lineitem sku": sku, "Lineitem requires shipping": always("true"),
         "Lineitem fulfillment status": always("fulfilled"), "Billing Name": person, "Cancelled at": empty,
         "Vendor": always("Shop"), "Id": order, "Phone": empty},
        "user 'Email', item 'Lineitem sku', time 'Created at', quantity 'Lineitem quantity', name 'Lineitem name', "
        "status 'Financial Status'",
    ),
    "square": (
        {"Date": day, "Time": lambda x: x.iso[11:], "Time Zone": always("Eastern Time"), "Category": kind,
         "Item": product, "Qty": quantity, "Price Point Name": always("Regular"), "SKU": empty,
         "Gross Sales": price, "Discounts": always("0.00"), "Transaction ID": order, "Payment ID": order,
         "Event Type": one_of("Payment", "Refund"), "Location": always("Main"), "Customer ID": user,
         "Customer Name": person, "Unit": always("ea"), "Count": quantity},
        "user 'Customer ID', item 'Item', time 'Date', clock 'Time', quantity 'Qty', event 'Event Type'",
    ),
    "amazon seller, shipments": (
        {"amazon-order-id": order, "amazon-order-item-id": row, "purchase-date": iso, "payments-date": later(1),
         "buyer-email": email, "buyer-name": person, "sku": sku, "product-name": product,
         "quantity-purchased": quantity, "item-price": price},
        "user 'buyer-email', item 'sku', time 'purchase-date', quantity 'quantity-purchased', "
        "name 'product-name'",
    ),
    "ebay": (
        {"Sales Record Number": row, "Order Number": order, "Buyer Username": lambda x: f"kim_{x.user}",
         "Buyer Name": person, "Buyer Email": email, "Buyer Note": empty, "Item Number": item,
         "Item Title": product, "Custom Label": sku, "Quantity": quantity, "Sold For": price,
         "Sale Date": lambda x: x.time.strftime("%b-%d-%y"),
         "Paid On Date": lambda x: x.time.strftime("%b-%d-%y")},
        "user 'Buyer Username', item 'Item Number', time 'Sale Date', quantity 'Quantity', name 'Item Title'",
    ),
    "etsy": (
        {"Sale Date": lambda x: x.time.strftime("%m/%d/%y"), "Item Name": product, "Buyer": lambda x: f"kim_{x.user}",
         "Quantity": quantity, "Price": price, "Date Shipped": lambda x: x.time.strftime("%m/%d/%y"),
         "Listing ID": item, "Order ID": order, "Transaction ID": row, "SKU": empty},
        "user 'Buyer', item 'Listing ID', time 'Sale Date', quantity 'Quantity', name 'Item Name'",
    ),
    "sap, tables": (
        {"VBELN": order, "POSNR": lambda x: f"{x.position * 10:06}", "KUNNR": user, "MATNR": item, "ARKTX": product,
         "KWMENG": lambda x: f"{x.quantity},000", "VRKME": always("ST"),
         "ERDAT": lambda x: x.day.replace("-", "")},
        "user 'KUNNR', item 'MATNR', time 'ERDAT', quantity 'KWMENG', name 'ARKTX'",
    ),
    "sap, english": (
        {"Sales Document": order, "Item": lambda x: x.position * 10, "Customer": user, "Material": item,
         "Description": product, "Order Quantity": lambda x: f"{x.quantity},000", "SU": always("ST"),
         "Created On": lambda x: x.time.strftime("%d.%m.%Y")},
        "user 'Customer', item 'Material', time 'Created On', quantity 'Order Quantity', name 'Description'",
    ),
    "sap, german": (
        {"Verkaufsbeleg": order, "Position": lambda x: x.position * 10, "Auftraggeber": user, "Material": item,
         "Bezeichnung": product, "Auftragsmenge": lambda x: f"{x.quantity},000", "ME": always("ST"),
         "Angelegt am": lambda x: x.time.strftime("%d.%m.%Y")},
        "user 'Auftraggeber', item 'Material', time 'Angelegt am', quantity 'Auftragsmenge', "
        "name 'Bezeichnung'",
    ),
    "business central": (
        {"Document No.": order, "Line No.": lambda x: x.position * 10000, "Sell-to Customer No.": user,
         "Posting Date": lambda x: x.time.strftime("%m/%d/%y"), "Item No.": item, "Description": product,
         "Quantity": quantity, "Unit of Measure": always("PCS"),
         "Shipment Date": lambda x: x.time.strftime("%m/%d/%y")},
        "user 'Sell-to Customer No.', item 'Item No.', time 'Posting Date', quantity 'Quantity', "
        "name 'Description'",
    ),
    "dynamics 365": (
        {"SALESID": order, "LINENUM": position, "CUSTACCOUNT": user, "ITEMID": item, "NAME": product,
         "SALESQTY": quantity, "CREATEDDATETIME": iso, "SALESPRICE": price},
        "user 'CUSTACCOUNT', item 'ITEMID', time 'CREATEDDATETIME', quantity 'SALESQTY', name 'NAME'",
    ),
    "google analytics 4": (
        {"event_date": lambda x: x.day.replace("-", ""), "event_timestamp": lambda x: x.unix + "000000",
         "event_name": one_of("view_item", "add_to_cart", "purchase"), "user_id": empty,
         "user_pseudo_id": lambda x: f"{x.user}.1685",
         "user_first_touch_timestamp": lambda x: f"16{x.user:08}000000", "items.item_id": sku,
         "items.item_name": product, "items.quantity": quantity},
        "user 'user_pseudo_id', item 'items.item_id', time 'event_timestamp', quantity 'items.quantity', "
        "name 'items.item_name', event 'event_name'",
    ),
    "universal analytics": (
        {"fullVisitorId": user, "visitId": lambda x: 1600000000 + x.order, "date": lambda x: x.day.replace("-", ""),
         "hits.product.productSKU": sku, "hits.product.v2ProductName": product,
         "hits.product.productQuantity": quantity},
        "user 'fullVisitorId', item 'hits.product.productSKU', time 'date', quantity 'hits.product.productQuantity', "
        "name 'hits.product.v2ProductName'",
    ),
    "bigcommerce": (
        {"Order ID": order, "Order Date": lambda x: x.time.strftime("%d/%m/%Y"), "Order Time": lambda x: x.iso[11:],
         "Order Status": one_of("Completed", "Refunded"), "Customer ID": user, "Customer Name": person,
         "Customer Email": email, "Product ID": item, "Product SKU": sku, "Product Name": product,
         "Product Quantity": quantity, "Date Shipped": later(2)},
        "user 'Customer ID', item 'Product ID', time 'Order Date', clock 'Order Time', "
        "quantity 'Product Quantity', name 'Product Name', status 'Order Status'",
    ),
    "german": (
        {"Bestellnummer": order, "Kunden-Nr.": user, "Artikel-Nr.": item, "Artikelbezeichnung": product,
         "Stückzahl": quantity, "Bestelldatum": lambda x: x.time.strftime("%d.%m.%Y"),
         "Uhrzeit": lambda x: x.iso[11:16], "Lieferdatum": later(3)},
        "user 'Kunden-Nr.', item 'Artikel-Nr.', time 'Bestelldatum', clock 'Uhrzeit', quantity 'Stückzahl', "
        "name 'Artikelbezeichnung'",
    ),
    "french": (
        {"N° commande": order, "Code client": user, "Référence produit": item, "Désignation": product,
         "Quantité": quantity, "Date de commande": lambda x: x.time.strftime("%d/%m/%Y"),
         "Date de livraison": later(3)},
        "user 'Code client', item 'Référence produit', time 'Date de commande', quantity 'Quantité', "
        "name 'Désignation'",
    ),
    "spanish": (
        {"Nº pedido": order, "ID Cliente": user, "Código de artículo": item, "Descripción": product,
         "Cantidad": quantity, "Fecha de compra": lambda x: x.time.strftime("%d/%m/%Y")},
        "user 'ID Cliente', item 'Código de artículo', time 'Fecha de compra', quantity 'Cantidad', "
        "name 'Descripción'",
    ),
    "portuguese": (
        {"Pedido": order, "Código do Cliente": user, "Código do Produto": item, "Nome do Produto": product,
         "Qtde": quantity, "Data da compra": lambda x: x.time.strftime("%d/%m/%Y")},
        "user 'Código do Cliente', item 'Código do Produto', time 'Data da compra', quantity 'Qtde', "
        "name 'Nome do Produto'",
    ),
    "italian": (
        {"Numero ordine": order, "Codice cliente": user, "Codice articolo": item, "Descrizione": product,
         "Quantità": quantity, "Data ordine": lambda x: x.time.strftime("%d/%m/%Y")},
        "user 'Codice cliente', item 'Codice articolo', time 'Data ordine', quantity 'Quantità', "
        "name 'Descrizione'",
    ),
    "dutch": (
        {"Bestelnummer": order, "Klantnummer": user, "Artikelnummer": item, "Omschrijving": product, "Aantal": quantity,
         "Besteldatum": lambda x: x.time.strftime("%d-%m-%Y")},
        "user 'Klantnummer', item 'Artikelnummer', time 'Besteldatum', quantity 'Aantal', name 'Omschrijving'",
    ),
    "japanese": (
        {"注文番号": order, "会員番号": user, "商品コード": item, "商品名": product, "数量": quantity,
         "購入日時": lambda x: x.time.strftime("%Y年%m月%d日")},
        "user '会員番号', item '商品コード', time '購入日時', quantity '数量', name '商品名'",
    ),
    "chinese": (
        {"订单编号": order, "用户编号": user, "商品编号": item, "商品名称": product, "购买数量": quantity,
         "下单时间": iso, "用户名": person, "订单状态": one_of("已完成", "已取消")},
        "user '用户编号', item '商品编号', time '下单时间', quantity '购买数量', name '商品名称', "
        "status '订单状态'",
    ),
    "nested": (
        {"id": order, "created_at": iso, "customer.id": user, "customer.email": email, "line_items.id": row,
         "line_items.product_id": item, "line_items.title": product, "line_items.quantity": quantity},
        "user 'customer.id', item 'line_items.product_id', time 'created_at', quantity 'line_items.quantity', "
        "name 'line_items.title'",
    ),
    "players of games": (
        {"player_id": user, "game_id": item, "played_at": iso},
        "user 'player_id', item 'game_id', time 'played_at'",
    ),
    "players as items": (
        {"user_id": user, "player_id": item, "date": day},
        "user 'user_id', item 'player_id', time 'date'",
    ),
    "an id that is left over": (
        {"customer": user, "plant_id": item, "city": one_of("Bonn", "Ulm"), "bought_at": iso},
        "user 'customer', item 'plant_id', time 'bought_at'",
    ),
    "a time that only values tell": (
        {"customer": user, "product": item, "Kaufzeitraum": iso},
        "user 'customer', item 'product', time 'Kaufzeitraum'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(engine: Engine, name: str) -> None:
    layout, expected = LAYOUTS[name]
    columns, _ = chosen(engine, layout)
    assert str(columns) == expected


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_order_of_columns_does_not_count(engine: Engine, name: str) -> None:
    layout, expected = LAYOUTS[name]
    columns, _ = chosen(engine, dict(reversed(layout.items())))
    assert str(columns) == expected


ORDERS: dict[str, Cell] = {"order_id": order, "order_date": iso}


def test_a_given_column_wins(engine: Engine) -> None:
    layout: dict[str, Cell] = {
        "user_id": user,
        "buyer": person,
        "item_id": item,
        "title": product,
        "date": iso,
        "count": quantity,
    }
    given = {"user_column": "buyer", "item_column": "title", "quantity_column": "", "rating_column": "count"}
    columns, notes = chosen(engine, layout, **given)
    # the title is taken, so it is not the name as well; the quantity was declined
    assert str(columns) == "user 'buyer', item 'title', time 'date', rating 'count'"
    assert notes == ()
    assert chosen(engine, layout, time_column="", **given)[0].time is None
    assert chosen(engine, layout, confidence_column="count")[0].confidence == "count"


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (["a", "item_id"], {}, r"the user \(who bought\); name it with --user-column; found: 'a', 'item_id'"),
        (["a", "user"], {}, r"the item \(what was bought\); name it with --item-column"),
        (["a", "b"], {}, "--user-column and --item-column; found: 'a', 'b'"),
        (
            ["user", "item"],
            {"time_column": "wen"},
            "--time-column names 'wen', which the table does not have; found",
        ),
        (["user", "item"], {"user_column": "User"}, "did you mean 'user'"),
        (["customer", "item"], {"user_column": "custmer"}, "did you mean 'customer'"),
        (["user", "item"], {"user_column": "item", "item_column": "item"}, "both be column 'item'"),
        (["user", "item"], {"user_column": ""}, "--user-column names ''"),
        (
            ["user", "item"],
            {"columns": ("user", "item", "time")},
            "names 3 columns, but there are 2: leave 1 out",
        ),
        (["a", "b", "c"], {"columns": ("user", "item", "user")}, "names 'user' twice"),
        (["a", "b", "c"], {"columns": ("user", "-", "price")}, r"the item \(what was bought\)"),
    ],
)
def test_columns_that_do_not_serve(
    engine: Engine, names: list[str], given: dict[str, Any], message: str
) -> None:
    table = rows_of(engine, names, [["a", "x", "1"], ["b", "y", "2"]])
    with pytest.raises(ColumnError, match=message):
        choose_columns(table, ReadOptions.of(given))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["userId", "movieId", "rating", "timestamp"],
            "user 'userId', item 'movieId', time 'timestamp', rating 'rating'",
        ),
        (["product", "product_id", "CUSTOMER"], "user 'CUSTOMER', item 'product_id'"),
        (["item-id", "user", "user_id"], "user 'user_id', item 'item-id'"),
        (["date", "time", "item", "user"], "user 'user', item 'item', time 'date'"),
        (["user_id", "basket", "item_id"], "user 'user_id', item 'item_id'"),
        (["user", "item", "qty", "when"], "user 'user', item 'item', quantity 'qty'"),
    ],
)
def test_names_decide_where_there_are_hardly_any_values(
    engine: Engine, names: list[str], expected: str
) -> None:
    table = rows_of(engine, names, [["3", "1", "4", "1"], ["5", "9", "2", "6"]])
    columns, notes = choose_columns(table, ReadOptions())
    assert str(columns).replace(", name 'product'", "") == expected
    assert not any(note.doubt for note in notes)


def test_a_basket_column_is_chosen_only_where_it_is_asked_for(engine: Engine) -> None:
    layout: dict[str, Cell] = {
        "user": user,
        "item": item,
        "basket": order,
        "Order Number": order,
        "invoice": order,
    }
    assert chosen(engine, layout)[0].basket is None
    assert chosen(engine, layout, baskets=True)[0].basket == "Order Number"
    assert chosen(engine, layout, baskets=True, item_column="Order Number")[0].basket == "basket"
    with_date = layout | {"date": iso}
    assert chosen(engine, with_date, baskets=True)[0].basket is None
    assert chosen(engine, with_date, baskets=True, basket_column="invoice")[0].basket == "invoice"
    # no name stands for two roles
    assert not set(BASKET_NAMES) & {name for known in KNOWN_NAMES.values() for name in known}


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        # the cashier is no customer
        (
            {"user_id": lambda x: x.seed % 5, "customer_id": user, "item": item},
            "'user_id' and 'customer_id' may both say who bought, and they do not go together; choose one with "
            "--user-column user_id or --user-column customer_id",
        ),
        (
            {"customer": user, "product_id": item, "Article No": lambda x: x.seed % 90},
            "'product_id' and 'Article No' may both say what was bought, and they do not go together; choose one with "
            "--item-column product_id or --item-column 'Article No'",
        ),
    ],
)  # fmt: skip
def test_two_columns_that_mean_different_models_stop(
    engine: Engine, layout: dict[str, Cell], text: str
) -> None:
    with pytest.raises(ColumnError) as caught:
        chosen(engine, layout)
    assert str(caught.value) == f"'purchases.csv': {text}"


@pytest.mark.parametrize(
    ("layout", "expected", "code", "said"),
    [
        # a household of two customers
        (
            {"customer_id": user, "household_id": lambda x: x.user // 2, "item": item},
            "customer_id", "user-alternative", "user 'customer_id'; 'household_id' would fit as well; --user-column hous",
        ),
        # a product in three sizes
        (
            {"customer_id": user, "product_id": lambda x: x.item // 3, "sku": sku},
            "product_id", "item-alternative", "item 'product_id'; 'sku' would fit as well; --item-column sku takes it",
        ),
        (
            {"user": user, "item": item, "order_date": iso, "purchase_date": lambda x: x.later(x.seed % 40)[:10]},
            "order_date", "time-alternative", "'purchase_date' would fit as well; --time-column purchase_date takes it",
        ),
        # the review's title; the customer's name
        (
            {"user": user, "asin": item, "title": one_of("Good", "Bad", "So so"), "rating": rating},
            None, "name-not-of-item", "'title' is something else, not the item's name: 45% of the rows carry",
        ),
        (
            {"customer": user, "product_id": item, "name": person},
            None, "name-not-of-item", "'name' is the name of the user ('customer'), not the item's name",
        ),
        (
            {"customer": user, "item": row, "price": price},
            "item", "item-one-a-row", "item 'item' has a value of its own in every row",
        ),
        (
            {"Customer Name": person, "Product": product},
            "Customer Name", "user-by-name", "nothing but their names ('Customer Name') tells users apart",
        ),
        (
            {"customer": user, "item": item, "units": one_of("kg", "l"), "sold": quantity},
            "sold", "quantity-text", "'units' holds no numbers ('l', 'kg'), so the quantity is 'sold'",
        ),
        (
            {"customer": user, "item": item, "behavior_type": rating},
            None, "event-codes", "'behavior_type' may say what users did (",
        ),
        (
            {"customer": user, "item": item, "date": one_of("spring", "autumn")},
            "date", "times-unreadable", "'date' holds nothing that is known as a time ('",
        ),
        (
            {"customer": user, "sku": lambda x: x.sku if x.seed % 5 else None, "product_name": product},
            "sku", "item-alternative", "item 'sku' is empty in 2",
        ),
    ],
)  # fmt: skip
def test_what_was_decided_is_said(
    engine: Engine, layout: dict[str, Cell], expected: str | None, code: str, said: str
) -> None:
    columns, notes = chosen(engine, layout)
    note = next(note for note in notes if note.code == code)
    assert said in str(note)
    assert note.column in layout
    if expected is not None:
        assert expected in columns.used()
    else:
        assert note.column not in columns.used()


def test_baskets_stand_for_users_where_the_table_stands_by_itself(engine: Engine) -> None:
    layout: dict[str, Cell] = {
        "Date": day,
        "Time": lambda x: x.iso[11:],
        "Transaction": order,
        "Item": product,
    }
    columns, notes = chosen(engine, layout)
    assert str(columns) == "user 'Transaction', item 'Item', time 'Date', clock 'Time'"
    assert [note.code for note in notes] == ["baskets-as-users"]
    assert chosen(engine, layout, user_column="Transaction") == (columns, ())


def test_an_item_that_numbers_the_lines_is_never_taken(engine: Engine) -> None:
    layout: dict[str, Cell] = {
        "order": order,
        "customer": user,
        "item": lambda x: x.position * 10,
        "order_date": iso,
    }
    with pytest.raises(ColumnError, match=r"'order'.*no column says what was bought.*--orders"):
        chosen(engine, layout)
    columns, (note,) = chosen(engine, layout, item_column="item")
    assert columns.item == "item"
    assert (note.doubt, note.code) == (True, "item-restarts")
    # the same numbers are items where they do not begin anew
    columns, _ = chosen(engine, layout | {"item": lambda x: x.item * 10})
    assert columns.item == "item"


def beside(
    engine: Engine, folder: Path, names: dict[str, dict[str, Cell]], lines: dict[str, list[Line]]
) -> list[Table]:
    """Return tables that were written into files of a folder."""
    tables = []
    for name, layout in names.items():
        rows = [",".join(layout), *(",".join(str(cell(x)) for cell in layout.values()) for x in lines[name])]
        (folder / name).write_text("\n".join(rows) + "\n")
        table = make(engine, layout, lines[name])
        tables.append(replace(table, name=str(folder / name), files=(folder / name,)))
    return tables


def test_orders_and_their_lines_name_each_other(engine: Engine, tmp_path: Path) -> None:
    once = [x for x in LINES if x.position == 1]
    other = [replace(x, order=x.order + 10**6) for x in LINES]
    orders, lines, _, _ = beside(
        engine, tmp_path,
        {
            "all orders.csv": {"order_id": order, "user_id": user, "order_number": lambda x: x.order % 7},
            "lines.csv": {"order_id": order, "product_id": item, "add_to_cart_order": position},
            "another_shop.csv": {"order_id": order, "product_id": item, "add_to_cart_order": position},
            "items.csv": {"product_id": item, "product_name": product},
        },
        {"all orders.csv": once, "lines.csv": LINES, "another_shop.csv": other, "items.csv": once},
    )  # fmt: skip
    command = f"recae train {tmp_path}/lines.csv --orders '{tmp_path}/all orders.csv'"
    with pytest.raises(ColumnError) as caught:
        choose_columns(orders, ReadOptions())
    assert (
        "says who ordered, in 'order_id', but no column says what was bought: "
        f"join the table of the orders' items: {command};" in str(caught.value)
    )
    with pytest.raises(ColumnError) as caught:
        choose_columns(lines, ReadOptions())
    assert f"but no column says by whom: join the table of the orders: {command};" in str(caught.value)
    assert choose_columns(lines, ReadOptions(user_column="order_id"))[0].user == "order_id"


def test_orders_without_their_lines_at_hand(engine: Engine) -> None:
    once = [x for x in LINES if x.position == 1]
    layout: dict[str, Cell] = {
        "order_id": order,
        "customer_id": user,
        "order_status": one_of("delivered"),
        "order_date": iso,
    }
    with pytest.raises(ColumnError, match=r"recae train order_items.csv --orders purchases.csv;"):
        choose_columns(make(engine, layout, once), ReadOptions())


@pytest.mark.parametrize("header", [True, False])
def test_a_table_of_items_is_no_purchases(engine: Engine, header: bool) -> None:
    items = list({x.item: x for x in LINES}.values())
    table = make(engine, {"movieId": item, "title": product, "genres": kind}, items, header)
    with pytest.raises(
        ColumnError, match=r"a table of items, not of purchases.*recae train purchases.csv --items purch"
    ):
        choose_columns(table, ReadOptions())


HEADERLESS: dict[str, tuple[list[Cell], str, str]] = {
    "movielens": ([user, item, rating, unix], "user '1', item '2', time '4', rating '3'", "user,item,rating,time"),
    "ncf": ([lambda x: x.user, lambda x: x.item, rating, unix], "user '1', item '2', time '4', rating '3'",
            "user,item,rating,time"),
    "pairs": ([lambda x: x.user, lambda x: x.item], "user '1', item '2'", "user,item"),
    "user behaviour": ([user, item, lambda x: x.item % 8, one_of("pv", "buy", "cart", "fav"), unix],
                       "user '1', item '2', time '5', event '4'", "user,item,-,event,time"),
    "steam": ([user, product, one_of("purchase", "play"), lambda x: x.seed % 99 / 10, always("0")],
              "user '1', item '2', event '3'", "user,item,event"),
    "yoochoose clicks": ([order, lambda x: x.time.isoformat() + ".277Z", item, one_of("0", "S", "1")],
                         "user '1', item '3', time '2'", "user,time,item"),
    "gowalla": ([user, lambda x: x.time.isoformat() + "Z", lambda x: f"30.{x.item:05}", lambda x: f"-97.{x.item:05}",
                 item],
                "user '1', item '5', time '2'", "user,time,-,-,item"),
    "last.fm": ([lambda x: f"user_{x.user:06}", lambda x: x.time.isoformat() + "Z", lambda x: f"a{x.item // 4}",
                 lambda x: f"Band {x.item // 4}", item, product],
                "user '1', item '5', time '2'", "user,time,-,-,item"),
    "amazon ratings": ([lambda x: f"A{x.user:011}ZQ", lambda x: f"B0{x.item:08}", rating, unix],
                       "user '1', item '2', time '4', rating '3'", "user,item,rating,time"),
    "amazon ratings, 2018": ([lambda x: f"B0{x.item:08}", lambda x: f"A{x.user:011}ZQ", rating, unix],
                             "user '2', item '1', time '4', rating '3'", "item,user,rating,time"),
    "foursquare": ([user, sku, lambda x: f"c{x.item % 8}", kind, lambda x: f"40.{x.item:04}",
                    lambda x: f"-73.{x.item:04}", always("-240"),
                    lambda x: x.time.strftime("%a %b %d %H:%M:%S +0000 %Y")],
                   "user '1', item '2', time '8'", "user,item,-,-,-,-,-,time"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERLESS)
def test_known_layouts_without_a_header(engine: Engine, name: str) -> None:
    cells, expected, named = HEADERLESS[name]
    table = make(engine, {str(i): cell for i, cell in enumerate(cells, 1)}, header=False)
    columns, notes = choose_columns(table, ReadOptions())
    assert str(columns) == expected
    (note,) = notes
    assert note.code == "columns-by-position"
    assert f"--columns {named} " in str(note)
    # the advice says what was chosen, and nothing is left to say then
    assert choose_columns(table, ReadOptions(columns=tuple(named.split(",")))) == (columns, ())


def test_columns_by_position(engine: Engine) -> None:
    cells: dict[str, Cell] = {"1": rating, "2": item, "3": price, "4": user, "5": unix, "6": product}
    table = make(engine, cells, header=False)
    options = ReadOptions(columns=("rating", "item", "price", "user", "", "product_name"))
    columns, notes = choose_columns(table, options)
    assert str(columns) == "user '4', item '2', name '6', rating '1'"
    assert notes == ()
    named = name_columns(table, options)
    assert named.columns == ["rating", "item", "price", "user", "5", "product_name"]
    columns, notes = choose_columns(named, options)
    assert str(columns) == "user 'user', item 'item', name 'product_name', rating 'rating'"
    assert engine.rows(f"SELECT price, user FROM {named.relation} LIMIT 1") == [
        (LINES[0].price, LINES[0].user_id)
    ]
    assert name_columns(named, options) is named
    # an option may call a column by either name
    assert choose_columns(table, options.updated(name_column="price"))[0].name == "3"
    assert choose_columns(table, options.updated(name_column="3"))[0].name == "3"
    with pytest.raises(ColumnError, match="--columns names '5', which another column is called"):
        name_columns(table, ReadOptions(columns=("user", "item", "5")))


def test_names_alone_choose_a_column() -> None:
    known = KNOWN_NAMES["item"]
    assert choose_column(["x", "StockCode"], None, "item", known, "t.csv") == "StockCode"
    assert choose_column(["x", "Artikel-Nr."], None, "item", known, "t.csv") == "Artikel-Nr."
    assert choose_column(["x", "item"], "x", "item", known, "t.csv") == "x"
    with pytest.raises(
        ColumnError, match=r"'t.csv': no column is recognised as the item; name it with --item-column"
    ):
        choose_column(["x", "y"], None, "item", known, "t.csv")
    with pytest.raises(ColumnError, match="the item column 'z' is not in the table"):
        choose_column(["x", "y"], "z", "item", known, "t.csv")
    with pytest.raises(ColumnError, match="the item column 'x' occurs 2 times"):
        choose_column(["x", "x"], "x", "item", known, "t.csv")


def test_the_column_of_orders(engine: Engine) -> None:
    layout: dict[str, Cell] = {
        "transaction_id": row,
        "order_number": lambda x: x.order % 7,
        "Bestellnummer": order,
        "user": user,
    }
    table = make(engine, layout)
    assert find_order(table) == "Bestellnummer"
    assert find_order(table, taken=["Bestellnummer"]) == "order_number"
    assert find_order(make(engine, {"user": user, "item": item})) is None


def test_types_of_their_own_count(engine: Engine) -> None:
    name = engine.store(
        "SELECT 'u' || (i % 30) AS who_bought, i % 7 AS article_id, DATE '2023-01-04' + (i % 90)::INT AS bought, "
        "TIME '15:17:00' + to_minutes(i % 300) AS time, [i, i] AS items, {'id': i} AS customer FROM range(600) t(i)"
    )
    table = Table("t.parquet", engine, name, engine.describe(name))
    columns, _ = choose_columns(table, ReadOptions(user_column="who_bought"))
    assert str(columns) == "user 'who_bought', item 'article_id', time 'bought', clock 'time'"


def test_many_columns_are_not_all_looked_at(engine: Engine) -> None:
    wide = {f"c{i}": one_of("a", "b") for i in range(2000)} | {"customer": user, "item": item}
    table = make(engine, wide, LINES[:40])
    assert choose_columns(table, ReadOptions())[0].item == "item"


@pytest.mark.parametrize(
    ("forms", "words"),
    [
        (("Order Date", "order_date", "OrderDate", "ORDER-DATE", "order.date"), ("order", "date")),
        (("CustomerID", "customer_id", "Customer  Id"), ("customer", "id")),
        (("顧客ID", "顧客 id"), ("顧客", "id")),
        (("Quantité",), ("quantite",)),
        (("E-Mail", "email", "e_mail"), ("email",)),
        (("Item #", "item no"), ("item", "no")),
        (("Straße",), ("strasse",)),
        (("コード",), ("コード",)),
    ],
)
def test_words_of_names(forms: tuple[str, ...], words: tuple[str, ...]) -> None:
    assert {split_words(form) for form in forms} == {words}


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("user", "Kundennummer Kd-Nr. KundenNr Debitor-Nr. client_code numero_cliente klantnummer cust_id 客户编号 "
         "お客様番号 Käufer memberId household_key patient_id Mitgliedsnummer user_hash "
         "anonymous_id 用户ID buyer username"),
        ("item", "ProductKey product-code ArtNr Warennummer reference_produit id_producto codigo_produto "
         "codice_articolo 商品编号 製品番号 品番 hotel_id recipeId isbn13 EAN-Code sku_code beer_id "
         "video_id place_id Material"),
        ("time", "Bestelldatum Rechnungsdatum fecha_pedido data_ordine date_commande 注文日 下单时间 "
         "purchasedAt created orderdate transaction_dt event_time_utc Buchungsdatum"),
        ("quantity", "Menge Bestellmenge Stück qtd qté cantidad quantità aantal 数量 購入数 qty_ordered no_of_units"),
        ("name", "Artikelbezeichnung Produktname nom_produit nombre_producto descrizione_articolo omschrijving "
         "商品名称 品名"),
        ("basket", "Belegnr Bestellnummer n_commande numero_pedido numero_ordine 注文番号 订单号 bon_id InvoiceNo"),
    ],
)  # fmt: skip
def test_names_of_a_role(role: str, names: str) -> None:
    assert [name for name in names.split() if Name(name).preference(role) is None] == []


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("user", "seller_id store_id country customer_city customer_segment user_agent user_rating customer_since"),
        ("item", "order_item_id line_item_id category_id product_category item_count product_type item_price store_id"),
        ("time", "birth_date date_of_birth release_date registration_date cancelled_at first_visit_date "
         "last_login time_zone"),
        ("quantity", "qty_refunded quantity_in_stock stock_quantity returned_qty unit_price"),
        ("name", "customer_name brand_name category_name first_name store_name username"),
        ("basket", "order_date order_item_id order_status order_total invoice_amount add_to_cart_order"),
    ],
)  # fmt: skip
def test_names_of_other_things(role: str, names: str) -> None:
    assert [name for name in names.split() if (p := Name(name).preference(role)) is not None and p < 4] == []


def test_a_number_of_sales_is_no_order(engine: Engine) -> None:
    layout: dict[str, Cell] = {"date": day, "store": one_of("1", "2"), "item": item, "sales": quantity}
    with pytest.raises(ColumnError, match=r"the user \(who bought\); name it with --user-column"):
        chosen(engine, layout)
    # nor is the kind of a transaction, nor what an order came to
    for word in (one_of("sale", "refund"), price):
        with pytest.raises(ColumnError, match=r"the user \(who bought\); name it with --user-column"):
            chosen(engine, {"date": day, "Transaction": word, "item": item})


def test_orders_with_a_user_each_are_said(engine: Engine) -> None:
    layout: dict[str, Cell] = {"order_id": order, "customer_id": lambda x: f"c{x.order}", "product_id": item}
    columns, notes = chosen(engine, layout)
    assert columns.user == "customer_id"
    assert [note.code for note in notes] == ["user-one-an-order"]
    assert "nearly every 'order_id' has a 'customer_id' of its own" in str(notes[0])


def test_users_that_are_mostly_missing_are_said(engine: Engine) -> None:
    layout: dict[str, Cell] = {
        "session_id": order,
        "user_id": lambda x: x.user_id if x.user % 4 == 0 else None,
        "item_id": item,
        "eventdate": day,
    }
    columns, (note,) = chosen(engine, layout)
    assert columns.user == "user_id"
    assert note.doubt
    assert re.fullmatch(
        r"user 'user_id' is missing in 7\d% of the rows; --user-column session_id lets each of its values .*",
        str(note),
    )


def test_row_numbers_without_a_header_are_no_users(engine: Engine) -> None:
    table = make(engine, {"1": row, "2": user, "3": item, "4": unix}, header=False)
    columns, (note,) = choose_columns(table, ReadOptions())
    assert str(columns) == "user '2', item '3', time '4'"
    assert note.doubt
    assert "--columns -,user,item,time " in str(note)


@pytest.mark.parametrize(
    "form",
    ["%Y-%m-%d %H:%M:%S", "%d.%m.%Y", "%-m/%-d/%y", "%d-%b-%Y", "%b %d, %Y %I:%M %p", "%a, %d %b %Y %H:%M:%S GMT",
     "%Y%m%d", "%Y%m%d%H%M%S", "%s", "%s000", "%m %-d, %Y", "%-d. Januar %Y", "%-d de mayo de %Y", "%-d août %Y",
     "%Y年%m月%d日", "%Y. %m. %d", "%Y/%m/%d", "%Y%m%dT%H%M%S"],
)  # fmt: skip
def test_values_that_are_times(engine: Engine, form: str) -> None:
    columns, _ = chosen(
        engine, {"user": user, "item": item, "ordered": lambda x: x.time.strftime(form), "date": kind}
    )
    named, _ = chosen(
        engine, {"user": user, "item": item, "order_date": lambda x: x.time.strftime(form), "date": kind}
    )
    assert named.time == "order_date"
    # a name that says nothing needs values that say it all
    assert columns.time == ("date" if form in ("%Y%m%d", "%Y%m%d%H%M%S", "%s", "%s000") else "ordered")


@pytest.mark.parametrize(
    "product",
    ["Set of {} mugs", "Marble cake {} 12", "SET 3 MAR {}", "12{:02}-56-789", "978-3-16-14{:04}-0", "12-{:02}-5678",
     "May {} teas", "{}.50 mm", "March of the Penguins {} (2005)", "1-800-{:03}", "2001: A Space Odyssey {}"],
)  # fmt: skip
def test_values_that_are_no_times(engine: Engine, product: str) -> None:
    layout: dict[str, Cell] = {
        "user": user,
        "item": item,
        "item_name": lambda x: product.format(x.item),
        "date": day,
    }
    columns, notes = chosen(engine, layout)
    assert str(columns) == "user 'user', item 'item', time 'date', name 'item_name'"
    assert notes == ()
    assert chosen(engine, layout | {"item": empty})[0].item == "item_name"


def test_a_table_without_rows_is_understood_by_its_names(engine: Engine) -> None:
    table = make(engine, {"Customer ID": user, "StockCode": item, "Quantity": quantity}, [])
    assert str(choose_columns(table, ReadOptions())[0]) == "user 'Customer ID', item 'StockCode'"


def test_few_rows_do_not_refuse_a_name_or_a_quantity(engine: Engine) -> None:
    rows = [["a", "x", "Old", "0"], ["b", "x", "New", "x"], ["c", "y", "Other", "kg"]]
    columns, notes = choose_columns(rows_of(engine, ["user", "item", "name", "qty"], rows), ReadOptions())
    assert str(columns) == "user 'user', item 'item', quantity 'qty', name 'name'"
    assert notes == ()
