"""Notes made side by side, one thread each: many small steps gain more from that than each from several threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


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
    torch.set_num_threads(1)


def side_by_side(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The results of work on each item, in their order; as many at once as torch may use threads."""
    n_threads = torch.get_num_threads()
    if n_threads == 1 or len(items) == 1:
        return [work(item) for item in items]

    def one(item: T) -> R:
        with torch.inference_mode():
            return work(item)

    return list(_pool(n_threads).map(one, items))
