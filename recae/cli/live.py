"""What a server says of the model that it uses: whether customers buy what is recommended, and how old the model is."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from recae.errors import ConfigError
from recae.text import human_seconds

_SECONDS: Final = 10.0
_BYTES: Final = 2**24
_LINE: Final = re.compile(r'^(\w+)(?:\{item="(\w+)"\})? (\S+)$', re.MULTILINE)
_DAY: Final = 86_400.0


@dataclass(frozen=True)
class Live:
    """Figures of a server since it was started.

    Attributes:
        model: the beginning of the SHA-256 of the file that answers.
        age_seconds: since that file was written; None where the server does not say.
        customers_listed: customers with a list, each counted once a day.
        customers_hit: those of them who bought an item of their last list within a day.
        purchases: new purchases of the journal.
        unknown_purchases: those of them of items that the model has not seen.
        unfolded: purchases of the journal that the model does not have, or somewhat more; None where the server
            cannot read it.
    """

    model: str
    age_seconds: float | None
    customers_listed: int
    customers_hit: int
    purchases: int
    unknown_purchases: int
    unfolded: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, and the fractions that they make, as JSON values."""
        return {
            **asdict(self),
            "hit_fraction": _fraction(self.customers_hit, self.customers_listed),
            "unknown_fraction": _fraction(self.unknown_purchases, self.purchases),
        }

    def rows(self, version: str) -> list[list[str]]:
        """Return the rows of a table.

        Args:
            version: of the model file that is inspected.
        """
        same = "this file" if version == self.model else f"another file than this one, {version}"
        age = "-" if self.age_seconds is None else _age(self.age_seconds)
        return [
            ["model in use", f"{self.model}, {same}"],
            ["age of its file", age],
            ["customers with a list", f"{self.customers_listed:,}"],
            ["bought from it within a day", _share(self.customers_hit, self.customers_listed)],
            ["purchases", f"{self.purchases:,}"],
            ["of unknown items", _share(self.unknown_purchases, self.purchases)],
            ["not yet in the model", "-" if self.unfolded is None else f"{self.unfolded:,}"],
        ]


def ask(url: str) -> Live:
    """Ask a server, with the token in $RECAE_TOKEN where it is set.

    Args:
        url: where it answers, such as http://localhost:8000.

    Raises:
        ConfigError: it cannot be reached, or what answers is no server of recae.
    """
    if not re.match(r"https?://[^/]", url):
        raise ConfigError(
            f"--live is the URL of a server such as http://localhost:8000, found '{url}': give one"
        )
    base = url.rstrip("/")
    try:
        described = json.loads(_fetched(f"{base}/model"))
        text = _fetched(f"{base}/metrics")
        model = str(described["model"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"what answers at '{url}' is no server of recae: give the URL of one") from None
    found = {(name, item): float(value) for name, item, value in _LINE.findall(text)}
    unfolded = found.get(("recae_journal_unfolded", ""), 0.0)
    written = found.get(("recae_model_written_timestamp_seconds", ""))
    return Live(
        model=model,
        age_seconds=None if written is None else max(0.0, time.time() - written),
        customers_listed=_number(found, "recae_customers_listed_total"),
        customers_hit=_number(found, "recae_customers_hit_total"),
        purchases=sum(_number(found, "recae_purchases_total", item) for item in ("known", "unknown")),
        unknown_purchases=_number(found, "recae_purchases_total", "unknown"),
        unfolded=None if math.isnan(unfolded) else int(unfolded),
    )


def _fetched(url: str) -> str:
    token = os.environ.get("RECAE_TOKEN")
    request = Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})  # noqa: S310  # http or https, by `ask`
    try:
        with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310  # likewise
            content: bytes = answer.read(_BYTES)
    except HTTPError as error:
        if error.code == 401:
            raise ConfigError(f"the server at '{url}' wants its token: set $RECAE_TOKEN") from None
        raise ConfigError(f"'{url}' answers with {error.code}: give the URL of a server of recae") from None
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ConfigError(
            f"no server answers at '{url}' ({reason}): start recae serve, or give another URL"
        ) from None
    return content.decode("utf-8", "replace")


def _age(seconds: float) -> str:
    return human_seconds(seconds) if seconds < 2 * _DAY else f"{seconds / _DAY:,.1f} days"


def _number(found: Mapping[tuple[str, str], float], name: str, item: str = "") -> int:
    return int(found.get((name, item), 0.0))


def _fraction(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({part / whole:.1%})" if whole else f"{part:,}"
