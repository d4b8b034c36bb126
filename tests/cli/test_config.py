"""The file of options that xopt writes is one that it reads."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest

from xopt.cli.config import OPTIONS, init, template, values
from xopt.compile.options import BuildOptions
from xopt.errors import InputError, XoptError
from xopt.settings import FILE, SECTIONS, resolve


def test_every_option_of_every_section_is_in_the_file_with_its_default() -> None:
    assert set(OPTIONS) == set(SECTIONS)
    lines = template().splitlines()
    shown = [line for line in lines if not line.startswith("# ") or " = " in line]
    # Without the marks it is TOML, and says what the defaults are.
    bare = "\n".join(line.removeprefix("# ") for line in shown if "not set" not in line)
    found = tomllib.loads("\n".join(line for line in bare.splitlines() if line[:1] != "#"))
    for section, kind in OPTIONS.items():
        for field in dataclasses.fields(kind):
            if field.default is not None:
                value = found[section][field.name]
                expected = field.default
                assert (tuple(value) if isinstance(value, list) else value) == expected


def test_a_new_file_changes_nothing_and_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    init()
    for section, kind in OPTIONS.items():
        said = {"target": "xnli"} if section == "tune" else {}
        assert resolve(kind, section, said) == kind(**said)
        assert {entry["from"] for entry in values(section).values()} == {"default"}
    with pytest.raises(InputError, match="there already"):
        init()
    capsys.readouterr()
    init(Path("[bold].toml"))
    assert capsys.readouterr().out.startswith("[bold].toml: take the #")
    init(force=True)


def test_where_a_value_comes_from(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("[serve]\nport = 9\n\n[build]\n# fast\nsmooth = 0.5\n")
    found = values("build", tmp_path)
    assert found["smooth"] == {"value": 0.5, "from": "xopt.toml, line 6"}
    assert found["precision"] == {"value": "int8", "from": "default"}
    assert values("serve", tmp_path)["port"]["from"] == "xopt.toml, line 2"
    (tmp_path / FILE).write_text("[build]\nseed = -1\n")
    with pytest.raises(InputError, match=r"xopt\.toml, line 2: --seed is -1"):
        values("build", tmp_path)


@pytest.mark.parametrize(
    ("text", "typed", "said"),
    [
        ('precision = "int9"', {}, "xopt.toml, line 3: Unknown precision 'int9'"),
        ("calibration-tokens = 8", {}, "xopt.toml, line 3: --calibration-tokens is 8"),
        ('target = "gpu"', {"seed": 1}, "xopt.toml, line 3: Unknown target 'gpu'"),
        # Two that are possible alone.
        ('cpu = "any"\nprecision = "fp32"', {}, "xopt.toml: --cpu says for which CPUs"),
        ('cpu = "any"', {"precision": "fp32"}, "xopt.toml, line 3: --cpu says for which CPUs"),
        ("smooth = 0.5", {"precision": "int9"}, "Unknown precision 'int9'"),
        ('precision = "int9"', {"precision": "int7"}, "Unknown precision 'int7'"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_line(
    tmp_path: Path, text: str, typed: dict[str, Any], said: str
) -> None:
    (tmp_path / FILE).write_text(f"[build]\n# mine\n{text}\n")
    with pytest.raises(XoptError) as caught:
        resolve(BuildOptions, "build", typed, tmp_path)
    message = caught.value.message.removeprefix(f"{tmp_path}/")
    assert message.startswith(said)
    assert ("xopt.toml" in caught.value.message) == said.startswith("xopt.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[build]  # mine\nprecision = "int9"', "line 2: Unknown precision"),
        ('[ build ]\nprecision = "int9"', "line 2: Unknown precision"),
        ('["build"]\n"precision" = "int9"', "line 2: Unknown precision"),
        ('\nbuild.precision = "int9"', "line 2: Unknown precision"),
        ('# mine\nbuild = {precision = "int9"}', "line 2: Unknown precision"),
        (
            '[build]\ncheckpoint = """\nprecision = "x"\n"""\nprecision = "int9"',
            "line 5: Unknown precision",
        ),
        ("[build]\n\n[build.precision]\na = 1", 'line 3: [build] precision is {"a": 1}'),
        ("[eval]\n[build.extra]\na = 1", "line 2: [build] has no 'extra'"),
        ("[build]\n[bild]\na = 1", "line 2: there is no section 'bild'"),
        ("[[build]]\na = 1", 'line 1: build is [{"a": 1}], not a section [build]'),
        (
            '[build]\nfp32_sites = "a"\nfp32-sites = "b"',
            "line 2: [build] fp32_sites is there twice",
        ),
    ],
)
def test_a_wrong_value_names_its_line_however_it_is_written(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(InputError) as caught:
        values("build", tmp_path)
    assert caught.value.message.removeprefix(f"{tmp_path}/xopt.toml, ").startswith(said)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_list_of_other_things_is_refused_with_its_line(tmp_path: Path, section: str) -> None:
    for field in dataclasses.fields(OPTIONS[section]):
        (tmp_path / FILE).write_text(f"[{section}]\n{field.name} = [1, {{}}]\n")
        with pytest.raises(InputError, match=rf"line 2: \[{section}\] {field.name} is \[1, "):
            values(section, tmp_path)
