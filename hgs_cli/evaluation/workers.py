"""Measurements shared among processes, one thread each, so that figures do not depend on how many there are."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from hgs_cli.console import HowFar
from hgs_cli.sampler.model import Model

Item = TypeVar("Item")
Name = TypeVar("Name", bound=Hashable)
Result = TypeVar("Result")


def measure_each(
    model: Model,
    items: Mapping[Name, Item],
    measure: Callable[[Model, Item], Result],
    workers: int,
    advance: HowFar = lambda done, total: None,
) -> dict[Name, Result]:
    """Results by name, in the order of the items.

    Args:
        model: From `load_model`.
        items: What is measured, by name.
        measure: A function at the top of a module, or a `partial` of one; it goes to the processes, as do the items.
        workers: Processes, which take the items in their order; 1 stays in this one.
        advance: Takes how many are done, and their number.
    """
    found: dict[Name, Result] = {}
    advance(0, len(items))
    for name, result in _measured(model, items, measure, workers):
        found[name] = result
        advance(len(found), len(items))
    return {name: found[name] for name in items}


def _measured(
    model: Model, items: Mapping[Name, Item], measure: Callable[[Model, Item], Result], workers: int
) -> Iterator[tuple[Name, Result]]:
    """Results in the order in which they are done."""
    if workers == 1 or len(items) < 2:
        with _one_thread():  # as in the processes: sums do not depend on how they are split
            for name, item in items.items():
                yield name, measure(model, item)
        return
    context = multiprocessing.get_context("spawn")
    # As bytes: torch's own way through shared memory needs more of it than containers give.
    frozen = pickle.dumps((model, measure))
    with ProcessPoolExecutor(min(workers, len(items)), context, _start_worker, (frozen,)) as pool:
        futures = {pool.submit(_work, item): name for name, item in items.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


_worker: dict[str, Any] = {}  # what a process of the pool was started with


def _start_worker(frozen: bytes) -> None:
    torch.set_num_threads(1)
    model, measure = pickle.loads(frozen)  # noqa: S301 - our own bytes, from the process that started this one
    _worker.update(model=model, measure=measure)


def _work(item: Any) -> Any:
    return _worker["measure"](_worker["model"], item)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
