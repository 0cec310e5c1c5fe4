"""A recorded run, trained once and copied for each test that writes beside it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_run import SmallRun, record


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return record(tmp_path_factory.mktemp("runs") / "plain")


@pytest.fixture(scope="session")
def batchnorm_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return record(tmp_path_factory.mktemp("runs") / "batchnorm", batchnorm=True)


@pytest.fixture
def small_run(plain_run: SmallRun, tmp_path: Path) -> SmallRun:
    shutil.copytree(plain_run.folder, tmp_path / "run")
    return replace(plain_run, folder=tmp_path / "run")
