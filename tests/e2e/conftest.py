"""Fixtures, the import path for tests/peer, and the short form that runs under sanitizers."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "peer"))

from authority import Authority  # noqa: E402
from peer import make_certificate  # noqa: E402


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def pytest_configure(config):
    config.addinivalue_line("markers", "short(every=1): runs with SLUICE_E2E_SHORT=1 too, every n-th case of it")


def pytest_collection_modifyitems(config, items):
    """With SLUICE_E2E_SHORT=1 only what is marked `short`: sanitizers are slow, so check takes a sample."""
    if os.environ.get("SLUICE_E2E_SHORT") != "1":
        return
    chosen, seen = [], {}
    for item in items:
        mark = item.get_closest_marker("short")
        if mark is None:
            continue
        number = seen[item.function] = seen.get(item.function, -1) + 1
        if number % mark.kwargs.get("every", 1) == 0:
            chosen.append(item)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen
