"""The main job on a real encoder and real sentences: what the project promises, on two languages.

All eighteen languages at hand are in ``docs/results.md``; two keep this below a minute.
"""

from pathlib import Path

import pytest

from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.sources import PIP_E5
from xopt.evaluate.data import open_source
from xopt.evaluate.retention import compare_sessions
from xopt.evaluate.tasks.tatoeba import Tatoeba
from xopt.model.session import Session

# The same weights in transformers: mean pooling, last layer, English queries, no prefix.
EXPECTED = {"swh": 81.3, "tel": 94.4}


@pytest.fixture(scope="module")
def report(xtreme_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    place = tmp_path_factory.mktemp("e5")
    bundles = [
        build_bundle(BuildOptions(PIP_E5, precision=p, out=str(place / p))).bundle
        for p in ("fp32", "int8")
    ]
    task = Tatoeba()
    source = open_source(str(xtreme_data), probe=task.probe())
    with Session.open(bundles[0]) as reference, Session.open(bundles[1]) as candidate:
        return compare_sessions(task, source, reference, candidate, languages=list(EXPECTED))


def test_fp32_has_the_published_accuracy_of_these_weights(report: dict[str, dict]) -> None:
    # Less than one sentence of 390 and of 234.
    for language, expected in EXPECTED.items():
        assert report["languages"][language]["reference"] == pytest.approx(expected, abs=0.2)


def test_int8_loses_no_more_than_two_points_in_any_language(report: dict[str, dict]) -> None:
    for found in report["languages"].values():
        assert found["difference"] > -2.0
