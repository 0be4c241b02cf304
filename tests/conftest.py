"""How all tests are run, and what several test files share: one model fitted on the sample, as an object and a file."""

import gc
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from browser import started  # noqa: F401
from commands import table
from readings import read_with_report

from recae.compiling import COMPILING
from recae.messages import LOGGER
from recae.modelfile import save
from recae.models import ItemKNN
from recae.recommender import Recommender
from recae.selection import compare
from recae.selection.executor import InProcess

if sys.gettrace() is not None:  # coverage of branches, which numba's own would slow down by more than a half
    from numba.core.dispatcher import Dispatcher

    _compile = Dispatcher.compile

    def _compile_untraced(self: Any, signature: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return _compile(self, signature)
        finally:
            sys.settrace(tracer)

    Dispatcher.compile = _compile_untraced

# A shell starts what runs in its background with Ctrl-C ignored, and Python then leaves it so, in itself and in all
# processes that it starts. The tests of interruptions need the handling of a program in the foreground. This file is
# imported by pytest and by each of its workers before any test.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Messages as on a terminal, without the time, in this process and in all that it starts: tests read them. What a pipe
# gets by default, and the other forms, tests/test_logs.py looks at.
os.environ["RECAE_LOG_FORMAT"] = "plain"
# Whether loops have to be compiled depends on what ran before, and is nothing that tests of messages look at.
COMPILING.announced = True

# No deadlines and no complaints of slow examples: how long one takes depends on what else the machine does.
for _name, _examples in (("quick", 25), ("thorough", 400)):
    hypothesis.settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--thorough`."""
    parser.addoption(
        "--thorough",
        action="store_true",
        help="run the tests marked as thorough, too, and try 400 examples instead of 25 where Hypothesis makes them",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples Hypothesis makes."""
    hypothesis.settings.load_profile("thorough" if config.getoption("--thorough") else "quick")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for no garbage among all the tests: none of them goes before the end, and each look takes half a second."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked as thorough, and of what is marked with some(n) all but n cases.

    Nothing is left out where `--thorough` or an expression after -m asks for it, or arguments name single tests.
    """
    if config.getoption("--thorough") or config.getoption("markexpr") or any("::" in a for a in config.args):
        return
    cases = Counter(map(_function_of, items))
    seen: Counter[str] = Counter()
    left_out = []
    for item in items:
        function = _function_of(item)
        number, total = seen[function], cases[function]
        seen[function] += 1
        some = item.get_closest_marker("some")
        # n of them spread evenly over all, the first among them, and the same in every run
        spared = some is not None and number * some.args[0] % total >= some.args[0] and total > some.args[0]
        if spared or item.get_closest_marker("thorough"):
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(map(id, left_out))
        items[:] = [item for item in items if id(item) not in gone]


def _function_of(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


@pytest.fixture(autouse=True)
def messages_as_before() -> Iterator[None]:
    """What a test, or an example in the documents, asks to be logged is asked for within it alone."""
    level = LOGGER.level
    yield
    LOGGER.setLevel(level)


@pytest.fixture(autouse=True)
def comparisons_in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs of a comparison are done here, without a process each, unless a test is marked as one of processes."""
    if request.node.get_closest_marker("processes") is None:
        monkeypatch.setattr(compare, "InProcesses", lambda threads=None: InProcess())


SAMPLE = Path(__file__).parent.parent / "data" / "purchases.csv"

METRICS = {
    "n_users": 200,
    "validation_users": 200,
    "ks": [10, 20, 50],
    "rows": [
        {"model": "itemknn", "recall@10": 0.25, "recall@20": 0.375, "recall@50": 0.5, "ndcg@20": 0.125},
        {
            "model": "popularity",
            "recall@10": 0.0625,
            "recall@20": 0.125,
            "recall@50": None,
            "ndcg@20": 0.0625,
        },
    ],
}


@pytest.fixture(scope="session")
def shop() -> Recommender:
    """A fitted model of the sample purchases; user 42 is one of the 2,000."""
    interactions, _ = read_with_report(SAMPLE)
    return Recommender(
        model=ItemKNN.fit(interactions.matrix, k=20),
        users=interactions.users,
        items=interactions.items,
        item_names=interactions.item_names,
        histories=interactions.matrix,
        metadata={
            "fingerprint": interactions.fingerprint,
            "metrics": METRICS,
            "history": [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}],
            "versions": {"recae": "0.1.0"},
        },
    )


@pytest.fixture(scope="session")
def model_path(shop: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of `shop`; not to be changed."""
    path = tmp_path_factory.mktemp("model") / "shop.recae"
    save(shop, path)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with purchases beside it at ../purchases.csv."""
    (tmp_path / "purchases.csv").write_text(table())
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work
