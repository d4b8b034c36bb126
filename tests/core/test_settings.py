import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from xopt.errors import InputError
from xopt.settings import as_typed, command_of, leave_file_out, option, resolve


@dataclass(frozen=True)
class Options:
    precision: str = "int8"
    smooth: float = 0.8
    layer: int | None = None


def test_the_command_line_is_above_the_file_and_the_file_above_defaults(tmp_path: Path) -> None:
    (tmp_path / "xopt.toml").write_text('[build]\nprecision = "fp16"\nsmooth = 0\n')
    found = resolve(Options, "build", {"smooth": 0.5, "precision": None}, tmp_path)
    assert found == Options("fp16", 0.5, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[build]\nprecison = 'int8'\n", r"xopt\.toml, line 2: \[build\] has no 'precison'"),
        ("[build]\n\n# why\nprecision = 8\n", r"line 4: .* wrong type\.\nPossible: text in"),
        ("[eval]\nsmooth = 1\n[build]\nsmooth = 'a'\n", r"line 4: .*\nPossible: a number\."),
        ("[build]\nlayer = 1.5\n", r"line 2: .*\nPossible: a whole number\."),
        ("[build\n", "damaged"),
        ("build = 3\n", "not a section"),
        ("[biuld]\n", "no section 'biuld'"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "xopt.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        resolve(Options, "build", {}, tmp_path)


@dataclass(frozen=True)
class Typed:
    checkpoint: str | None = option(None, "", argument=True)
    smooth: float = option(0.8, "")
    fp32_sites: str | None = option(None, "")
    refit: bool = option(False, "")


def test_options_are_given_back_as_they_are_typed() -> None:
    given = Typed("my folder", 0.5, "layers.1", refit=True)
    words = ["my folder", "--smooth", "0.5", "--fp32-sites", "layers.1", "--refit"]
    assert as_typed(given) == words
    assert as_typed(given, ("checkpoint", "refit")) == ["my folder", "--refit"]
    assert as_typed(Typed()) == []


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ('checkpoint = "a"\nsmooth = 0.5\n', False),
        ('smooth = 0.8\nfp32_sites = "layers.1"\n', True),
        ("refit = true\n", True),
    ],
)
def test_a_command_that_is_offered_gives_its_options_beside_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, left_out: bool
) -> None:
    (tmp_path / "xopt.toml").write_text(f"[build]\n{text}")
    monkeypatch.chdir(tmp_path)
    wanted = Typed("b", 0.5)
    words = shlex.split(command_of("build", wanted))
    assert words == ["xopt", *(["--no-file"] if left_out else []), "build", "b", "--smooth", "0.5"]
    leave_file_out(left_out)
    try:
        assert resolve(Typed, "build", {"checkpoint": "b", "smooth": 0.5}) == wanted
    finally:
        leave_file_out(False)
