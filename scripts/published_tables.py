"""The published tables that published.py repeats: where the data come from, what they count, and what was published."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LIANG = "Liang et al. 2018 (arXiv:1802.05814), Table 2"
STECK = "Steck 2019 (arXiv:1905.03375), Table 1"
SHENBIN = "Shenbin et al. 2020 (RecVAE, arXiv:1912.11160)"
HE = "He et al. 2020 (LightGCN, arXiv:2002.02126), Table 4"
BARS = "BARS, leaderboard of candidate matching (Zhu et al. 2022, arXiv:2205.09626)"
SHEN = "Shen et al. 2021 (GF-CF, arXiv:2108.07567)"
CHOI = "Choi et al. 2023 (BSPM, arXiv:2211.09324), Table 4"
KIM = "Kim et al. 2025 (ChebyCF, arXiv:2505.00552), README of the authors' repository"
SUN = "Sun et al. 2024 (NESCL, arXiv:2402.11523), README of the authors' repository"
SPISAK = "Spišák et al. 2023 (SANSA, doi:10.1145/3604915.3608827), results in the authors' repository"

METRICS = {  # as the papers name them: as recae.evaluation does
    "mult-vae": {"Recall@20": "capped_recall@20", "Recall@50": "capped_recall@50", "NDCG@100": "ndcg@100"},
    "lightgcn": {"Recall@20": "recall@20", "NDCG@20": "ndcg@20"},
}
"""Of each table: Liang et al. divide by min(k, held out), He et al. by the number held out."""

CHOICE = {"mult-vae": "ndcg@100", "lightgcn": "ndcg@20"}
"""What epochs are chosen by where there are users to choose on, as the authors do."""

KINDS = {
    "mult-vae": ("popularity", "als", "multvae", "ease", "sigmoid"),
    "lightgcn": ("popularity", "itemknn", "multvae", "ease", "spectral", "sigmoid"),
}
"""What is run where nothing is asked for: kinds that have a published figure, and recae's own. BPR is left out: the
published one of the LightGCN splits draws up to 300 other items a pair, which implicit's does not."""


@dataclass(frozen=True)
class Remote:
    """A file at its publisher's address.

    checksum  "md5:…", "sha256:…" or "git-blob:…" in hexadecimal; None where the publisher states none
    origin    who states the checksum, in words; "" without one
    """

    address: str
    name: str
    checksum: str | None
    origin: str = ""


@dataclass(frozen=True)
class Figure:
    """What was published of one model: values in the order of the table's metrics, the model's name, and where.

    compared  whether the digits were compared with another copy of the table when this file was written, and not only
              put down as they are quoted everywhere
    """

    name: str
    values: tuple[float, ...]
    source: str
    compared: bool = True


@dataclass(frozen=True)
class Dataset:
    """One data set of one table.

    layout     how `published_data` reads it
    remotes    what is downloaded; empty where only a local copy can be used
    terms      on what conditions, in one sentence
    counts     users, items and interactions as published: of the ratings kept for "mult-vae", of both parts for
               "lightgcn"; with how the last one is rounded, None for not at all
    held_out   users to test, and as many to choose on ("mult-vae")
    at_least   items that a user needs, and users that an item needs ("mult-vae")
    figures    by kind of model, what was published
    settings   by kind of model, the published ones where they are known and recae has them
    others     published figures of models that recae does not have
    """

    table: str
    layout: str
    remotes: tuple[Remote, ...]
    terms: str
    counts: tuple[int, int, int]
    figures: Mapping[str, Figure]
    rounded: int | None = None
    held_out: int = 0
    at_least: tuple[int, int] = (5, 0)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    others: tuple[Figure, ...] = ()


def _git(repository: str, commit: str, folder: str, **blobs: str) -> tuple[Remote, ...]:
    """Files of a commit on GitHub, checked by the names that git itself gives to their contents."""
    return tuple(
        Remote(
            f"https://raw.githubusercontent.com/{repository}/{commit}/Data/{folder}/{name}.txt",
            f"{folder}-{name}.txt",
            f"git-blob:{blob}",
            f"git's name of the content in commit {commit[:7]} of {repository}",
        )
        for name, blob in blobs.items()
    )


# of the authors' notebook for ML-20M: 600 → 200 → 600, 200 epochs of 233 steps, β = .2 from step 40,000 on
_NOTEBOOK = {
    "layers": "600,200",
    "beta": 0.2,
    "batch_size": 500,
    "learning_rate": 0.001,
    "epochs": 200,
    "patience": 200,
}
_NGCF = ("xiangwang1223/neural_graph_collaborative_filtering", "a718a4f2df7c3942ca0df6759926975762c61eed")
_LIGHTGCN = ("kuandeng/LightGCN", "b067ec05f16a24e0e1efe63cd82385f0c469af20")
_MIT = "the split of the authors of NGCF and LightGCN, in a repository under the MIT licence"

DATASETS: dict[str, Dataset] = {
    "ml-20m": Dataset(
        table="mult-vae",
        layout="ratings",
        remotes=(
            Remote(
                "https://files.grouplens.org/datasets/movielens/ml-20m.zip",
                "ml-20m.zip",
                "md5:cd245b17a1ae2cc31bb14903e1204af3",
                "ml-20m.zip.md5 beside it",
            ),
        ),
        terms="MovieLens 20M is free for research, not for redistribution (Harper and Konstan 2015)",
        counts=(136_677, 20_720, 9_990_682),
        held_out=10_000,
        figures={
            "popularity": Figure("popularity", (0.162, 0.235, 0.191), STECK, compared=False),
            "als": Figure("WMF", (0.360, 0.498, 0.386), LIANG, compared=False),
            "multvae": Figure("Mult-VAE", (0.395, 0.537, 0.426), LIANG),
            "recvae": Figure("RecVAE", (0.414, 0.553, 0.442), SHENBIN),
            "ease": Figure("EASE", (0.391, 0.521, 0.420), STECK),
        },
        settings={"ease": {"l2": 500.0}, "multvae": {**_NOTEBOOK, "anneal": 0.86}},
        others=(Figure("Mult-DAE", (0.387, 0.524, 0.419), LIANG),),
    ),
    "netflix": Dataset(
        table="mult-vae",
        layout="netflix",
        remotes=(),
        terms="the Netflix Prize data may not be redistributed ('The user may not redistribute the data without "
        "separate permission', says its README), and Netflix offers them no more",
        counts=(463_435, 17_769, 56_900_000),
        rounded=100_000,
        held_out=40_000,
        figures={
            "popularity": Figure("popularity", (0.116, 0.175, 0.159), STECK, compared=False),
            "als": Figure("WMF", (0.316, 0.404, 0.351), LIANG, compared=False),
            "multvae": Figure("Mult-VAE", (0.351, 0.444, 0.386), LIANG),
            "recvae": Figure("RecVAE", (0.361, 0.452, 0.394), SHENBIN),
            "ease": Figure("EASE", (0.362, 0.445, 0.393), STECK),
        },
        settings={"ease": {"l2": 1000.0}, "multvae": _NOTEBOOK},
        others=(Figure("Mult-DAE", (0.344, 0.438, 0.380), LIANG),),
    ),
    "msd": Dataset(
        table="mult-vae",
        layout="triplets",
        remotes=(
            Remote(
                "http://millionsongdataset.com/sites/default/files/challenge/train_triplets.txt.zip",
                "train_triplets.txt.zip",
                None,
            ),
        ),
        terms="the Taste Profile subset of the Million Song Dataset is under the terms of The Echo Nest: research is "
        "fine, companies should ask",
        counts=(571_355, 41_140, 33_600_000),
        rounded=100_000,
        held_out=50_000,
        at_least=(20, 200),
        figures={
            "popularity": Figure("popularity", (0.043, 0.068, 0.058), STECK),
            "als": Figure("WMF", (0.211, 0.312, 0.257), LIANG),
            "multvae": Figure("Mult-VAE", (0.266, 0.364, 0.316), LIANG),
            "ease": Figure("EASE", (0.333, 0.428, 0.389), STECK),
        },
        settings={"ease": {"l2": 200.0}, "multvae": _NOTEBOOK},
        others=(
            Figure("Mult-DAE", (0.266, 0.363, 0.313), LIANG),
            Figure("CDAE", (0.188, 0.283, 0.237), LIANG),
        ),
    ),
    "gowalla": Dataset(
        table="lightgcn",
        layout="adjacency",
        remotes=_git(
            *_NGCF,
            "gowalla",
            train="a27782bd7a1d4d0744148dc0460ea94da74763f2",
            test="9ed5af4b5d21511f33740b4e22e3852f45671800",
        ),
        terms=f"{_MIT}; the check-ins are from SNAP",
        counts=(29_858, 40_981, 1_027_370),
        figures={
            "popularity": Figure("ItemPop", (0.0416, 0.0317), BARS),
            "itemknn": Figure("ItemKNN", (0.1570, 0.1214), BARS),
            "bpr": Figure("MF-BPR", (0.1627, 0.1378), BARS),
            "multvae": Figure("Mult-VAE", (0.1641, 0.1335), HE),
            "ease": Figure("EASE", (0.1765, 0.1467), BARS),
            "spectral": Figure("ChebyCF", (0.1941, 0.1616), KIM),
        },
        settings={
            "ease": {"l2": 80.0},
            "spectral": {"filter": "chebyshev", "beta": 0.4, "alpha": 0.2, "factors": 512},
            "itemknn": {"k": 100, "weighting": "cosine"},
            "bpr": {"factors": 64},
            "multvae": {"layers": "600,200"},
        },
        others=(
            Figure("SLIM", (0.1699, 0.1382), BARS),
            Figure("LightGCN", (0.1820, 0.1547), BARS),
            Figure("UltraGCN", (0.1862, 0.1580), BARS),
            Figure("SimpleX", (0.1872, 0.1557), BARS),
            Figure("GF-CF", (0.1849, 0.1518), SHEN),
            Figure("BSPM-EM", (0.1920, 0.1597), CHOI),
            Figure("NESCL", (0.1917, 0.1617), SUN),
        ),
    ),
    "yelp2018": Dataset(
        table="lightgcn",
        layout="adjacency",
        remotes=_git(
            *_LIGHTGCN,
            "yelp2018",
            train="cda12361055ba448ae4bd1070f6000c16dea8f22",
            test="30dfbc3437b27b74cb2970b435a5ec93ad9f2468",
        ),
        terms="the split of the authors of LightGCN, in a public repository of theirs that states no licence",
        counts=(31_668, 38_048, 1_561_406),
        figures={
            "popularity": Figure("ItemPop", (0.0124, 0.0101), BARS),
            "itemknn": Figure("ItemKNN", (0.0639, 0.0531), BARS),
            "bpr": Figure("MF-BPR", (0.0576, 0.0468), BARS),
            "multvae": Figure("Mult-VAE", (0.0584, 0.0450), HE),
            "ease": Figure("EASE", (0.0657, 0.0552), BARS),
            "spectral": Figure(
                "GF-CF", (0.0697, 0.0571), SHEN
            ),  # of one step, with other factors of the degrees
        },
        settings={
            "ease": {"l2": 300.0},
            "itemknn": {"k": 150, "weighting": "cosine"},  # theirs by Pearson's correlation
            "bpr": {"factors": 64},
            "multvae": {"layers": "600,200"},
        },
        others=(
            Figure("SLIM", (0.0646, 0.0541), BARS),
            Figure("LightGCN", (0.0653, 0.0532), BARS),
            Figure("UltraGCN", (0.0683, 0.0561), BARS),
            Figure("SimpleX", (0.0701, 0.0575), BARS),
            Figure("BSPM-EM", (0.0720, 0.0593), CHOI),
        ),
    ),
    "amazon-book": Dataset(
        table="lightgcn",
        layout="adjacency",
        remotes=_git(
            *_NGCF,
            "amazon-book",
            train="6ef55159c5f1fd7f6d86eb9ff290d0cc2854ac99",
            test="09e5da4e0bf46c751c4ba0f4375e414fd13512cd",
        ),
        terms=f"{_MIT}; the reviews are from Amazon (McAuley)",
        counts=(52_643, 91_599, 2_984_108),
        figures={
            "popularity": Figure("ItemPop", (0.0051, 0.0044), BARS),
            "itemknn": Figure("ItemKNN", (0.0736, 0.0606), BARS),
            "bpr": Figure("MF-BPR", (0.0338, 0.0261), BARS),
            "multvae": Figure("Mult-VAE", (0.0407, 0.0315), HE),
            "ease": Figure("EASE", (0.0710, 0.0567), BARS),
            "spectral": Figure("ChebyCF", (0.0738, 0.0613), KIM),
        },
        settings={
            "spectral": {
                "filter": "chebyshev",
                "beta": 0.0,
                "alpha": 0.2,
                "factors": 512,
            },  # theirs with φ = 10
            "ease": {"l2": 50.0},
            "itemknn": {"k": 10, "weighting": "cosine"},  # theirs by Pearson's correlation
            "bpr": {"factors": 64},
            "multvae": {"layers": "600,200"},
        },
        others=(
            Figure("SLIM", (0.0755, 0.0602), BARS),
            Figure("LightGCN", (0.0411, 0.0318), BARS),
            Figure("UltraGCN", (0.0681, 0.0556), BARS),
            Figure("SimpleX", (0.0583, 0.0468), BARS),
            Figure("GF-CF", (0.0710, 0.0584), SHEN),
            Figure("BSPM-EM", (0.0733, 0.0609), CHOI),
            Figure("SANSA", (0.0768, 0.0637), SPISAK),
        ),
    ),
}
"""By the name that --data takes."""
