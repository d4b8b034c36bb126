"""An answer with a value that is no number is an error of its request over every interface."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.serve.asked import INTERFACES


@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize(("path", "name", "body"), INTERFACES)
def test_a_value_that_is_no_number_is_never_answered(
    start: Callable[..., Any],
    bundles: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    name: str,
    body: dict[str, Any],
    value: float,
) -> None:
    with start({name: bundles[name]}) as running:
        way = path.replace("{name}", name)
        assert running.ask(way, body)[0] == 200
        session = running.service.models[name].model.session
        begin = session.start

        def spoiled(encodings: Any, **options: Any) -> Any:
            """As the engine answers, but for one value of a batch's first text."""
            answers = [np.array(row) for row in begin(encodings, **options)()]
            answers[0].flat[-1] = value
            return lambda: answers

        with monkeypatch.context() as patch:
            patch.setattr(session, "start", spoiled)
            status, found, _ = running.ask(way, body)
            assert status == 500
            assert "values that are no numbers" in json.dumps(found)
            assert running.ask("/health")[0] == 503
        assert running.ask(way, body)[0] == 200
