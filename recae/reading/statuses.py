"""What the words of event and status columns mean: a purchase or a view, an order that stands or one that was undone.

A word is compared without case, accents and separators, so that ``Add-To-Cart`` and ``add_to_cart`` are one. The most
common words of several languages are known; what is not known is never left out because of its status.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from recae.reading.engine import quoted, text
from recae.reading.names import Name
from recae.reading.table import BLANKS, MISSING, Table

PURCHASE: Final = "purchase"
CART: Final = "cart"
VIEW: Final = "view"
USE: Final = "use"
UNDONE: Final = "undone"
EVENT_MEANINGS: Final = (PURCHASE, CART, VIEW, USE, UNDONE)
"""Bought, put aside to buy, looked at, used (played, rated, …), or taken back."""

CANCELLED: Final = "cancelled"
REFUNDED: Final = "refunded"
RETURNED: Final = "returned"
FAILED: Final = "failed"
UNPAID: Final = "not paid"
DRAFT: Final = "never placed"
STANDS: Final = "stands"
STATUS_UNDONE: Final = (CANCELLED, REFUNDED, RETURNED, FAILED, UNPAID, DRAFT)
"""What an order came to whose lines are no purchases."""

MOST_WORDS: Final = 1000
"""Distinct words at most of a column that is one of words."""

_SHOWN: Final = 8  # words named with a number each
FALSE_WORDS: Final = ("false", "f", "no", "n", "0", "0.0", "nein", "non", "nee", "não", "nao", "いいえ", "否")
"""How tables say that something is not so."""

TRUE_WORDS: Final = (
    "true",
    "t",
    "yes",
    "y",
    "1",
    "1.0",
    "x",
    "ja",
    "j",
    "oui",
    "si",
    "sí",
    "sim",
    "はい",
    "是",
)
"""How tables say that something is so."""


def _any(alphabetic: str, others: str = "") -> re.Pattern[str]:
    """Return a pattern of whole words, and of those of scripts that put no blanks between words."""
    return re.compile(rf"\b(?:{alphabetic})\b" + (f"|{others}" if others else ""))


_CANCELLED: Final = _any(
    r"cancel\w*|canceled|annul\w*|anul\w*|storn\w*|geannuleerd\w*|afgebroken|abgebrochen\w*|abbruch|widerruf\w*|"
    r"iptal\w*|avbrut\w*|avbest\w*|peruutettu|отмен\w*|withdrawn|terminated",
    "取消|キャンセル|交易关闭|交易關閉|취소",
)
_REFUNDED: Final = _any(
    r"refund\w*|reembols\w*|rembours\w*|rimbors\w*|(?:zu?)?ruckerstatt\w*|erstatt\w*|terugbetaal\w*|estorn\w*|"
    r"gutschrift\w*|credited|credit ?note|creditnota|avoir|aterbetal\w*|refusjon\w*|возмещ\w*|charge ?backs?|"
    r"charged back|chargedback|zwrocon\w*|возврат\w*|возвращ\w*",
    "退款|返金|환불",
)
_RETURNED: Final = _any(
    r"return|returns|returned|returning|retour\w*|geretourneerd|zuruckgegeben|zuruckgesendet|zuruckgeschickt|"
    r"ruckgabe\w*|rucksendung\w*|devol\w*|devuelt\w*|reso|resi|restituit\w*|rto|restocked|returnerad\w*|iade\w*|zwrot\w*",
    "退货|退貨|返品|반품",
)
_FAILED: Final = _any(
    r"fail\w*|fehlgeschlagen|fehler|gescheitert|echou\w*|echec|fallid\w*|fallit\w*|falh\w*|mislukt|void|voided|"
    r"declin\w*|reject\w*|refus\w*|rechaz\w*|recusad\w*|rifiutat\w*|abgelehnt|geweigerd|denied|expired?|abgelaufen|"
    r"vencid\w*|scadut\w*|verlopen|fraud\w*|betrug|invalid|error|undeliverable|ошибк\w*|misslyckad\w*",
    "失败|失敗|拒绝|拒絕",
)
_UNPAID: Final = _any(
    r"unpaid|not paid|payment due|(?:pending|awaiting|waiting for|waits? for|open|missing|no) (?:the )?payment|"
    r"payment (?:is )?(?:pending|open|missing|awaited)|pending (?:pay\w*|bank\w*|transfer)|"
    r"unbezahlt|nicht bezahlt|offene zahlung|zahlung (?:ausstehend|offen)|ausstehende zahlung|wartet auf zahlung|"
    r"impaye\w*|non paye\w*|(?:en )?attente de (?:paiement|reglement)|paiement en attente|"
    r"sin pagar|no pagad\w*|pendiente de pago|pago pendiente|esperando (?:el )?pago|"
    r"nao pag\w*|aguardando (?:o )?pagamento|pagamento pendente|pendente de pagamento|"
    r"non pagat\w*|in attesa di pagamento|pagamento in (?:attesa|sospeso)|"
    r"onbetaald|niet betaald|wacht(?:en)? op betaling|openstaande betaling|wc pending",
    "未付款|未支付|待付款|待支付|未払い|入金待ち|支払い待ち|결제 ?대기|미결제",
)
_DRAFT: Final = _any(
    r"drafts?|abandon\w*|trash\w*|entwurf|brouillon|borrador|rascunho|bozza|concept|test order|deleted?|geloscht",
    "草稿|下書き",
)
_PARTIAL: Final = _any(
    r"partial\w*|partly|part|teil\w*|partiel\w*|parcial\w*|parzial\w*|gedeeltelijk\w*|deels|delvis\w*",
    "部分|一部|부분",
)
_NEGATED: Final = _any(r"not|no|non|never|nicht|nie|kein\w*|sin|sem|sans|pas|niet|geen|nao|inte|ikke", "未")
_TURNED_DOWN: Final = _any(
    r"(?:refund|return|cancel|cancellation|cancelation|chargeback) (?:request )?"
    r"(?:fail\w*|declin\w*|reject\w*|denied|refused|expired|withdrawn|won)"
)
_STANDS: Final = _any(
    r"complete[d]?|success\w*|succeeded|delivered|shipped|shipping|dispatched|in transit|paid|captured|authori[sz]ed|"
    r"approved|accepted|confirmed|processing|processed|in process|invoiced|billed|created|new|placed|pending|open|"
    r"closed|fulfilled|unfulfilled|partial|on hold|held|holded|picked|packed|ready\w*|received|settled|finished|done|"
    r"active|valid|ok|unavailable|cod|purchased|sold|ordered|exchanged?|"
    r"geliefert|zugestellt|versendet|verschickt|versandt|bezahlt|abgeschlossen|bestatigt|erledigt|offen|neu|"
    r"in bearbeitung|"
    r"livre\w*|expedie\w*|paye\w*|termine\w*|confirme\w*|valide\w*|en cours|"
    r"entregad\w*|enviad\w*|pagad\w*|completad\w*|confirmad\w*|entregue\w*|pago|concluid\w*|aprovad\w*|faturad\w*|"
    r"consegnat\w*|spedit\w*|pagat\w*|completat\w*|confermat\w*|evaso|"
    r"afgeleverd|bezorgd|geleverd|verzonden|betaald|voltooid|afgerond|bevestigd|"
    r"в обработке|доставлен\w*|выполнен\w*|оплачен\w*",
    "完成|成功|发货|發貨|发送|已付款|已支付|已签收|配達済|発送済|完了|出荷|入金済|支払済|배송|완료",
)

_EVENT_UNDONE: Final = _any(
    r"remov\w*|delet\w*|dislik\w*|unlik\w*|skip\w*|unfav\w*|unsubscrib\w*|unfollow\w*|hid|hide|hidden|thumbs? down|"
    r"downvot\w*|sell|entfern\w*|geloscht|supprim\w*|retir\w*|elimin\w*|remoc\w*|verwijder\w*",
    "删除|刪除|移除|削除",
)
_BOUGHT: Final = _any(
    r"(?:order|checkout|payment|transaction|cart) (?:is )?(?:complet\w*|succe\w*|placed|confirmed|paid|finished|done)"
)
_VIEW: Final = _any(
    r"views?|viewed|viewing|page ?views?|pv|clicks?|clicked|click ?through|clics?|klicks?|geklickt|klik|details?|"
    r"brows\w*|impressions?|imps?|imp|display\w*|show|shown|visits?|visited|open|opened|search\w*|exposures?|expose|seen|"
    r"hover\w*|scroll\w*|look\w*|ansicht\w*|angesehen|angeschaut|aufruf\w*|aufgerufen|besuch\w*|vues?|vu|consult\w*|"
    r"vistas?|visto|visit[ae]s?|visual\w*|cliques?|bekeken|weergave\w*|bezoch?t|просмотр\w*|клик\w*",
    "浏览|瀏覽|点击|點擊|閲覧|クリック|表示|조회|클릭",
)
_CART: Final = _any(
    r"carts?|add ?to ?cart|atc|baskets?|bag|wish\w*|fav|favs|favou?rit\w*|likes?|liked|collect\w*|book ?marks?|"
    r"bookmarked|saves?|saved|checkout|check out|adds?|added|trolley|"
    r"warenkorb|einkaufswagen|merkliste|merkzettel|gemerkt|panier|souhaits?|carrito|carrinho|cesta|carrello|"
    r"preferit\w*|winkel(?:mand|wagen)(?:tje)?|корзин\w*|избранн\w*",
    "加购|加購|购物车|購物車|收藏|カート|お気に入り|장바구니|찜",
)
_PURCHASE: Final = _any(
    r"purchas\w*|buys?|bought|buying|buyed|transactions?|orders?|ordered|sales?|sold|paid|pay|payments?|conversions?|"
    r"convert\w*|bookings?|booked|reserv\w*|rent|rented|rental|acquired|"
    r"kauf\w*|gekauft|einkauf\w*|bestell\w*|verkauf\w*|achats?|achete\w*|commande\w*|ventes?|vendu\w*|"
    r"compra\w*|pedidos?|ventas?|vendas?|vendid\w*|acquist\w*|ordin[ei]|ordinat\w*|vendit\w*|vendut\w*|"
    r"aankoop|aankopen|gekocht|bestelling\w*|besteld|verkoop\w*|verkocht|zakup\w*|kop|kopt|kjop|kob|satis|"
    r"покуп\w*|куп\w*|заказ\w*|продаж\w*",
    "購入|購買|购买|注文|买|買|下单|下單|成交|支付|付款|交易|订单|訂單|구매|주문",
)
_USE: Final = _any(
    r"play\w*|listen\w*|stream\w*|watch\w*|read|reads|reading|download\w*|install\w*|borrow\w*|loan\w*|lend\w*|rate|"
    r"rated|rating|reviews?|reviewed|uses?|used|consum\w*|complete\w*|subscri\w*|shared?|comment\w*|"
    r"gespielt|gehort|gelesen|ecoute\w*|regarde\w*|lu|jou[ee]\w*|escuchad\w*|leid\w*|ouvid\w*|lid[oa]s?|ascoltat\w*|lett[oa]",
    "播放|观看|阅读|下载|再生|視聴|評価|评分",
)


@lru_cache(maxsize=4096)
def plain_words(words: str) -> str:
    """Return words in small letters without accents, with one blank between them."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", words)
    # without accents, but with the marks of scripts that need them
    letters = unicodedata.normalize("NFC", "".join(map(_bare, unicodedata.normalize("NFC", apart))))
    return " ".join(re.findall(r"[^\W_]+", letters.casefold()))


def _bare(letter: str) -> str:
    parts = unicodedata.normalize("NFKD", letter)
    return parts[0] if len(parts) > 1 and parts[0].isascii() and parts[0].isalpha() else letter


@lru_cache(maxsize=4096)
def event_meaning(event: str) -> str | None:
    """Return which of `EVENT_MEANINGS` a word of an event column has; None where it is not known."""
    words = plain_words(event)
    if _BOUGHT.search(words):
        return PURCHASE
    undone = (_EVENT_UNDONE, _CANCELLED, _REFUNDED, _RETURNED, _FAILED, _UNPAID)
    if any(pattern.search(words) for pattern in undone):
        return UNDONE
    if _NEGATED.search(words) or _DRAFT.search(words):
        return None
    known = ((VIEW, _VIEW), (CART, _CART), (PURCHASE, _PURCHASE), (USE, _USE))
    return next((meaning for meaning, pattern in known if pattern.search(words)), None)


@lru_cache(maxsize=4096)
def status_meaning(status: str) -> str | None:
    """Return which of `STATUS_UNDONE` a word of a status column has, or `STANDS`; None where it is not known."""
    words = plain_words(status)
    if _UNPAID.search(words):
        return UNPAID
    if _TURNED_DOWN.search(words):
        return STANDS
    undone = (
        (CANCELLED, _CANCELLED),
        (REFUNDED, _REFUNDED),
        (RETURNED, _RETURNED),
        (FAILED, _FAILED),
        (DRAFT, _DRAFT),
    )
    found = next((meaning for meaning, pattern in undone if pattern.search(words)), None)
    if found is not None:
        # part of the order was bought; "not returned" is no return
        return STANDS if _PARTIAL.search(words) or _NEGATED.search(words) else found
    return STANDS if _STANDS.search(words) else None


_STATUS_OF_OTHERS: Final = _any(
    r"customers?|clients?|members?|membership|club|marital|loyalty|accounts?|users?|subscri\w*|employment|household|"
    r"ship(?:ping)? state|billing state|address|city|country|kunden?status|home|tax|product|item|stock|inventory|"
    r"familienstand|civil|match|video|game"
)
_TAKEN_BACK: Final = (
    r"(?:cancel\w*|annul\w*|anul\w*|storn\w*|refund\w*|return|returns|returned|retour\w*|void|voided|"
    r"charge ?backs?|reembols\w*|rembours\w*|rimbors\w*|erstatt\w*|devol\w*|devuelt\w*|estorn\w*|geretourneerd)"
)
_PURCHASE_NAME: Final = re.compile(
    r"(?:is |was |has |did |made |flag )?(?:purchased?|bought|buy|buys|booking|booked|converted|conversion|sold|"
    r"gekauft|gebucht|achete|comprado|acquistato|gekocht)(?: flag| yn| made)?|"
    r"(?:is|was|has) (?:ordered|order|paid|transaction|sale)"
)
_FLAG_NAME: Final = re.compile(
    rf"(?:is |was |has |order |item |line |lineitem )*{_TAKEN_BACK}"
    r"(?: (?:at|on|date|time|datetime|timestamp|flag|yn|am|le|el|em|il|op))*"
)
_AMOUNT: Final = (
    r"(?:qty|quantity|units?|pieces|count|number|num|n|"
    r"menge|anzahl|quantite|cantidad|quantidade|quantita|aantal|stuck)"
)
_REFUND_NAME: Final = re.compile(
    rf"(?:(?:order|item|line|lineitem|total) )*(?:{_AMOUNT}(?: of)? {_TAKEN_BACK}(?: (?:items|units))?|"
    rf"{_TAKEN_BACK} (?:{_AMOUNT}|items))"
)


def is_event_name(name: str) -> bool:
    """Tell whether a column's name is one of events, such as ``event_type`` or ``behavior``."""
    tier = Name(name).preference("event")
    return tier is not None and tier < 1


def is_purchase_name(name: str) -> bool:
    """Tell whether a column says by a yes or no whether something was bought, such as ``is_booking``."""
    return bool(_PURCHASE_NAME.fullmatch(plain_words(name)))


def meanings_of(name: str, words: Iterable[str | None]) -> dict[str, str | None]:
    """Return which of `EVENT_MEANINGS` each word of a column has; a yes or no by the column's name."""
    listed = [word for word in words if word is not None]
    if is_purchase_name(name) and all(word.casefold() in (*TRUE_WORDS, *FALSE_WORDS) for word in listed):
        return {word: PURCHASE if word.casefold() in TRUE_WORDS else VIEW for word in listed}
    return {word: event_meaning(word) for word in listed}


def is_status_name(name: str) -> bool:
    """Tell whether a column's name is one of what became of orders, such as ``order_status``."""
    return Name(name).preference("status") is not None and not is_status_of_others(name)


def is_status_of_others(name: str) -> bool:
    """Tell whether a column's name says that it is no order's status, such as ``marital_status``."""
    return bool(_STATUS_OF_OTHERS.search(plain_words(name)))


def is_flag_name(name: str) -> bool:
    """Tell whether a column says by a time or a yes that an order was undone, such as ``cancelled_at``."""
    return bool(_FLAG_NAME.fullmatch(plain_words(name)))


def is_refund_name(name: str) -> bool:
    """Tell whether a column says how many were given back, such as ``qty_refunded``."""
    return bool(_REFUND_NAME.fullmatch(plain_words(name)))


@dataclass(frozen=True)
class Words:
    """The words of a column of a table.

    Attributes:
        value: SQL for the text as it stands in the table.
        counts: how often each word occurs, the most frequent first; None for no word.
        forms: the texts that mean a word, with the blanks around it.
    """

    value: str
    counts: Counter[str | None]
    forms: Mapping[str | None, tuple[str, ...]]

    def among(self, words: Iterable[str | None], value: str | None = None) -> str:
        """Return SQL that tells whether a row has one of some words.

        Args:
            words: of the table.
            value: SQL for the text; None: as it stands in the table.
        """
        texts = ", ".join(text(form) for word in words for form in self.forms.get(word, ()))
        return f"{value or self.value} IN ({texts})" if texts else "false"

    def none(self) -> str:
        """Return SQL that tells whether a row has no word."""
        blank = f" OR {self.among([None])}" if self.forms.get(None) else ""
        return f"{self.value} IS NULL{blank}"


def as_words(table: Table, column: str) -> str:
    """Return SQL for a column as text, with the blanks around it."""
    return quoted(column) if table.is_text(column) else f"{quoted(column)}::VARCHAR"


def words_of(table: Table, values: Mapping[str, str]) -> dict[str, Words]:
    """Return the words of some columns of a table, counted at one scan; of more than `MOST_WORDS` the frequent ones.

    Args:
        table: to count in.
        values: label to SQL for the text, such as a column.
    """
    if not values:
        return {}
    names = [f"w{place}" for place in range(len(values))]
    selected = ", ".join(f"{sql} AS {name}" for name, sql in zip(names, values.values(), strict=True))
    sets = ", ".join(f"({name})" for name in names)
    which = f"grouping_id({', '.join(names)})"
    rows = table.engine.rows(
        f"SELECT {which}, {', '.join(names)}, count(*) AS n FROM (SELECT {selected} FROM {table.relation}) "
        f"GROUP BY GROUPING SETS ({sets}) "
        f"QUALIFY row_number() OVER (PARTITION BY {which} ORDER BY n DESC, {', '.join(names)}) <= {MOST_WORDS + 1}"
    )
    found: dict[str, Words] = {}
    for place, (label, sql) in enumerate(values.items()):
        # the bit of a column is 0 in the set that it makes
        mine = [row for row in rows if not row[0] & (1 << (len(names) - 1 - place))]
        counts: Counter[str | None] = Counter()
        forms: dict[str | None, list[str]] = {}
        for row in sorted(mine, key=lambda row: (-row[-1], str(row[1 + place]))):
            form = row[1 + place]
            word = None if form is None else str(form).strip(BLANKS)
            if word is not None and (not word or word.casefold() in MISSING):
                word = None
            counts[word] += int(row[-1])
            if form is not None:
                forms.setdefault(word, []).append(str(form))
        ordered = dict(sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0]))))
        found[label] = Words(sql, Counter(ordered), {word: tuple(texts) for word, texts in forms.items()})
    return found


def numbered(counts: Mapping[str | None, int], words: Iterable[str | None] | None = None) -> str:
    """Return words with their numbers, the most frequent first: "6,317 'view' and 990 'addtocart'"."""
    listed = sorted(counts if words is None else words, key=lambda word: (-counts[word], str(word)))
    shown = [f"{counts[word]:,} {'without one' if word is None else repr(word)}" for word in listed[:_SHOWN]]
    rest = listed[_SHOWN:]
    if rest:
        shown.append(f"{sum(counts[word] for word in rest):,} of {len(rest):,} other kinds")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else "none"
