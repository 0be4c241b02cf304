"""What requests must look like and what answers look like; the OpenAPI description is made of these."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

IDS_AT_MOST = 10_000  # in one list of ids
N_AT_MOST = 1_000  # recommendations of one request
REQUESTS_AT_MOST = 256  # in one batch
EXPLAINED_AT_MOST = 16  # requests of one batch that may ask for explanations


def _whole(value: object) -> object:
    """Return a float without a fraction as an int: in JSON, 10.0 is a whole number too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Ids = Annotated[list[str], Field(max_length=IDS_AT_MOST)]

_EXACTLY_ONE: dict[str, Any] = {
    "oneOf": [
        {"required": ["user"], "properties": {"user": {"type": "string"}, "items": {"type": "null"}}},
        {"required": ["items"], "properties": {"items": {"type": "array"}, "user": {"type": "null"}}},
    ]
}


class _Question(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RecommendRequest(_Question):
    """Whom to recommend to, how much, and what to leave out: either `user` or `items`."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, json_schema_extra=_EXACTLY_ONE, title="RecommendRequest"
    )

    user: str | None = Field(None, description="the id of a user of the model")
    items: Annotated[list[str], Field(min_length=1, max_length=IDS_AT_MOST)] | None = Field(
        None, description="a basket instead: item ids; repeated ones count once, unknown ones not at all"
    )
    n: Annotated[int, BeforeValidator(_whole)] = Field(
        10, ge=1, le=N_AT_MOST, description="how many; fewer come back where fewer are left"
    )
    exclude_owned: bool | None = Field(
        None,
        description="leave out what the user or basket has already; null: true, unless the model was trained "
        "for repeat purchases",
    )
    exclude: Ids = Field(default=[], description="item ids never to recommend; unknown ones are ignored")
    only: Ids | None = Field(
        None, description="recommend among these item ids only; unknown ones are ignored"
    )
    explain: bool = Field(False, description="say which owned items made the score")

    @model_validator(mode="after")
    def _exactly_one(self) -> RecommendRequest:
        if (self.user is None) == (self.items is None):
            raise ValueError("give exactly one of 'user' and 'items'")
        return self


class BatchRequest(_Question):
    """Several requests at once."""

    requests: list[RecommendRequest] = Field(min_length=1, max_length=REQUESTS_AT_MOST)


class Because(_Answer):
    """An owned item and how much the score falls without it."""

    item_id: str
    name: str | None
    contribution: float


class Recommendation(_Answer):
    """`because`, `base` and `joint` are there when `explain` was asked for."""

    rank: int = Field(ge=1)
    item_id: str
    name: str | None
    score: float = Field(description="higher is better, comparable for this user or basket only")
    because: list[Because] = Field(
        default=[], description="up to 5 owned items with the largest positive contributions"
    )
    base: float = Field(0.0, description="the score of somebody who owns nothing")
    joint: float = Field(0.0, description="what only several owned items together explain")


class RecommendAnswer(_Answer):
    """`model` is the beginning of the SHA-256 of the model file that answered."""

    model: str
    user: str | None
    items: list[str] | None
    unknown_items: list[str]
    recommendations: list[Recommendation]


class ProblemDetails(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None


class BatchProblem(_Answer):
    """What became of one request of a batch that has no answer."""

    problem: ProblemDetails


class BatchAnswer(_Answer):
    """The results in the order of the requests."""

    model: str
    results: list[RecommendAnswer | BatchProblem]


class SimilarItem(_Answer):
    """An item whose vector points the same way."""

    rank: int
    item_id: str
    name: str | None
    similarity: float


class TogetherItem(_Answer):
    """An item that the same users own."""

    rank: int
    item_id: str
    name: str | None
    users: int = Field(description="how many users own both")
    lift: float = Field(description="1 is what chance would give")


class SimilarAnswer(_Answer):
    """`metric` says what the similarity is; null, and `similar` empty, where the model has no item vectors."""

    model: str
    item_id: str
    name: str | None
    metric: str | None
    similar: list[SimilarItem]
    bought_together: list[TogetherItem]


class FoundItem(_Answer):
    """`owners` is null where the model was saved without histories."""

    item_id: str
    name: str | None
    owners: int | None


class ItemsAnswer(_Answer):
    """`more`: there are others beyond the limit."""

    query: str
    items: list[FoundItem]
    more: bool


class FoundUser(_Answer):
    """A user and the length of the history."""

    user_id: str
    n_items: int


class UsersAnswer(_Answer):
    """`more`: there are others beyond the limit."""

    query: str
    users: list[FoundUser]
    more: bool


class NamedItem(_Answer):
    """An item."""

    item_id: str
    name: str | None


class HistoryAnswer(_Answer):
    """What a user owns; `n_items` counts all of it, whatever the limit."""

    user_id: str
    n_items: int
    items: list[NamedItem]


class Status(_Answer):
    """The server runs."""

    status: str


class ModelAnswer(_Answer):
    """What `recae inspect` says of the model that answers now."""

    model: str
    kind: str
    config: dict[str, Any]
    n_items: int
    n_users: int | None
    n_interactions: int | None
    metrics: Any
    history: Any
    versions: Any
    fingerprint: Any
    loaded_at: str = Field(description="UTC, ISO 8601")


class MapAnswer(_Answer):
    """Columns of one length, most owned item first; `owners` is null without histories."""

    model: str
    method: str
    item_id: list[str]
    name: list[str | None]
    owners: list[int] | None
    x: list[float]
    y: list[float]
