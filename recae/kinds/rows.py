"""The kinds of model that recae brings, a row each; a new kind needs only its row and its own files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recae.kinds.cost import counting, dense, exact, filtering, inverse, validating
from recae.kinds.kind import Candidate, Kind
from recae.kinds.space import even, log, one_of, whole


def _tied(fixed: Mapping[str, Any]) -> bool:
    return bool(fixed.get("tied"))


def _no_exact_step(fixed: Mapping[str, Any]) -> bool:
    return _tied(fixed) or fixed.get("loss", "squared") != "squared"


def _multinomial(fixed: Mapping[str, Any]) -> bool:
    return fixed.get("loss") == "multinomial"


_EASE = (
    log("l2", 2, 5000),
    even("user_power", 0, 1),
    even("item_power", 0, 0.5),
    even("owned_power", -0.5, 0.5),
    even("diagonal", 0, 0.9),
)
_EDLAE = (_EASE[0], even("dropout", 0.05, 0.75), *_EASE[1:])

DEFAULT: Final = "blend"
"""The kind that is trained where none is named: of several kinds those that bring something on validation users."""

MAIN: Final = "sigmoid"
"""The autoencoder that a blend's settings without the name of a part are of."""

# The order of the help, from the autoencoders to the simplest baseline; baselines are run in the opposite order, since
# the simple ones are quick.
#
# The bounds of each space lie around what the defaults resolve to for 1,000 to 1,000,000 users. Epochs are none of
# them: training stops by itself when nothing is gained any more, and trials of as many epochs can be compared epoch by
# epoch. The largest purchase_weight times the largest step stays below 2.
BUILT_IN: Final[tuple[Kind, ...]] = (
    Kind(
        name="sigmoid",
        title="sigmoid",
        about="autoencoder with one sigmoid layer, trained exactly, one user at a time",
        settings="recae.training.config:SigmoidSettings",
        fit="recae.training.kinds.sigmoid:fit_sigmoid",
        model="recae.models.sigmoid:SigmoidAutoencoder",
        of_items=("encoder", "decoder", "decoder_bias"),
        update="recae.training.kinds.sigmoid_update:go_on",
        evaluated=True,
        one_processor=True,
        cost=exact,
        space=(
            log("purchase_weight", 1, 50),
            log("learning_rate", 0.004, 0.035, idle=_tied),
            whole("factors", 64, 1024),
            even("dropout", 0.2, 0.8),
            log("encoder_learning_rate", 0.008, 0.2, idle=_tied),
            even("input_power", 0.2, 0.7),
        ),
        auto=Candidate(promise=3.0),
        warmed=({}, {"half_life": 90}),
        warmed_by_torch=({"batch_size": 16},),
    ),
    Kind(
        name="deep",
        title="deep",
        about="autoencoder with several layers: --layers 600,200 and their mirror image",
        settings="recae.training.kinds.deep:DeepSettings",
        fit="recae.training.kinds.deep:fit_deep",
        model="recae.models.deep:DeepAutoencoder",
        of_items=("encoder_0", "output", "output_bias"),
        cost=lambda size: 3 * exact(size),
        space=(
            log("purchase_weight", 1, 50, idle=_multinomial),
            log("output_learning_rate", 0.004, 0.035, idle=_no_exact_step),
            even("dropout", 0.2, 0.8),
            one_of("layers", "128", "256", "512", "256,128", "600,200", "1000,300"),
            log("learning_rate", 2e-4, 5e-3),
            log("encoder_learning_rate", 0.008, 0.2, idle=_tied),
            one_of("activation", "tanh", "sigmoid", "silu", "selu", "relu"),
            even("input_power", 0.2, 0.7),
        ),
        auto=Candidate(turn=2),
        warmed_by_torch=({"layers": "16,8"},),
    ),
    Kind(
        name="multvae",
        title="Mult-VAE",
        about="Mult-VAE: variational, multinomial likelihood",
        settings="recae.training.kinds.vae:MultVaeSettings",
        fit="recae.training.kinds.vae:fit_multvae",
        model="recae.models.vae:MultVAE",
        of_items=("encoder", "decoder", "decoder_bias"),
        cost=dense,
        space=(
            log("beta", 0.005, 0.5),
            log("learning_rate", 5e-4, 0.01),
            even("dropout", 0.2, 0.8),
            one_of("layers", "100", "200", "400", "400,100", "600,200"),
            even("anneal", 0.1, 0.9),
        ),
        auto=Candidate(turn=2),
    ),
    Kind(
        name="recvae",
        title="RecVAE",
        about="RecVAE: Mult-VAE with a composite prior and alternating updates",
        settings="recae.training.kinds.recvae:RecVaeSettings",
        fit="recae.training.kinds.recvae:fit_recvae",
        model="recae.models.vae:RecVAE",
        of_items=("encoder", "decoder", "decoder_bias"),
        cost=lambda size: 3 * dense(size),
        space=(
            log("gamma", 0.001, 0.03),
            log("learning_rate", 2e-4, 5e-3),
            even("dropout", 0.2, 0.8),
            whole("factors", 64, 512),
            whole("hidden", 200, 1000),
        ),
        auto=Candidate(turn=3),
    ),
    Kind(
        name="aae",
        title="adversarial AE",
        about="autoencoder whose code is trained against a discriminator",
        settings="recae.training.kinds.aae:AaeSettings",
        fit="recae.training.kinds.aae:fit_aae",
        model="recae.models.aae:AdversarialAutoencoder",
        of_items=("encoder_0", "output", "output_bias"),
        cost=lambda size: 3 * exact(size),
        space=(
            log("adversarial_weight", 0.01, 10),
            log("prior_deviation", 0.3, 5),
            even("dropout", 0.1, 0.8),
            one_of("layers", "128", "256", "512", "600,200"),
            one_of("activation", "sigmoid", "relu"),
        ),
        auto=Candidate(turn=3),
    ),
    Kind(
        name="ease",
        title="EASE",
        about="EASE: linear, in closed form; items × items in memory",
        settings="recae.training.kinds.linear:EaseSettings",
        fit="recae.training.kinds.linear:fit_ease",
        model="recae.models.linear:Ease",
        of_items=(),
        between_items="dense",
        baseline=True,
        memory="recae.training.kinds.linear:plan",
        cost=inverse,
        space=_EASE,
        auto=Candidate(promise=3.0),
        warmed=({},),
    ),
    Kind(
        name="edlae",
        title="EDLAE",
        about="EDLAE: EASE with dropout that forgets the diagonal",
        settings="recae.training.kinds.linear:EdlaeSettings",
        fit="recae.training.kinds.linear:fit_edlae",
        model="recae.models.linear:Edlae",
        of_items=(),
        between_items="dense",
        memory="recae.training.kinds.linear:plan",
        cost=inverse,
        space=_EDLAE,
        auto=Candidate(promise=3.0),
        warmed=({},),
    ),
    Kind(
        name="sparse-linear",
        title="sparse-linear",
        about="EASE approximated sparsely, for large catalogues",
        settings="recae.training.kinds.linear:SparseLinearSettings",
        fit="recae.training.kinds.sparse_linear:fit_sparse_linear",
        model="recae.models.linear:SparseLinear",
        of_items=(),
        between_items="sparse",
        cost=lambda size: counting(size) + 1e-3 * size.items,
        space=(*_EDLAE[:2], whole("neighbours", 50, 500), *_EASE[1:]),
        auto=Candidate(promise=2.0, instead_of="ease"),
        warmed=({"half_life": 90},),
    ),
    Kind(
        name="event-linear",
        title="event-linear",
        about="EDLAE with views, carts and other events as inputs: --inputs",
        settings="recae.training.kinds.event_linear:EventLinearSettings",
        fit="recae.training.kinds.event_linear:fit_event_linear",
        model="recae.models.event_linear:EventLinear",
        of_items=(),
        between_items="dense",
        needs_inputs=True,
        cost=inverse,
    ),
    Kind(
        name="spectral",
        title="spectral",
        about="graph filter over the items, in closed form; fitted in seconds",
        settings="recae.training.kinds.spectral:SpectralSettings",
        fit="recae.training.kinds.spectral:fit_spectral",
        model="recae.models.spectral:Spectral",
        of_items=("vectors", "scales"),
        between_items="sparse",
        update="recae.training.kinds.spectral:update_spectral",
        cost=filtering,
        space=(
            one_of("filter", "one-step", "two-step", "chebyshev"),
            even("beta", 0, 0.8),
            even("alpha", 0, 1),
            whole("neighbours", 5, 500),
            whole("factors", 64, 1024),
        ),
        auto=Candidate(promise=2.0),
        warmed=({},),
    ),
    Kind(
        name="blend",
        title="blend",
        about="weighted sum of several kinds, weights chosen on validation users",
        settings="recae.selection.blend:BlendSettings",
        fit="recae.selection.blend:fit_blend",
        model="recae.models.blend:Blend",
        evaluated=True,
        parts="components",
        # candidates, of which those stay that bring something; EASE where it is small
        default_parts=(
            "sigmoid",
            "sparse-linear",
            "ease",
            "event-linear",
            "spectral",
            "itemknn",
            "popularity",
            "frequency",
        ),
        one_processor=True,
        # the weights of a blend of models that are there already
        cost=lambda size: 4e-3 * size.validation_users + 3 * validating(size, size.factors),
        auto=Candidate(turn=1),
        warmed=({},),
    ),
    Kind(
        name="auto",
        title="auto",
        about="tries several within --budget and takes the best",
        settings="recae.selection.auto:AutoSettings",
        fit="recae.selection.auto:fit_auto",
        parts="candidates",
        default_parts=(
            "popularity",
            "itemknn",
            "frequency",
            "ease",
            "sparse-linear",
            "sigmoid",
            "blend",
            "multvae",
        ),
        resumable=False,
    ),
    Kind(
        name="bpr",
        title="BPR",
        about="matrix factorisation by Bayesian personalised ranking",
        settings="recae.training.kinds.baselines:BprSettings",
        fit="recae.training.kinds.baselines:fit_bpr",
        model="recae.models.factorisation:BPR",
        of_items=("item_factors", "item_bias"),
        no_confidence="the BPR of implicit draws pairs of items, all of which count alike",
        baseline=True,
        cost=lambda size: 100 * 2e-7 * size.interactions,
        space=(
            whole("factors", 16, 256),
            log("regularization", 0.003, 0.1),
            log("learning_rate", 0.01, 0.2),
            whole("iterations", 30, 300),
        ),
        presets=(  # the defaults are 64 and 0.03
            {"factors": 64, "regularization": 0.01},
            {"factors": 128, "regularization": 0.03},
            {"factors": 128, "regularization": 0.01},
        ),
        warmed=({},),
    ),
    Kind(
        name="als",
        title="ALS",
        about="matrix factorisation by alternating least squares",
        settings="recae.training.kinds.baselines:AlsSettings",
        fit="recae.training.kinds.baselines:fit_als",
        model="recae.models.factorisation:ALS",
        of_items=("item_factors",),
        baseline=True,
        cost=lambda size: 15 * (2e-7 * size.interactions + 5e-5 * (size.users + size.items)),
        space=(whole("factors", 32, 512), log("regularization", 0.1, 500), log("alpha", 0.3, 50)),
        presets=(  # the defaults are 256, 10 and 3
            {"factors": 256, "regularization": 10.0, "alpha": 10.0},
            {"factors": 256, "regularization": 50.0, "alpha": 3.0},
            {"factors": 256, "regularization": 50.0, "alpha": 10.0},
            {"factors": 128, "regularization": 10.0, "alpha": 3.0},
            {"factors": 128, "regularization": 10.0, "alpha": 10.0},
            {"factors": 128, "regularization": 50.0, "alpha": 3.0},
            {"factors": 128, "regularization": 50.0, "alpha": 10.0},
        ),
        warmed=({},),
    ),
    Kind(
        name="itemknn",
        title="item-kNN",
        about="item-kNN: items bought by the same users",
        settings="recae.training.kinds.baselines:ItemKNNSettings",
        fit="recae.training.kinds.baselines:fit_itemknn",
        model="recae.models.itemknn:ItemKNN",
        of_items=(),
        between_items="sparse",
        baseline=True,
        cost=counting,
        space=(whole("k", 5, 200), one_of("weighting", "tfidf", "bm25", "cosine")),
        # with each weighting the items are compared once, and k is chosen on the validation users; tfidf is the default
        presets=tuple({"weighting": weighting} for weighting in ("bm25", "cosine")),
        only_presets=True,
        auto=Candidate(always=True),
    ),
    Kind(
        name="frequency",
        title="personal frequency",
        about="what the user bought most often and most recently, for repeat purchases",
        settings="recae.training.kinds.baselines:FrequencySettings",
        fit="recae.training.kinds.baselines:fit_frequency",
        model="recae.models.frequency:Frequency",
        of_items=("shares",),
        no_confidence="personal frequency has a decay of its own by baskets",
        baseline=True,
        needs_repeats=True,
        decay="decay",
        cost=lambda size: 1e-7 * size.interactions + 1e-3,
        space=(log("popularity", 0.01, 20), even("decay", 0.5, 1)),
        warmed=({"repeats": True},),
    ),
    Kind(
        name="popularity",
        title="popularity",
        about="the items that most users own",
        settings="recae.training.kinds.baselines:PopularitySettings",
        fit="recae.training.kinds.baselines:fit_popularity",
        model="recae.models.popularity:Popularity",
        of_items=("counts",),
        baseline=True,
        personal=False,
        cost=lambda size: 1e-8 * size.interactions + 1e-3,
        auto=Candidate(always=True),
    ),
)
