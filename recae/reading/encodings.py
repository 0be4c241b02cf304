"""`survey`: how the bytes of a text are encoded and how its lines end, found by reading all of them once."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recae.errors import ConfigError, SourceError
from recae.reading.engine import Engine

_BLOCK: Final = 1 << 20
_SAMPLE: Final = 1 << 18  # bytes of lines that are not ASCII, by which an encoding is told
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NAMES: Final = {
    "utf-8": "UTF-8", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32-le": "UTF-32", "utf-32-be": "UTF-32",
    "cp1252": "Windows-1252", "cp932": "Shift JIS", "gb18030": "GB 18030", "big5": "Big5", "cp949": "Korean",
    "euc_jp": "EUC-JP", "cp1251": "Windows-1251", "cp1250": "Windows-1250", "latin-1": "Latin-1", "koi8_r": "KOI8-R",
}  # fmt: skip


@dataclass(frozen=True)
class Survey:
    r"""What the bytes of a text are.

    Attributes:
        size: in bytes.
        encoding: as Python names it.
        bom: bytes of the mark at its beginning.
        newline: what ends lines: "\n" (with or without a carriage return before), or "\r".
        mixed_ends: whether lines end in several ways, or a carriage return stands inside them.
        has_zero: whether it holds zero bytes.
        quotes: how many double quotes it holds.
        damaged: whether lines of it are not of the encoding.
        note: what to say of the encoding; "" for UTF-8.
        quotes_settled: whether how quotes are meant is decided.
    """

    size: int
    encoding: str
    bom: int
    newline: str
    mixed_ends: bool
    has_zero: bool
    quotes: int
    damaged: bool = False
    note: str = ""
    quotes_settled: bool = False

    @property
    def is_utf8(self) -> bool:
        """Whether it is UTF-8, which DuckDB reads as it stands."""
        return self.encoding == "utf-8"

    @property
    def encoding_name(self) -> str:
        """The common name of the encoding."""
        return _NAMES.get(self.encoding, self.encoding)


def survey(path: Path, name: str, encoding: str | None = None) -> Survey:
    """Read a text once and return what its bytes are.

    Args:
        path: of the text.
        name: for messages.
        encoding: where it is known.

    Raises:
        ConfigError: no such encoding is known.
        SourceError: the text is not of the encoding given, or holds zero bytes.
    """
    with path.open("rb") as file:
        head = file.read(1 << 16)
    bom, marked = next(((len(mark), known) for mark, known in _BOMS if head.startswith(mark)), (0, ""))
    chosen = _known(encoding) if encoding is not None else marked or _wide(head)
    wide = chosen.startswith(("utf-16", "utf-32"))
    counts = _count(path, bom, chosen if wide else "utf-8")
    if counts.has_zero and not wide:
        raise SourceError(f"'{name}' is not text: it holds zero bytes; export the table as CSV in UTF-8")
    note = ""
    damaged = False
    if not chosen or chosen == "utf-8":
        chosen = "utf-8"
        if not counts.valid:
            if encoding is None and not bom:
                chosen = _guess(counts.odd)
            damaged = chosen == "utf-8"
    if chosen != "utf-8":
        how = "is" if encoding is not None else "is taken for"
        note = f"its text {how} {_NAMES.get(chosen, chosen)}"
        if _NAMES.get(chosen, chosen).lower() != chosen.lower():
            note += f" ({chosen})"
        if encoding is None and not bom:
            note += ", since it is not UTF-8; --encoding says otherwise"
    only_cr = counts.feeds == 0 and counts.returns > 0
    return Survey(
        size=path.stat().st_size,
        encoding=chosen,
        bom=bom if marked == chosen or (marked and chosen.startswith(marked[:6])) else 0,
        newline="\r" if only_cr else "\n",
        mixed_ends=False
        if only_cr
        else counts.returns != counts.pairs or (counts.pairs > 0 and counts.pairs != counts.feeds),
        has_zero=counts.has_zero and not wide,
        quotes=counts.quotes,
        damaged=damaged,
        note=note,
    )


def _known(encoding: str) -> str:
    """Return an encoding in Python's spelling."""
    try:
        info = codecs.lookup(encoding)
        "".encode(encoding)
        known = info.name
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigError(
            f"--encoding is one that Python knows, such as utf-8, cp1252 or gb18030, found {encoding!r}: "
            "give one of these"
        ) from error
    return {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le", "iso8859-1": "latin-1"}.get(
        known, known
    )


def _wide(head: bytes) -> str:
    """Return an encoding of two bytes a character that has no mark, or ""."""
    if len(head) < 4 or head.count(0) < len(head) * 0.2:
        return ""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 10 * even:
        return "utf-16-le"
    return "utf-16-be" if even > 10 * odd else ""


@dataclass
class _Counts:
    feeds: int = 0
    returns: int = 0
    pairs: int = 0
    quotes: int = 0
    has_zero: bool = False
    valid: bool = True
    odd: bytes = b""


def _count(path: Path, bom: int, encoding: str) -> _Counts:
    """Return counts of a text's line ends, quotes and the like, and lines of it that are not ASCII.

    Args:
        path: of the text.
        bom: bytes before it.
        encoding: "utf-8", or one of several bytes a character, whose texts are counted as UTF-8.
    """
    counts = _Counts()
    wide = encoding != "utf-8"
    decoder = codecs.getincrementaldecoder("utf-8")()
    before = b"\n"
    for data in _blocks(path, bom, encoding):
        counts.has_zero = counts.has_zero or b"\0" in data
        counts.quotes += data.count(b'"')
        counts.returns += data.count(b"\r")
        counts.feeds = counts.feeds or int(b"\n" in data)
        if not wide:
            _look_at(counts, data, decoder, before == b"\n")
        before = data[-1:]
    if counts.valid and decoder.getstate()[0]:
        counts.valid = False  # it ends within a character
    if counts.returns:  # else nobody asks for them
        _count_ends(counts, _blocks(path, bom, encoding))
    return counts


def _blocks(path: Path, bom: int, encoding: str) -> Iterator[bytes]:
    """Yield the bytes of a text, in UTF-8 where it has several bytes a character."""
    decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)("replace")
    with path.open("rb") as file:
        file.seek(bom)
        while data := file.read(_BLOCK):
            if decoder is None:
                yield data
            elif decoded := decoder.decode(data):
                yield decoded.encode()


def _count_ends(counts: _Counts, blocks: Iterator[bytes]) -> None:
    """Count line feeds, and how many of them follow a carriage return."""
    counts.feeds, before = 0, b"\n"
    for data in blocks:
        counts.feeds += data.count(b"\n")
        counts.pairs += data.count(b"\r\n") + (before == b"\r" and data.startswith(b"\n"))
        before = data[-1:]


def count_lines(path: Path, found: Survey) -> tuple[int, int]:
    """Return how many lines a text of line feeds has, and how many of them are blank.

    Args:
        path: of the text.
        found: what its bytes are.
    """
    lines, blanks, before = 0, 0, b"\n"
    wide = found.encoding.startswith(("utf-16", "utf-32"))
    for data in _blocks(path, found.bom, found.encoding if wide else "utf-8"):
        lines += data.count(b"\n")
        for end in (b"\n", b"\r\n"):
            blanks += data.count(b"\n" + end) + (before == b"\n" and data.startswith(end))
        before = data[-1:]
    return lines + (before != b"\n"), blanks


def _look_at(counts: _Counts, data: bytes, decoder: codecs.IncrementalDecoder, begins: bool) -> None:
    """Note whether a block, which may begin with a line, is UTF-8, and lines of it that are not ASCII."""
    if data.isascii() and not decoder.getstate()[0]:
        return
    if counts.valid:
        try:
            decoder.decode(data)
        except UnicodeDecodeError:
            counts.valid = False
    if len(counts.odd) < _SAMPLE:
        lines = re.split(rb"[\r\n]+", data)
        # those at the ends of a block may be cut within a character
        whole = lines[0 if begins else 1 : -1]
        odd = [line for line in whole if not line.isascii()] or [line for line in lines if not line.isascii()]
        counts.odd += b"\n".join(odd) + b"\n"


def _guess(odd: bytes) -> str:
    """Return the encoding of lines that are not ASCII, some of them not UTF-8."""
    lines = [line for line in odd.split(b"\n") if line]
    good = sum(_decodes(line, "utf-8") for line in lines)
    if good > len(lines) // 2:
        return "utf-8"
    return _likeliest(b"\n".join(lines))


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return False
    return True


def _encodes(character: str, encoding: str) -> bool:
    try:
        return len(character.encode(encoding)) <= 2  # the rest is spelt letter by letter
    except UnicodeEncodeError:
        return False


_EAST: Final = (
    # encoding, characters that its texts mostly consist of
    ("cp932", re.compile("[ぁ-んァ-ヶー一-龯、。々]")),
    ("euc_jp", re.compile("[ぁ-んァ-ヶー一-龯、。々]")),
    ("gb18030", re.compile("[一-龥，。、（）：]")),
    ("cp949", re.compile("[가-힣]")),
    ("big5", re.compile("[一-龥，。、（）：]")),
)
_COMMON: Final = frozenset(
    "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于起"
    "还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声"
    "全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产"
    "入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王"
    "果亲界及今京务制解各任至清物台象记边共风战干接它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功指思非流每青"
    "管夫连远资队跟带花快条院变联言权往展该领传近留红治决周保达办运武半候七必城父强步完革深区即求品士转量空甚众技轻程告江语英基派满式"
    "用户商品名称数量下单时间订单编号日期价格客户茶杯蜂蜜肥皂蜡烛盘子咖啡"
    "日月年時分本人大国会一二三上中下出行見入小生者的会社自手事方理地業定物部度不性実動作内力同名高目回体場対代意心要長新最間水市立金加正進"
    "顧客商品名数量購入注文番号価格円株式紅茶皿蜂蜜石鹸蝋燭"
    "國個來說們為時會過學對裡後沒於發當無開經頭動兩長樣現將與實點種聲話兒問機給幾業東關並卻軍產萬場師書員華報馬張難數車應總"
)


def _likeliest(data: bytes) -> str:
    """Return the likeliest encoding of bytes that are not UTF-8."""
    best, score = "", 0.0
    for encoding, usual in _EAST:
        try:
            decoded = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        foreign = [c for c in decoded if not c.isascii()]
        # letters with accents stand alone among others; and make syllables that nobody writes
        if 2 * len(re.findall(rb"[\x80-\xff]+", data)) > 1.4 * len(re.findall(rb"[\x80-\xff]", data)):
            break
        if encoding == "cp949" and sum(_encodes(c, "euc_kr") for c in foreign) < 0.95 * len(foreign):
            continue
        share = sum(bool(usual.match(c)) for c in foreign) / len(foreign)
        common = sum(c in _COMMON or "ぁ" <= c <= "ん" or "가" <= c <= "힣" for c in foreign) / len(foreign)
        # a byte pair may well be a rare character of a wrong encoding, hardly ever a common one
        mark = share * (0.3 + common)
        if share > 0.6 and common > 0.1 and mark > score:
            best, score = encoding, mark
    if best:
        return best
    return _western(data)


_SCRIPTS: Final = ("cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp874", "cp866")


def _western(data: bytes) -> str:
    """Return the likeliest encoding of one byte a character."""
    high = re.findall(rb"[\x80-\xff]+", data)
    # letters with accents stand alone between others; those of another script make whole words
    if sum(map(len, high)) > 2 * len(high):
        best, score = "", 0.6
        for encoding in _SCRIPTS:
            if not _decodes(data, encoding):
                continue
            foreign = [c for c in data.decode(encoding) if not c.isascii()]
            usual = sum(c.isalpha() and not c.isupper() and c > "\u036f" for c in foreign) / len(foreign)
            if usual > score:
                best, score = encoding, usual
        if best:
            return best
    if _decodes(data, "cp1252"):
        foreign = [c for c in data.decode("cp1252") if not c.isascii()]
        typical = sum(
            c in "äöüßÄÖÜéèêëàâáãçñíìîóòôõúùûåæøÅÆØÉÈÀÇÑ€£°²³«»–—’‘“”…·¿¡™®©½¼ªº\xa0" for c in foreign
        )
        if typical > 0.7 * len(foreign):
            return "cp1252"
    from charset_normalizer import from_bytes

    ranked = [
        match.encoding
        for match in from_bytes(
            data, cp_isolation=["cp1252", "cp1250", "cp1254", "cp1257", "mac_roman", *_SCRIPTS]
        )
    ]
    return str(ranked[0]) if ranked else "cp1252" if _decodes(data, "cp1252") else "latin-1"


def transcoded(engine: Engine, path: Path, found: Survey) -> Path:
    """Return a text in UTF-8, without a mark at its beginning, in the engine's folder."""
    target = engine.folder / engine.new_name("text")
    decoder = codecs.getincrementaldecoder(found.encoding)("surrogateescape")
    with path.open("rb") as source, target.open("wb") as file:
        source.seek(found.bom)
        while data := source.read(_BLOCK):
            file.write(decoder.decode(data).encode("utf-8", "surrogateescape"))
        file.write(decoder.decode(b"", True).encode("utf-8", "surrogateescape"))
    return target
