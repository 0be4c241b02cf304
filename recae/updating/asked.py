"""What a model was trained with, as arguments for another training: kind, settings, filters, rows and weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recae.confidence import Weighting
from recae.insight.listings import rules_of
from recae.kinds import find
from recae.models.blend import Blend
from recae.reading import ReadOptions
from recae.recommender import Recommender
from recae.settings import settings_of
from recae.updating.update import as_trained, filters_of


def arguments_of(recommender: Recommender, reading: ReadOptions | None = None) -> dict[str, Any]:
    """Return keywords for `recae.pipeline.train` that train a model as this one was trained.

    Args:
        recommender: a model with its metadata.
        reading: how to read the table; what it does not say is taken from the metadata.
    """
    model, metadata = recommender.model, recommender.metadata
    weights = metadata.get("weights")
    return {
        "kind": model.kind,
        "repeats": recommender.repeats,
        "filters": filters_of(metadata) or None,
        "confidence": Weighting.of(weights) if isinstance(weights, Mapping) else None,
        "reading": reading_of(metadata, reading),
        "rules": rules_of(metadata),
        **settings_of_model(model),
    }


def settings_of_model(model: Any) -> dict[str, Any]:
    """Return the settings of a fitted model by name, those of a blend's parts by dotted names such as `ease.l2`."""
    if not isinstance(model, Blend):
        return _own(model.kind, model.config())
    found = {**_own(model.kind, model.settings), **{n: v for n, v in model.settings.items() if "." in n}}
    for part in model.parts:
        kind = part.model.kind
        found |= {f"{kind}.{name}": value for name, value in _own(kind, part.model.config()).items()}
    return found


def _own(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    known = settings_of(find(kind).settings_class())
    return {name: value for name, value in config.items() if name in known and value is not None}


def reading_of(metadata: Mapping[str, Any], reading: ReadOptions | None = None) -> ReadOptions:
    """Return how a table is read so that the rows count that counted in training, as far as nothing else is said."""
    options = as_trained(reading or ReadOptions(), metadata)
    counting = metadata.get("reading")
    if not isinstance(counting, Mapping):
        return options
    events, inputs = counting.get("events"), counting.get("inputs")
    if isinstance(inputs, Mapping) and isinstance(inputs.get("events"), Mapping) and options.inputs is None:
        options = options.updated(inputs=tuple(inputs["events"]))
    if isinstance(events, Mapping) and options.event_weights is None and options.where is None:
        weights = events.get("weights")
        # where all count alike they were recognised, and will be again
        if isinstance(weights, Mapping) and any(weight != 1 for weight in weights.values()):
            options = options.updated(
                event_weights=tuple((str(word), float(weight)) for word, weight in weights.items()),
                event_column=options.event_column or str(events.get("column")),
            )
    if isinstance(counting.get("confidence"), str) and options.confidence_column is None:
        options = options.updated(confidence_column=counting["confidence"])
    return options
