"""Shared by all tests: which database the stores of this run are in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import stores


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store", choices=("sqlite", "postgresql"), default="sqlite")


@pytest.fixture(scope="session", autouse=True)
def _database(request: pytest.FixtureRequest) -> Iterator[None]:
    """Put the stores of all tests where the command line says."""
    if request.config.getoption("--store") == "sqlite":
        yield
        return
    with stores.server() as cluster:
        stores.STORES.cluster = cluster
        yield
        stores.STORES.cluster = None


@pytest.fixture(autouse=True)
def _connections() -> Iterator[None]:
    """Let no test keep a connection that the next ones need."""
    yield
    stores.STORES.close()
