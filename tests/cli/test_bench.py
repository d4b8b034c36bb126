"""``xopt bench``: its cases, lengths of real texts, and where the time goes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xopt.artifacts import Bundle
from xopt.cli import bench as bench_command
from xopt.cli.app import app
from xopt.compile.build import BuildOptions, build_bundle
from xopt.engines.profile import KINDS
from xopt.hashing import cache_folder

Factory = Callable[..., Path]


@pytest.fixture(scope="module")
def bundle(make_checkpoint: Factory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """INT8, two layers, at most 96 tokens or more."""
    out = tmp_path_factory.mktemp("bench") / "bundle"
    checkpoint = str(make_checkpoint("xlm-roberta", "embed"))
    return build_bundle(
        BuildOptions(checkpoint=checkpoint, out=str(out)), record=False
    ).bundle.folder


def bench(*arguments: str) -> dict:
    done = CliRunner().invoke(app, ["bench", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["bench", *arguments])
    assert done.exit_code != 0
    return str(done.exception) + done.output


@pytest.mark.parametrize("streams", ["1", "2"])
def test_the_shares_are_of_the_whole_time(bundle: Path, streams: str) -> None:
    found = bench(
        str(bundle), "--profile", "--work", "mixed32", "--repeat", "3", "--threads", "2",
        "--streams", streams,
    )  # fmt: skip
    [profile] = found["profile"]["mixed32"].values()
    shares, layers = profile["shares"], profile["layers"]
    assert tuple(shares) == KINDS
    assert sum(shares.values()) == pytest.approx(1)
    assert list(layers) == ["embeddings", "0", "1", "head"]
    for kind in KINDS[:-1]:
        assert sum(place.get(kind, 0.0) for place in layers.values()) == pytest.approx(shares[kind])
    for number in ("0", "1"):
        assert {"products", "attention", "norms"} <= set(layers[number])
        assert layers[number]["products"] > 0
    assert set(layers["head"]).isdisjoint({"attention", "products"})
    assert "gathers" in layers["embeddings"]


def test_without_profile_nothing_is_counted(bundle: Path) -> None:
    assert "profile" not in bench(str(bundle), "--work", "b1_s32", "--repeat", "1")


def test_two_bundles_are_compared_in_words(bundle: Path) -> None:
    found = CliRunner().invoke(
        app,
        ["bench", str(bundle), "--against", str(bundle), "--work", "b8_s64", "--repeat", "1"],
    )
    assert found.exit_code == 0, found.output
    first, second = (line for line in found.stdout.splitlines() if line.startswith("│ b8_s64"))
    ours, theirs = (float(line.split("│")[3]) for line in (first, second))
    assert float(first.split("│")[6].rstrip("× ")) == pytest.approx(theirs / ours, abs=0.02)
    assert second.split("│")[6].strip() == ""
    assert "b8_s64: 8 × 64 tokens" in found.stdout


def test_what_lengths_were_read_is_shown(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "[b]lengths.txt"
    file.write_text("7\n31\n12\n")
    found = CliRunner().invoke(app, ["bench", str(bundle), "--lengths", str(file), "--repeat", "1"])
    assert "[b]lengths.txt: 3 × 7 to 31 tokens" in found.stdout


def test_a_bundle_beside_itself_is_timed_twice(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle.parent)
    found = bench(bundle.name, "--against", bundle.name, "--work", "b1_s32", "--repeat", "1")
    assert len(found["bundles"]) == len(found["cases"]["b1_s32"]) == 2


def test_a_reference_of_the_cache_is_not_called_by_its_digest() -> None:
    bundle = Bundle(cache_folder() / "bundle" / "df29aa675e88b943f801", {"precision": "fp32"})
    assert list(bench_command._bundles(bundle, None, quiet=True)) == ["reference (fp32)"]


def test_cases_longer_than_the_bundle_takes_are_left_out(
    make_checkpoint: Factory, tmp_path: Path
) -> None:
    checkpoint = str(make_checkpoint("bert", "embed", max_position_embeddings=64))
    options = BuildOptions(checkpoint=checkpoint, precision="fp32", out=str(tmp_path / "short"))
    short = str(build_bundle(options, record=False).bundle.folder)
    done = CliRunner().invoke(app, ["bench", short, "--repeat", "1"])
    assert done.exit_code == 0, done.output
    assert "at most 64 tokens: b8_s128, mixed32 left out" in done.output
    assert "--work b1_s32,b8_s64" in refused(short, "--work", "b8_s128")


def test_lengths_of_numbers_are_taken_as_they_are(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "lengths.txt"
    file.write_text("7\n31\n\n12\n")
    found = bench(str(bundle), "--lengths", str(file), "--repeat", "2")
    assert list(found["cases"]) == ["lengths.txt"]
    facts = found["lengths"]["lengths.txt"]
    assert (facts["texts"], facts["tokens"], facts["longest"], facts["cut"]) == (3, 50, 31, 0)
    [timed] = found["cases"]["lengths.txt"].values()
    assert timed["tokens_per_s"] == pytest.approx(50 / timed["median_ms"] * 1e3)


@pytest.mark.parametrize("line", ["-7", "+7", "7.5", "0", "9" * 5000])
def test_a_number_that_is_no_length_is_no_text_either(
    bundle: Path, tmp_path: Path, line: str
) -> None:
    file = tmp_path / "lengths.txt"
    file.write_text(f"12\n{line}\n")
    said = refused(str(bundle), "--lengths", str(file), "--repeat", "1")
    assert f"lengths.txt: length 2 is {line[:40]}" in said
    assert len(said) < 400


def test_a_file_that_lengths_cannot_read_is_told_by_that_option(
    bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "texts.doc").touch()
    for name in ("", "texts.doc"):
        said = refused(str(bundle), "--lengths", str(tmp_path / name))
        assert "--lengths" in said
        assert "--input" not in said


def test_lengths_of_texts_are_the_tokenizers(bundle: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    texts = ["Habari za asubuhi", "Good morning, everyone", "x " * 5000]
    file = tmp_path / "texts.csv"
    file.write_text("text\n" + "".join(f'"{text}"\n' for text in texts))
    facts = bench(str(bundle), "--lengths", str(file), "--work", "b1_s32", "--repeat", "1")
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    most = json.loads((bundle / "manifest.json").read_text())["signature"]["max_tokens"]
    counts = [min(most, len(tokenizer.encode(text).ids)) for text in texts]
    assert facts["lengths"]["texts.csv"]["tokens"] == sum(counts)
    assert facts["lengths"]["texts.csv"]["cut"] == 1
    assert list(facts["cases"]) == ["b1_s32", "texts.csv"]


@pytest.mark.parametrize("name", ["xnli", "panx", "tatoeba", "xquad"])
def test_lengths_of_a_data_set(bundle: Path, name: str) -> None:
    facts = bench(str(bundle), "--lengths", name, "--data", "sample", "--repeat", "1")
    assert facts["lengths"][name]["texts"] > 40
    assert "sample" in facts["lengths"][name]["source"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "xnlii"], "no data set and no file"),
        (["--lengths", "none.txt"], "none.txt"),
        (["--lengths", "bad.txt"], "length 2 is 100000"),
        (["--lengths", "empty.txt"], "a text or a number of tokens on each line"),
        (["--data", "sample"], "Add --lengths and one of xnli"),
        (["--data", "sample"], "--data belongs to --lengths"),
        (["--lengths", "bad.txt", "--data", "sample"], "--data belongs to --lengths"),
    ],
)
def test_what_has_no_lengths_is_refused(
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.txt").write_text("7\n100000\n")
    Path("empty.txt").write_text("\n")
    assert message in refused(str(bundle), *arguments)


def test_an_engine_without_counters_refuses_by_name(
    bundle: Path, make_checkpoint: Factory, tmp_path: Path
) -> None:
    checkpoint = str(make_checkpoint("xlm-roberta", "embed"))
    options = BuildOptions(checkpoint=checkpoint, target="null", out=str(tmp_path / "null"))
    other = build_bundle(options, record=False).bundle.folder
    assert "null" in (said := refused(str(other), "--profile", "--work", "b1_s32"))
    assert "counters" in said
    assert "threads is of the CPU" in refused(str(other), "--threads", "2", "--work", "b1_s32")
