"""Notes made side by side, one thread each: many small steps gain more from that than each from several threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")
_HERE = threading.local()  # its `threads`: what `side_by_side` may use in this thread though operators may not


@lru_cache(maxsize=4)
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, "hgs-note", torch.set_num_threads, (1,))


@lru_cache(maxsize=1)
def survive_forks() -> None:
    """From now on let processes that this one forks go on with one thread: threads are not forked, locks are.

    Their pools, torch's own and ours, would be waited for without end.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget_threads)


def _forget_threads() -> None:
    _pool.cache_clear()
    _HERE.threads = 0
    torch.set_num_threads(1)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """While the body runs let operators here use one thread, and `side_by_side` as many as they might use.

    For a note alone: a thousand operators that share their work wait a thousand times for each other, and for whoever
    else has a core.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    _HERE.threads = n_threads
    try:
        yield
    finally:
        _HERE.threads = 0
        torch.set_num_threads(n_threads)


def side_by_side(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The results of work on each item, in their order; as many at once as torch may use threads."""
    n_threads = getattr(_HERE, "threads", 0) or torch.get_num_threads()
    if n_threads == 1 or len(items) == 1:
        return [work(item) for item in items]

    def one(item: T) -> R:
        with torch.inference_mode():
            return work(item)

    return list(_pool(n_threads).map(one, items))
