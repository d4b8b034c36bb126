import gc
import weakref
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.calibrate.measuring import run

from xopt.artifacts import Ranges
from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.observers import METHODS, observer
from xopt.calibrate.ranges import CalibrationRecipe, calibrate
from xopt.calibrate.sampling import draw_sample
from xopt.calibrate.sites import Site, read_sites, write_sites
from xopt.calibrate.smooth import smoothing, with_headroom
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.packed_encoder import PackedEncoder
from xopt.encoders.plan import plan, site_names
from xopt.errors import ArtifactError, InputError
from xopt.packing import pack
from xopt.tokenization import Tokenizer

LINEAR = ("qkv_in", "context", "ffn_in", "ffn_act")


def test_an_import_that_keeps_its_error_keeps_nothing_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """PuLP, which ModelOpt imports, does: an error's frames lead to the frames that called them."""
    kept: list[Exception] = []

    def keeping(name: str) -> Any:
        try:
            raise ImportError(name)
        except ImportError as error:
            kept.append(error)
        return SimpleNamespace(HistogramCalibrator=lambda *arguments: None)

    class Encoder:
        pass

    def measure() -> weakref.ref[Encoder]:
        encoder = Encoder()
        observer("percentile")
        return weakref.ref(encoder)

    monkeypatch.setattr("importlib.import_module", keeping)
    assert measure()() is None
    assert kept


def test_smoothing_leaves_the_product_as_it_is() -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((50, 16)).astype(np.float32)
    x[:, 3] *= 60
    weight = generator.standard_normal((8, 16)).astype(np.float32)
    divisor = smoothing(np.abs(x).max(0), np.abs(weight).max(0), 0.5)
    np.testing.assert_allclose(
        (x / divisor) @ (weight * divisor).T, x @ weight.T, rtol=1e-3, atol=1e-4
    )
    assert np.abs(x / divisor).max() < np.abs(x).max() / 3
    assert np.exp(np.log(divisor).mean()) == pytest.approx(1.0, rel=1e-5)


def test_headroom_is_for_quiet_channels() -> None:
    generator = np.random.default_rng(4)
    low, high = np.full(40, -0.17, np.float32), generator.uniform(0.01, 30, 40).astype(np.float32)
    found = with_headroom(torch.from_numpy(np.stack([low, high])), 0.5).numpy()
    floor = 0.5 * np.quantile(high, 0.9)
    np.testing.assert_allclose(found[1], np.hypot(high, floor), rtol=1e-5)
    np.testing.assert_allclose(found[0], -np.hypot(0.17, 0.5 * 0.17), rtol=1e-5)
    # A channel that never fired has room too; one that is always below zero has none above it.
    silent = with_headroom(torch.tensor([[0.0, -2.0, 0.0], [0.0, -1.0, 4.0]]), 1.0)
    assert silent[1].min() > 0
    assert silent[0, 1] <= -2


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_behind_the_activation_no_channel_shares_its_steps(
    make_checkpoint: Callable[..., Path], method: str
) -> None:
    """With room every channel fills the range by itself; the first site and methods' cuts stay."""
    folder = make_checkpoint(seed=8)
    plain, wide = CalibrationRecipe(method), CalibrationRecipe(method, headroom=1.0)
    ranges = run(folder, wide)
    sites, before = read_sites(ranges), read_sites(run(folder, plain))
    other = [s for s in sites if not np.array_equal(divisor(sites[s]), divisor(before[s]))]
    changed = "context", "ffn_in", "ffn_act"
    assert other == [f"layers.{layer}.{kind}" for layer in (0, 1) for kind in changed]
    tokenizer = Tokenizer.open(folder / "tokenizer.json", 128)
    sample = draw_sample(load_corpus(), tokenizer, max_tokens=1500)
    seen: dict[str, np.ndarray] = {}
    model = PackedEncoder.load(Checkpoint.open(folder))
    model.walk(
        [pack(sample.encodings, first_position=2)],
        lambda site, parts: seen.update({site: parts[0].numpy().copy()}),
    )
    values = seen["layers.1.ffn_act"]
    high = np.hypot(values.max(axis=0), np.quantile(values.max(axis=0), 0.9))
    share = high / divisor(sites["layers.1.ffn_act"])
    np.testing.assert_allclose(share, share.mean(), rtol=1e-4)
    limits = sites["layers.1.ffn_act"].limits
    assert limits is not None
    low, top = limits
    if method == "minmax":
        assert top == pytest.approx(share.mean(), rel=1e-4)
    else:
        assert top < share.mean()
    assert low < 0
    # The others' divisors, by SmoothQuant's formula: three quarters of α, and half of the room.
    for kind, alpha, room in (("ffn_in", 0.6, 0.0), ("context", 0.8, 0.5)):
        values = seen[f"layers.1.{kind}"]
        sides = np.maximum(np.stack([-values.min(axis=0), values.max(axis=0)]), 0)
        sides = np.hypot(sides, room * np.quantile(sides, 0.9, axis=1, keepdims=True))
        columns = np.abs(model.weight(f"layers.1.{kind}")).max(axis=0)
        wanted = sides.max(axis=0) ** alpha / columns ** (1 - alpha)
        wanted /= np.exp(np.log(wanted).mean())
        np.testing.assert_allclose(divisor(sites[f"layers.1.{kind}"]), wanted, rtol=1e-4)


def divisor(site: Site) -> np.ndarray:
    """``[in]``; ones where there is none."""
    return np.ones(1, np.float32) if site.divisor is None else site.divisor


def test_an_idle_channel_is_left_alone() -> None:
    found = smoothing(np.array([0, 4], np.float32), np.array([1, 0], np.float32), 0.5)
    np.testing.assert_array_equal(found, [1, 1])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_ranges_every_site(make_checkpoint: Callable[..., Path], method: str) -> None:
    folder = make_checkpoint()
    sites = read_sites(run(folder, CalibrationRecipe(method, alpha=0.0)))
    # Probabilities fill [0, 1] by definition.
    expected = {
        site
        for site in site_names(plan(Checkpoint.open(folder).config))
        if not site.endswith("probs")
    }
    assert set(sites) == expected
    for site in sites.values():
        linear = site.kind in LINEAR
        assert (site.moved is not None, site.limits is not None) == (linear, linear)
        assert (site.centered is not None) == (site.kind == "context")
        assert (site.middle is not None) == (linear or site.kind in ("k", "v"))
        assert site.divisor is site.smoothed is site.rounded is None
        ranges = [site.amax, site.moved, site.centered]
        assert all(0 < value < 1e4 for value in ranges if value is not None)


def test_ranges_are_those_of_the_smoothed_values(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint(seed=3)
    sites = read_sites(run(folder, CalibrationRecipe("minmax", alpha=0.8)))
    plain = read_sites(run(folder, CalibrationRecipe("minmax", alpha=0.0)))
    for site in sites.values():
        assert (site.divisor is not None) == (site.kind in LINEAR)
        # The value is also ranged behind the divisor of the context, which lowerings fold into it.
        assert (site.smoothed is not None) == (site.kind == "v")
    assert sites["layers.0.v"].amax == plain["layers.0.v"].amax
    assert sites["layers.0.q"].amax == plain["layers.0.q"].amax
    assert sites["layers.0.ffn_in"].amax != plain["layers.0.ffn_in"].amax


def test_ranges_are_counted_from_means_and_middles(
    make_checkpoint: Callable[..., Path],
) -> None:
    folder = make_checkpoint(seed=5)
    recipe = CalibrationRecipe("minmax", alpha=0.8)
    found = read_sites(run(folder, recipe))
    tokenizer = Tokenizer.open(folder / "tokenizer.json", 128)
    sample = draw_sample(load_corpus(), tokenizer, max_tokens=1500)
    seen: dict[str, np.ndarray] = {}
    PackedEncoder.load(Checkpoint.open(folder)).run(
        pack(sample.encodings, first_position=2),
        watch=lambda site, tensor: seen.update({site: tensor.numpy().copy()}),
    )
    of = {kind: seen[f"layers.1.{kind}"] for kind in ("q", "k", "v", *LINEAR)}
    for kind in ("k", "v"):
        middle = found[f"layers.1.{kind}"].middle
        assert middle is not None
        np.testing.assert_allclose(middle, of[kind].mean(axis=0), atol=1e-5)
    mean = of["v"].mean(axis=0)
    value, behind = of["v"] - mean, divisor(found["layers.1.context"])
    expected = {
        ("q", "amax"): of["q"],
        ("k", "amax"): of["k"] - of["k"].mean(axis=0),
        ("v", "amax"): value,
        ("v", "smoothed"): value / behind,
        ("context", "centered"): (of["context"] - mean) / behind,
    }
    for kind in LINEAR:
        site = found[f"layers.1.{kind}"]
        middle = (of[kind].max(axis=0) + of[kind].min(axis=0)) / 2
        assert site.middle is not None
        np.testing.assert_allclose(site.middle, middle, atol=1e-5)
        expected[kind, "amax"] = of[kind] / divisor(site)
        expected[kind, "moved"] = (of[kind] - middle) / divisor(site)
    for (kind, field), values in expected.items():
        wanted = pytest.approx(np.abs(values).max(), rel=1e-4)
        assert getattr(found[f"layers.1.{kind}"], field) == wanted, (kind, field)


def test_sites_come_back_as_they_were_stored(
    make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """Of ranges that an older xopt stored, the next step is said."""
    sites = read_sites(run(make_checkpoint(seed=6), CalibrationRecipe(levels=127)))
    write_sites(sites.values(), tmp_path)
    again = read_sites(Ranges(tmp_path, {}))
    assert list(again) == list(sites)
    for name, site in sites.items():
        np.testing.assert_equal(asdict(again[name]), asdict(site))
    (tmp_path / "sites.json").rename(tmp_path / "ranges.json")
    with pytest.raises(ArtifactError) as caught:
        read_sites(Ranges(tmp_path, {}))
    assert "xopt calibrate" in caught.value.hint


def held() -> int:
    """Bytes of all tensors that are alive."""
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]
    stores = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(stores.values())


def test_no_layer_is_held_longer_than_it_is_measured(
    make_checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its values nor its moments: a deep encoder takes the memory of a flat one."""
    folder = make_checkpoint(seed=311, num_hidden_layers=4)
    checkpoint = Checkpoint.open(folder)
    tokenizer = Tokenizer.open(folder / "tokenizer.json", 128)
    sample = draw_sample(load_corpus(), tokenizer, max_tokens=2000)
    model = PackedEncoder.load(checkpoint)
    before, weight, seen = held(), model.weight, {}

    def weigh(site: str) -> np.ndarray:
        if site.startswith(("layers.1.", "layers.3.")):
            seen[site] = held() - before
        return weight(site)

    recipe = CalibrationRecipe(levels=127)
    monkeypatch.setattr(model, "weight", weigh)
    calibrate(model, "flat", sample, recipe, first_position=2)
    config, tokens = checkpoint.config, sum(map(len, sample.encodings))
    for kind in ("qkv_in", "context", "ffn_in", "ffn_act"):
        assert seen[f"layers.3.{kind}"] <= 1.01 * seen[f"layers.1.{kind}"]
    # The states, and what one linear layer reads and gives, beside the arrays of the batches.
    widest = tokens * 4 * (2 * config.hidden + config.intermediate)
    assert widest <= seen["layers.3.ffn_act"] < 1.5 * widest


def test_a_second_calibration_comes_from_the_cache(make_checkpoint: Callable[..., Path]) -> None:
    folder = make_checkpoint(seed=4)
    first = run(folder, CalibrationRecipe())

    class Broken:
        def walk(self, *arguments: object) -> None:
            raise AssertionError("it should not run again")

    again = run(folder, CalibrationRecipe(), Broken())  # type: ignore[arg-type]
    assert first.fingerprint == again.fingerprint
    assert first.manifest["sample"]["by_language"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "minmx"}, "Unknown calibration method"),
        ({"percentile": 50}, "--percentile"),
        ({"alpha": 1.0}, "--smooth"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CalibrationRecipe(**options)  # type: ignore[arg-type]
