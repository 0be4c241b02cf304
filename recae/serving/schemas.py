"""The bodies of requests and answers as pydantic models; FastAPI makes the OpenAPI description of them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

MAX_IDS = 10_000  # in one list of ids
MAX_N = 1_000  # recommendations of one request
MAX_REQUESTS = 256  # in one batch
MAX_PURCHASES = 10_000  # of one request
MAX_QUANTITY = 1e9
MAX_EXPLAINED = 16  # requests of one batch that may ask for explanations

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")

Ids = Annotated[list[str], Field(max_length=MAX_IDS)]


def _whole(value: object) -> object:
    """Return a float without a fraction as an int: in JSON, 10.0 is a whole number too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _date_and_time(value: object) -> object:
    """Refuse what has no date and time: pydantic would take the text "20240301" for seconds since 1970."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and _DATE.match(value)):
        raise ValueError("give date and time of ISO 8601, such as 2024-03-01T10:00:00Z")
    return value


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


Price = Annotated[float, Field(ge=0, strict=False, allow_inf_nan=False)]


class RecommendRequest(_Request):
    """Whom to recommend to, how many items, and what to leave out: either `user` or `items`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "required": ["user"],
                    "properties": {
                        "user": {"type": "string"},
                        "items": {"type": "null"},
                        "events": {"type": "null"},
                    },
                },
                {
                    "required": ["items"],
                    "properties": {"items": {"type": "array"}, "user": {"type": "null"}},
                    "anyOf": [
                        {"properties": {"items": {"minItems": 1}}},
                        {"required": ["fallback"], "properties": {"fallback": {"const": "popular"}}},
                        {
                            "required": ["events"],
                            "properties": {"events": {"type": "object", "minProperties": 1}},
                        },
                    ],
                },
            ]
        }
    )

    user: str | None = Field(default=None, description="the id of a user of the model")
    items: Annotated[list[str], Field(max_length=MAX_IDS)] | None = Field(
        default=None,
        description="a basket instead: item ids, one at least unless there is a fallback; repeated ones count once, "
        "unknown ones not at all",
    )
    events: dict[str, Annotated[list[str], Field(max_length=MAX_IDS)]] | None = Field(
        default=None,
        description="with a basket, which may then be empty: what was done beside buying, for a model that reads such "
        'events, as lists of item ids such as {"view": ["a", "b"]}',
    )
    n: Annotated[int, BeforeValidator(_whole)] = Field(
        10, ge=1, le=MAX_N, description="how many; fewer come back where fewer are left"
    )
    exclude_owned: bool | None = Field(
        default=None,
        description="leave out what the user or basket has already; null: true, unless the model was trained "
        "for repeat purchases",
    )
    exclude: Ids = Field(default=[], description="item ids never to recommend; unknown ones are ignored")
    only: Ids | None = Field(
        default=None, description="recommend among these item ids only; unknown ones are ignored"
    )
    fallback: Literal["popular"] | None = Field(
        default=None,
        description="for an unknown user, an empty basket and one of unknown items: the items that most users own, "
        "whose score is the number of these users; null: an error",
    )
    explain: bool = Field(default=False, description="say which owned items made the score")
    diversity: float = Field(
        default=0.0,
        ge=0,
        le=1,
        strict=False,
        allow_inf_nan=False,
        description="from 0, the best items by score, to 1, those least like each other",
    )
    categories: Annotated[list[str], Field(min_length=1, max_length=100)] | None = Field(
        default=None,
        description="recommend from these categories of the table of items only, each a path or the beginning of one",
    )
    price_from: Price | None = Field(default=None, description="recommend items of at least this price only")
    price_to: Price | None = Field(default=None, description="recommend items of at most this price only")

    @model_validator(mode="after")
    def _exactly_one(self) -> RecommendRequest:
        if (self.user is None) == (self.items is None):
            raise ValueError("give exactly one of 'user' and 'items'")
        if self.user is not None and self.events is not None:
            raise ValueError("events: those of a user are stored with the model; give them with 'items'")
        if self.items is not None and not self.items and self.fallback is None and not self.events:
            raise ValueError("items: at least 1 item is needed; give one, or a 'fallback'")
        return self


class BatchRequest(_Request):
    """Several requests at once."""

    requests: list[RecommendRequest] = Field(min_length=1, max_length=MAX_REQUESTS)


# any text but the character 0, which ends a text in too many programs
NewId = Annotated[str, Field(min_length=1, max_length=1_000, pattern=r"^[^\x00]+$")]
EventId = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
_EVENT = "id of the purchase: sent again with it, it counts once; null: the answer has one that was made"
Time = Annotated[datetime, Field(strict=False), BeforeValidator(_date_and_time)]
_TIME = "when it was bought, date and time of ISO 8601, UTC unless it says otherwise; null: now"


_QUANTITY = "how much was bought; below 0: how much came back, which takes back what was bought before"


def _not_nothing(value: float) -> float:
    if value == 0:
        raise ValueError("a quantity is above 0 for a purchase and below 0 for a return")
    return value


Quantity = Annotated[
    float, Field(ge=-MAX_QUANTITY, le=MAX_QUANTITY, allow_inf_nan=False), AfterValidator(_not_nothing)
]


class PurchaseEntry(_Request):
    """A purchase, or a return."""

    user: NewId = Field(description="id of the customer, known or new")
    item: NewId = Field(description="id of the item, known or new")
    time: Time | None = Field(default=None, description=_TIME)
    quantity: Quantity = Field(default=1.0, description=_QUANTITY)
    event: EventId | None = Field(default=None, description=_EVENT)


class PurchasesRequest(_Request):
    """One purchase, or several as `purchases`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "required": ["user", "item"],
                    "properties": {
                        "user": {"type": "string"},
                        "item": {"type": "string"},
                        "purchases": {"type": "null"},
                    },
                },
                {
                    "required": ["purchases"],
                    "properties": {"purchases": {"type": "array"}},
                    "not": {
                        "anyOf": [
                            {"required": [name]} for name in ("user", "item", "time", "quantity", "event")
                        ]
                    },
                },
            ]
        }
    )

    user: NewId | None = Field(default=None, description="id of the customer, known or new")
    item: NewId | None = Field(default=None, description="id of the item, known or new")
    time: Time | None = Field(default=None, description=_TIME)
    quantity: Quantity = Field(default=1.0, description=_QUANTITY)
    event: EventId | None = Field(default=None, description=_EVENT)
    purchases: Annotated[list[PurchaseEntry], Field(min_length=1, max_length=MAX_PURCHASES)] | None = Field(
        default=None, description="several instead: all are stored, or none"
    )

    @model_validator(mode="after")
    def _one_or_several(self) -> PurchasesRequest:
        if self.purchases is not None:
            if self.model_fields_set != {"purchases"}:
                raise ValueError("give either one purchase or 'purchases'")
        elif self.user is None or self.item is None:
            raise ValueError("a purchase needs 'user' and 'item'")
        return self


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ItemDetails(_Answer):
    """What the model's table of items says of an item; a field is absent where it does not."""

    category: str | None = Field(
        default=None, description="a path has > between its parts; absent where unknown"
    )
    brand: str | None = Field(default=None, description="absent where unknown")
    price: float | None = Field(default=None, ge=0, description="absent where unknown")
    available: bool | None = Field(default=None, description="absent where unknown")
    image: str | None = Field(default=None, description="http or https; absent where unknown")
    link: str | None = Field(default=None, description="http or https; absent where unknown")


class NamedItem(ItemDetails):
    """An item."""

    item_id: str
    name: str | None


class Because(NamedItem):
    """An owned item, or one of another event such as a view, and what it adds to the score."""

    contribution: float
    event: str | None = Field(default=None, description="the event; absent where the item is owned")


class Others(_Answer):
    """All owned items that are not named."""

    items: int = Field(ge=0, description="how many they are")
    contribution: float = Field(description="what they add to the score together")


class _RankedItem(ItemDetails):
    rank: int = Field(ge=1)
    item_id: str
    name: str | None


class Recommendation(_RankedItem):
    """An item of a list; with `explain` also `because`, `base` and `others`, which sum to the score."""

    score: float = Field(description="higher is better, comparable for this user or basket only")
    because: list[Because] = Field(
        default=[], description="up to 5 owned items with the largest positive contributions"
    )
    base: float = Field(default=0.0, description="the score without any history, on the scale of this one")
    others: Others | None = Field(default=None, description="the owned items that are not named, together")


class RecommendAnswer(_Answer):
    """A list; `model` is the beginning of the SHA-256 of the model file that answered."""

    model: str
    user: str | None
    items: list[str] | None
    unknown_items: list[str]
    source: Literal["model", "popular"] | None = Field(
        default=None, description="what made the list; there when a `fallback` was asked for"
    )
    recommendations: list[Recommendation]


class FieldError(_Answer):
    """What is wrong with one field of a request."""

    field: str
    message: str


class ProblemDetails(_Answer):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = Field(default=None, description="the path that was asked for")
    nearest: list[str] | None = Field(default=None, description="known ids that are like the unknown one")
    unknown: str | None = Field(default=None, description="the first unknown item of a basket")
    errors: list[FieldError] | None = Field(
        default=None, description="where the request does not fit its schema"
    )


class BatchProblem(_Answer):
    """Why one request of a batch has no list."""

    problem: ProblemDetails


class BatchAnswer(_Answer):
    """The results in the order of the requests."""

    model: str
    results: list[RecommendAnswer | BatchProblem]


class SimilarItem(_RankedItem):
    """An item that the model scores alike."""

    similarity: float


class TogetherItem(_RankedItem):
    """An item that the same users own."""

    users: int = Field(description="how many users own both")
    lift: float = Field(description="1 is what chance would give")


class SimilarAnswer(_Answer):
    """Items like one; where the model scores every history alike, `metric` is null and `similar` empty."""

    model: str
    item_id: str
    name: str | None
    metric: str | None = Field(description="what the similarity is")
    similar: list[SimilarItem]
    bought_together: list[TogetherItem]


class FoundItem(NamedItem):
    """An item found by words."""

    owners: int | None = Field(description="how many users own it; null where no histories were saved")


class ItemsAnswer(_Answer):
    """Items found; `more` says whether there are others beyond the limit."""

    query: str
    items: list[FoundItem]
    more: bool


class FoundUser(_Answer):
    """A user and the length of the history."""

    user_id: str
    n_items: int


class UsersAnswer(_Answer):
    """Users found; `more` says whether there are others beyond the limit."""

    query: str
    users: list[FoundUser]
    more: bool


class LikelyUser(_Answer):
    """A user for whom an item has a high score."""

    rank: int = Field(ge=1)
    user_id: str
    score: float = Field(description="of the item for this user; it also says how much the user buys at all")


class CustomersAnswer(_Answer):
    """The customers of an item."""

    model: str
    item_id: str
    name: str | None
    owners: int = Field(description="how many users own it")
    likely: list[LikelyUser] = Field(
        description="for whom it has the highest score among those who do not own it; empty where the model scores "
        "every history alike"
    )


class CategoryCount(_Answer):
    """A category, or the beginning of a path of them."""

    category: str
    items: int = Field(description="how many items of the model are in it")


class FiltersAnswer(_Answer):
    """What requests can filter by."""

    model: str
    categories: list[CategoryCount] = Field(
        description="at most 200, those of most items, in alphabetical order"
    )
    more: bool
    price_from: float | None = Field(description="the lowest price; null where none is known")
    price_to: float | None = Field(description="the highest price; null where none is known")


class ServiceItem(_Answer):
    """A recommended item that looks like no product, such as postage."""

    item_id: str
    name: str | None
    lists: int = Field(description="how many lists of the sample hold it")
    share: float = Field(description="of the lists of the sample")


class ListsSummary(_Answer):
    """The lists of a sample of customers, summed up."""

    customers: int = Field(description="how many lists were made, one a customer")
    length: int = Field(description="items of a list at most")
    items: int = Field(description="of the model")
    items_given: int = Field(description="different items in all these lists")
    most_possible: int = Field(description="different items that as many lists could hold")
    top_items: int = Field(description="how many items are the tenth that most users own")
    top_share: float | None = Field(description="of the recommendations, that are of this tenth")
    top_share_owned: float | None = Field(description="of what users own, that is of this tenth")
    services: list[ServiceItem] = Field(description="at most 20 that look like no product, by name or id")


class RouteTraffic(_Answer):
    """Answers of one route."""

    route: str
    answers: int
    failed: int = Field(description="those with a status of 500 and more")


class DashboardAnswer(_Answer):
    """A model and its traffic at a glance."""

    model: str
    lists: ListsSummary | None = Field(description="null where the model has no histories")
    traffic_seconds: float = Field(description="how far back the traffic is known, about a day at most")
    traffic: list[RouteTraffic] = Field(description="most answers first")


class OwnedItem(NamedItem):
    """An item that a user owns."""

    scored: bool = Field(
        default=True,
        description="false for a purchase of the journal whose item the model has not seen: it counts once the model "
        "is updated; absent otherwise",
    )


class HistoryAnswer(_Answer):
    """What a user owns; `n_items` counts all of it, whatever the limit."""

    user_id: str
    n_items: int
    items: list[OwnedItem]


class PurchasesAnswer(_Answer):
    """What became of purchases; they are on the disk."""

    events: list[str] = Field(description="the ids of the purchases, in their order")
    added: int = Field(ge=0, description="how many were new")
    repeated: int = Field(ge=0, description="how many were there before, by their id")
    unknown_items: list[str] = Field(
        description="items that the model has not seen: they count once it is updated"
    )


class ForgetAnswer(_Answer):
    """What forgetting a customer came to; no answer knows them from now on."""

    model: str
    user_id: str
    journal_rows: int = Field(ge=0, description="how many events have left the journal")
    in_model_file: bool = Field(description="whether the model file still holds the customer")
    leaves_model_file: str | None = Field(
        description="when the customer leaves the model file; null: is not in it"
    )


class Status(_Answer):
    """The server runs."""

    status: str = "ok"


class ModelAnswer(_Answer):
    """What `recae inspect` says of the model that answers now."""

    model: str
    kind: str
    config: dict[str, JsonValue]
    n_items: int
    n_users: int | None
    n_interactions: int | None
    metrics: JsonValue
    history: JsonValue
    refit: JsonValue = Field(
        description="the number of users of the last fit, where the model was fitted once more on all of them after "
        "it was measured"
    )
    history_of: str | None = Field(
        description="kind of the part of a blend, or of the model, whose epochs `history` has; null where none is left"
    )
    versions: JsonValue
    fingerprint: JsonValue
    loaded_at: str = Field(description="UTC, ISO 8601")
    written_at: str | None = Field(default=None, description="when the model file was written, UTC, ISO 8601")
    last_purchase: str | None = Field(
        default=None,
        description="when the last purchase that the model knows was made, UTC; null where unknown",
    )
    image_hosts: list[str] = Field(default=[], description="from which the page may load pictures")
    beside: str | None = Field(
        default=None, description="the model that answers POST /beside; null: there is none"
    )


class MapAnswer(_Answer):
    """Columns of one length, most owned item first; `owners` is null without histories.

    `category` has rows of `categories`, -1 for items without. These are the `categories` of the table of products or
    `clusters` that were found, which `coloured_by` says. All three are null where all items have one colour.
    """

    model: str
    method: str
    item_id: list[str]
    name: list[str | None]
    owners: list[int] | None
    x: list[float]
    y: list[float]
    category: list[int] | None
    categories: list[str] | None
    coloured_by: Literal["categories", "clusters"] | None
