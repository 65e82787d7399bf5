"""The JSON interface does what its OpenAPI says, whatever is asked of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from bot.settings import Settings
from bot.web.app import make_app
from tests import crowd
from tests.stores import opened

PATHS = ("/api/series", "/api/series/{lead}", "/api/trend")


@pytest.fixture
def api(tmp_path: Path) -> Any:  # noqa: ANN401 - the library's own schema has no public type
    store = opened(tmp_path / "store.db")
    crowd.fill(store, 200)
    many = Settings(web_rate=10**9)  # type: ignore[call-arg] # pydantic-settings fills the fields
    return schemathesis.openapi.from_asgi(
        "/api/openapi.json", make_app(store, many, lambda: crowd.NOW)
    )


def test_all_of_it_is_tried(api: Any) -> None:  # noqa: ANN401 - the same
    assert tuple(sorted(api)) == PATHS


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        *((path, GenerationMode.POSITIVE) for path in PATHS),
        ("/api/series", GenerationMode.NEGATIVE),
        ("/api/trend", GenerationMode.NEGATIVE),  # any text may be a Message-ID
    ],
)
def test_answers_are_as_described(api: Any, path: str, mode: GenerationMode) -> None:  # noqa: ANN401 - the same
    tried = []

    @settings(
        max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def check(data: st.DataObject) -> None:
        case = data.draw(api[path]["GET"].as_strategy(generation_mode=mode))
        # `after` is what the part before gave: any other text is refused, as is described
        free = [positive_data_acceptance] if path == "/api/series" else []
        case.call_and_validate(excluded_checks=free)
        tried.append(case)

    check()
    assert len(tried) > 20
