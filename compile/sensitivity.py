"""What INT8 or bf16 at one site alone does to the answers: of every site, language by language.

The encoder runs once in fp32. Before each site it forks: from there on the site's linear layers
read 8-bit numbers and multiply 8-bit weights, those that the engine will have, or both in bf16, and
all that follows is exact. What differs at the end is that site's doing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xopt.artifacts import Ranges
from xopt.calibrate.quantized import quantize_rows
from xopt.calibrate.sites import read_sites
from xopt.compile.modules import multiply
from xopt.compile.packed_encoder import Going, PackedEncoder, Product
from xopt.compile.recipes import Lowering
from xopt.compile.traced import WORDS_SITE
from xopt.encoders.plan import Embed, Linear
from xopt.packing import Encoding, PackedBatch, pack, plan_batches

__all__ = ["answer_errors", "forked_sites", "site_errors"]

Array = NDArray[np.floating[Any]]
# Slots of a batch.
BATCH_TOKENS = 2048


def forked_sites(model: PackedEncoder) -> list[str]:
    """The sites that :func:`site_errors` measures: embeddings, and what linear layers read."""
    linears = [op.site for op in model.plan if isinstance(op, Linear) and op.site is not None]
    return [WORDS_SITE, *dict.fromkeys(linears)]


@torch.inference_mode()
def site_errors(
    model: PackedEncoder,
    ranges: Ranges,
    lowering: Lowering,
    encodings: Mapping[str, Sequence[Encoding]],
    *,
    sites: Sequence[str],
    precision: Literal["int8", "bf16"] = "int8",
) -> Iterator[tuple[str, dict[str, float]]]:
    """The error of the answers where one site alone is rounded: the mean over a language's rows.

    Args:
        model: fp32.
        ranges: that the bundle is built of.
        lowering: that the bundle is built with.
        encodings: language -> what is asked.
        sites: some of :func:`forked_sites`.
        precision: of that site; word embeddings have no bf16.

    Yields:
        A site, and language -> the mean of :func:`answer_errors`, one after the other.
    """
    left = set(sites)
    if not left:
        return
    product_of: Callable[[str], Product] = partial(_bf16_product, model)
    if precision == "int8":
        product_of = _Rounding(model, ranges, lowering).product
    runs = _runs(model, encodings)
    for index, op in enumerate(model.plan):
        if isinstance(op, Linear) and op.site in left:
            left.remove(op.site)
            product = product_of(op.site)
            found = [_finish(model, run.going, index, product) for run in runs]
            yield op.site, _means(model, runs, found)
        if not left:
            return
        for run in runs:
            model.step(op, run.going, _unwatched, multiply)
        if isinstance(op, Embed) and WORDS_SITE in left:
            left.remove(WORDS_SITE)
            found = []
            for run in runs:
                fork = _copy(run.going)
                fork.values[op.out] = fork.values[op.out] + _rounded_words(model, fork)
                found.append(_finish(model, fork, index + 1, multiply))
            yield WORDS_SITE, _means(model, runs, found)


@dataclass(frozen=True)
class _Run:
    """A batch on its way: the language of each sentence, and its answers in fp32."""

    batch: PackedBatch
    going: Going
    languages: NDArray[np.str_]
    exact: Tensor


def _runs(model: PackedEncoder, encodings: Mapping[str, Sequence[Encoding]]) -> list[_Run]:
    """All batches, before the first operation."""
    languages = [code for code, items in encodings.items() for _ in items]
    items = [item for found in encodings.values() for item in found]
    runs = []
    for chosen in plan_batches([len(item) for item in items], BATCH_TOKENS):
        batch = pack([items[i] for i in chosen], first_position=model.config.first_position)
        going = model.begin(model.tensors(batch))
        names = np.array([languages[i] for i in chosen])
        runs.append(_Run(batch, going, names, _finish(model, going, 0, multiply)))
    return runs


def _means(model: PackedEncoder, runs: Sequence[_Run], found: Sequence[Tensor]) -> dict[str, float]:
    """Language -> the mean error of all its rows: of sentences, or of their tokens."""
    head, names, errors = model.spec, [], []
    for run, answers in zip(runs, found, strict=True):
        given = answer_errors(
            head.kind, head.activation, run.exact.numpy(), answers.numpy(), run.batch.cu_seqlens
        )
        per_token = head.kind == "tag"
        names.append(np.repeat(run.languages, run.batch.lengths) if per_token else run.languages)
        errors.append(given)
    rows, values = np.concatenate(names), np.concatenate(errors)
    return {str(code): float(values[rows == code].mean()) for code in dict.fromkeys(rows.tolist())}


def answer_errors(
    kind: str, activation: str, exact: Array, found: Array, starts: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """How far answers are from exact ones, 0 where they are the same.

    Of an embedding 1 − cosine; of the others the Kullback-Leibler divergence of what they say from
    what the exact ones say, in nats: over the classes, over the tokens for both ends of a span, or
    of each score's probability.

    Args:
        kind: of the head.
        activation: ``softmax``, ``sigmoid`` or ``identity``.
        exact, found: ``[B, width]`` or, of a head per token, ``[T, width]``.
        starts: ``[B + 1]``, where each sentence's tokens start.

    Returns:
        ``[B]``, or ``[T]`` of a tagger.
    """
    a, b = exact.astype(np.float64), found.astype(np.float64)
    if kind == "embed":
        lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        return np.asarray(1 - (a * b).sum(axis=-1) / np.maximum(lengths, 1e-300))
    if kind == "span":
        spans = [slice(*ends) for ends in pairwise(starts)]
        return np.array([_divergence(a[one].T, b[one].T).sum() for one in spans])
    if activation == "softmax" and a.shape[-1] > 1:
        return _divergence(a, b)
    # Both sides of each score.
    pairs = [np.stack([values, np.zeros_like(values)], axis=-1) for values in (a, b)]
    return np.asarray(_divergence(*pairs).sum(axis=-1))


def _divergence(a: Array, b: Array) -> NDArray[np.float64]:
    """Of the softmax of ``b`` from that of ``a``, over the last axis."""
    p, q = (v - np.logaddexp.reduce(v, axis=-1, keepdims=True) for v in (a, b))
    return np.asarray(np.maximum((np.exp(p) * (p - q)).sum(axis=-1), 0.0))


def _bf16_product(model: PackedEncoder, site: str) -> Product:
    """A product in whose place, behind ``site``, one of bf16 stands; its sums are fp32."""
    readers = {id(module): _in_bf16(module.weight) for module in model.readers(site)}

    def given(module: nn.Module, source: Tensor) -> Tensor:
        weight = readers.get(id(module))
        if weight is None:
            return multiply(module, source)
        assert isinstance(module, nn.Linear)
        return nn.functional.linear(_in_bf16(source), weight, module.bias)

    return given


def _in_bf16(value: Tensor) -> Tensor:
    return value.to(torch.bfloat16).float()


class _Rounding:
    """INT8 linear layers, as numbers: what each module gives where its site is INT8."""

    def __init__(self, model: PackedEncoder, ranges: Ranges, lowering: Lowering) -> None:
        sites = read_sites(ranges).values()
        self._sites = {site.name: site for site in sites if site.limits is not None}
        self._pair_sum = lowering.pair_sum
        self._modules = {name: model.readers(name) for name in self._sites}

    def product(self, site: str) -> Product:
        """What stands in the place of a linear layer's product where ``site`` is INT8."""
        how, modules = self._sites[site].affine, self._modules[site]
        rounded = dict(zip(map(id, modules), self._layers(site), strict=True))
        middle, divisor = (torch.from_numpy(np.asarray(v)) for v in (how.middle, how.divisor))

        def given(module: nn.Module, source: Tensor) -> Tensor:
            layer = rounded.get(id(module))
            if layer is None:
                return multiply(module, source)
            codes = ((source - middle) / divisor / how.step).round_()
            return multiply(layer, codes.clamp_(-how.zero, 255 - how.zero).mul_(how.step))

        return given

    def _layers(self, site: str) -> Iterator[nn.Linear]:
        """Each module that reads ``site``, with its weight in steps and behind the divisor."""
        start = 0
        for module in self._modules[site]:
            weight = module.weight.numpy()
            rows = slice(start, start + len(weight))
            start = rows.stop
            found = self._sites[site].linear(weight, rows, self._pair_sum)
            values = found.values.astype(np.float32) * found.scales[:, None]
            layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
            layer.weight = nn.Parameter(torch.from_numpy(values), requires_grad=False)
            gained = module.bias + torch.from_numpy(found.correction)
            layer.bias = nn.Parameter(gained, requires_grad=False)
            yield layer


def _unwatched(site: str, value: Tensor) -> None:
    """Nobody watches."""


def _copy(going: Going) -> Going:
    return replace(going, values=dict(going.values), seen=set(going.seen))


def _finish(model: PackedEncoder, going: Going, index: int, product: Product) -> Tensor:
    """The answer of a batch that has come as far as the operation ``index``."""
    fork = _copy(going)
    for op in model.plan[index:]:
        model.step(op, fork, _unwatched, product)
    answer: Tensor = model.head(fork.values["x"], fork.arrays)
    return answer


def _rounded_words(model: PackedEncoder, going: Going) -> Tensor:
    """What rounding the rows of the word embeddings adds to them."""
    rows = model.get_parameter("embeddings.word.weight")[going.arrays["input_ids"]]
    values, scales = quantize_rows(rows.numpy())
    return torch.from_numpy(values.astype(np.float32) * scales[:, None]) - rows
