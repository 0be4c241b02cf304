"""What the columns of a table of items mean, by the words of their names in several languages."""

from __future__ import annotations

import re
from typing import Final

from recae.reading.names import split_words

_WORDS: Final = {
    "category": """category categories kategorie kategorien categorie categories categoria categorias genre genres
        department departments abteilung warengruppe warengruppen produktgruppe produktgruppen artikelgruppe rubrik
        rubrique rubro sortiment taxonomy breadcrumb breadcrumbs categorypath categorypaths productcategory producttype
        productgroup dept subcategory subcategories subcat cat unterkategorie souscategorie subcategoria sottocategoria
        カテゴリ カテゴリー 类别 類別 分类 分類 카테고리 категория""",
    "brand": """brand brands brandname marke marken marque marca merk manufacturer hersteller fabricant fabricante
        produttore fabrikant vendor maker märke ブランド 品牌 브랜드 бренд""",
    "price": """price prices unitprice preis preise einzelpreis stückpreis stueckpreis verkaufspreis vk prix precio
        preco preço prezzo prijs pris cena listprice saleprice retailprice 価格 单价 單價 价格 價格 가격 цена""",
    "available": """availability available instock stock inventory lager lagerbestand bestand verfügbar verfuegbar
        verfügbarkeit verfuegbarkeit disponibilité disponibilite disponible disponibilidad disponibilidade disponivel
        disponibilita voorraad beschikbaar qty quantity menge quantityavailable instocks 在庫 库存 庫存 재고
        наличие""",
    "image": """image images img imageurl imagelink imagesrc picture pictures pic photo photos thumbnail thumb bild
        bilder bildurl produktbild foto imagen imagem immagine afbeelding cover poster 画像 图片 圖片 이미지""",
    "link": """link url links urls href producturl productlink permalink webpage lien enlace ligação 链接 連結""",
    "embedding": """embedding embeddings emb vector vectors einbettung embeddingvector textembedding imageembedding""",
    "text": """description descriptions desc text details detail beschreibung produktbeschreibung langtext
        longdescription shortdescription body bodyhtml summary overview synopsis plot abstract descripcion descricao
        descrizione omschrijving descriptif 説明 描述 설명 описание""",
}  # fmt: skip

_BESIDE: Final = """
    product products item items article artikel produkt produit producto prodotto name names the of in url src
    html main master full long short google g path paths tree level l list sale retail sales sell selling
    current unit regular base eur usd gbp euro euros dollar incl excl gross net brutto netto title text value
    primary default is quantity qty code on hand sub parent top large small medium
"""
_FILLING: Final = frozenset(_BESIDE.split())
"""Words that may stand beside those without a change of what is meant."""

_TURNED: Final = """
    id ids number no nr count currency old before discount tax cost purchase date time alt rating total sum
"""
_NOT: Final = frozenset(_TURNED.split())
"""Words that make something else of a name: an id of a category, the price before a reduction."""

_DEPTHS: Final = {
    "department": -2, "dept": -2, "abteilung": -2, "main": -1, "top": -1, "parent": -1, "master": -1, "primary": -1,
    "sub": 1, "subcategory": 1, "subcategories": 1, "subcat": 1, "unterkategorie": 1, "souscategorie": 1,
    "subcategoria": 1, "sottocategoria": 1,
}  # fmt: skip
"""How far below a category a word puts its column, where several columns hold the parts of a path."""

_MEANING: Final = {
    "".join(split_words(word)): meaning
    for meaning, words in reversed(_WORDS.items())
    for word in words.split()
}


def meaning_of(name: str) -> tuple[str, int] | None:
    """Return what a column's name means, and how many words stand beside that; None where it means nothing known.

    A name of several words means what its last known word does: "image_url" and "URL der Bilder" an image.
    """
    words = [re.sub(r"\d+$", "", word) or word for word in split_words(name)]
    joined = "".join(words)
    if joined in _MEANING:
        return _MEANING[joined], 0
    if set(words) & _NOT:
        return None
    known = [word for word in words if word in _MEANING]
    others = [
        word for word in words if word not in _MEANING and word not in _FILLING and not word.isdecimal()
    ]
    if not known or others or {"stock", "code"} <= set(words):
        return None
    meanings = [_MEANING[word] for word in known]
    return ("image" if "image" in meanings else meanings[-1]), len(words) - 1


def path_order(name: str) -> tuple[int, int]:
    """Return where a column of categories stands among others: the widest first."""
    words = split_words(name)
    digits = re.findall(r"\d+", name)
    return (int(digits[-1][:9]) if digits else 0, sum(_DEPTHS.get(word, 0) for word in words))
