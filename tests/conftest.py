"""What every test shares: one torch thread, repeatable random search, the devices, the data folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from _pytest.runner import runtestprotocol
from hypothesis import settings

# Small tensors run best on one thread, and several workers share the cores.
torch.set_num_threads(1)

# No deadline: a slow machine is no failure. In CI the same examples every time; elsewhere new ones.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share what a fixture makes for their file stay on one worker (--dist loadgroup): it is made once."""
    for item in items:
        known = getattr(item, "_fixtureinfo", None)
        if known and any(d.scope == "module" for defs in known.name2fixturedefs.values() for d in defs):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def _devices() -> list[object]:
    def missing(found: bool, name: str) -> pytest.MarkDecorator:
        return pytest.mark.skipif(not found, reason=f"no {name} device on this machine")

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    return [
        "cpu",
        pytest.param("cuda", marks=[pytest.mark.gpu, missing(cuda, "CUDA")]),
        pytest.param("mps", marks=[pytest.mark.gpu, missing(mps, "MPS")]),
    ]


@pytest.fixture(params=_devices())
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device that landform runs on; those this machine lacks are skipped, with the reason."""
    return torch.device(request.param)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of data sets too big to ship, which LANDFORM_DATA names."""
    root = os.environ.get("LANDFORM_DATA")
    if not root:
        pytest.skip("LANDFORM_DATA is not set: point it at a folder with cifar10/, timeseries/ and text/")
    if not Path(root).is_dir():
        pytest.skip(f"LANDFORM_DATA names {root}, which is not a folder")
    return Path(root)


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """What measures time is tried up to three times: other work on the machine disturbs it, and it cannot know."""
    if item.get_closest_marker("timing") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for _ in range(3):
        if hasattr(item, "_initrequest"):
            item._initrequest()  # fixtures are made anew
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if not any(report.failed for report in reports):
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
