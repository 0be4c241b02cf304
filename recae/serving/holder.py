"""`Holder`: the model in use, and the watch over its file that replaces it when the file is replaced."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import NamedTuple

from recae.errors import RecaeError
from recae.serving.metrics import Metrics
from recae.serving.served import Served, load_served

_log = logging.getLogger("recae.serving")


class _Signature(NamedTuple):
    """What changes when a file is replaced or written to."""

    size: int
    mtime_ns: int
    inode: int


class Holder:
    """Holds the model that answers. A request takes `current` once and keeps it to its end.

    Args:
        path: the model file, loaded at once.
        metrics: told of every model loaded or refused.
        seconds: between two looks at the file.

    Raises:
        ModelFileError: the file cannot be used; later on, a bad file is refused and the model in use stays.
    """

    def __init__(self, path: Path, metrics: Metrics, seconds: float = 1.0) -> None:
        self._path, self._metrics, self._seconds = path, metrics, seconds
        # taken before the file is read: what changes it while it is read is then found by the first look
        self._handled = self._seen = self._signature()
        self._current = load_served(path)
        self._tell()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def current(self) -> Served:
        """The model that answers now."""
        return self._current

    def start(self) -> None:
        """Begin to watch the file, in a thread of its own."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._watch, name="recae-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch; one that is loading a model is not waited for longer than a moment."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)
            self._thread = None

    def look(self) -> None:
        """Look at the file once; load it when it has changed, and log once what became of it."""
        before, self._seen = self._seen, self._signature()
        now = self._seen
        if now == self._handled:
            return
        if now is None:
            self._handled = now
            _log.warning("the model file '%s' is gone; the model loaded from it goes on", self._path)
            return
        replaced = self._handled is None or now.inode != self._handled.inode
        if not replaced and now != before:
            return  # written to in place, and perhaps still so: wait until it rests
        self._handled = now
        self._load()

    def _load(self) -> None:
        try:
            new = load_served(self._path)
        except (RecaeError, OSError, MemoryError) as error:
            self._refuse(str(error))
            return
        except Exception:  # whatever is wrong with a file, the model in use goes on
            _log.exception("loading the model file failed")
            self._refuse("it could not be loaded")
            return
        if self._signature() != self._handled:
            return  # changed while it was read: the parts may be of two files; the next look tries again
        if new.version == self._current.version:
            return
        self._current = new
        self._tell()
        self._metrics.reloads.labels("loaded").inc()
        _log.warning("model %s from '%s' answers now", new.version, self._path)

    def _refuse(self, why: str) -> None:
        self._metrics.reloads.labels("refused").inc()
        _log.warning("the new model file is refused, model %s goes on: %s", self._current.version, why)

    def _tell(self) -> None:
        model = self._current
        self._metrics.model(model.version, model.recommender.model.kind, model.loaded_at.timestamp())

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds):
            try:
                self.look()
            except Exception:  # the watch must not end
                _log.exception("looking at the model file failed")

    def _signature(self) -> _Signature | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return _Signature(status.st_size, status.st_mtime_ns, status.st_ino)
