"""The ranges of a build: measured, from the cache, or those that ``xopt calibrate`` wrote."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from xopt.artifacts import Graph, Ranges
from xopt.calibrate.corpus import load_corpus
from xopt.calibrate.ranges import CalibrationRecipe, calibrate, ranges_fingerprint
from xopt.calibrate.sampling import Encode, Form, Sample, draw_sample, encode_rows, read_sample
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.int8_form import tuned_form
from xopt.compile.options import BuildOptions
from xopt.compile.trimming import Trimmed, trim
from xopt.errors import InputError
from xopt.forms import reads
from xopt.model.asking import first_windows
from xopt.packing import Encoding
from xopt.progress import Progress
from xopt.publishing import MANIFEST
from xopt.reading import parse_json
from xopt.settings import as_typed
from xopt.tokenization import Tokenizer

__all__ = [
    "CHOSEN", "choose_recipe", "form_of", "nearest_steps", "ranges_of", "sample_of", "trimmed_of",
]  # fmt: skip

# Labels that only a pair of texts can have, and tasks that ask with pairs.
PAIR_LABELS = {
    "entailment", "contradiction", "not_entailment", "paraphrase", "not_paraphrase", "duplicate",
    "not_duplicate",
}  # fmt: skip
# Of `xopt calibrate`, what the build with its ranges has to be asked for too.
CHOSEN = ("precision", "target", "cpu", "normalize", "task")
# What a sample holds, by its form.
FORMS: dict[str, str] = {
    "text": "single texts", "pair": "pairs of texts", "question": "questions with their contexts",
}  # fmt: skip
# How ranges are found, which stored ones have behind them.
FOUND = ("ranges", "percentile", "smooth", "seed", "calibration_tokens")
PAIR_TASKS = ("xnli", "mnli", "snli", "pawsx", "qqp")


def choose_recipe(options: BuildOptions, checkpoint: Checkpoint) -> CalibrationRecipe:
    """The calibration; weights that were tuned to be rounded to their nearest step stay so.

    Of stored ranges, how they were found is theirs.

    Raises:
        InputError: the options ask for ranges that were found in another way than the stored ones.
    """
    recipe = options.recipe
    stored = _stored(options)
    if stored is not None:
        _check_found_so(options, stored)
        known = stored.manifest["recipe"]
        recipe = replace(recipe, **{n: known[n] for n in ("method", "percentile", "alpha")})
    return recipe if tuned_form(checkpoint.training) is None else nearest_steps(recipe)


def nearest_steps(recipe: CalibrationRecipe) -> CalibrationRecipe:
    """The same ranges, with each weight left to the lowering, which takes its nearest step."""
    return replace(recipe, levels=0, pair_sum=0)


def sample_of(checkpoint: Checkpoint, options: BuildOptions) -> Sample:
    """The calibration texts, drawn and tokenized as the checkpoint reads them.

    Raises:
        InputError: a question model whose encoder has no room for a question and its context; or
            stored ranges were measured on texts of another form than the model is asked in.
    """
    tokenizer = Tokenizer.open(checkpoint.tokenizer.path, checkpoint.text)
    form = form_of(checkpoint, options.task)
    encode: Encode = _encode_windows if form == "question" else encode_rows
    stored = _stored(options)
    if stored is not None:
        _check_form(stored, form, options)
        return read_sample(stored, tokenizer, encode)
    return draw_sample(
        load_corpus(options.calibration),
        tokenizer,
        max_tokens=options.calibration_tokens,
        seed=options.seed,
        form=form,
        prompts=_prompts(checkpoint),
        encode=encode,
    )


def form_of(checkpoint: Checkpoint, task: str | None = None) -> Form:
    """In which form the model will be asked, as far as that can be known.

    A classifier says it by its task, by the names of its labels, by one score (multiple choice),
    or by its library (a cross-encoder); any other is taken to read single texts.
    """
    head = checkpoint.head
    if head.kind == "span":
        return "question"
    if head.kind != "classify":
        return "text"
    labels = {label.lower() for label in head.labels}
    tuned = [part.get("task") for part in (checkpoint.training or {}).get("data", [])]
    pairs = labels & PAIR_LABELS or len(labels) == 1 or {task, *tuned} & set(PAIR_TASKS)
    return "pair" if pairs or checkpoint.library == "sentence-transformers" else "text"


def _encode_windows(rows: Sequence[tuple[str, ...]], tokenizer: Tokenizer) -> list[Encoding]:
    """Questions with their contexts, as the model reads their first windows."""
    return first_windows(tokenizer, [row[1] for row in rows], [row[2] for row in rows])


def _prompts(checkpoint: Checkpoint) -> list[str]:
    """What stands before a text, or the first text of a pair: its default, or all in turn."""
    spec = checkpoint.text
    if checkpoint.head.kind not in ("embed", "classify") or not spec.prompts:
        return [""]
    if spec.default_prompt is not None:
        return [spec.own_prompt]
    return list(dict.fromkeys(["", *spec.prompts.values()]))


def ranges_of(
    checkpoint: Checkpoint,
    graph: Graph,
    sample: Sample,
    options: BuildOptions,
    progress: Progress,
) -> Ranges:
    """The ranges of a traced checkpoint; stored ones, or from the cache when they are there.

    Raises:
        InputError: the stored ranges are of another checkpoint or for other numbers.
    """
    recipe = choose_recipe(options, checkpoint)
    digest = ranges_fingerprint(graph.fingerprint, sample, recipe)
    stored = _stored(options)
    if stored is not None:
        if stored.fingerprint != digest:
            raise InputError(
                f"The ranges in {stored.folder} were measured for another checkpoint, target, "
                "--cpu or version of xopt.",
                hint=f"Measure them anew: {_measuring(options)}",
            )
        return stored
    cached = Ranges.find(digest)
    if cached is not None:
        return cached
    from xopt.compile.packed_encoder import PackedEncoder

    return calibrate(
        PackedEncoder.load(checkpoint),
        graph.fingerprint,
        sample,
        recipe,
        first_position=checkpoint.config.first_position,
        progress=progress.share,
    )


def trimmed_of(checkpoint: Checkpoint, options: BuildOptions) -> Trimmed | None:
    """The vocabulary as ``--languages`` trims it; None without."""
    if options.languages is None:
        return None
    # The few texts that lie with stored ranges are no corpus to count.
    place = None if _stored(options) else options.calibration
    return trim(
        checkpoint,
        options.languages,
        options.pieces,
        load_corpus(options.count or place),
        complete=options.count is not None,
    )


def _check_found_so(options: BuildOptions, stored: Ranges) -> None:
    """Refuse what was asked for and is not so in stored ranges; a default asks for nothing."""
    recipe, sample = stored.manifest["recipe"], stored.manifest["sample"]
    known = {
        "ranges": recipe["method"], "percentile": recipe["percentile"], "smooth": recipe["alpha"],
        "seed": sample["seed"], "calibration_tokens": sample["max_tokens"],
    }  # fmt: skip
    defaults = {f.name: f.default for f in fields(options)}
    for name, held in known.items():
        asked = getattr(options, name)
        if asked in (held, defaults[name]):
            continue
        typed = f"--{name.replace('_', '-')} {asked}"
        raise InputError(
            f"The ranges in {stored.folder} were measured with "
            f"--{name.replace('_', '-')} {held}; this build asks for {typed}.",
            hint=f"Leave it out, or measure them anew: {_measuring(options)}",
        )


def _check_form(stored: Ranges, form: Form, options: BuildOptions) -> None:
    """Refuse stored ranges of single texts for a model that is asked with pairs, and the like."""
    held = stored.manifest["sample"].get("form", form)
    if held == form:
        return
    other = ", or give the --task that they were measured for" if options.task is None else ""
    raise InputError(
        f"The ranges in {stored.folder} were measured on {FORMS.get(held, held)}; this build asks "
        f"with {FORMS[form]}.",
        hint=f"Measure them anew{other}: {_measuring(options)}",
    )


def _is_ours(path: Path) -> bool:
    """Whether a file is a manifest of xopt's; texts may lie beside one of another program."""
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and {"kind", "schema", "fingerprint"} <= set(found)


def _measuring(options: BuildOptions) -> str:
    """The command that measures the ranges which a build with these options asks for."""
    named = ["--checkpoint", options.checkpoint] if options.checkpoint else []
    asked = as_typed(options, (*CHOSEN, *FOUND))
    return shlex.join(["xopt", "calibrate", "CORPUS", *named, *asked, "-o", "DIR"])


def _stored(options: BuildOptions) -> Ranges | None:
    """What ``xopt calibrate`` wrote, if ``--calibration`` names that; its files are verified.

    Raises:
        ArtifactError: it is damaged.
    """
    if options.calibration is None:
        return None
    path = Path(options.calibration).expanduser() / MANIFEST
    if not _is_ours(path):
        return None
    found = Ranges.open(path.parent)
    found.verify()
    with reads(f"{path} is damaged, or of another xopt", hint="Calibrate again."):
        CalibrationRecipe(**found.manifest["recipe"])
    return found
