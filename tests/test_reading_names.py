"""Names of columns: their words, and the roles that these stand for in nine languages."""

import pytest

from recae.reading.names import Name, split_words


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
