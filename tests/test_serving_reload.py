"""Tests of the watch over the model file: what is loaded, what is refused, and when."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import weakref
from pathlib import Path

import numpy as np
import pytest
from shopserver import question, shop, wait

from recae.errors import ModelFileError
from recae.modelfile import save
from recae.serving.answers import RankedList, rank, to_json
from recae.serving.batcher import Batcher
from recae.serving.metrics import Metrics
from recae.serving.served import ModelReloader, ServedModel, load_served


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save(shop(0), tmp_path / "m.recae")
    return tmp_path / "m.recae"


def reloads(metrics: Metrics) -> tuple[float, float]:
    name = "recae_model_reloads_total"
    loaded, refused = (metrics.registry.get_sample_value(name, {"result": r}) for r in ("loaded", "refused"))
    assert loaded is not None
    assert refused is not None
    return loaded, refused


def test_a_replaced_file_is_loaded_at_the_next_look(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reloader = ModelReloader(path, metrics := Metrics())
    first = reloader.current
    reloader.check()
    assert reloader.current is first
    save(shop(1), path)
    with caplog.at_level(logging.INFO, "recae.serving"):
        reloader.check()
        reloader.check()
    assert reloader.current.version != first.version
    assert reloads(metrics) == (1, 0)
    assert caplog.text.count("answers now") == 1
    assert f'model="{first.version}"' not in metrics.text().decode()
    second = reloader.current
    path.touch()  # another time, the same bytes
    reloader.check()
    reloader.check()
    assert reloader.current is second


def test_a_bad_file_is_refused_once_and_a_good_one_taken_after_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reloader = ModelReloader(path, metrics := Metrics())
    first, good = reloader.current, path.read_bytes()
    with caplog.at_level(logging.INFO, "recae.serving"):
        for content in (b"", b"nonsense", good[: len(good) // 2]):
            new = path.with_name("new")
            new.write_bytes(content)
            new.replace(path)
            for _ in range(3):
                reloader.check()
            assert reloader.current is first
    assert reloads(metrics) == (0, 3)
    assert caplog.text.count("is refused, model") == 3
    save(shop(1), path)
    reloader.check()
    assert reloader.current is not first


def test_a_file_written_in_place_is_left_alone_until_it_rests(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(shop(1), path.with_name("other"))
    content = path.with_name("other").read_bytes()
    reloader = ModelReloader(path, metrics := Metrics())
    first = reloader.current
    answer = to_json(first, [r for r in rank(first, [question()]) if isinstance(r, RankedList)])
    with path.open("wb") as file:
        for start in range(0, len(content), len(content) // 3):
            file.write(content[start : start + len(content) // 3])
            file.flush()
            os.utime(path, ns=(start, start + 1))  # clocks of file systems may be coarse
            reloader.check()
    # the model in use does not stand on the file's bytes
    assert to_json(first, [r for r in rank(first, [question()]) if isinstance(r, RankedList)]) == answer
    assert reloads(metrics) == (0, 0)
    reloader.check()
    assert reloader.current is not first
    assert "is refused, model" not in caplog.text


def test_a_deleted_file_is_said_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reloader = ModelReloader(path, metrics := Metrics())
    first = reloader.current
    path.unlink()
    for _ in range(3):
        reloader.check()
    assert reloader.current is first
    assert caplog.text.count("is gone") == 1
    path.mkdir()
    reloader.check()
    assert reloader.current is first
    path.rmdir()
    save(shop(1), path)
    reloader.check()
    reloader.check()
    assert reloader.current is not first
    assert reloads(metrics) == (1, 1)


def test_a_file_replaced_while_it_is_read_is_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reloader = ModelReloader(path, Metrics())
    first = reloader.current
    save(shop(1), path)

    def while_loading(path: Path, *options: object) -> ServedModel:
        loaded = load_served(path)
        monkeypatch.undo()
        save(shop(2), path)
        return loaded

    monkeypatch.setattr("recae.serving.served.load_served", while_loading)
    reloader.check()
    assert reloader.current is first
    reloader.check()
    encoder = reloader.current.recommender.model.arrays()["encoder"]
    np.testing.assert_array_equal(encoder, shop(2).model.arrays()["encoder"])


def test_whatever_loading_raises_the_watch_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reloader = ModelReloader(path, Metrics(), seconds=0.01)
    first = reloader.current

    def broken(path: Path) -> ServedModel:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("recae.serving.served.load_served", broken)
    reloader.start()
    save(shop(1), path)
    wait(lambda: "could not be loaded" in caplog.text)
    assert reloader.current is first
    monkeypatch.setattr(reloader, "check", lambda: 1 / 0)
    wait(lambda: "looking at the model file failed" in caplog.text)
    monkeypatch.undo()
    save(shop(2), path)
    wait(lambda: reloader.current is not first)
    reloader.stop()
    reloader.stop()


class Panic(BaseException):
    """What the Rust code of a library raises where it gives up: no Exception."""


def test_panics_of_loading_and_looking_are_survived_and_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reloader = ModelReloader(path, metrics := Metrics(), seconds=0.01)
    first = reloader.current

    def panics(path: Path, *options: object) -> ServedModel:
        raise Panic("out of memory")

    monkeypatch.setattr("recae.serving.served.load_served", panics)
    reloader.start()
    save(shop(1), path)
    wait(lambda: reloads(metrics) == (0, 1))
    wait(lambda: "is refused, model" in caplog.text)  # said after it was counted
    assert "Panic: out of memory" in caplog.text
    failed = {"result": "failed"}
    monkeypatch.setattr(reloader, "_signature", lambda: panics(path))
    wait(lambda: metrics.registry.get_sample_value("recae_model_reloads_total", failed))
    monkeypatch.undo()
    save(shop(2), path)
    wait(lambda: reloader.current is not first)
    reloader.stop()


def test_short_memory_refuses_a_new_model_in_a_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reloader = ModelReloader(path, metrics := Metrics())
    save(shop(1), path)
    monkeypatch.setattr("recae.tensorfile.free_memory", lambda: 1000)
    monkeypatch.setattr("recae.tensorfile._MARGIN", 0)
    reloader.check()
    assert reloads(metrics) == (0, 1)
    assert "of memory, and 1000 B are free" in caplog.text
    monkeypatch.undo()
    save(shop(2), path)
    reloader.check()
    assert reloads(metrics) == (1, 1)


def test_the_model_that_is_replaced_is_let_go_at_once(path: Path) -> None:
    """Without a request after it and without a look for cycles, which the server has frozen."""

    async def serve() -> None:
        reloader = ModelReloader(path, metrics := Metrics())
        batcher = Batcher(metrics, waiting=8, threads=1)
        batcher.start()
        gc.disable()
        try:
            assert isinstance((await batcher.ask(reloader.current, [question()]))[0], bytes)
            first = weakref.ref(reloader.current)
            save(shop(1), path)
            await asyncio.to_thread(reloader.check)
            for _ in range(100):  # the thread that scores may still be on its way back to the queue
                if first() is None:
                    break
                await asyncio.sleep(0.01)
            assert first() is None
        finally:
            gc.enable()
            await batcher.stop()

    asyncio.run(serve())


def test_the_first_file_must_be_good(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        ModelReloader(tmp_path / "none.recae", Metrics())
