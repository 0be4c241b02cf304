"""Tables in the layouts of public data sets and of shops' exports, all with the same lines of orders."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter
from typing import Any

import pyarrow as pa

from recae.reading.engine import Engine
from recae.reading.table import Table

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
