"""The model on a worker: loaded once per process, fed with micro-batches."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

import numpy as np

from terrascope.model.stacks import Window
from terrascope.monitor.reason.plan import ReasonSettings
from terrascope.types import FloatArray

__all__ = ["Loader", "MicroBatches", "Reasoner", "ahead", "load_reasoner"]

_log = logging.getLogger(__name__)

Item = TypeVar("Item")


class Reasoner(Protocol):
    """Turns windows into logits."""

    def __call__(self, windows: Sequence[Window]) -> FloatArray:
        """Look at windows of two dates.

        Parameters
        ----------
        windows : sequence of Window
            B of one size.

        Returns
        -------
        logits : ndarray of float32, shape (B, M, y, x)
            Of the masks of `terrascope.model.forced.pair_masks`.
        """
        ...


Loader = Callable[[ReasonSettings], Reasoner]

_loaded: dict[tuple[str, str, str, str], Reasoner] = {}
_loading = threading.Lock()


def load_reasoner(settings: ReasonSettings) -> Reasoner:
    """Return the model of this process; loaded when first asked for.

    Parameters
    ----------
    settings : ReasonSettings
        Which one.

    Returns
    -------
    reasoner : Reasoner
        On the GPU where there is one.

    Raises
    ------
    ModelError
        If it cannot be loaded.
    """
    import torch

    from terrascope.model.forced import forced_logits, pair_masks
    from terrascope.registry import load_model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    key = (settings.folder, settings.weights, settings.precision, device)
    with _loading:
        if key not in _loaded:
            if device == "cpu" and settings.threads:
                # workers that a Dask nanny starts are held to one thread
                torch.set_num_threads(settings.threads)
            model, tokenizer, processor = load_model(settings.folder, device=device)
            names = pair_masks()

            def reason(windows: Sequence[Window]) -> FloatArray:
                logits = forced_logits(
                    model, tokenizer, processor(windows), names, precision=settings.precision
                )
                return np.asarray(logits.numpy(), np.float32)

            _loaded.clear()
            _loaded[key] = reason
        return _loaded[key]


class MicroBatches:
    """Runs windows in groups of one size; the last group is what is left.

    A tile's groups depend on its windows alone, so the same tile gives the same numbers again.

    Parameters
    ----------
    reasoner : Reasoner
        The model.
    size : int
        Windows per group. Halved when memory does not suffice, and kept so.
    """

    def __init__(self, reasoner: Reasoner, size: int) -> None:
        self._reasoner = reasoner
        self.size = size

    def __call__(self, windows: Sequence[Window]) -> FloatArray:
        """Look at windows.

        Parameters
        ----------
        windows : sequence of Window
            At most the size of a group as it was at first.

        Returns
        -------
        logits : ndarray of float32, shape (B, M, y, x)
            Of each window.

        Raises
        ------
        MemoryError
            If a single window is too much.
        """
        found: list[FloatArray] = []
        done = 0
        while done < len(windows):
            group = list(windows[done : done + self.size])
            try:
                logits = self._reasoner(group)
            except (MemoryError, RuntimeError) as error:
                if not _out_of_memory(error) or self.size == 1:
                    raise
                self.size = max(1, self.size // 2)
                _log.warning("out of memory: going on with %d windows at a time", self.size)
                _free_memory()
                continue
            found.append(logits)
            done += len(group)
        return np.concatenate(found)


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate" in text


def _free_memory() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def ahead(items: Iterator[Item], depth: int = 2) -> Iterator[Item]:
    """Draw items in a thread of their own, a few ahead: reading overlaps with what uses them.

    Parameters
    ----------
    items : iterator
        Drawn by one thread, in order.
    depth : int
        Items that may wait; the thread waits when there are so many.

    Yields
    ------
    item : object
        In the same order. An error of the iterator is raised where its item would come.
    """
    waiting: queue.Queue[tuple[str, Item | BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(entry: tuple[str, Item | BaseException | None]) -> bool:
        while not stopped.is_set():
            with suppress(queue.Full):
                waiting.put(entry, timeout=0.1)
                return True
        return False

    def draw() -> None:
        try:
            for item in items:
                if not put(("item", item)):
                    return
            put(("end", None))
        except BaseException as error:  # noqa: BLE001 -- handed to the thread that asks
            put(("error", error))

    thread = threading.Thread(target=draw, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = waiting.get()
            if kind == "end":
                return
            if isinstance(value, BaseException):
                raise value
            yield value  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()
