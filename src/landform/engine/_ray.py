"""The engine that runs units on a Ray cluster, or on a small one started here."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import sysconfig
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from landform.engine._in_process import InProcess
from landform.engine._processes import cores
from landform.engine._unit import Needs, Progress, Result, Unit, check_units
from landform.errors import BadInput, try_import

# Units handed to Ray for each of the cluster's CPUs: enough to keep all busy, few enough to stop soon.
_AHEAD = 4
# Seconds after which the cluster is looked at again: nodes come and go.
_LOOK_AGAIN = 10.0
_PLAIN = (str, bytes, int, float, complex, bool, type(None), Path)


class Ray:
    """Runs units as tasks of a Ray cluster; results come as they are ready.

    A worker or a node that is lost takes no finished unit with it: what ran there runs again elsewhere, and no other
    unit is touched. landform must be installed on every node, in the version used here; modules of the user's own are
    sent along. Needs ``landform[ray]``.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        threads: int = 1,
        retries: int = 3,
        grows: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Make one; nothing is started or connected to before `run`.

        Args:
            address: ``"ray://host:10001"`` for a cluster elsewhere, ``"host:6379"`` on one of its nodes, or None for
                the cluster that runs here (``ray start``), or else one with the cores of this machine.
            threads: torch threads for units that do not ask for a number.
            retries: how often a unit runs again when its worker or node was lost.
            grows: whether the cluster may add nodes for units that none of its nodes has room for; otherwise such units
                fail at once.
            options: more for ``ray.init``, such as ``{"runtime_env": {"pip": ["timm"]}}``.

        Raises:
            BadInput: when there would be fewer than one thread, or than no retries.
        """
        if threads < 1:
            raise BadInput(f"threads is {threads}: give at least 1.")
        if retries < 0:
            raise BadInput(f"retries is {retries}: give 0 or more.")
        self.address = address
        self.threads = threads
        self.retries = retries
        self.grows = grows
        self.options = dict(options or {})
        self._running: dict[Any, str] = {}
        self._nodes: list[dict[str, float]] = []
        self._looked = 0.0

    def __repr__(self) -> str:
        return f"Ray at {self.address}" if self.address else "Ray here"

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the units that Ray has been given, which run or are about to."""
        return tuple(self._running.values())

    def run(self, units: Sequence[Unit], *, progress: Progress | None = None) -> Iterator[Result]:
        """Run units; see `Engine.run`.

        Args:
            units: the work.
            progress: called as ``progress(done, total)``, once before the first result and after each.

        Returns:
            The results, as they come.
        """
        check_units(units)
        return self._results(list(units), progress)

    def _results(self, units: list[Unit], progress: Progress | None) -> Iterator[Result]:
        if progress is not None:
            progress(0, len(units))
        if not units:
            return
        ray = connect(self.address, self.options)
        with _sent_along(ray, units):
            parcels = _Parcels(ray, units)
            task = ray.remote(_run)
            waiting = deque(units)
            done = 0
            try:
                while waiting or self._running:
                    ready = self._submit(ray, task, parcels, waiting)
                    ready += self._collect(ray) if self._running else []
                    for result in ready:
                        done += 1
                        if progress is not None:
                            progress(done, len(units))
                        yield result
            finally:
                for reference in self._running:
                    with suppress(Exception):
                        ray.cancel(reference, force=True)
                self._running.clear()

    def _look(self, ray: ModuleType) -> list[dict[str, float]]:
        """What each node of the cluster has, looked up now and then."""
        if time.monotonic() - self._looked > _LOOK_AGAIN or not self._nodes:
            self._nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self._looked = time.monotonic()
        return self._nodes

    def _submit(self, ray: ModuleType, task: Any, parcels: _Parcels, waiting: deque[Unit]) -> list[Result]:
        """Hand units to Ray, up to a few for each CPU; returns the results of those that cannot run."""
        failed: list[Result] = []
        nodes = self._look(ray)
        many = max(4, int(_AHEAD * sum(node.get("CPU", 0.0) for node in nodes)))
        while waiting and len(self._running) < many:
            unit = waiting.popleft()
            why = None if self.grows else _refusal(unit.needs, nodes)
            if why is not None:
                failed.append(Result(unit.name, failure=why))
                continue
            needs = unit.needs
            asked: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "name": unit.name}
            if needs.memory:
                asked["memory"] = int(needs.memory)
            try:
                plain, shared = parcels.pack(unit)
                reference = task.options(max_retries=self.retries, **asked).remote(plain, shared, self.threads)
            except Exception as why_not:
                failed.append(Result(unit.name, failure=f"it cannot be sent to another process ({why_not})"))
                continue
            self._running[reference] = unit.name
        return failed

    def _collect(self, ray: ModuleType) -> list[Result]:
        """Wait until something has happened; returns the results there are."""
        ready, rest = ray.wait(list(self._running), num_returns=1, timeout=_LOOK_AGAIN)
        if rest and ready:
            more, _ = ray.wait(rest, num_returns=len(rest), timeout=0)
            ready += more
        return [self._result(ray, reference) for reference in ready]

    def _result(self, ray: ModuleType, reference: Any) -> Result:
        name = self._running[reference]
        try:
            result: Result = ray.get(reference)
        except ray.exceptions.RayTaskError as why:
            text = str(why).strip().splitlines()[-1]
            failure = f"it could not be read there, or what it returned cannot be sent back ({text})"
            result = Result(name, failure=failure, trace=str(why))
        except ray.exceptions.RayError as why:
            kind = type(why).__name__
            times = f" {self.retries + 1} times" if self.retries else ""
            failure = f"its process died{times} ({kind}), as for want of memory"
            result = Result(name, failure=failure, trace=f"{kind}: {why}")
        del self._running[reference]
        return result


def connect(address: str | None, options: Mapping[str, Any]) -> ModuleType:
    """Import Ray and connect to a cluster, unless this process is connected already.

    Args:
        address: see `Ray`.
        options: more for ``ray.init``.

    Returns:
        The module.

    Raises:
        BadInput: when Ray is not installed, or there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray would hide GPUs from tasks that asked for none, and warns that it will stop doing so.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray = try_import("ray", "ray")
    if ray.is_initialized():
        return ray
    asked: dict[str, Any] = {"logging_level": logging.WARNING, "log_to_driver": False, **options}
    try:
        if address is not None:
            ray.init(address=address, **asked)
            return ray
        try:
            ray.init(address="auto", **asked)
        except ConnectionError:
            # A cluster of this machine alone: nobody else shall reach it, and results are small.
            own = {"num_cpus": cores(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
            ray.init(**{**own, **asked})
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as why:
        text = " ".join(str(why).split())[:300]
        raise BadInput(f"There is no Ray cluster at {address or 'this machine'} ({text}): is it started?") from None
    return ray


def _run(unit: Unit, shared: Mapping[str, list[Any]], threads: int) -> Result:
    """What a task does, on whatever node."""
    if shared:
        ray = importlib.import_module("ray")
        found = {name: ray.get(reference) for name, (reference,) in shared.items()}
        unit = replace(unit, arguments={**unit.arguments, **found})
    return next(InProcess(threads=threads).run([unit]))


class _Parcels:
    """Arguments that several units share are sent to the cluster once."""

    def __init__(self, ray: ModuleType, units: Sequence[Unit]) -> None:
        self._ray = ray
        seen = Counter(
            id(value) for unit in units for value in unit.arguments.values() if not isinstance(value, _PLAIN)
        )
        self._many = {key for key, count in seen.items() if count > 1}
        self._references: dict[int, Any] = {}

    def pack(self, unit: Unit) -> tuple[Unit, dict[str, list[Any]]]:
        """Take what is shared out of a unit; references stand in lists, so that Ray hands them on as they are."""
        plain: dict[str, Any] = {}
        shared: dict[str, list[Any]] = {}
        for name, value in unit.arguments.items():
            if id(value) not in self._many or isinstance(value, _PLAIN):
                plain[name] = value
                continue
            if id(value) not in self._references:
                self._references[id(value)] = self._ray.put(value)
            shared[name] = [self._references[id(value)]]
        return replace(unit, arguments=plain), shared


@contextmanager
def _sent_along(ray: ModuleType, units: Sequence[Unit]) -> Iterator[None]:
    """Have the modules of the user's own that units use sent with them, as no node has them."""
    cloudpickle: Any = ray.cloudpickle
    own: dict[str, ModuleType] = {}
    for unit in units:
        for value in (unit.function, *unit.arguments.values()):
            module = _own_module(value)
            if module is not None:
                own[module.__name__] = module
    for module in own.values():
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own.values():
            cloudpickle.unregister_pickle_by_value(module)


def _own_module(value: Any) -> ModuleType | None:
    """The module that a function or an object of the user's own comes from; None where it is installed."""
    named: Callable[..., Any] | type = value if callable(value) and hasattr(value, "__qualname__") else type(value)
    module = sys.modules.get(getattr(named, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if module is None or file is None or module.__name__ == "__main__":  # __main__ is sent by cloudpickle itself
        return None
    if module.__name__.partition(".")[0] == "landform":
        return None
    place = Path(file).resolve()
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")}
    return None if any(folder in place.parents for folder in installed) else module


def _refusal(needs: Needs, nodes: Sequence[Mapping[str, float]]) -> str | None:
    """Say why no node can ever run a unit, or None where one can."""
    for node in nodes:
        enough = needs.gpus <= node.get("GPU", 0.0) and needs.memory <= node.get("memory", 0.0)
        if enough and needs.cpus <= node.get("CPU", 0.0):
            return None
    wanted = [f"{needs.cpus:g} CPUs"]
    wanted += [f"{needs.gpus:g} GPUs"] if needs.gpus else []
    wanted += [f"{needs.memory / 1e9:.3g} GB"] if needs.memory else []
    return f"no node of the cluster has the {' and '.join(wanted)} that it needs"
