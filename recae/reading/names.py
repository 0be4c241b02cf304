"""Names of columns: the words that they are made of, and which role each name proposes.

A name is taken apart into words, whatever its case, blanks, signs and marks: ``Order Date``, ``order_date``,
``OrderDate``, ``orderdate`` and ``Bestelldatum`` are an order's word and a date's. Each word stands for a concept, and
a role is proposed by the concepts of a name. What the values say comes after (`recae.reading.columns`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

KNOWN_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "user": (
        "user_id", "user", "customer_id", "customer", "client_id", "client", "member_id", "member",
        "shopper_id", "shopper", "buyer_id", "buyer", "account_id", "visitor_id", "household_id",
        "household_key", "person_id", "reviewer_id", "uid", "user_name", "customer_no",
        "customer_number", "customer_unique_id", "member_number", "cust_id", "cust_code", "user_pseudo_id",
        "full_visitor_id", "subscriber_id", "guest_id", "anonymous_id", "player_id", "email", "customer_email",
    ),
    "item": (
        "item_id", "item", "product_id", "product", "stock_code", "sku", "sku_id", "article_id",
        "article", "asin", "parent_asin", "movie_id", "movie", "book_id", "isbn", "track_id", "song_id",
        "artist_id", "business_id", "recipe_id", "game_id", "anime_id", "app_id", "video_id", "venue_id",
        "place_id", "hotel_id", "upc", "ean", "gtin", "item_code",
        "product_code", "item_no", "item_number", "product_number",
    ),
    "time": (
        "timestamp", "datetime", "date", "time", "invoice_date", "order_date", "purchase_date",
        "purchased_at", "purchase_time", "ordered_at", "order_time", "order_timestamp",
        "order_purchase_timestamp", "event_time", "transaction_date", "transaction_time", "t_dat",
        "created_at", "unix_review_time", "review_time", "review_date", "ts",
    ),
    "quantity": (
        "quantity", "qty", "units", "units_sold", "item_count", "product_count", "order_quantity",
        "purchase_quantity", "count", "num_items", "pieces", "qty_ordered", "plays",
    ),
    "name": (
        "item_name", "product_name", "item_title", "product_title", "title", "name", "description",
        "item_description", "product_description", "article_name", "prod_name", "movie_title",
        "book_title",
    ),
}  # fmt: skip
"""Column names known for each role, in order of preference; those of other languages and forms are known by words."""

BASKET_NAMES: Final = (
    "order_number", "basket", "basket_number", "basket_id", "order_id", "order", "order_no", "invoice_number",
    "invoice_no", "invoice", "invoice_id", "receipt", "receipt_id", "transaction_id", "visit_number", "session_id",
)  # fmt: skip
"""The column names known for the number of the order, in order of preference."""

_CONCEPTS: Final[Mapping[str, str]] = {
    # what an identity is written as
    "id": """n id ids identifier key keys no nr nro num number numbers nummer code codes kode cod codigo codice
        cd numero numer uuid guid hash hashed sk pk fk idx index ref reference referenz kennung schluessel
        schlüssel 番号 コード 编号 編號 编码 編碼 代码 代碼 号 號 번호 코드 номер код""",
    # words that add nothing
    "stop": """the a of for to in de del della di do da du des der die das dem den la le les l el los las van
        het il pro per""",
    "adjective": """unique anonymous anonymized anonymised internal external global main my original raw encoded
        encrypted masked pseudo full parent 原始 crm web end sell sold bill loyalty registered retail catalog
        catalogue base simple actual eindeutige unico único""",
    # who
    "user": """user customer client member shopper buyer visitor household reviewer cust usr hh consumer
        purchaser subscriber guest patron fullvisitor uid cid kunnr kunde kunden kd kundin auftraggeber
        besteller käufer kaeufer mitglied mitglieds benutzer nutzer acheteur utilisateur membre adhérent cliente
        usuario usuária comprador socio utilizador usuário membro utente acquirente klant klanten gebruiker
        koper klient kund kunder custaccount 顧客 会員 ユーザー ユーザ お客様 購入者 利用者 得意先 用户 用戶
        客户 客戶 会员 會員 顾客 买家 買家 会员卡 會員卡 會員卡號 会员卡号 고객 회원 사용자 клиент покупатель
        пользователь""",
    "weak user": """account acct person people contact card clubcard cardholder device cookie debitor debitoren
        debtor profile player panelist patient student learner viewer listener reader party compte lid
        teilnehmer tessera login nickname screenname handle deelnemer 卡号""",
    "email": "email emails mail emailaddress correo courriel 邮箱 郵箱 電子邮件 メール メールアドレス 이메일",
    "person": "first last full billing shipping fullname firstname lastname vorname nachname contact profile",
    # what
    "item": """item product prod article movie film book track song artist business recipe game anime manga app
        video hotel restaurant beer wine news course listing offer variant show episode album podcast dish meal
        playlist merchandise goods artikel art art.nr ware waren produkt produkte produit produits producto
        articulo artículo produto artigo prodotto articolo matnr material materiel 商品 製品 产品 產品 物品 货品
        品目 宝贝 电影 电影 書籍 상품 제품 товар stockitem tra""",
    "code": """sku skus asin isbn isbn13 isbn10 upc ean ean13 gtin barcode stockcode artikelnr plu referencia
        référence referencia артикул 货号 品番 sku编码""",
    "stock": "stock",
    "weak item": """place venue poi location spot part document doc page url ad ads job post photo image clip
        title station event service brand question problem exercise content object thing deal menu player team
        ingredient concept creative resource""",
    # what it is called
    "name": """name names title titel titre titulo título titolo description desc descr descripcion descripción
        descrição descricao descrizione omschrijving beschreibung bezeichnung benennung designation désignation
        libelle libellé nom nombre nome naam label benaming arktx maktx 名 名称 名稱 名字 標題 标题 タイトル
        이름 название""",
    "item name": "品名 商品名 商品名称 商品名稱 品名称 상품명",
    # how it was bought
    "order": """order orders purchase basket invoice receipt transaction trans txn sales sale checkout cart
        session visit ticket bon beleg bestell bestellung auftrag auftrags rechnung rechnungs verkauf verkaufs
        verkaufsbeleg kauf einkauf einkaufs quittung kassenbon commande facture achat vente pedido pedidos
        compra factura venta orden fattura ordine acquisto vendita scontrino bestelling aankoop factuur verkoop
        fatura nota venda vbeln vbelnr bestel aankoop ordre köp booking reservation trip 注文 購入 取引 受注
        伝票 購買 订单 訂單 购买 交易 下单 付款 支付 成交 주문 구매 거래 заказ покупка чек""",
    "document": "document dokument documento documents",
    "bought": """ordered purchased bought sold created buchung buchungs event review unix placed creation
        occurred booked posting buying angelegt erstellt erstellung gekauft bestellt ereignis action played
        listen listened watched viewed visited rated checkin utc local evento évènement événement evenement
        comprado acquistato besteld interaction log activity 创建 作成 行为 行為 レビュー""",
    "line": """line lineitem lineitems row position posnr pos entry zeile ligne linea línea linha riga regel
        linenum lineno seq sequence record registro""",
    # when
    "date": """created angelegt erstellt date datetime timestamp ts dt dat datum fecha data daterange dato day
        tag jour zeit zeitpunkt time horodatage zeitstempel erdat audat fkdat budat when moment tidpunkt
        tijdstip momento 日付 日時 日期 日期时间 日期時間 時間 时间 年月日 日 時刻 일시 날짜 дата время""",
    "at": "at on am le em",
    "late": """paid processed completed approved shipped shipping ship delivered delivery updated update
        modified changed closed finished fulfilled payment dispatch dispatched invoiced estimated confirmed sent
        received lieferung liefer versand zahlung bezahlt livraison paiement entrega envio pago pagamento
        consegna""",
    "never": """zone offset birth dob birthday geburts geburt geburtsdatum naissance nacimiento nascimento
        nascita release released publish published publication expiry expire expires expiration expiring first
        last previous next prior register registered registration registrierung join joined signup member until
        due limit cancel cancelled canceled refund refunded returned return deleted start end valid launch since
        prev touch added_to_catalog""",
    "clock": "time clock uhrzeit uhr heure hora ora tijd hhmm hhmmss 時刻 时刻 시간 klok",
    # how much
    "quantity": """数 quantity quantities qty qtys units unit_count pieces pcs menge anzahl stück stueck stk
        stückzahl stueckzahl quantité quantite qté qte cantidad unidades cant quantidade qtd qtde unidade
        quantità quantita qta pezzi aantal hoeveelheid stuks kwmeng fkimg lfimg salesqty antal ilość количество
        кол-во 数量 數量 個数 件数 点数 购买数量 购买量 销量 點數 수량""",
    "weak quantity": "count amount sold plays playcount listens scrobbles volume nb nbre",
    # how it was liked
    "rating": """rating ratings stars star bewertung bewertungen sterne score scores overall puntuacion
        puntuación calificacion calificación valoracion valoración valutazione voto avaliacao avaliação
        beoordeling grade note rate 評価 评分 評分 打分 スコア 평점 별점 оценка""",
    # what was done, and what became of it
    "event": """event events behavior behaviour behaviors action actions activity interaction aktion ereignis
        verhalten evento accion acción azione evenement feedback 行为 行為 イベント 操作""",
    "type": "type types typ tipo kind 类型 類型 種別 タイプ",
    "status": """status state stage lifecycle zustand statut estado stato situação situacao etat état 状态 狀態
        ステータス 状態 상태 статус""",
}
"""Words by concept; the first concept that lists a word counts first, and a word may belong to several."""

_NO_NOUNS: Final = """
    order invoice transaction session basket line row index record store shop branch location seller vendor
    merchant supplier manufacturer employee staff salesperson salesrep rep cashier agent operator category
    categories cat dept department brand class type country city region state zip postal postcode pin
    currency channel campaign promotion promo coupon payment shipment shipping warehouse address review
    rating event device date time day week month year hour tax discount price status group segment parent
    cluster terminal register website site tenant company organization organisation query request page
    source referrer browser ip visit cart receipt unnamed subcategory aisle division territory sales
    subclass order_detail detail lot batch serial tracking gender age job occupation language lang version
    format note tag genre user customer experiment impression offer_group zone area district phone mobile
    telephone vat stock_location bill ship
"""
"""Words that are no item where they stand before an id."""

_NOT_ITEMS: Final = frozenset(_NO_NOUNS.split())


def plain(name: str) -> str:
    """Return a name without what does not count in it: case, blanks and _ - ."""
    return re.sub(r"[\s_.\-]+", "", name).casefold()


@lru_cache(maxsize=4096)
def split_words(name: str) -> tuple[str, ...]:
    """Return the words of a name, in lower case and without marks on Latin letters."""
    form = unicodedata.normalize("NFKC", name).replace("ß", "ss")
    form = re.sub(r"(?i)\bn°|#|№", " no ", form)
    form = re.sub(r"(?i)\be[-_ ]?mail", "email", form)
    form = re.sub(
        r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[a-zA-Z])(?=[^\W\d_a-zA-Z\u00c0-\u024f])",
        " ",
        form,
    )
    form = re.sub(r"(?<=[\u3040-\u9fff])(?=[a-zA-Z])", " ", form)
    words = (_bare(word) for word in re.split(r"[\W_]+", form))
    return tuple(word for word in words if word and not re.fullmatch(r"v\d", word))


def _bare(word: str) -> str:
    """Return a word in lower case, without the marks on its Latin letters."""
    taken = unicodedata.normalize("NFKD", word.casefold())
    return unicodedata.normalize("NFKC", re.sub("[\u0300-\u036f]", "", taken))


def _vocabulary() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for concept, words in _CONCEPTS.items():
        for word in words.split():
            found.setdefault(_bare(word), set()).add(concept)
    return {word: frozenset(concepts) for word, concepts in found.items()}


_WORDS: Final = _vocabulary()
_NOTHING: Final[frozenset[str]] = frozenset()


def _known(word: str) -> str | None:
    """Return the word of the vocabulary that a word is, be it a plural."""
    for form in (word, word.removesuffix("s"), word.removesuffix("es"), re.sub("ies$", "y", word)):
        if form in _WORDS:
            return form
    return None


def _segmented(word: str, most: int = 3) -> tuple[str, ...] | None:
    """Return the known words that a compound such as "kundennummer" consists of, the longest first."""
    known = _known(word)
    if known is not None:
        return (known,)
    if most > 1:
        for cut in range(len(word) - 1, 0, -1):
            head = word[:cut]
            if (len(head) > 1 or ord(head[0]) > 0x2E80) and head in _WORDS:
                rest = _segmented(word[cut:], most - 1)
                if rest is not None:
                    return (head, *rest)
    return None


@lru_cache(maxsize=4096)
def _understood(words: tuple[str, ...]) -> tuple[tuple[str, frozenset[str]], ...]:
    """Return (word, concepts) of each word; no concepts for those that are unknown."""
    found: list[tuple[str, frozenset[str]]] = []
    for word in words:
        parts = _segmented(word) or (word,)
        found += [(part, _WORDS.get(part, _NOTHING)) for part in parts]
    found = [(word, concepts) for word, concepts in found if concepts != {"stop"}]
    merged: list[tuple[str, frozenset[str]]] = []
    for word, concepts in found:
        # "line item" and "order item" are lines of an order, no items
        before = merged[-1] if merged else ("", _NOTHING)
        if word in ("item", "detail", "position", "pos") and before[0] in ("line", "order", "sale", "sales"):
            merged[-1] = ("lineitem", frozenset({"line"}))
        elif word == "number" and before[0] == "line":
            continue
        else:
            merged.append((word, concepts))
    return tuple(merged)


class Name:
    """A column's name and the roles it proposes.

    Args:
        name: as the table has it.

    Attributes:
        text: the name.
        words: its words.
    """

    def __init__(self, name: str) -> None:
        """Take the name apart."""
        self.text = name
        self.words = split_words(name)
        self._plain = plain(name)
        self._forms = [_understood(self.words)]
        # customer.id, hits.product.productSKU: the end of a path is a name, too
        path = re.split(r"(?<=\w)[./](?=\w)", name)
        self._forms += [_understood(split_words(" ".join(path[i:]))) for i in range(1, len(path))]

    def has(self, *concepts: str) -> bool:
        """Tell whether a word of the name has one of some concepts."""
        return any(found & set(concepts) for _, found in self._forms[0])

    def nouns(self) -> set[str]:
        """Return the words that are no id, name or filling."""
        empty = {"id", "name", "adjective"}
        return {word for word, concepts in self._forms[0] if not concepts & empty}

    def preference(self, role: str) -> float | None:
        """Return how well the name fits a role, 0 the best; None where it does not.

        Whole numbers are tiers: within one, other columns of it mean the same, as far as names can tell.
        """
        tiers = _RANKS[role]
        best: float | None = None
        for depth, form in enumerate(self._forms):
            tier = tiers(form)
            if tier is not None:
                best = tier + 0.01 * depth
                break
        known = KNOWN_NAMES.get(role, BASKET_NAMES if role == "basket" else ())
        place = next((i for i, name in enumerate(known) if plain(name) == self._plain), None)
        if best is None:
            return None if place is None else place / 1000
        return best + (place / 1000 if place is not None else 0.2)

    def leftover(self) -> str | None:
        """Return the noun of a name such as "plant_id" or "PlantKey" that no role knows; None for other names."""
        form = self._forms[0]
        if not 2 <= len(form) <= 3 or not any("id" in concepts for _, concepts in form):
            return None
        nouns = [word for word, concepts in form if "id" not in concepts]
        if len(nouns) != 1 or nouns[0] in _NOT_ITEMS or nouns[0].removesuffix("s") in _NOT_ITEMS:
            return None
        concepts = _WORDS.get(nouns[0], _NOTHING)
        return None if concepts - {"weak item", "name", "item"} else nouns[0]


Form = tuple[tuple[str, frozenset[str]], ...]


def _split(form: Form, *concepts: str) -> tuple[list[str], list[frozenset[str]]]:
    """Return the words that have one of some concepts, and the concepts of the other words."""
    wanted = set(concepts)
    words = [word for word, found in form if found & wanted]
    return words, [found for _, found in form if not found & wanted]


def _only(others: list[frozenset[str]], *allowed: str) -> bool:
    return all(found & set(allowed) for found in others)


def _user(form: Form) -> float | None:
    emails, others = _split(form, "email")
    if emails:
        return 2.0 if _only(others, "user", "weak user", "person", "order", "adjective", "id") else None
    users, others = _split(form, "user")
    weak = not users
    if weak:
        users, others = _split(form, "weak user")
    if not users:
        return None
    has_id = any("id" in found for found in others) or users[-1] in ("uid", "cid", "kunnr", "custaccount")
    rest = [found for found in others if "id" not in found]
    if any("name" in found for found in rest) and not has_id:
        if users[-1] == "user" and _only(rest, "name", "user"):
            return 1.5
        return 5.0 if _only(rest, "name", "adjective", "person") else None
    if not _only(rest, "adjective", "order", "line", "user", "weak user"):
        return None
    return (4.0 if weak else 0.0) + (0 if has_id else 0.5) + 0.05 * bool(rest)


def _item(form: Form) -> float | None:
    form = tuple(part for i, part in enumerate(form) if i or "line" not in part[1] or len(form) == 1)
    named, others = _split(form, "item name")
    if named and not others:
        return 4.0
    codes, others = _split(form, "code")
    if codes:
        return 0.1 if _only(others, "item", "id", "adjective", "order") and len(form) < 4 else None
    items, others = _split(form, "item")
    if not items:
        stock, others = _split(form, "stock")
        if stock:
            return 0.0 if others and _only(others, "id") else None
        weak, others = _split(form, "weak item")
        if weak and len(form) <= 2 and _only(others, "id"):
            return 2.0 if others else None
        return 6.0 if form and all("name" in found for _, found in form) else None
    has_id = any("id" in found for found in others) or items[-1] == "matnr"
    rest = [found for found in others if "id" not in found]
    if any("name" in found for found in rest) and not has_id:
        return 4.0 if _only(rest, "name", "adjective", "order") else None
    if not _only(rest, "adjective"):
        return None
    return (0.0 if has_id else 0.5) + 0.05 * bool(rest)


def _time(form: Form) -> float | None:
    dates, others = _split(form, "date")
    if not dates:
        if not (form and "at" in form[-1][1] and len(form) > 1):
            return None
        others = [found for _, found in form[:-1]]
    if any("id" in found for found in others):
        others = [found for found in others if "id" not in found]
        if len(dates) != 1 or dates[0] not in ("date", "datum"):
            return None
    if any("never" in found for found in others):
        return None
    finer = 0.0 if {"timestamp", "datetime", "ts", "日時", "zeitstempel"} & set(dates) else 0.05
    if any("late" in found for found in others):
        return 3.0 + finer
    if not others:
        return 1.0
    if _only(others, "order", "bought", "document", "at", "user", "item", "adjective"):
        return (0.0 if any(found & {"order", "bought", "document"} for found in others) else 1.0) + finer
    return 2.0 + finer


def _clock(form: Form) -> float | None:
    clocks, others = _split(form, "clock")
    if not clocks and not any("date" in found for _, found in form):
        return None
    return 0.0 if clocks and not others else 1.0


def _quantity(form: Form) -> float | None:
    words, others = _split(form, "quantity")
    if not words:
        words, others = _split(form, "weak quantity")
        if words and _only(others, "order", "bought", "item", "line", "adjective", "id"):
            return 2.0
        return None
    if any("late" in found for found in others):
        return 3.0
    return (
        1.0
        if _only(others, "order", "bought", "item", "line", "adjective", "weak quantity", "at", "id")
        else None
    )


def _name(form: Form) -> float | None:
    named, others = _split(form, "item name")
    if named and not others:
        return 0.0
    names, others = _split(form, "name")
    if not names:
        items, others = _split(form, "item")
        return 3.0 if items and not others else None
    if not others:
        return 1.0
    return 0.0 if _only(others, "item", "line", "adjective", "code", "id") and not any(
        "id" in found for found in others
    ) else None  # fmt: skip


def _rating(form: Form) -> float | None:
    words, others = _split(form, "rating")
    if not words:
        return None
    return 0.0 if _only(others, "item", "user", "bought", "adjective", "order") else 1.0


def _event(form: Form) -> float | None:
    words, others = _split(form, "event")
    if words:
        return 0.0 if _only(others, "type", "user", "name") else None
    words, others = _split(form, "type")
    return 1.0 if words and _only(others, "order", "bought") else None


def _status(form: Form) -> float | None:
    words, others = _split(form, "status")
    if not words:
        return None
    if _only(others, "order"):
        return 0.0 if others else 0.1
    return 1.0


_ORDER_WORDS: Final = """
    order basket invoice receipt transaction ticket bon beleg bestellung auftrag rechnung verkaufsbeleg quittung
    kassenbon commande facture pedido factura orden fattura ordine scontrino bestelling factuur fatura vbeln vbelnr
    注文 订单 訂單 取引 伝票 주문 заказ чек
"""
_ORDERS: Final = frozenset(map(_bare, _ORDER_WORDS.split()))
"""Words that mean an order where they stand alone."""


def _basket(form: Form) -> float | None:
    orders, others = _split(form, "order")
    if orders:
        # "sales" and "visits" are numbers of them, or amounts of money
        told = bool(others) or len(orders) > 1 or orders[0] in _ORDERS
        return 0.0 if told and _only(others, "id", "document", "order", "adjective") else None
    documents, others = _split(form, "document")
    return 0.5 if documents and _only(others, "id") and others else None


_RANKS: Final = {
    "user": _user,
    "item": _item,
    "time": _time,
    "clock": _clock,
    "quantity": _quantity,
    "name": _name,
    "rating": _rating,
    "event": _event,
    "status": _status,
    "basket": _basket,
}
