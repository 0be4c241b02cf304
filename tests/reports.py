"""Evaluation reports as JSON for the tests of their pages and plots: a full one, and some that hold less."""

from __future__ import annotations

import copy
from typing import Any

from recae.evaluation.report.schema import Report

HOSTILE = "</script><script>alert(1)</script>"
LONG = "SKU-" + "0123456789" * 30
MODELS = {
    # name: (kind, baseline, NDCG@20, seconds, bytes)
    "sigmoid": ("sigmoid", False, 0.3031, 48.2, 412_000_000),
    "EDLAE": ("edlae", False, 0.2987, 21.4, 890_000_000),
    "Mult-VAE": ("vae", False, 0.2702, 312.0, 655_000_000),
    "item-kNN": ("itemknn", True, 0.2801, 3.1, 210_000_000),
    "EASE": ("ease", True, 0.2913, 18.7, 870_000_000),
    "ALS": ("als", True, 0.2388, 9.4, 240_000_000),
    "popularity": ("popularity", True, 0.0602, 0.04, 120_000_000),
    "personal frequency": ("frequency", True, 0.0715, 0.05, 121_000_000),
}
KS = (1, 2, 3, 5, 10, 20, 50, 100)
METRICS = {
    "recall": 1.06,
    "capped_recall": 1.09,
    "precision": 0.31,
    "hit_rate": 2.4,
    "ndcg": 1.0,
    "map": 0.52,
    "mrr": 1.4,
}
BEST_BASELINE = "EASE"


def interval(mean: float, half: float = 0.012) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


def model(name: str) -> dict[str, Any]:
    kind, baseline, quality, seconds, size = MODELS[name]
    gap = quality - MODELS[BEST_BASELINE][2]
    p = 0.0005 if abs(gap) > 0.02 else 0.012 if abs(gap) > 0.01 else 0.21
    trained = kind in ("sigmoid", "vae")
    return {
        "name": name,
        "kind": kind,
        "baseline": baseline,
        "config": {"factors": 256, "dropout": 0.5, "seed": 0} if trained else {"l2": 100.0},
        "tuned": [
            {"settings": {"factors": factors, "dropout": 0.5}, "ndcg@20": quality - 0.01 + factors / 1e5}
            for factors in (128, 256)
        ]
        if kind != "popularity"
        else [],
        "seconds": seconds,
        "peak_bytes": size,
        "metrics": {
            f"{metric}@{k}": interval(min(quality * share * (0.7 + k / 66), 0.97))
            for metric, share in METRICS.items()
            for k in (10, 20, 50)
        }
        | {"ndcg@20": interval(quality)}
        | {f"value@{k}": interval(quality * 4000 / k**0.5, 30.0) for k in (10, 20, 50)}
        | {f"value_recall@{k}": interval(quality * (0.6 + k / 80)) for k in (10, 20, 50)},
        "sets": {
            "coverage@20": 0.004 if kind == "popularity" else 0.31 + quality / 3,
            "novelty@20": 3.1 if kind == "popularity" else 6.4 + quality,
            "popularity_bias@20": 0.19 - quality / 3,
            "diversity@20": 0.91 - quality / 4,
        },
        "difference": None
        if name == BEST_BASELINE
        else {"to": BEST_BASELINE, "metric": "ndcg@20", **interval(gap, 0.008), "p": p / 4, "p_corrected": p},
        "verdict": f"{name} has an NDCG@20 of {quality}",
        "curve": {
            "k": list(KS),
            "recall": [interval(quality * 0.55 * k**0.28, 0.004 + k / 9000) for k in KS],
        },
        "slices": {
            "history": [
                {"name": label, "n_users": n, **interval(quality * share)}
                for label, n, share in (
                    ("2–7 items", 151, 0.8),
                    ("8–29 items", 143, 1.0),
                    ("30–611 items", 140, 1.2),
                )
            ],
            "popularity": [
                {"name": label, "n_users": n, **interval(quality * share)}
                for label, n, share in (("head", 401, 1.3), ("torso", 380, 0.8), ("tail", 295, 0.3))
            ],
            "repeat": [
                {"name": "new items", "n_users": 434, **interval(quality)},
                {"name": "bought before", "n_users": 0, "mean": None, "low": None, "high": None},
            ],
            "category": [
                {"name": label, "n_users": n, **interval(quality * share)}
                for label, n, share in (("Bags", 210, 1.4), (HOSTILE, 120, 0.9), ("no category", 300, 0.7))
            ],
            "price": [
                {"name": label, "n_users": n, **interval(quality * share)}
                for label, n, share in (
                    ("up to 1.25", 330, 1.1),
                    ("1.25 to 1.95", 274, 0.9),
                    ("1.95 to 3.75", 337, 1.0),
                    ("above 3.75", 324, 0.8),
                )
            ],
        },
        "epochs": [
            {"epoch": n, "loss": 90 / n**0.3, "recall@20": quality - 0.004 * (n - 6) ** 2 / 10}
            for n in range(1, 10)
        ]
        if trained
        else [],
        "failed": None,
        "worth": None if name == BEST_BASELINE else interval(gap * 900, 25.0),
        "diversified": []
        if baseline
        else [
            {
                "diversity": x,
                "mean": interval(quality - x / 50),
                "cost": interval(-x / 50, 0.002),
                "sets": {
                    "coverage@20": 0.4 + x / 10,
                    "novelty@20": 6.9,
                    "popularity_bias@20": 0.1,
                    "diversity@20": 0.84 + x / 10,
                },
            }
            for x in (0.1, 0.3)
        ],
    }


def items(prefix: str, n: int) -> list[dict[str, Any]]:
    names = (
        "JUMBO BAG RED RETROSPOT",
        "WHITE HANGING HEART T-LIGHT HOLDER",
        None,
        "REGENCY CAKESTAND 3 TIER",
    )
    return [{"item": f"{prefix}{n:03d}", "name": names[n % 4]} for n in range(n)]


def example(user: str, n_history: int) -> dict[str, Any]:
    held = items("H", 3)
    wrong = items("W", 4)
    return {
        "user": user,
        "history": items("P", n_history),
        "held_out": held,
        "recommended": {
            name: [
                {**item, "hit": hit, "score": 0.9 - place / 10}
                for place, (item, hit) in enumerate(
                    [(held[shift], True), *((w, False) for w in wrong), (held[2], True)][: 5 + shift]
                )
            ]
            for shift, name in enumerate(("sigmoid", "EASE"))
        },
    }


def typed(report: dict[str, Any]) -> Report:
    """The report as the package takes it."""
    return Report.from_json(report)


def full_report() -> dict[str, Any]:
    """Eight models, one more that failed, hostile names; the best model is better than the best baseline."""
    failed = {
        **dict.fromkeys(model("ALS")),
        "config": {},
        "tuned": [],
        "epochs": [],
        "name": "BPR",
        "kind": "bpr",
        "baseline": True,
        "worth": None,
        "diversified": [],
        "failed": "the factors are not finite after 3 epochs; choose a smaller learning rate",
    }
    hostile = example(HOSTILE, 2)
    hostile["history"] = [
        {"item": LONG, "name": '<img src=x onerror="alert(2)">'},
        {"item": HOSTILE, "name": None},
    ]
    hostile["held_out"] = [
        {"item": "\u202eevil \x00 \ud800", "name": 'O\'Brien & "Sons" <b>'},
        {"item": LONG, "name": None},
    ]
    return {
        "format_version": 1,
        "command": "recae evaluate online-retail.csv.gz --protocol strong --kind sigmoid --kind edlae --kind vae "
        "--trials 8 --seed 0 --report report.html",
        "versions": {"recae": "0.1.0", "python": "3.11.2", "numpy": "2.2.1", "implicit": "0.7.2"},
        "data": {
            "source": "online-retail.csv.gz",
            "fingerprint": "9f2c1d7e0a4b55c3e8d1f60b7a92c4d5",
            "n_users": 4339,
            "n_items": 3665,
            "n_interactions": 266_790,
            "filters": {},
            "report": [
                "541,909 rows read",
                "135,080 rows without a user dropped",
                "8,905 returns and cancellations dropped",
            ],
        },
        "protocol": {
            "name": "strong",
            "rule": "434 users (a tenth) are held out; a fifth of each history (4,910 items) is to be found.",
            "seed": 0,
            "folds": None,
            "n_test_users": 434,
            "n_held_out": 4910,
            "lost": 12,
            "exclude_owned": True,
            "counts": {"held_out_without_category": 640, "held_out_without_price": 31},
        },
        "budget": {
            "trials_per_model": 8,
            "text": "8 trials for every model, on the same 434 validation users.",
        },
        "ks": [10, 20, 50],
        "metric": "ndcg@20",
        "models": [*(model(name) for name in MODELS), failed],
        "examples": [example("12347", 30), hostile],
        "verdict": "A model is worth it on these data: sigmoid is ahead of EASE, the best baseline. Its "
        "NDCG@20 is .3031 against .2913, and the difference of +.0118 (95 %: +.0038 to +.0198) is more than chance "
        "(p = .012, corrected for 7 comparisons).",
        "failures": {
            "model": "sigmoid",
            "metric": "ndcg@20",
            "n_users": 434,
            "n_without_hit": 63,
            "history_without_hit": 9.0,
            "history_with_hit": 33.0,
            "examples": [example("16031", 73), example(HOSTILE, 1)],
        },
    }


def k_fold_report() -> dict[str, Any]:
    """The same, measured by k-fold; no model is distinguishable from the best baseline."""
    report = copy.deepcopy(full_report())
    report["protocol"] |= {"name": "k-fold", "folds": 5, "lost": 0, "exclude_owned": False}
    report["models"][0]["difference"] |= {"mean": 0.001, "low": -0.007, "high": 0.009, "p_corrected": 0.8}
    report["verdict"] = "On these data no model is distinguishable from EASE, the best baseline."
    return report


def bare_report() -> dict[str, Any]:
    """One user, so no interval; no baseline, no epochs, no examples, no tuning, nothing about the data."""
    one = dict.fromkeys(model("sigmoid")) | {"name": "sigmoid", "kind": "sigmoid", "baseline": False}
    alone = {"mean": 0.25, "low": None, "high": None}
    one |= {"metrics": {"recall@5": alone}, "curve": {"k": [5], "recall": [alone]}, "failed": None}
    return {
        "format_version": 1,
        "command": "recae evaluate tiny.csv --baselines none -k 5 --metric recall@5",
        "versions": {"recae": "0.1.0"},
        "data": {
            "source": "tiny.csv",
            "fingerprint": None,
            "n_users": 2,
            "n_items": 9,
            "n_interactions": 12,
            "filters": {},
            "report": [],
        },
        "protocol": {
            "name": "last-out",
            "rule": "1 user is tested on the last item.",
            "seed": 0,
            "folds": None,
            "n_test_users": 1,
            "n_held_out": 1,
            "lost": 0,
            "exclude_owned": True,
            "counts": {"users_with_ties": 1},
        },
        "budget": {"trials_per_model": None, "text": None},
        "ks": [5],
        "metric": "recall@5",
        "models": [one],
        "examples": [],
        "verdict": "There is no baseline to compare with.",
    }
