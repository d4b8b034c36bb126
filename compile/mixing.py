"""``xopt build --max-drop``: which products are not in INT8 so that no language loses too much.

What INT8, and bf16, at each site alone does to the answers is measured by
:mod:`xopt.compile.sensitivity`, and :mod:`xopt.compile.site_search` chooses sites by it. Here they
get rows, bundles and a place.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from xopt.artifacts import Bundle, LoweredGraph, check_place, fingerprint
from xopt.compile.build import (
    BuildResult,
    build_bundle,
    choose_lowering,
    open_checkpoint,
    place_of,
)
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.options import BuildOptions
from xopt.compile.ranging import ranges_of, sample_of
from xopt.compile.scripts import read_languages
from xopt.compile.site_search import PRECISIONS, Mix, SiteSearch, named_sites, share_of
from xopt.compile.trace import trace_checkpoint
from xopt.compile.traced import WORDS_SITE
from xopt.encoders.plan import Linear, plan
from xopt.engines.base import open_engine
from xopt.evaluate.held import Losses, SearchRows, Side
from xopt.evaluate.resume import Partial
from xopt.hashing import cache_folder, source_digest
from xopt.host import cpu_flags_left
from xopt.progress import Progress, Silent
from xopt.tokenization import Tokenizer

__all__ = ["Mixed", "bf16_obstacle", "build_mix", "site_costs"]

# Tokens on which the error of each site is measured.
ERROR_TOKENS = 8_192


@dataclass(frozen=True)
class Mixed:
    """A bundle whose languages stay within the floor, and how it was found.

    Attributes:
        result: the build.
        search: JSON; docs/int8.md describes it.
        reference, rounded: the options of the fp32 bundle and of the one that is INT8 everywhere.
        lengths: of some rows, in tokens.
    """

    result: BuildResult
    search: dict[str, Any]
    reference: BuildOptions
    rounded: BuildOptions
    lengths: tuple[int, ...]


def build_mix(options: BuildOptions, progress: Progress | None = None) -> Mixed:
    """Build the fastest mix of INT8, bf16 and fp32 that the search finds within the floor.

    Whatever was measured before an interruption is not measured again.

    Raises:
        BuildError: no mix with INT8 in it holds; what stood at the bundle's place still does.
        XoptError: the data does not fit, or any of the build's errors.
    """
    progress = progress or Silent()
    assert options.max_drop is not None
    assert options.task is not None
    rounded = replace(options, max_drop=None, data=None, out=None)
    progress.stage("data")
    checkpoint = open_checkpoint(rounded)
    check_place(place_of(checkpoint, options), Bundle.kind)
    tokenizer = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    data = SearchRows.read(
        options.task,
        options.data,
        checkpoint.head.manifest(),
        checkpoint.name,
        tokenizer,
        read_languages(options.languages) if options.languages else (),
    )
    partial = Partial(cache_folder() / "searches")
    with _builder(rounded, progress) as (side, base):
        obstacle = bf16_obstacle(base)
        errors = _errors(checkpoint, rounded, data, tokenizer, partial, not obstacle, progress)
        costs = site_costs(checkpoint, bf16=not obstacle)
        losses_of = Losses(data.task, partial, progress.share)
        search = SiteSearch(
            data,
            losses_of,
            side,
            errors,
            costs,
            progress,
            command=options.command,
            exact=options.exact_command(),
        )
        mix, losses = search.run(options.max_drop)
    document = {
        "schema": "xopt-search/1",
        "task": data.task.name,
        "data": data.label,
        "said": data.said,
        "max_drop": options.max_drop,
        "metric": "1 - cosine" if checkpoint.head.kind == "embed" else "KL divergence, nats",
        "without_bf16": obstacle,
        "kept": [
            {"site": site, "precision": how, "languages": search.blamed[site]}
            | {"share": share_of(site, errors, search.blamed[site])}
            for site, how in mix.items()
        ],
        "tried": search.tried,
        "rows_of_the_search": {code: len(rows) for code, rows in search.seen.items()},
        "checked": {code: loss.document() for code, loss in losses.items()},
        "sites": {
            site: {"cost": costs[site]["fp32"], "errors": found["int8"]}
            | ({"bf16_errors": found["bf16"]} if "bf16" in found else {})
            for site, found in errors.items()
        },
    }
    final = _mixed(replace(options, max_drop=None, data=None), mix)
    result = build_bundle(final, progress, search=document)
    reference = rounded.reference().in_cache()
    return Mixed(result, document, reference, rounded.in_cache(), data.lengths(tokenizer))


def bf16_obstacle(bundle: Bundle) -> str:
    """Why bf16 is not faster than fp32 for this bundle's products here; empty where it is.

    OpenVINO multiplies what is not INT8 in fp32 (:mod:`xopt.engines.openvino`), so they have to be
    in layers of our own.

    Args:
        bundle: in INT8, of the target ``openvino``.
    """
    if "avx512_bf16" not in cpu_flags_left():
        return "this CPU has no AVX-512 BF16"
    with open_engine(bundle) as engine:
        if not any(name.startswith("PackedLayer") for name in engine.describe()["kernels"]):
            return "OpenVINO's own layers run here, whose products are INT8 or fp32"
    return ""


def site_costs(checkpoint: Checkpoint, *, bf16: bool) -> dict[str, dict[str, float]]:
    """What each site costs beyond INT8: of the multiply-adds of all linear layers of a token.

    An instruction multiplies four times as many codes as numbers of fp32, and twice as many of
    bf16: bf16 costs a third of what fp32 costs. The word embeddings cost no time; theirs is their
    share of the encoder's weights.

    Args:
        checkpoint: whose sites.
        bf16: whether bf16 is tried.

    Returns:
        Site -> precision -> its cost.
    """
    ops = plan(checkpoint.config, checkpoint.head.layer)
    work: dict[str, int] = {}
    for op in ops:
        if isinstance(op, Linear) and op.site is not None:
            work[op.site] = work.get(op.site, 0) + op.inputs * op.outputs
    whole = sum(work.values())
    words = checkpoint.config.vocabulary * checkpoint.config.word_width
    costs = {WORDS_SITE: {"fp32": words / (words + whole)}}
    third = {"bf16": 1 / 3} if bf16 else {}
    return costs | {
        site: {how: part * n / whole for how, part in (third | {"fp32": 1.0}).items()}
        for site, n in work.items()
    }


def _errors(
    checkpoint: Checkpoint,
    options: BuildOptions,
    data: SearchRows,
    tokenizer: Tokenizer,
    partial: Partial,
    bf16: bool,
    progress: Progress,
) -> dict[str, dict[str, dict[str, float]]]:
    """Site -> precision -> language -> error; each is kept as soon as it is known."""
    from xopt.compile.packed_encoder import PackedEncoder
    from xopt.compile.sensitivity import forked_sites, site_errors

    sample = sample_of(checkpoint, options)
    progress.stage("tracing")
    graph = trace_checkpoint(checkpoint)
    progress.stage("calibrating")
    ranges = ranges_of(checkpoint, graph, sample, options, progress)
    lowering = choose_lowering(options, checkpoint)
    encodings = data.encodings(tokenizer, ERROR_TOKENS)
    ids = {code: [e.ids.tolist() for e in items] for code, items in encodings.items()}
    parts = ranges.fingerprint, asdict(lowering), ids, source_digest("compile")
    progress.stage("sensitivity")
    model = PackedEncoder.load(checkpoint)
    sites = forked_sites(model)
    wanted = [("int8", site) for site in sites]
    wanted += [("bf16", site) for site in sites if bf16 and site != WORDS_SITE]
    keys = {pair: fingerprint("sensitivity", *pair, *parts) for pair in wanted}
    known = {pair: partial.get(key) for pair, key in keys.items()}
    for how in ("int8", "bf16"):
        missing = [site for (one, site), found in known.items() if one == how and found is None]
        for site, errors in site_errors(
            model, ranges, lowering, encodings, sites=missing, precision=how
        ):
            known[how, site] = errors
            partial.put(keys[how, site], errors)
            progress.share(1 - sum(found is None for found in known.values()) / len(known))
    return {
        site: {
            how: dict(known[how, site] or {}) for how in ("int8", "bf16") if (how, site) in known
        }
        for site in sites
    }


def _mixed(options: BuildOptions, mix: Mix) -> BuildOptions:
    names = {f"{how}_sites": named_sites(mix, how) for how in PRECISIONS}
    return replace(options, fp32_sites=names["fp32_sites"], bf16_sites=names["bf16_sites"])


@contextmanager
def _builder(
    options: BuildOptions, progress: Progress
) -> Iterator[tuple[Callable[[Mix | None], Side], Bundle]]:
    """A mix -> the side that has it, None being the fp32 reference; and INT8 everywhere.

    Mixes lie in the cache until the search is done; those of a killed one until the next is.
    """
    plain = fingerprint({k: v for k, v in asdict(options).items() if k != "out"})
    folder = cache_folder() / "searches" / f"{plain[:20]}.mixes"

    def make(given: Mix | None) -> Bundle:
        if given is None:
            return build_bundle(options.reference().in_cache(), progress, record=False).bundle
        if not given:
            return build_bundle(options.in_cache(), progress, record=False).bundle
        place = folder / fingerprint(dict(given))[:20]
        mixed = replace(_mixed(options, given), out=str(place))
        bundle = build_bundle(mixed, progress, record=False).bundle
        # As large as the bundle, and of no use to anyone else.
        lowered = LoweredGraph.place(bundle.manifest["provenance"]["lowered"])
        shutil.rmtree(lowered, ignore_errors=True)
        return bundle

    base = make({})
    exact = make(None)

    def side(given: Mix | None) -> Side:
        key = exact.fingerprint if given is None else fingerprint(base.fingerprint, dict(given))
        return Side(key, lambda: make(given))

    try:
        yield side, base
    finally:
        shutil.rmtree(folder, ignore_errors=True)
