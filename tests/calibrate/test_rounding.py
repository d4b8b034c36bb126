"""Rounded weights against plain rounding and the exact product."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xopt.calibrate import rounding
from xopt.calibrate.quantized import Affine, quantize_rows
from xopt.calibrate.rounding import DAMP, EXACT, Moments, factor_of, round_columns, round_layer
from xopt.host import int8_instructions


def inputs(tokens: int, width: int, seed: int = 0) -> np.ndarray:
    """Correlated channels of unequal size, none around 0."""
    generator = np.random.default_rng(seed)
    mixed = generator.standard_normal((tokens, 12)) @ generator.standard_normal((12, width))
    return (mixed + 0.3 * generator.standard_normal((tokens, width)) + 2.0).astype(np.float32)


def weight_of(rows: int, width: int) -> np.ndarray:
    return np.random.default_rng(9).standard_normal((rows, width)).astype(np.float32)


@pytest.mark.parametrize("levels", [127, 64])
def test_independent_inputs_leave_the_nearest_step(levels: int) -> None:
    """Without correlation no column can make up for another: GPTQ is plain rounding."""
    weight = weight_of(24, 200)
    values, scales = round_columns(weight, np.eye(200, dtype=np.float32), levels=levels)
    step = np.abs(weight).max(axis=1) / levels
    np.testing.assert_allclose(scales, step, rtol=1e-6)
    assert np.abs(values.astype(int)).max() == levels
    # A quotient of up to 127 steps is off by 2**-24 of itself, and so is its step.
    most = 0.5 + 2 * levels * 2.0**-24
    assert (np.abs(values * step[:, None] - weight) <= step[:, None] * most).all()


@pytest.mark.parametrize("width", [40, 300])
def test_products_of_correlated_inputs_come_closer(width: int) -> None:
    """On inputs that were not measured."""
    measured, fresh = inputs(4000, width)[:3000], inputs(4000, width)[3000:]
    weight = weight_of(32, width)
    values, scales = round_columns(weight, measured.T @ measured, levels=127)
    plain, steps = quantize_rows(weight)
    exact = fresh @ weight.T
    error = np.square(fresh @ (values * scales[:, None]).T - exact).mean()
    nearest = np.square(fresh @ (plain * steps[:, None]).T - exact).mean()
    assert error < nearest
    # In the moments that were measured it is a sum of squares, one for each column: half a step of
    # what the columns before it leave of the column.
    moments = (measured.T @ measured).astype(np.float64) / len(measured)
    order, damp = np.argsort(-moments.diagonal(), kind="stable"), DAMP * moments.diagonal().mean()
    inverse = np.linalg.inv(factor_of(moments, order, damp).astype(np.float64))
    left = inverse.T @ (moments[np.ix_(order, order)] + damp * np.eye(width)) @ inverse
    assert error <= np.square(scales).mean() * np.trace(left) / 4


@pytest.mark.parametrize(("width", "seed"), [(40, 0), (41, 1), (300, 2), (1, 3)])
def test_neighbours_of_one_sign_stay_within_their_bound(width: int, seed: int) -> None:
    """Also where corrections push both, and next to weights that are alike."""
    generator = np.random.default_rng(seed)
    weight = weight_of(32, width) + np.float32(generator.uniform(-2, 2))
    weight[0], weight[1] = 1, -1
    seen = inputs(2000, width, seed)
    values, scales = round_columns(weight, seen.T @ seen, pair_sum=128)
    whole = values.astype(int)
    for sign in (1, -1):
        side = np.maximum(sign * whole, 0)
        pairs = side[:, 0 : width // 2 * 2 : 2] + side[:, 1::2]
        assert pairs.max(initial=0) <= 128
    assert np.abs(whole).max() <= 127
    # One step for weights that are all alike: half of the levels are left to each of a pair.
    assert scales[0] == pytest.approx(2 / 127 if width > 1 else 1 / 127)
    exact = seen @ weight.T
    error = np.abs(seen @ (values * scales[:, None]).T - exact).mean()
    seven, steps = round_columns(weight, seen.T @ seen, levels=64)
    assert error <= 1.05 * np.abs(seen @ (seven * steps[:, None]).T - exact).mean()


def test_dead_channels_and_rows_of_zeros() -> None:
    seen = inputs(500, 20)
    seen[:, 3] = 0
    weight = weight_of(6, 20)
    weight[2] = 0
    values, scales = round_columns(weight, seen.T @ seen)
    assert not values[2].any()
    assert np.isfinite(scales).all()
    assert (np.abs(values[:, 3] * scales - weight[:, 3]) <= scales * 0.501).all()
    nothing, _ = round_columns(weight, np.zeros((20, 20), np.float32))
    np.testing.assert_array_equal(nothing, quantize_rows(weight)[0])


def gptq(weight: np.ndarray, products: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frantar et al. (2023), step by step: every column's error goes to all columns behind it.

    Returns:
        The integers, what was rounded to them, and the order of the columns.
    """
    scales = np.abs(weight).max(axis=1) / 127
    diagonal = products.diagonal()
    order = np.argsort(-diagonal, kind="stable")
    moments = products[np.ix_(order, order)] + DAMP * diagonal.mean() * np.eye(len(products))
    upper = np.linalg.cholesky(np.linalg.inv(moments)).T
    left = (weight / scales[:, None])[:, order]
    values, wanted = np.empty(weight.shape), np.empty(weight.shape)
    for column, place in enumerate(order):
        nearest = np.clip(np.rint(left[:, column]), -127, 127)
        values[:, place], wanted[:, place] = nearest, left[:, column]
        error = (left[:, column] - nearest) / upper[column, column]
        left[:, column:] -= np.outer(error, upper[column, column:])
    return values, wanted, order


@pytest.mark.parametrize("width", [1, 40, 300])
def test_weights_are_rounded_as_published(width: int) -> None:
    """But for a number that lay halfway between two steps, and what follows from it."""
    weight, seen = weight_of(32, width), inputs(2000, width).astype(np.float64)
    values, _ = round_columns(weight, seen.T @ seen / 2000)
    expected, wanted, order = gptq(weight.astype(np.float64), seen.T @ seen / 2000)
    other = (values != expected)[:, order]
    first = order[other.argmax(axis=1)]
    halfway = np.abs(wanted[np.arange(32), first] % 1 - 0.5)
    # A float32 sum of as many numbers within 127 is off by this at most.
    assert halfway[other.any(axis=1)].max(initial=0) <= width * 127 * 2**-24
    assert not other.any(axis=1).all()


def test_the_factor_is_of_the_moments() -> None:
    generator = np.random.default_rng(5)
    inputs = generator.normal(size=(40, 96)) * generator.uniform(0.1, 3, 96)
    moments, order = inputs.T @ inputs / 40, generator.permutation(96)
    lower = factor_of(moments, order, 0.01).astype(np.float64)
    assert not np.triu(lower, 1).any()
    np.testing.assert_array_equal(np.diag(lower), 1)
    inverse = np.linalg.inv(lower)
    between = inverse.T @ (moments[np.ix_(order, order)] + 0.01 * np.eye(96)) @ inverse
    off = between - np.diag(np.diag(between))
    assert np.abs(off).max() <= 1e-4 * np.abs(moments).max()


@pytest.mark.parametrize("most", [131_071, 200])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("low", "high"), [(-3.0, 5.0), (-0.2, 9.0), (-9.0, 0.2)])
def test_moments_are_those_of_the_rounded_numbers(
    monkeypatch: pytest.MonkeyPatch, exact: bool, most: int, low: float, high: float
) -> None:
    if exact and int8_instructions() not in EXACT:
        pytest.skip("This CPU's products of 8-bit numbers cut sums off.")
    monkeypatch.setattr(rounding, "STRIP", 8)
    monkeypatch.setattr(rounding, "MOST_TOKENS", most)
    seen = inputs(700, 30)
    how = Affine.over(low, high, np.linspace(0.5, 2, 30, dtype=np.float32), seen.mean(axis=0))
    moments = Moments(how, exact=exact)
    for part in np.split(seen, [100, 101, 500]):
        moments.collect(torch.from_numpy(part))
    scaled = (seen - how.middle) * (1 / how.divisor / np.float32(how.step))
    q = np.clip(np.rint(scaled) + how.zero, 0, 255).astype(np.int64) - how.zero
    np.testing.assert_allclose(moments.products, q.T @ q / 700, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(moments.rounded_mean, q.mean(axis=0) * how.step, rtol=1e-5)
    np.testing.assert_allclose(moments.mean, seen.mean(axis=0), rtol=1e-5)


def test_means_are_kept() -> None:
    seen = inputs(2000, 30)
    middle = (seen.max(axis=0) + seen.min(axis=0)) / 2
    divisor = np.linspace(0.5, 2, 30, dtype=np.float32)
    moved = (seen - middle) / divisor
    how = Affine.over(float(moved.min()), float(moved.max()), divisor, middle)
    moments = Moments(how)
    for part in np.split(seen, 4):
        moments.collect(torch.from_numpy(part))
    weight = weight_of(16, 30)
    layer = round_layer(weight, moments)
    q = np.round(moved / how.step) * how.step
    product = q @ (layer.values * layer.scales[:, None]).T + layer.correction
    exact = seen @ weight.T
    np.testing.assert_allclose(product.mean(axis=0), exact.mean(axis=0), atol=1e-3)
    plain, steps = quantize_rows(weight * divisor)
    nearest = q @ (plain * steps[:, None]).T + weight @ middle
    assert np.square(product - exact).mean() < np.square(nearest - exact).mean()


@pytest.mark.parametrize(
    ("low", "high"), [(-0.17, 30.0), (-4.0, 4.0), (0.0, 0.0), (0.5, 3.0), (-3.0, -0.5)]
)
def test_zero_is_exact_and_the_limits_fit(low: float, high: float) -> None:
    how = Affine.over(low, high, np.ones(1, np.float32), np.zeros(1, np.float32))
    assert 0 <= how.zero <= 255
    for end in (low, high):
        q = np.clip(round(end / how.step) + how.zero, 0, 255)
        assert abs((q - how.zero) * how.step - end) <= how.step
