"""What each kind of model is, in a line for people; nothing is imported for it."""

from __future__ import annotations

ABOUT = {
    "sigmoid": "autoencoder of one sigmoid bottleneck, exact steps one user at a time",
    "deep": "autoencoder of several layers, --layers 600,200 and mirrored out",
    "multvae": "Mult-VAE: variational, multinomial likelihood",
    "recvae": "RecVAE: Mult-VAE with a composite prior and alternating updates",
    "ease": "EASE: linear, in closed form; items × items in memory",
    "edlae": "EDLAE: EASE with dropout that forgets the diagonal",
    "sparse-linear": "EASE approximated sparsely, for large catalogues",
    "blend": "several kinds added up, weights chosen on validation users",
    "auto": "tries several within --budget and takes the best",
    "itemknn": "item-kNN: items bought by the same users",
    "als": "matrix factorisation by alternating least squares",
    "bpr": "matrix factorisation by Bayesian personalised ranking",
    "frequency": "what the user bought most often and last, for shops where people rebuy",
    "popularity": "what most users own",
}
"""Kind → what it is, in the order in which people should read them."""


def kinds_text() -> str:
    """The kinds, one a line, as a paragraph that click leaves as it is."""
    width = max(map(len, ABOUT))
    return "\n".join(["\b", "Kinds:", *(f"  {kind:<{width}}  {what}" for kind, what in ABOUT.items())])
