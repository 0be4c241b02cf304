"""`RecommenderMethods`: the methods of a `Recommender` whose work is done in the rooms above it.

Every room carries a recommender about, so that its class is down here, and most of its methods need the rooms above,
such as neighbours, explanations and evaluation. They are defined in `recae.interface.queries` and looked up by name
when they are called, as `import recae` looks up its names: here stand their signatures, there what they do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from recae.results import Table
from recae.summary import Summarised

if TYPE_CHECKING:
    from recae.list_rules import ListRules  # which loads pydantic


def queries() -> Any:
    """Return the room of the methods, which is above this one."""
    return import_module("recae.interface.queries")


class RecommenderMethods(Summarised):
    """Base of `Recommender`; each method hands the recommender to the function of its name."""

    __slots__ = ()

    def recommend_many(
        self,
        users: Sequence[str | int] | None = None,
        n: int = 10,
        *,
        histories: Any = None,
        exclude: Sequence[str | int] | None = None,
        only: Sequence[str | int] | None = None,
        exclude_owned: bool | None = None,
        fallback: str | None = None,
        approximate: bool = False,
        rules: ListRules | Path | str | None = None,
        diversity: float = 0.0,
        **reading: Any,
    ) -> Table[Any]:
        """Return the best items for many users, in one table; `recae.score` streams what is larger than memory.

        Args:
            users: ids of users of the model, each scored once; None: all of them.
            n: how many items a user.
            histories: purchases of users to be folded in instead, as `recae.read` takes them; items that the model
                does not know are left out, and users of whom it knows no item are, unless there is a fallback.
            exclude: as for `recommend`; for everybody.
            only: as for `recommend`; for everybody.
            exclude_owned: as for `recommend`.
            fallback: as for `recommend`.
            approximate: find the lists by an index over the items, as `recae.score` does.
            rules: as for `recommend`.
            diversity: as for `recommend`.
            reading: how to read the histories, such as ``user_column``; see `recae.ReadOptions`.

        Returns:
            a table with the columns ``user_id``, ``rank``, ``item_id``, ``name`` and ``score``; with a fallback also
            ``source``, and ``category`` and ``price`` where the model's table of items has them.

        Raises:
            UnknownIdError: a user is not in the model, and there is no fallback.
            ConfigError, DataError: as for `recommend` and `recae.read`.
        """
        found: Table[Any] = queries().recommend_many(
            self,
            users,
            n,
            histories,
            exclude,
            only,
            exclude_owned,
            fallback,
            approximate,
            rules,
            diversity,
            reading,
        )
        return found

    def score_pairs(
        self, pairs: Any, *, user_column: str | None = None, item_column: str | None = None
    ) -> Table[Any]:
        """Return the score of each pair of a user and an item, in the order of the pairs.

        Args:
            pairs: a data frame, an Arrow table, a list of (user, item), or a file, with a column of each.
            user_column: exact name of the column of users; None: recognised by its name.
            item_column: likewise of items.

        Returns:
            a table with the columns ``user_id``, ``item_id`` and ``score``; the score is null where the model does not
            know the user or the item.

        Raises:
            DataError: the pairs cannot be read, or the model was saved without histories.
        """
        found: Table[Any] = queries().score_pairs(self, pairs, user_column, item_column)
        return found

    def similar_items(self, item: str | int, n: int = 10) -> Table[Any]:
        """Return the items most like an item by the correlation of their scores over users, nearest first.

        Returns:
            a table with the columns ``rank``, ``item_id``, ``name`` and ``similarity``, from -1 to 1.

        Raises:
            UnknownIdError: the item is not in the model.
            DataError: the model scores every history alike, as popularity does.
        """
        found: Table[Any] = queries().similar_items(self, item, n)
        return found

    def bought_together(self, item: str | int, n: int = 10) -> Table[Any]:
        """Return the items that most owners of an item own, too.

        Returns:
            a table with the columns ``rank``, ``item_id``, ``name``, ``users`` (how many own both) and ``lift`` (how
            many times more often than chance would have it).

        Raises:
            UnknownIdError: the item is not in the model.
            DataError: the model was saved without histories.
        """
        found: Table[Any] = queries().bought_together(self, item, n)
        return found

    def similar_users(self, user: str | int, n: int = 10) -> Table[Any]:
        """Return the users most like a user by the cosine of their scores, less the mean user's, nearest first.

        Returns:
            a table with the columns ``rank``, ``user_id``, ``n_items``, ``shared`` (items that both own) and
            ``similarity``, from -1 to 1.

        Raises:
            UnknownIdError: the user is not in the model.
            DataError: the model scores every history alike, or was saved without histories.
        """
        found: Table[Any] = queries().similar_users(self, user, n)
        return found

    def users_for(self, item: str | int, n: int = 10, *, exclude_owned: bool | None = None) -> Table[Any]:
        """Return the users for whom an item has the highest score, best first: whom to tell of it.

        A score compares items for one user. Across users it also says how much a user buys at all.

        Args:
            item: id of the item.
            n: how many users.
            exclude_owned: leave out users who own the item; by default unless the model `repeats`.

        Returns:
            a table with the columns ``rank``, ``user_id`` and ``score``.

        Raises:
            UnknownIdError: the item is not in the model.
            DataError: the model was saved without histories.
        """
        found: Table[Any] = queries().users_for(self, item, n, exclude_owned)
        return found

    def explain(
        self,
        user: str | int | None = None,
        item: str | int | None = None,
        n: int = 5,
        *,
        items: Sequence[str | int] | None = None,
    ) -> Table[Any]:
        """Return how much each owned item contributes to the score of an item, for a user or a basket.

        Args:
            user: a user's id.
            item: id of the item whose score is explained.
            n: how many contributions to list, the largest first; the others are summed.
            items: a basket instead of a user.

        Returns:
            a table with the columns ``part``, ``item_id``, ``name`` and ``value``. The parts are "base" (the score
            without any history), "owned" (a row each: what the item adds), "others" (what all other owned items add
            together; left out where there are none) and "score", their sum.

        Raises:
            ConfigError: no item is given, or both or neither of ``user`` and ``items``.
            UnknownIdError: the user or item is not in the model.
        """
        found: Table[Any] = queries().explain(self, user, item, n, items)
        return found

    def evaluate(
        self,
        held_out: Any = None,
        k: int | Sequence[int] = (10, 20, 50),
        *,
        metrics: Sequence[str] = ("recall", "ndcg"),
        histories: Any = None,
        exclude_owned: bool | None = None,
        seed: int = 0,
        **reading: Any,
    ) -> Table[Any]:
        """Measure this model on purchases that it was not trained on, such as those of the month after.

        Each user's list is made from the stored history and compared with what the user bought in ``held_out``. Where
        owned items are left out of the lists, they are not looked for either. Users and items that the model does not
        know are left out and counted in the title. To compare kinds of model and baselines, use `recae.evaluate`.

        Args:
            held_out: the purchases to be found, as `recae.read` takes them.
            k: a list length, or several.
            metrics: names such as "recall", "ndcg", "precision", "mrr"; see `recae.metrics.METRICS`.
            histories: purchases that the lists are made from instead of the stored histories, likewise.
            exclude_owned: leave owned items out of the lists; by default unless the model `repeats`.
            seed: of the bootstrap.
            reading: how to read the purchases, such as ``user_column``; see `recae.ReadOptions`.

        Returns:
            a table with the columns ``metric``, ``mean``, ``low``, ``high`` (its 95 % bootstrap interval over users)
            and ``n_users``.

        Raises:
            ConfigError: nothing is given to be found, or a metric or length is not known.
            DataError: the purchases cannot be read, or nothing in them is known.
        """
        found: Table[Any] = queries().evaluate(
            self, held_out, k, metrics, histories, exclude_owned, seed, reading
        )
        return found

    def embed(self, what: str = "users", ids: Sequence[str | int] | None = None) -> Table[Any]:
        """Return vectors of users or items whose product is the score, for other programs.

        Args:
            what: "users" or "items".
            ids: of which; None: of all.

        Returns:
            a table with the columns of `recae.insight.embeddings.embedding_schema`: for users ``user_id``,
            ``n_items``, ``code_0`` …, for items ``item_id``, ``name``, ``owners``, ``vector_0`` … and ``bias``. Where a
            part of a blend is no product of vectors, the title says how much of the score the others are.

        Raises:
            ConfigError: ``what`` is something else.
            UnknownIdError: an id is not in the model.
            DataError: no part of the model is factored, or for users it has no histories.
        """
        found: Table[Any] = queries().embed(self, what, ids)
        return found

    def map(
        self,
        kind: str = "items",
        *,
        categories: str | Path | None = None,
        clusters: int | None = None,
        method: str | None = None,
        limit: int = 50_000,
        seed: int = 0,
        progress: Any = None,
    ) -> Any:
        """Lay out the items or users so that those that go together lie close together, as `recae map` does.

        Args:
            kind: "items" or "users".
            categories: a table with an item and a category column, for the colours; the purchases will do. None: those
                of the model's table of items, and where it has none, clusters.
            clusters: colour by so many clusters of items, 12 at most, named by their telling words; 0: one colour.
            method: "tsne", which shows clusters best and needs recae[map], "neighbours" or "pca"; None: t-SNE where it
                is installed, else neighbours.
            limit: how many at most, most owned first.
            seed: of t-SNE or neighbours.
            progress: as for `recae.train`.

        Returns:
            a `recae.insight.mapping.Map`, which a notebook shows; ``save(path)`` writes the page.

        Raises:
            ConfigError: there is no such kind or method, or the clusters are too many.
            DataError: the model scores every history alike, or has no histories for users; or the categories cannot
                be read.
        """
        return queries().draw(self, kind, categories, clusters, method, limit, seed, progress)

    def update(
        self,
        source: Any,
        *,
        since_last: bool = False,
        take_back: bool = True,
        device: str = "auto",
        progress: Any = None,
        **words: Any,
    ) -> Self:
        """Return a recommender that has learned from new purchases, too, as `recae update` does.

        Args:
            source: the new purchases, as `recae.read` takes them; those that are known already change nothing.
            since_last: read only rows later than the last purchase that the model knows.
            take_back: whether a row with a quantity below zero takes an earlier purchase out of the history.
            device: "auto", "cpu" or "cuda".
            progress: as for `recae.train`.
            words: options on reading and filters, such as ``user_column="customer"``; see `recae.ReadOptions`.

        Returns:
            a recommender of its own; this one where nothing has changed.

        Raises:
            ConfigError: the model cannot be updated, with the reason, or an option is unknown.
            DataError: the purchases cannot be used.
        """
        found: Self = queries().update(
            self,
            source,
            since_last=since_last,
            take_back=take_back,
            device=device,
            progress=progress,
            **words,
        )
        return found

    def forget(self, users: Sequence[str | int], *, retrain: bool = False, device: str = "auto") -> Self:
        """Return a recommender without some customers, as `recae.forget`.

        Args:
            users: their ids.
            retrain: whether what is trained in steps is trained again, too.
            device: "auto", "cpu" or "cuda", for what is fitted again.

        Raises:
            UnknownIdError: the model does not know one of them.
            DataError: nobody would be left, or the parts cannot be trained again from what the model holds.
        """
        found: Self = queries().forget(self, users, retrain=retrain, device=device)
        return found

    def with_items(
        self, items: Any, columns: Mapping[str, str | Sequence[str]] | None = None, *, new_items: str = "auto"
    ) -> Self:
        """Return a recommender that knows what a table says of its items: names, categories, prices and others.

        Args:
            items: a table of items: a file, data frame or anything that `recae.read` takes, or an `ItemTable`. It takes
                the place of the present one.
            columns: "id", "name", "category", "brand", "price", "available", "image", "link" or "text" to the exact
                name of its column, a category to several whose values make a path; the others are recognised by their
                names.
            new_items: whether items of the table that nobody has bought are scored: "auto" where that helps, "on" or
                "off".

        Raises:
            ConfigError: a column or ``new_items`` is none of these.
            SourceError, ColumnError, DataError: the table cannot be read, or names none of the model's items.
        """
        found: Self = queries().with_items(self, items, columns, new_items)
        return found

    def save(self, path: str | Path, *, histories: bool = True) -> None:
        """Write the recommender to one file, as `recae.save`.

        Args:
            path: where to; an existing file is replaced.
            histories: False leaves out the histories and with them the user ids.

        Raises:
            OutputError: the file cannot be written.
        """
        queries().save(self, path, histories=histories)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a recommender from a file that `save` or `recae train` wrote, as `recae.load`.

        Raises:
            ModelFileError: the file is missing, or is no usable model.
        """
        found: Self = queries().load(path)
        return found
