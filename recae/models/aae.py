"""The adversarial autoencoder: a deep autoencoder whose code was trained to look like draws from a prior."""

from typing import ClassVar

from recae.models.deep import DeepAutoencoder


class AdversarialAutoencoder(DeepAutoencoder):
    """A deep autoencoder trained against a discriminator of its code (Makhzani et al. 2015, arXiv:1511.05644).

    Discriminator and prior shape the code in training only. A history is scored by the autoencoder alone, so that the
    file holds the parameters of a deep one; see `DeepAutoencoder` for formulas and shapes.
    """

    kind: ClassVar[str] = "aae"
