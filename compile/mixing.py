"""``xopt build --max-drop``: which products stay in fp32 so that no language loses too much.

What INT8 at each site alone does to the answers is measured by :mod:`xopt.compile.sensitivity`, and
:mod:`xopt.compile.site_search` chooses sites by it. Here they get rows, bundles and a place.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from xopt.compile.site_search import SiteSearch, share_of
from xopt.compile.trace import trace_checkpoint
from xopt.compile.traced import WORDS_SITE
from xopt.encoders.plan import Linear, plan
from xopt.evaluate.held import Losses, SearchRows, Side
from xopt.evaluate.resume import Partial
from xopt.hashing import cache_folder, source_digest
from xopt.progress import Progress, Silent
from xopt.tokenization import Tokenizer

__all__ = ["Mixed", "build_mix", "site_costs"]

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
    """Build the fastest mix of INT8 and fp32 that the search finds within ``options.max_drop``.

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
    check_place(place_of(checkpoint, options))
    tokenizer = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    data = SearchRows.read(
        options.task, options.data, checkpoint.head.manifest(), checkpoint.name, tokenizer
    )
    partial = Partial(cache_folder() / "searches")
    errors = _errors(checkpoint, rounded, data, tokenizer, partial, progress)
    costs = site_costs(checkpoint)
    with _builder(rounded, progress) as side:
        losses_of = Losses(data.task, partial, progress.share)
        search = SiteSearch(data, losses_of, side, errors, costs, progress)
        sites, losses = search.run(options.max_drop)
    document = {
        "schema": "xopt-search/1",
        "task": data.task.name,
        "data": data.label,
        "said": data.said,
        "max_drop": options.max_drop,
        "metric": "1 - cosine" if checkpoint.head.kind == "embed" else "KL divergence, nats",
        "kept": [_why(site, errors, search.blamed.get(site, [])) for site in sites],
        "tried": search.tried,
        "rows_of_the_search": {code: len(rows) for code, rows in search.seen.items()},
        "checked": {code: loss.document() for code, loss in losses.items()},
        "sites": {s: {"cost": costs[s], "errors": found} for s, found in errors.items()},
    }
    final = replace(options, max_drop=None, data=None, fp32_sites=",".join(sites) or None)
    result = build_bundle(final, progress, search=document)
    reference = rounded.reference().in_cache()
    return Mixed(result, document, reference, rounded.in_cache(), data.lengths(tokenizer))


def site_costs(checkpoint: Checkpoint) -> dict[str, float]:
    """What fp32 costs at each site: its share of the multiply-adds of all linear layers of a token.

    The word embeddings cost no time; theirs is their share of the encoder's weights.
    """
    ops = plan(checkpoint.config, checkpoint.head.layer)
    work: dict[str, int] = {}
    for op in ops:
        if isinstance(op, Linear) and op.site is not None:
            work[op.site] = work.get(op.site, 0) + op.inputs * op.outputs
    whole = sum(work.values())
    words = checkpoint.config.vocabulary * checkpoint.config.word_width
    return {WORDS_SITE: words / (words + whole)} | {s: n / whole for s, n in work.items()}


def _errors(
    checkpoint: Checkpoint,
    options: BuildOptions,
    data: SearchRows,
    tokenizer: Tokenizer,
    partial: Partial,
    progress: Progress,
) -> dict[str, dict[str, float]]:
    """Site -> language -> error; each site is kept as soon as it is known."""
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
    keys = {site: fingerprint("sensitivity", site, *parts) for site in sites}
    known = {site: partial.get(key) for site, key in keys.items()}
    missing = [site for site, errors in known.items() if errors is None]
    for site, errors in site_errors(model, ranges, lowering, encodings, sites=missing):
        known[site] = errors
        partial.put(keys[site], errors)
        progress.share(1 - sum(found is None for found in known.values()) / len(sites))
    return {site: dict(errors or {}) for site, errors in known.items()}


@contextmanager
def _builder(
    options: BuildOptions, progress: Progress
) -> Iterator[Callable[[Sequence[str] | None], Side]]:
    """Sites -> the side that has them in fp32; None is the fp32 reference.

    Mixes lie in the cache until the search is done; those of a killed one until the next is.
    """
    plain = fingerprint({k: v for k, v in asdict(options).items() if k != "out"})
    folder = cache_folder() / "searches" / f"{plain[:20]}.mixes"

    def make(sites: Sequence[str] | None) -> Bundle:
        if sites is None:
            return build_bundle(options.reference().in_cache(), progress, record=False).bundle
        if not sites:
            return build_bundle(options.in_cache(), progress, record=False).bundle
        place = folder / fingerprint(list(sites))[:20]
        mix = replace(options, fp32_sites=",".join(sites), out=str(place))
        bundle = build_bundle(mix, progress, record=False).bundle
        # As large as the bundle, and of no use to anyone else.
        lowered = LoweredGraph.place(bundle.manifest["provenance"]["lowered"])
        shutil.rmtree(lowered, ignore_errors=True)
        return bundle

    base = make([])
    exact = make(None)

    def side(sites: Sequence[str] | None) -> Side:
        key = exact.fingerprint if sites is None else fingerprint(base.fingerprint, list(sites))
        return Side(key, lambda: make(sites))

    try:
        yield side
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _why(
    site: str, errors: Mapping[str, Mapping[str, float]], languages: Sequence[str]
) -> dict[str, Any]:
    """Why a site stayed in fp32: the languages that lost too much, and its share of their error."""
    return {"site": site, "languages": list(languages), "share": share_of(site, errors, languages)}
