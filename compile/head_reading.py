"""Which head a checkpoint has: from its module files, its architecture, and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from xopt.activations import ACTIVATIONS
from xopt.compile.head_spec import Head, HeadKind, HeadModule, Normalize, Truncate
from xopt.compile.st_folder import CONFIG, Modules
from xopt.encoders.config import Config
from xopt.encoders.family import Family
from xopt.encoders.spec import EncoderSpec
from xopt.errors import CheckpointError
from xopt.forms import spelled

__all__ = ["MULTIPLE_CHOICE", "Choice", "read_head"]

MULTIPLE_CHOICE = "ForMultipleChoice"
# Architecture suffix in config.json -> head.
HEADS: dict[str, HeadKind] = {
    "ForSequenceClassification": "classify",
    # One score per sequence; the choice is the caller's, among the sequences of a question.
    MULTIPLE_CHOICE: "classify",
    "ForTokenClassification": "tag",
    "ForQuestionAnswering": "span",
    # The heads of pre-training are left out.
    "ForMaskedLM": "embed",
    "ForPreTraining": "embed",
    "Model": "embed",
}
PROBLEMS = ("single_label_classification", "multi_label_classification", "regression")


@dataclass(frozen=True)
class Choice:
    """What the options say of an encoder without a head.

    Attributes:
        layer: the hidden state to pool; as the checkpoint says (the last) if None.
        pooling: modes; as the checkpoint says (the mean) if None.
    """

    layer: int | None = None
    pooling: tuple[str, ...] | None = None


def read_head(
    asked: Config,
    family: Family,
    config: EncoderSpec,
    modules: Modules | None,
    sentence: Mapping[str, Any],
    choice: Choice,
) -> Head:
    """The head, and what its own library makes of its logits.

    Args:
        asked: config.json.
        family: which reads it.
        config: read from it.
        modules: of a sentence-transformers folder.
        sentence: ``config_sentence_transformers.json``, empty where there is none.
        choice: the options.

    Raises:
        CheckpointError: a head, a layer, labels or an activation that xopt does not do.
    """
    kind = sentence.get("model_type", "SentenceTransformer")
    if kind not in ("SentenceTransformer", "CrossEncoder"):
        raise CheckpointError(
            f"{CONFIG}: the model_type is {spelled(kind)}, which xopt does not do.",
            hint="xopt does SentenceTransformer and CrossEncoder.",
        )
    raw = asked.raw
    if modules is not None and modules.task == "feature-extraction":
        if (kind == "CrossEncoder") != (modules.scores is not None):
            raise CheckpointError(
                f"{CONFIG}: the model_type is {spelled(kind)}, and what modules.json lists ends in "
                f"{'an embedding' if modules.scores is None else 'scores'}.",
                hint="A CrossEncoder ends in a classifier, or in a Dense whose module_output_name "
                "is 'scores'; a SentenceTransformer in an embedding.",
            )
        if modules.scores is None:
            return _embed(config, modules, sentence.get("truncate_dim"), choice)
        _refuse_options(choice, "a cross-encoder")
        return _scorer(raw, config, modules, modules.scores, sentence)
    names = raw.get("architectures")
    if names is not None and not (isinstance(names, list) and names):
        raise CheckpointError(
            f"config.json: architectures is {spelled(names)}, not a list of names."
        )
    prefix = family.types[raw["model_type"]][0]
    name = str(names[0]) if names else prefix + "Model"
    if _is_cross_encoder(raw, sentence, modules):
        # Its library loads a classifier, whatever config.json names.
        name = prefix + "ForSequenceClassification"
    # A class of the checkpoint's own code has another prefix, and is read by transformers' own.
    suffix = next((ending for ending in HEADS if name.endswith(ending)), name)
    found = HEADS.get(suffix)
    form = None
    if found not in (None, "embed"):
        form = family.head(asked, "choice" if suffix == MULTIPLE_CHOICE else str(found))
    if found is None or (found != "embed" and form is None):
        raise CheckpointError(f"The head {name!r} is not supported.", hint=_heads(asked, family))
    if found == "embed":
        return _embed(config, None, None, choice)
    _refuse_options(choice, name)
    if found == "span":
        return Head("span", labels=("start", "end"), form=form)
    if suffix == MULTIPLE_CHOICE:
        return Head("classify", labels=("score",), activation="identity", form=form)
    labels = _labels(asked)
    if found == "tag":
        return Head("tag", labels=labels, form=form)
    return replace(_classifier(raw, labels, sentence, modules), form=form)


def _refuse_options(choice: Choice, name: str) -> None:
    for option in ("layer", "pooling"):
        if getattr(choice, option) is not None:
            raise CheckpointError(
                f"--{option} is for encoders without a head; {name} has one.",
                hint=f"Leave --{option} out, or give the encoder alone.",
            )


def _scorer(
    raw: Mapping[str, Any],
    config: EncoderSpec,
    modules: Modules,
    scores: int,
    sentence: Mapping[str, Any],
) -> Head:
    """A cross-encoder made of a pooling and modules, of which the last gives its scores."""
    return Head(
        "classify",
        labels=tuple(f"LABEL_{number}" for number in range(scores)),
        activation=_cross_encoder(raw, scores, sentence, modules) or "identity",
        layer=config.layers,
        pooling=modules.pooling,
        include_prompt=modules.include_prompt,
        modules=modules.modules,
    )


def _heads(asked: Config, family: Family) -> str:
    """The heads that this family has, by the names of its classes."""
    prefix = family.types[asked.raw["model_type"]][0]
    kinds = {s: "choice" if s == MULTIPLE_CHOICE else kind for s, kind in HEADS.items()}
    found = [s for s, kind in kinds.items() if kind == "embed" or family.head(asked, kind)]
    return "Supported: " + ", ".join(prefix + suffix for suffix in found) + "."


def _labels(asked: Config) -> tuple[str, ...]:
    labels = asked.raw.get("id2label") or {}
    if not isinstance(labels, dict):
        raise CheckpointError("config.json: id2label is no object of label names.")
    if not labels:
        return tuple(f"LABEL_{i}" for i in range(asked.size("num_labels", 2)))
    try:
        # As transformers reads them: "00" is 0.
        found = {int(number): str(name) for number, name in labels.items()}
    except ValueError:
        found = {}
    if set(found) != set(range(len(labels))):
        raise CheckpointError(
            f"config.json: id2label names {', '.join(map(repr, list(labels)[:5]))}, not each of "
            f"the ids 0 to {len(labels) - 1}.",
            hint="transformers has no name for a missing one either: correct id2label.",
        )
    return tuple(found[number] for number in range(len(found)))


def _embed(config: EncoderSpec, modules: Modules | None, cut: Any, choice: Choice) -> Head:
    layer = config.layers if choice.layer is None else choice.layer
    if not 0 <= layer <= config.layers:
        raise CheckpointError(
            f"There is no layer {layer}.",
            hint=f"Layers are 0 (embeddings) to {config.layers} (the last).",
        )
    own = modules.pooling if modules else ("mean",)
    pooling = own if choice.pooling is None else choice.pooling
    overridden: dict[str, Any] = {}
    if layer != config.layers:
        overridden["layer"] = config.layers
    if pooling != own:
        overridden["pooling"] = list(own)
    if modules is None:
        return Head("embed", layer=layer, pooling=pooling, overridden=overridden)
    if len(pooling) != len(own) and modules.modules:
        raise CheckpointError(
            f"--pooling {'+'.join(pooling)} gives {len(pooling) * config.hidden} values, and the "
            f"modules behind the pooling ({_named(modules.modules)}) read "
            f"{len(own) * config.hidden}.",
            hint=f"Give {len(own)} mode(s); the checkpoint itself says {'+'.join(own)}.",
        )
    head = Head(
        "embed",
        layer=layer,
        pooling=pooling,
        include_prompt=modules.include_prompt,
        modules=modules.modules,
        normalize=modules.normalize,
        overridden=overridden,
    )
    return head if cut is None else _truncated(head, cut, config.hidden)


def _named(modules: tuple[HeadModule, ...]) -> str:
    return ", ".join(type(module).__name__ for module in modules)


def _truncated(head: Head, cut: Any, hidden: int) -> Head:
    """With ``truncate_dim``: what was made length 1 is cut and not made length 1 again."""
    if type(cut) is not int or cut < 1:
        raise CheckpointError(f"{CONFIG}: truncate_dim is {spelled(cut)}.")
    width = head.width(hidden)
    if cut >= width:
        return head
    before = (*head.modules, Normalize(width)) if head.normalize else head.modules
    return replace(head, modules=(*before, Truncate(cut)), normalize=False)


def _classifier(
    raw: Mapping[str, Any],
    labels: tuple[str, ...],
    sentence: Mapping[str, Any],
    modules: Modules | None,
) -> Head:
    problem = raw.get("problem_type")
    if problem is not None and problem not in PROBLEMS:
        raise CheckpointError(
            f"config.json: problem_type is {spelled(problem)}.",
            hint=f"Possible: {', '.join(PROBLEMS)}.",
        )
    if problem == "single_label_classification" and len(labels) == 1:
        raise CheckpointError(
            "config.json: problem_type is 'single_label_classification' with one label, which "
            "transformers refuses.",
            hint="Set it to 'regression', or to null for a probability.",
        )
    activation = _cross_encoder(raw, len(labels), sentence, modules)
    return Head(
        "classify",
        labels=labels,
        activation=activation or _pipeline(problem, len(labels)),
        problem_type=problem,
    )


def _pipeline(problem: str | None, labels: int) -> str:
    """What transformers' text-classification pipeline makes of the logits."""
    if problem == "regression":
        return "identity"
    if problem == "multi_label_classification" or labels == 1:
        return "sigmoid"
    return "softmax"


def _is_cross_encoder(
    raw: Mapping[str, Any], sentence: Mapping[str, Any], modules: Modules | None
) -> bool:
    """Whether sentence-transformers wrote into the folder of a classifier."""
    written = modules is not None or sentence.get("model_type") == "CrossEncoder"
    written |= isinstance(raw.get("sentence_transformers"), dict)
    return written or raw.get("sbert_ce_default_activation_function") is not None


def _cross_encoder(
    raw: Mapping[str, Any], labels: int, sentence: Mapping[str, Any], modules: Modules | None
) -> str | None:
    """What sentence-transformers' CrossEncoder makes of the logits; None where it wrote nothing.

    Versions before 4 wrote config.json's ``sbert_ce_default_activation_function``, 4 and 5 its
    ``sentence_transformers``, 6 ``config_sentence_transformers.json``, which it reads beside a
    ``modules.json`` alone.
    """
    if not _is_cross_encoder(raw, sentence, modules):
        return None
    new, old = raw.get("sentence_transformers"), raw.get("sbert_ce_default_activation_function")
    path = sentence.get("activation_fn") if modules is not None else None
    # Code of other packages is run by nobody; the library goes on as if nothing stood there.
    if not str(path).startswith("torch."):
        path = new["activation_fn"] if isinstance(new, dict) and "activation_fn" in new else old
    default = "sigmoid" if labels == 1 else "identity"
    if not str(path).startswith("torch."):
        return default
    module, _, name = str(path).rpartition(".")
    if not module.startswith("torch.nn") or name.lower() not in ACTIVATIONS:
        raise CheckpointError(
            f"The cross-encoder's activation is {spelled(path)}, which xopt does not do.",
            hint=f"xopt does these of torch.nn, in any case: {', '.join(ACTIVATIONS)}.",
        )
    return name.lower()
