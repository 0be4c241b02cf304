"""What an evaluation works on, read as its protocol needs it: a table of purchases, two of them, or two matrices."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recae.errors import ColumnError, ConfigError
from recae.evaluation.moments import check_times
from recae.evaluation.protocols import ProtocolOptions, Purchases, pair_of_matrices
from recae.filters import Filters
from recae.ingest import IngestReport, choose_columns, read_events, read_with_report
from recae.interactions import Interactions
from recae.sources import Source as Opened
from recae.sources import open_source
from recae.sources.matrix import read_matrix
from recae.weighting import Weighting
from recae.workflow.filtering import reading_options

BY_BASKET = ("time", "next-basket")
"""The protocols that need every purchase with its time or basket, and not only the pairs."""

_OF_DATABASES = ("query", "table")

Source = Purchases | Interactions | str | Path
Columns = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Material:
    """Purchases as a protocol needs them, and what the report says of them: names, and lines of what was dropped.

    filters  which of them count; None where those that they were read with before say so
    """

    purchases: Purchases
    source: str
    lines: list[str] = field(default_factory=list)
    filters: Filters | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The report's "data"."""
        own, test = self.purchases.interactions, self.purchases.test
        fingerprint = own.fingerprint
        if test is not None:
            fingerprint = hashlib.sha256((fingerprint + test.fingerprint).encode()).hexdigest()
        return {
            "source": self.source,
            "fingerprint": fingerprint,
            "n_users": own.n_users,
            "n_items": own.n_items,
            "n_interactions": own.n_interactions + (0 if test is None else test.n_interactions),
            "filters": (self.filters or own.filters or Filters()).as_dict(),
            "report": self.lines,
        }

    def name_of(self, item: str) -> str | None:
        """The name of an item, if it has one."""
        own = self.purchases.interactions
        name: str | None = None if own.item_names is None else own.item_names[own.items.row(item)].as_py()
        return name


def check_source(source: Source, test: str | Path | None, protocol: str) -> None:
    """ConfigError, before anything is read, for a source that the protocol cannot take."""
    if test is not None and protocol != "pair":
        raise ConfigError(
            f"a test part is for the protocol pair, but the protocol is {protocol}; add --protocol pair, or leave "
            "--test out"
        )
    if not isinstance(source, str | Path):
        return
    path = Path(source)
    if not is_matrix(path):
        if protocol == "pair" and test is None:
            raise ConfigError(
                "the protocol pair needs a test part beside the training part: give it with --test, or a folder "
                "with train.npz and test.npz"
            )
        if test is not None and is_matrix(Path(test)):
            raise ConfigError(f"'{source}' is a table and '{test}' a matrix; give two of a kind")
    elif protocol != "pair":
        raise ConfigError(
            f"'{source}' is {'a folder of matrices' if path.is_dir() else 'a matrix'}, which has neither ids nor "
            f"times, and the protocol is {protocol}; add --protocol pair, or give a table of purchases"
        )
    elif path.is_dir() and test is not None:
        raise ConfigError(f"'{source}' is a folder that holds both parts; leave --test out")
    elif not path.is_dir() and test is None:
        raise ConfigError(f"'{source}' is the training part; give the test part with --test, another .npz")
    elif test is not None and not is_matrix(Path(test)):
        raise ConfigError(f"'{source}' is a matrix and '{test}' a table; give two of a kind")


def filters_for(
    filters: Filters | None, source: Source, protocol: str, options: ProtocolOptions
) -> tuple[Filters | None, ProtocolOptions]:
    """The filters to read with, and the options of the protocol, which gets the minimums where it alone may apply them.

    To count what a user or item has from the cut on would let the models know of it. A protocol that holds out by lot,
    or the last that a user bought, parts what is left of all purchases, as published ones do.

    Raises ConfigError for minimums of a given pair, whose parts would not fit together any more, and for filters of
    matrices and of what was read already.
    """
    if not filters:
        return None, options
    if isinstance(source, str | Path) and is_matrix(Path(source)):
        raise ConfigError(
            f"filters ({filters}) are for tables of purchases, but matrices are given; leave them out"
        )
    reading_options(source, None, filters)
    if not filters.has_minimum or protocol not in ("pair", "time"):
        return filters, options
    if protocol == "pair":
        raise ConfigError(
            "minimum purchases would leave other users and items of a given test part than of its training part: "
            "filter before they are parted, and leave --min-user-purchases and --min-item-purchases out"
        )
    return filters.of_rows(), replace(
        options,
        min_user_purchases=filters.min_user_purchases,
        min_item_purchases=filters.min_item_purchases,
    )


def is_matrix(path: Path) -> bool:
    """Whether a path is taken for a matrix: an .npz file, or a folder with train.npz in it."""
    return path.suffix.lower() == ".npz" or (path / "train.npz").is_file()


def read_material(
    source: Source,
    *,
    test: str | Path | None,
    protocol: str,
    columns: Columns,
    filters: Filters | None = None,
    on_report: Callable[[IngestReport], None] = lambda report: None,
    on_message: Callable[[str], None] = lambda text: None,
    weighting: Weighting | None = None,
) -> Material:
    """Reads what a protocol needs, and what purchases are weighted by; see `check_source`, which should find nothing.

    Raises SourceError, ColumnError and DataError for what cannot be used, DataError for a protocol by time where there
    is no time column, ConfigError for columns that a matrix does not have and for baskets that the protocol does not
    look at.
    """
    if isinstance(source, Purchases):
        return Material(source, "purchases")
    if isinstance(source, Interactions):
        return Material(Purchases(source), "interactions")
    named = [name for name, value in columns.items() if value]
    if is_matrix(Path(source)):
        if weighting:
            raise ConfigError(
                f"{weighting.options()} needs times or quantities, which matrices do not hold; leave it out, or give "
                "tables of purchases"
            )
        if named:
            raise ConfigError(
                f"--{named[0].replace('_', '-')} is for tables of purchases, but matrices are given; leave it out"
            )
        return _read_matrices(Path(source), test, on_message)
    if protocol not in BY_BASKET and columns.get("basket_column"):
        raise ConfigError(
            f"baskets are told apart with the protocols {' and '.join(BY_BASKET)}, but the protocol is {protocol}; "
            "leave --basket-column out"
        )
    lines: list[str] = []
    plain = {name: value for name, value in columns.items() if name not in ("basket_column", *_OF_DATABASES)}
    plain = reading_options(source, plain, filters)
    test_columns = dict(plain)
    plain |= (weighting or Weighting()).reading()
    opened = open_source(source, **{name: columns.get(name) for name in _OF_DATABASES})
    name = Path(opened.name).name or opened.name

    def report(found: IngestReport) -> None:
        lines.extend(found.lines())
        on_report(found)

    if protocol in BY_BASKET:
        if protocol == "time":
            _check_time_column(opened, plain)
        interactions, events, found = read_events(opened, **plain, basket_column=columns.get("basket_column"))
        report(found)
        return Material(Purchases(interactions, events), name, lines)
    interactions, found = read_with_report(opened, **plain)
    report(found)
    if test is None:
        return Material(Purchases(interactions), name, lines)
    if rejects := plain.get("rejects"):
        test_columns["rejects"] = rejects_of_test(Path(rejects))
    other, found = read_with_report(test, **test_columns)
    report(found)
    return Material(Purchases(interactions, None, other), f"{name}, {Path(test).name}", lines)


def rejects_of_test(path: Path) -> Path:
    """Where the rows that are dropped of a test part go, beside those of the training part."""
    return path.with_name(f"{path.stem}.test{path.suffix}")


def _check_time_column(table: Opened, columns: Columns) -> None:
    """DataError where a table has no column of times; reading it would ask for one of baskets, too."""
    given = {
        name.removesuffix("_column"): value for name, value in columns.items() if name.endswith("_column")
    }
    try:
        found = choose_columns(table.column_names, given)
    except ColumnError as error:
        raise ColumnError(f"'{table.name}': {error}") from error
    if found.time is None:
        check_times(None)


def _read_matrices(source: Path, test: str | Path | None, on_message: Callable[[str], None]) -> Material:
    paths = (source / "train.npz", source / "test.npz") if test is None else (source, Path(test))
    matrices = []
    for path in paths:
        matrix, binary = read_matrix(path)
        matrices.append(matrix)
        if not binary:
            on_message(f"'{path}' holds values other than 1; each that is not 0 is taken as one interaction")
    lines = [
        f"read {m.nnz:,} interactions of {m.shape[0]:,} users × {m.shape[1]:,} items from {path}"
        for path, m in zip(paths, matrices, strict=True)
    ]
    for line in lines:
        on_message(line)
    name = source.name if test is None else f"{source.name}, {Path(test).name}"
    return Material(pair_of_matrices(*matrices), name, lines)
