"""Checkpoint or bundle → a folder for other tools: an ONNX graph, or a Hugging Face folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xopt.artifacts import Bundle, check_place, fingerprint, publish, write_manifest
from xopt.calibrate.sampling import Sample
from xopt.compile.build import BuildOptions, choose_lowering, open_checkpoint
from xopt.compile.checkpoint import Checkpoint
from xopt.compile.hub import ENCODER_FILES
from xopt.compile.lower import lower_graph
from xopt.compile.made import check_checkpoint, check_sample
from xopt.compile.ranging import ranges_of, sample_of
from xopt.compile.trace import trace_checkpoint
from xopt.compile.traced import WEIGHTS
from xopt.errors import InputError, UnsupportedError
from xopt.evidence import built_with
from xopt.export.readme import onnx_readme
from xopt.host import tool_versions
from xopt.progress import Progress, Silent
from xopt.publishing import MANIFEST

__all__ = ["FORMS", "Exported", "bundle_at", "export", "export_options"]

HERE = Path(__file__).parent
# A table of what is possible: form -> in words.
FORMS: Mapping[str, str] = {
    "onnx-fp32": "the padding-free graph in fp32, standard operators of opset 21",
    "onnx-qdq": "the same with INT8 weights and explicit QuantizeLinear and DequantizeLinear",
    "hf": "the checkpoint itself as a Hugging Face folder in fp32",
}


@dataclass(frozen=True)
class Exported:
    """A folder that was written."""

    folder: Path
    form: str
    files: tuple[str, ...]


def export_options(place: str, form: str, calibration: str | None = None) -> BuildOptions:
    """What to export of a bundle or a checkpoint.

    Args:
        place: a bundle's folder that was built on this machine, or a checkpoint as for a build.
        form: of :data:`FORMS`.
        calibration: texts for ``onnx-qdq`` of a checkpoint.

    Raises:
        InputError: no such form, or the bundle's checkpoint is not known here.
        UnsupportedError: the bundle has nothing of this form.
    """
    if form not in FORMS:
        raise InputError(f"Unknown form {form!r}.", hint=f"Possible: {', '.join(FORMS)}.")
    bundle = bundle_at(place)
    if bundle is None:
        # Nobody knows which CPU will run the file.
        return BuildOptions(checkpoint=place, calibration=calibration, cpu="any")
    folder = bundle.folder
    if calibration is not None:
        raise InputError(
            "--calibration goes with a checkpoint: a bundle was calibrated when it was built.",
            hint="Leave it out, or: xopt export CHECKPOINT --calibration TEXTS --form onnx-qdq",
        )
    if form == "onnx-qdq" and (bundle.precision, bundle.target) != ("int8", "openvino"):
        raise UnsupportedError(
            f"{folder.name} is {bundle.precision} for {bundle.target}; onnx-qdq is the graph of an "
            "int8 bundle for the CPU.",
            hint="The CPU's form of the same checkpoint: xopt export CHECKPOINT --form onnx-qdq",
        )
    made = built_with(bundle)
    if made is None:
        raise InputError(
            f"{folder} was not built on this machine: its checkpoint is not known, and a bundle "
            "holds the compiled engine only.",
            hint=f"Name the checkpoint: xopt export CHECKPOINT --form {form} -o DIR",
        )
    # A graph for other tools has the whole vocabulary: they read the whole tokenizer.
    options = BuildOptions(**made).whole()
    if form != "onnx-qdq":
        return replace(options.reference(), out=None)
    # Without an option they were those of the CPU as it was then.
    return replace(options, cpu=bundle.manifest["engine"]["cpu"])


def bundle_at(place: str) -> Bundle | None:
    """The bundle whose folder this is; None where it is a checkpoint, or nothing.

    Raises:
        ArtifactError: it is damaged.
    """
    folder = Path(place).expanduser()
    if not (folder / MANIFEST).is_file() or not (folder / "card.md").is_file():
        return None
    return Bundle.open(folder)


def export(
    options: BuildOptions,
    form: str,
    out: Path,
    progress: Progress | None = None,
    *,
    bundle: Bundle | None = None,
) -> Exported:
    """Write ``out``; what xopt exported there before is replaced.

    Args:
        options: of :func:`export_options`.
        form: of :data:`FORMS`.
        out: the folder.
        progress: told the stages.
        bundle: that is exported, if it is one.

    Raises:
        InputError: the checkpoint or the calibration texts changed since the bundle was built.
        XoptError: the checkpoint cannot be read or traced, or the form cannot hold it.
    """
    progress = progress or Silent()
    check_place(out, "export")
    progress.stage("checkpoint")
    checkpoint = open_checkpoint(options)
    sample = sample_of(checkpoint, options) if form == "onnx-qdq" else None
    if bundle is not None:
        check_checkpoint(bundle, checkpoint.fingerprint)
        if sample is not None:
            check_sample(bundle, checkpoint, sample, options)
    with publish(out, "export") as work:
        if form == "hf":
            facts = _write_folder(work, checkpoint, options, progress)
        else:
            facts = _write_onnx(work, checkpoint, options, sample, progress)
        own = {"form": form, "checkpoint": checkpoint.source, "tools": tool_versions("xopt")}
        digest = fingerprint(checkpoint.fingerprint, own, facts.get("graph"))
        write_manifest(work, "export", digest, own | facts)
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    return Exported(out, form, tuple(names))


def _write_onnx(
    work: Path,
    checkpoint: Checkpoint,
    options: BuildOptions,
    sample: Sample | None,
    progress: Progress,
) -> dict[str, Any]:
    """The graph; in INT8 where there is a sample."""
    form = "onnx-fp32" if sample is None else "onnx-qdq"
    progress.stage("tracing")
    graph = trace_checkpoint(checkpoint)
    place, digest = graph.folder, graph.fingerprint
    if sample is not None:
        progress.stage("calibrating")
        ranges = ranges_of(checkpoint, graph, sample, options, progress)
        progress.stage("lowering")
        lowered = lower_graph(
            graph, choose_lowering(options, checkpoint), ranges, checkpoint=checkpoint
        )
        place, digest = lowered.folder, lowered.fingerprint
    for name in ("graph.onnx", WEIGHTS):
        # A copy: ONNX refuses weights that have a second hard link.
        shutil.copyfile(place / name, work / name)
    shutil.copyfile(checkpoint.tokenizer.path, work / "tokenizer.json")
    shutil.copyfile(HERE / "example.py", work / "run.py")
    signature = checkpoint.signature(graph.manifest["inputs"], graph.manifest["output"])
    if signature["window"] is not None:
        shutil.copyfile(HERE.parent / "windows.py", work / "windows.py")
    if checkpoint.head.kind in ("classify", "tag"):
        shutil.copyfile(HERE.parent / "activations.py", work / "activations.py")
    facts: dict[str, Any] = {
        "head": checkpoint.head.manifest(),
        "text": checkpoint.text.manifest(),
        "signature": signature,
        "parity": graph.manifest["parity"],
        "graph": digest,
    }
    (work / "README.md").write_text(onnx_readme(checkpoint.source, form, facts), encoding="utf-8")
    return facts


def _write_folder(
    work: Path, checkpoint: Checkpoint, options: BuildOptions, progress: Progress
) -> dict[str, Any]:
    """Every file that the checkpoint was read from, and no other.

    Raises:
        UnsupportedError: the head was changed by an option, which such a folder cannot say.
    """
    asked = [name for name in ("layer", "pooling") if getattr(options, name) is not None]
    if asked:
        raise UnsupportedError(
            f"A Hugging Face folder cannot say --{asked[0]}, with which the bundle was built.",
            hint="Export the graph, which holds it: --form onnx-fp32",
        )
    progress.stage("copying")
    seen: set[Path] = set()
    for base in dict.fromkeys((checkpoint.root, checkpoint.folder)):
        for pattern in ENCODER_FILES:
            seen.update(path for path in base.glob(pattern) if path.is_file())
    seen.update(checkpoint.files)
    seen.update(checkpoint.weight_files)
    for module in checkpoint.files:
        seen.update(module.parent.glob("model.safetensors"))
    training = checkpoint.root / "training.json"
    seen.update([training] if training.is_file() else [])
    _copy(seen, checkpoint.root, work)
    said = f"Exported by xopt from {checkpoint.source}: the checkpoint's own files, fp32."
    (work / "README.md").write_text(
        f"# {checkpoint.name}\n\n{said}\n\nINT8 has no place in such a folder: its activations are "
        "quantized by an engine. `xopt build` makes one of it.\n",
        encoding="utf-8",
    )
    return {}


def _copy(paths: set[Path], root: Path, out: Path) -> None:
    for path in sorted(paths):
        target = out / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
