"""Every engine that runs on a machine without a GPU, open over tiny encoders of random weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.tiny import save_checkpoint, save_tokenizer

# Triton decides when it is imported.
os.environ.setdefault("TRITON_INTERPRET", "1")

__all__ = ["HEADS", "Form", "forms"]

HEADS = ("embed", "tag")
# Largest difference between two answers to one text, of values of size 1.
FP32, HALF, INT8 = 1e-5, 1e-3, 1e-3
# Of INT8 where sums are integers or run in an order of the text's own: on the CPU, and in the CUDA
# engine with fp32 between the integers.
EXACT = 0.0


@dataclass(frozen=True)
class Form:
    """One engine in one form, for one head.

    Attributes:
        open: gives the open engine, with ``signature``, ``run`` and the context manager's methods.
        bound: largest difference between two answers to one text; None where none is promised
            because two equal values are rounded to 8 bits from sums in another order.
        sentences: most texts in a batch.
        longest: tokens of the longest.
    """

    name: str
    open: Callable[[], Any]
    bound: float | None
    sentences: int = 33
    longest: int = 120


def forms(scratch: Path) -> Iterator[Form]:
    """Those there are; each is built when it is opened."""
    for head in HEADS:
        made = partial(_bundle, scratch, head)
        for precision, bound in (("fp32", FP32), ("fp16", HALF), ("int8", INT8)):
            for own in (True, False):
                kind = "own attention" if own else "OpenVINO's attention"
                opening = partial(_open, made, precision, "cpu", threads=2, own_attention=own)
                promised = EXACT if precision == "int8" else bound
                yield Form(f"openvino with {kind}, {head}, {precision}", opening, promised)
        for precision, dtype, bound in (
            ("fp16", "fp32", FP32), ("fp16", "fp16", HALF), ("int8", "fp32", EXACT),
            ("int8", "fp16", INT8), ("int8-attention", "fp32", EXACT),
            ("int8-attention", "fp16", INT8),
        ):  # fmt: skip
            # The interpreter runs a kernel's blocks one by one in Python: a batch takes seconds.
            thin = partial(_bundle, scratch, head, layers=1)
            opening = partial(_open, thin, precision, "cuda", device="cpu", dtype=dtype)
            name = f"cuda interpreted with {dtype} activations, {head}, {precision}"
            yield Form(name, opening, bound, sentences=3, longest=40)
        for form, bound in (("onnx-fp32", FP32), ("onnx-qdq", None)):
            opening = partial(_Exported, scratch, head, form)
            yield Form(f"ONNX Runtime, {head}, {form}", opening, bound)
        for precision, promised in (("fp16", HALF), ("int8", EXACT)):
            opening = partial(_portable, scratch, head, precision)
            yield Form(f"portable graph in OpenVINO, {head}, {precision}", opening, promised)
        yield Form(f"null, {head}", partial(_open, made, "fp32", "null"), 0.0)


def _checkpoint(scratch: Path, head: str, layers: int) -> Path:
    scratch.mkdir(parents=True, exist_ok=True)
    tokenizer, folder = scratch / "tokenizer.json", scratch / f"{head}-{layers}"
    if not tokenizer.is_file():
        save_tokenizer(tokenizer)
    if not folder.is_dir():
        save_checkpoint(folder, tokenizer, "xlm-roberta", head, num_hidden_layers=layers)
    return folder


def _options(scratch: Path, head: str, layers: int = 2, **more: Any) -> Any:
    from xopt.compile.options import BuildOptions

    folder = str(_checkpoint(scratch, head, layers))
    return BuildOptions(checkpoint=folder, calibration_tokens=2048, **more)


def _bundle(scratch: Path, head: str, precision: str, target: str, layers: int = 2) -> Any:
    from xopt.compile.build import build_bundle

    out = str(scratch / f"{head}-{precision}-{target}")
    options = _options(scratch, head, layers, precision=precision, target=target, out=out)
    return build_bundle(options).bundle


def _open(made: Callable[[str, str], Any], precision: str, target: str, **options: Any) -> Any:
    from xopt.engines.base import open_engine

    return open_engine(made(precision, target), **options)


class _Exported:
    """What ``xopt export`` writes, in ONNX Runtime with the options of the folder's own example."""

    def __init__(self, scratch: Path, head: str, form: str) -> None:
        import onnxruntime

        from xopt.engines.signature import Signature
        from xopt.export.forms import export

        folder = scratch / f"{head}-{form}"
        if not folder.is_dir():
            export(_options(scratch, head, precision="int8", cpu="any"), form, folder)
        self.signature = Signature.read(json.loads((folder / "manifest.json").read_text()))
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", "1")
        options.intra_op_num_threads = 2
        self.session = onnxruntime.InferenceSession(str(folder / "graph.onnx"), options)

    def run(self, batch: Any) -> dict[str, NDArray[np.float32]]:
        """As an engine answers."""
        found = self.session.run(None, batch.arrays(names=self.signature.inputs))
        return {self.signature.output: np.asarray(found[0])}

    def __enter__(self) -> _Exported:
        return self

    def __exit__(self, *_: object) -> None:
        del self.session


def _portable(scratch: Path, head: str, precision: str) -> Any:
    """The graph that a bundle for TensorRT carries, without an engine, which needs TensorRT."""
    from xopt.artifacts import Bundle, publish, write_manifest
    from xopt.compile.build import open_checkpoint
    from xopt.compile.lower import lower_graph
    from xopt.compile.ranging import ranges_of, sample_of
    from xopt.compile.recipes import lowering_for
    from xopt.compile.trace import trace_checkpoint
    from xopt.engines.tensorrt.portable import PortableEngine, copy_portable
    from xopt.progress import Silent

    options = _options(scratch, head, precision=precision, target="tensorrt-rtx")
    checkpoint = open_checkpoint(options)
    graph = trace_checkpoint(checkpoint)
    ranges = None
    if precision == "int8":
        ranges = ranges_of(checkpoint, graph, sample_of(checkpoint, options), options, Silent())
    lowered = lower_graph(
        graph, lowering_for("tensorrt-rtx", precision), ranges, checkpoint=checkpoint
    )
    folder = scratch / f"{head}-{precision}-portable"
    with publish(folder) as work:
        copy_portable(lowered, work)
        facts = {
            "target": "tensorrt-rtx", "precision": precision, "checkpoint": checkpoint.source,
            "shape": {"layers": 2, "hidden": 64, "heads": 2}, "tools": {}, "engine": {},
            "provenance": {"checkpoint": checkpoint.fingerprint, "lowered": ""},
            "head": checkpoint.head.manifest(),
            "signature": checkpoint.signature(graph.manifest["inputs"], graph.manifest["output"]),
        }  # fmt: skip
        write_manifest(work, Bundle.kind, "", facts)
    return PortableEngine(Bundle.open(folder), threads=2)
