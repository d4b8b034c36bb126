"""From a checkpoint's tensors to the packed encoder's: nothing unset, nothing unused."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from xopt.compile.checkpoint import Checkpoint
from xopt.compile.head_spec import Dense, LayerNorm
from xopt.compile.sparse import FILE, sparse_state
from xopt.compile.weight_files import read_tensors
from xopt.encoders.families.bert import POOLER
from xopt.encoders.plan import Embed, Linear, Normalize, Op, plan
from xopt.encoders.spec import Norm
from xopt.errors import CheckpointError

if TYPE_CHECKING:
    import torch

__all__ = ["encoder_state"]

Shapes = dict[str, tuple[int, ...]]
NUMBER = re.compile(r"\.\d+\.")


def encoder_state(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The state of :class:`~xopt.compile.packed_encoder.PackedEncoder`, fp32, memory-mapped.

    Raises:
        CheckpointError: a file is truncated; a weight is missing, unused or of another shape. Each
            is listed.
    """
    import torch

    from xopt.compile.relative import project_tables, relative_shapes
    from xopt.compile.rotary import rotary_tables, table_shapes, turn_rows

    spec, ops = checkpoint.config, plan(checkpoint.config, checkpoint.depth)
    shapes = _shapes(ops) | relative_shapes(spec, ops) | table_shapes(spec, ops)
    found = _load(checkpoint, shapes | _head_shapes(checkpoint))
    found |= dict(project_tables(spec, ops, found))
    if spec.side_by_side:
        turn_rows(ops, found)
    found |= rotary_tables(spec, ops, found)
    if spec.word_scale != 1:
        found["embeddings.word.weight"] = found["embeddings.word.weight"] * spec.word_scale
    for op in ops:
        if isinstance(op, Normalize) and op.norm.offset:
            found[f"{op.name}.weight"] = found[f"{op.name}.weight"] + op.norm.offset
        elif isinstance(op, Linear) and op.name.endswith(".qkv"):
            for kind in ("weight", "bias"):
                names = [f"{op.name.removesuffix('qkv')}{part}.{kind}" for part in "qkv"]
                found[f"{op.name}.{kind}"] = torch.cat([found.pop(name) for name in names])
        elif isinstance(op, Linear) and not op.bias:
            found[op.name + ".bias"] = torch.zeros(op.outputs)
    form = checkpoint.head.form
    if form is not None and form.activation is not None and not form.dense_bias:
        found["head.dense.bias"] = torch.zeros(spec.hidden)
    found |= _module_weights(checkpoint)
    if checkpoint.head.sparse is not None:
        found |= sparse_state(checkpoint.root / FILE, spec.hidden)
    return found


def _shapes(ops: Iterable[Op]) -> Shapes:
    """What the checkpoint must have, by our names; queries, keys and values one by one."""
    found: Shapes = {}
    for op in ops:
        if isinstance(op, Embed):
            found |= {f"embeddings.{name}.weight": (rows, op.width) for name, rows in op.rows}
        elif isinstance(op, Normalize):
            found |= _norm_shapes(op.name, op.norm, op.width)
        elif isinstance(op, Linear):
            parts = [op.name]
            if op.name.endswith(".qkv"):
                parts = [op.name.removesuffix("qkv") + part for part in "qkv"]
            for part in parts:
                rows = op.outputs // len(parts)
                found[part + ".weight"] = (rows, op.inputs)
                if op.bias:
                    found[part + ".bias"] = (rows,)
    return found


def _norm_shapes(name: str, norm: Norm, width: int) -> Shapes:
    biased = norm.kind == "layer" and norm.bias
    return {f"{name}.{part}": (width,) for part in ("weight", "bias")[: 1 + biased]}


def _head_shapes(checkpoint: Checkpoint) -> Shapes:
    form, hidden = checkpoint.head.form, checkpoint.config.hidden
    if form is None:
        return {}
    labels = len(checkpoint.head.labels)
    found: Shapes = {"head.output.weight": (labels, hidden), "head.output.bias": (labels,)}
    if form.activation is not None:
        found["head.dense.weight"] = (hidden, hidden)
        if form.dense_bias:
            found["head.dense.bias"] = (hidden,)
    if form.norm is not None:
        found |= _norm_shapes("head.norm", form.norm, hidden)
    return found


def _load(checkpoint: Checkpoint, shapes: Shapes) -> dict[str, torch.Tensor]:
    """Every tensor of ``shapes``, cut out of the checkpoint's."""
    family, model_type = checkpoint.family, checkpoint.config.model_type
    places = family.places(range(checkpoint.depth))
    if checkpoint.head.form is not None:
        heads = checkpoint.head.form.tensors.items()
        places |= {theirs: (f"head.{ours}",) for theirs, ours in heads}
    expected = {
        f"{theirs}.{part}": [f"{name}.{part}" for name in ours]
        for theirs, ours in places.items()
        for part in ("weight", "bias")
        if any(f"{name}.{part}" in shapes for name in ours)
    }
    skipped = range(checkpoint.depth, checkpoint.config.layers)
    idle = [re.compile(p) for p in (*family.idle, *map(family.layer_pattern, skipped))]
    if checkpoint.depth < checkpoint.config.layers:
        # The norm behind the last layer is not reached.
        idle += [
            re.compile(re.escape(t) + r"\..*") for t, o in places.items() if o == ("final_norm",)
        ]
    found: dict[str, torch.Tensor] = {}
    seen: set[str] = set()
    spellings: dict[str, str] = {}
    unused: list[str] = []
    others: list[str] = []
    wrong: list[str] = []
    start, prefix = family.types[model_type][1], ""
    for name, tensor in read_tensors(checkpoint.weight_files):
        plain = family.plain(name, model_type)
        key = plain if plain in expected else name
        if key in expected:
            seen.update(expected[key])
            spellings[NUMBER.sub(".{n}.", key)] = NUMBER.sub(".{n}.", name)
            prefix = start if key != name and name.startswith(start) else prefix
            wrong += _cut(name, tensor, expected[key], shapes, found)
        elif not family.owns(plain):
            # Another head's, or the pooler: transformers leaves out what its class does not have.
            others.append(name)
        elif tensor.is_floating_point() and not any(p.fullmatch(plain) for p in idle):
            # A buffer of whole numbers is no weight.
            unused.append(name)
    unset = _unset(expected, seen, spellings)
    # As the file's own names are, so that both lists can be looked for in it.
    unset = [_spelled(name, prefix if family.owns(name) else "", spellings) for name in unset]
    if unset:
        # One of them may be a misspelt part of the encoder; a pooler has every second checkpoint.
        unused += [name for name in others if POOLER not in name]
    if unset or unused:
        raise CheckpointError(
            f"The weights of {checkpoint.folder} do not fit its config.json.\n"
            f"  unset ({len(unset)}): {', '.join(unset) or 'none'}\n"
            f"  unused ({len(unused)}): {', '.join(sorted(unused)) or 'none'}",
            hint="Check `architectures` and the sizes in config.json.",
        )
    if wrong:
        raise CheckpointError(
            f"Weights of {checkpoint.folder} are not as its config.json says:\n  "
            + "\n  ".join(wrong),
            hint="Save it again where it was trained, or download it again.",
        )
    return found


def _module_weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The weights of the modules behind the pooling, by our names, fp32.

    A Dense without a bias gets one of zeros: every linear layer of a graph has the same form then.
    """
    import torch

    weights: dict[str, torch.Tensor] = {}
    for number, module in enumerate(checkpoint.head.modules):
        if not isinstance(module, Dense | LayerNorm):
            continue
        shapes: Shapes = {"norm.weight": (module.width,), "norm.bias": (module.width,)}
        if isinstance(module, Dense):
            shapes = {"linear.weight": (module.outputs, module.inputs)}
            shapes |= {"linear.bias": (module.outputs,)} if module.bias else {}
            if module.projects_residual:
                shapes["residual.weight"] = (module.outputs, module.inputs)
        path = checkpoint.root / module.path / "model.safetensors"
        found = dict(read_tensors([path]))
        if {name: tuple(value.shape) for name, value in found.items()} != shapes:
            raise CheckpointError(
                f"{path} does not fit its config.json.\n"
                f"  it holds {', '.join(f'{n} {list(v.shape)}' for n, v in found.items())}\n"
                f"  needed is {', '.join(f'{n} {list(v)}' for n, v in shapes.items())}"
            )
        bad = [name for name, value in found.items() if not _is_finite(value)]
        if bad:
            raise CheckpointError(
                f"{path}: {', '.join(bad)}: NaN or infinite.",
                hint="Save it again where it was trained, or download it again.",
            )
        if isinstance(module, Dense):
            for name in [key for key in shapes if key.endswith(".weight")]:
                found.setdefault(name.replace("weight", "bias"), torch.zeros(module.outputs))
        weights |= {f"head.modules_behind.{number}.{name}": value for name, value in found.items()}
    return weights


def _is_finite(tensor: torch.Tensor) -> bool:
    """Whether every value is a number: one that no text of a check reads would be rounded, too."""
    # The smallest and the largest are NaN where one is, and need no second copy of a table.
    # Of fp64 it is what fp32 makes of it.
    plain = tensor.float() if tensor.element_size() in (1, 8) else tensor
    return all(math.isfinite(end) for end in plain.aminmax())


def _unset(
    expected: Mapping[str, list[str]], seen: set[str], spellings: Mapping[str, str]
) -> list[str]:
    """The checkpoint's name of everything of ours that was not there.

    Of several spellings the one that the file has of other layers, else the first.
    """
    first: dict[str, str] = {}
    for theirs in sorted(expected, key=lambda name: NUMBER.sub(".{n}.", name) not in spellings):
        for name in expected[theirs]:
            first.setdefault(name, theirs)
    return sorted({theirs for name, theirs in first.items() if name not in seen})


def _spelled(name: str, prefix: str, spellings: Mapping[str, str]) -> str:
    """A name as the file has it of another layer; without one, as today's version saves it."""
    number = NUMBER.search(name)
    form = spellings.get(NUMBER.sub(".{n}.", name))
    return prefix + name if form is None or number is None else form.replace(".{n}.", number[0])


def _cut(
    theirs: str,
    tensor: torch.Tensor,
    names: list[str],
    shapes: Shapes,
    found: dict[str, torch.Tensor],
) -> Iterator[str]:
    """Rows of ``tensor`` for each of ``names``; what does not fit, in words.

    ``theirs`` is what the file calls it.
    """
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        yield f"{theirs}: {kind}, not floating point; xopt reads no quantized weights"
        return
    wanted = [shapes[name] for name in names]
    whole = (sum(shape[0] for shape in wanted), *wanted[0][1:])
    if tuple(tensor.shape) != whole:
        yield f"{theirs}: {list(tensor.shape)} where config.json says {list(whole)}"
        return
    if not _is_finite(tensor):
        yield f"{theirs}: NaN or infinite"
        return
    start = 0
    for name, shape in zip(names, wanted, strict=True):
        found[name] = tensor[start : start + shape[0]]
        start += shape[0]
