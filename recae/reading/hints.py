"""What the names of columns and lists hint at, where a layout is to be told: users, baskets, items and their lists.

A hint is weaker than the known names of a role: it says that a column may be of this kind, and the values decide.
"""

from __future__ import annotations

import re
from typing import Final

from recae.reading.names import Name

_ANY_NAME: Final = 5  # the preference from which on an item's name is one such as "title"
_ITEM_LIST: Final = re.compile(
    r"(^|_)items(_list|_ids?)?$|item_(list|ids)$|itens|(^|_)lines$|products(_list|_ids?)?$|product_(list|ids)$"
    r"|(^|_)(line|cart|order|basket|lineitem)_?(items?|lines?|products?|entries)$|produkte|produits|productos|prodotti"
    r"|produtos|artikelliste|artikel_?liste|articles(_ids?)?$|articoli|articulos|artigos|positionen|posten|goods|skus$|asins$"
    r"|(^|_)(basket|cart|warenkorb)$|(movie|film|book|track|song|game|recipe|video|anime|course)(s|_ids|_list)$|filme$|bücher$"
    r"|bought|gekauft|history|consumed|interactions|商品(列表|一覧|リスト)$"
)
_ORDER_LIST: Final = re.compile(
    r"orders$|bestellungen|auftraege|aufträge|purchases|transactions|invoices|receipts|baskets|carts|sessions|events"
    r"|playlists|visits|ratings|reviews|clicks|pedidos|commandes|ordini|users$|customers$|kunden$|data$|results$"
    r"|records$|rows$|hits$"
)
_ATTRIBUTE: Final = re.compile(
    r"tags?$|schlagwort|genres?|categor|kategorie|images?$|bilder|photos?$|pictures?$|features?$|colou?rs?$|farben"
    r"|sizes?$|keywords?$|actors?$|cast$|directors?$|writers?$|authors?$|autor|countr|länder|laender|languages?$"
    r"|sprachen|ingredients?$|zutaten|labels?$|topics?$|themes?$|platforms?$|styles?$|attributes?$|properties$"
    r"|options?$|notes?$|notizen|comments?$|addresse?s?$|adresse|description|beschreibung|text$|coordinates|embedding"
    r"|vector|hours|friends|coupons?|payments?|hobb|interests?|skills?|publishers?|studios?|brands?|marken|materials$"
    r"|errors?$|links?$|urls?$|标签|类别|分类|カテゴリ|タグ"
)
_OTHER_LINES: Final = re.compile(
    r"refund|return|cancel|fulfil|shipping|ship_?ment|tax|discount|payment|fee|recommend|suggest|removed|wishlist"
)
_MEASURE: Final = re.compile(
    r"(^|_)(n|num|number_of|no_of|count|total|sum|anzahl|qty|quantity|price|amount|value|cost|revenue|avg|mean|min|max)(_|$)"
    r"|(count|price|amount|total|qty|quantity|preis|betrag|menge|category|categories|kategorie|rating|weight|cost|type"
    r"|revenue|status|date|time)s?$|\(s\)$"
)


def plain(name: str) -> str:
    """Return a name in small letters, with one underscore for whatever is between its words."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\W_]+", "_", apart.lower()).strip("_")


def is_user(name: str) -> bool:
    """Tell whether a name is one of a column of users."""
    return Name(name).preference("user") is not None


def is_basket(name: str) -> bool:
    """Tell whether a name is one of a column of orders, receipts or baskets."""
    return Name(name).preference("basket") is not None


def is_item(name: str) -> bool:
    """Tell whether a name is one of a column of items, and not just of any names."""
    found = Name(name).preference("item")
    return found is not None and found < _ANY_NAME


def is_quantity(name: str) -> bool:
    """Tell whether a name is one of a quantity."""
    return Name(name).preference("quantity") is not None


def is_time(name: str) -> bool:
    """Tell whether a name is one of a time."""
    return Name(name).preference("time") is not None


def is_measure(name: str) -> bool:
    """Tell whether a name is one of a number, a date or a kind, whatever else is in it."""
    return bool(_MEASURE.search(plain(name)) or _MEASURE.search(name.strip().lower()))


def is_item_list(name: str) -> bool:
    """Tell whether a name is one of a list of items."""
    return bool(_ITEM_LIST.search(plain(name))) and not is_other_list(name)


def is_order_list(name: str) -> bool:
    """Tell whether a name is one of a list of orders, events or users."""
    return bool(_ORDER_LIST.search(plain(name))) and not is_other_list(name)


def is_attribute(name: str) -> bool:
    """Tell whether a name is one of what things have several of, such as tags, and what nobody buys."""
    return bool(_ATTRIBUTE.search(plain(name)))


def is_other_list(name: str) -> bool:
    """Tell whether a name is one of lines that are no purchases, such as refunds or taxes."""
    return bool(_OTHER_LINES.search(plain(name)))


def singular(name: str) -> str:
    """Return the name of one element of a list, as far as English tells."""
    for ending, one in (("ies", "y"), ("xes", "x"), ("sses", "ss")):
        if name.lower().endswith(ending):
            return name[: -len(ending)] + one
    return name[:-1] if name.lower().endswith("s") and not name.lower().endswith("ss") else name
