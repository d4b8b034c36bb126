"""Every Python example in the documents runs, on small bundles under the names used there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from xopt.artifacts import Bundle

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
NAMES = {"e5": "encoder", "xnli": "nli", "tags": "ner", "qa": "qa"}


def blocks(path: Path) -> str:
    """The examples of a document, one behind the other."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.M | re.S))


WITH_EXAMPLES = [path for path in DOCUMENTS if blocks(path)]


def test_the_readme_and_the_api_have_examples() -> None:
    assert {"README.md", "api.md"} <= {path.name for path in WITH_EXAMPLES}


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.name)
def test_the_examples_run(
    path: Path, bundles: Callable[..., Bundle], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundles").mkdir()
    for name, built in NAMES.items():
        (tmp_path / "bundles" / name).symlink_to(bundles(built).folder)
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks(path), str(path), "exec"), {})
