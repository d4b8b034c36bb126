"""Bundle → a model repository for NVIDIA Triton Inference Server, and what starts it.

A repository holds one model that takes texts. It runs the bundle by xopt itself, in Triton's Python
backend; an engine of TensorRT becomes a second model instead, of Triton's TensorRT backend, which
the first one asks. Requests that wait together become one packed batch in the first: the axis of a
packed batch is tokens, and Triton joins requests only along an axis of requests.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xopt import __version__
from xopt.artifacts import Bundle
from xopt.deploy.places import (
    COMPOSE_GPU,
    WHEEL,
    check_name,
    copy_bundle,
    extras_of,
    name_of,
    write_folder,
)
from xopt.deploy.templates import COMPOSE, DOCKERFILE, ENGINE, FRONT, MODEL, README
from xopt.deploy.versions import (
    FACTS,
    VERSIONS,
    Form,
    add_version,
    check_others,
    check_version,
    versions_of,
)
from xopt.engines.base import Signature
from xopt.engines.tensorrt.compat import RunsOn
from xopt.engines.tensorrt.feeds import input_names, tensorrt_arrays
from xopt.engines.tensorrt.runtime import ENGINE as PLAN
from xopt.errors import InputError
from xopt.packing import Encoding, pack

__all__ = ["TritonOptions", "write_repository"]

TYPES = {"int32": "TYPE_INT32", "float16": "TYPE_FP16"}
WARM_TOKENS = 16
# Most texts that one batch gathers, and how long a request waits for others, in microseconds.
TEXTS = 64
DELAY_US = 1000
# Most texts of one request; they are answered in batches of the engine's own size.
MOST_TEXTS = 2048
# Requests that may wait; Triton refuses the next one.
QUEUE = 4096
COMMAND = (
    '"tritonserver", "--model-repository=/models", "--exit-on-error=true", "--exit-timeout-secs=30"'
)
# Without it Triton's TensorRT backend takes no engine that carries code.
LATER = ', "--backend-config=tensorrt,version-compatible=true"'


@dataclass(frozen=True)
class TritonOptions:
    """How a bundle is served.

    Attributes:
        name: of the model; the bundle's folder if None.
        texts: most texts that one batch gathers; 64 if None.
        delay_us: how long a request waits for others, in microseconds; 1000 if None.
        version: under which the bundle stands in the repository.
    """

    name: str | None = None
    texts: int | None = None
    delay_us: int | None = None
    version: int = 1

    def __post_init__(self) -> None:
        """Check every value."""
        if self.name is not None:
            check_name(self.name)
        texts, delay_us = self.texts, self.delay_us
        if (texts is not None and texts < 1) or (delay_us is not None and delay_us < 0):
            raise InputError("--texts is at least 1, and --delay-us at least 0.")
        check_version(self.version)


def write_repository(
    bundle: Bundle, out: Path, options: TritonOptions, *, force: bool = False
) -> list[Path]:
    """Write ``models/``, ``Dockerfile``, ``compose.yaml`` and ``README.md`` into ``out``.

    Where an earlier call has written other versions of the model, this one is added to them, and
    nothing of theirs is touched.

    Args:
        bundle: every file is checked before one is copied.
        out: a new folder, or one with the same model.
        options: how it is served.
        force: replace what an earlier call has written there; beside other versions, this one only.

    Returns:
        Every file, relative to ``out``.

    Raises:
        ArtifactError: a file of the bundle is not the one that was built.
        InputError: ``out`` exists, with this version or with something else; or the bundle
            cannot be a version of the model that is there.
        UnsupportedError: the bundle is of a target that answers nothing.
    """
    name = name_of(bundle, options.name)
    there = versions_of(out.resolve(), name)
    if options.version in there and not force:
        raise InputError(
            f"{out} exists, and has version {options.version} of {name}.",
            hint=f"Add another version with --version {max(there) + 1}, replace this one with "
            "--force, or choose another place with -o.",
        )
    if not there and not force:
        check_others(out.resolve(), name)
    if not set(there) - {options.version}:
        return write_folder(
            bundle, out, lambda work: _write(bundle, work, name, options), force=force
        )
    given = {"--texts": options.texts, "--delay-us": options.delay_us}
    if fixed := [option for option, value in given.items() if value is not None]:
        raise InputError(
            f"{fixed[0]} is the same for all versions of {name}, which {out} has already.",
            hint=f"Leave it out, or change it in {out / 'models' / name / 'config.pbtxt'}.",
        )
    return add_version(
        bundle,
        out.resolve(),
        name,
        options.version,
        lambda models: _write_version(bundle, models, name, options.version),
    )


def _write_version(bundle: Bundle, models: Path, name: str, number: int) -> None:
    """What one version has for itself; the configuration is all versions' together."""
    version = models / name / str(number)
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL)
    if bundle.target != "tensorrt":
        copy_bundle(bundle, version / "bundle")
        return
    engine = models / f"{name}_engine" / str(number)
    engine.mkdir(parents=True)
    shutil.copyfile(bundle.folder / PLAN, engine / "model.plan")
    shutil.copyfile(bundle.folder / "tokenizer.json", version / "tokenizer.json")
    facts = {key: bundle.manifest[key] for key in FACTS if key in bundle.manifest}
    (version / "bundle.json").write_text(json.dumps(facts, indent=1) + "\n")


def _write(bundle: Bundle, work: Path, name: str, options: TritonOptions) -> None:
    signature = Signature.read(bundle.manifest)
    plan = bundle.target == "tensorrt"
    _write_version(bundle, work / "models", name, options.version)
    if plan:
        _write_engine(bundle, work / "models" / f"{name}_engine", signature)
    labels = Form.of(bundle).labels if bundle.head["kind"] == "classify" else ()
    if labels:
        text = "".join(f"{label}\n" for label in labels)
        (work / "models" / name / "labels.txt").write_text(text, encoding="utf-8")
    on_gpu = bundle.target != "openvino"
    texts = TEXTS if options.texts is None else options.texts
    rows = "-1, " if signature.per_token else ""
    config = FRONT.substitute(
        name=name,
        texts=texts,
        most=max(texts, MOST_TEXTS),
        queue=QUEUE,
        labels='\n    label_filename: "labels.txt"' if labels else "",
        output=signature.output,
        dims=f"{rows}{signature.width}",
        delay=DELAY_US if options.delay_us is None else options.delay_us,
        versions=VERSIONS,
        kind="KIND_GPU" if on_gpu and not plan else "KIND_CPU",
        engine=f"{name}_engine" if plan else "",
    )
    (work / "models" / name / "config.pbtxt").write_text(config)
    _write_server(bundle, work, name, options.version, on_gpu=on_gpu)


def _write_engine(bundle: Bundle, folder: Path, signature: Signature) -> None:
    """The configuration of the model of Triton's TensorRT backend."""
    facts = bundle.manifest["engine"]
    inputs, warm = [], []
    kinds: dict[str, str] = {}
    for lengths in _warm_batches(facts["profiles"]):
        zeros = [np.zeros(length, np.int32) for length in lengths]
        batch = pack([Encoding(z, z) for z in zeros], first_position=signature.first_position)
        arrays = tensorrt_arrays(batch, signature.window)
        kinds = {name: TYPES[str(arrays[name].dtype)] for name in input_names(bundle)}
        samples = [_sample(name, kind, arrays[name].shape) for name, kind in kinds.items()]
        warm.append(_warm_up(lengths, samples))
    for name, kind in kinds.items():
        shape = facts["inputs"][name]
        inputs.append(_input(name, kind, [-1 if isinstance(d, str) else d for d in shape]))
    config = ENGINE.substitute(
        name=folder.name,
        versions=VERSIONS,
        inputs=",\n".join(inputs),
        output=signature.output,
        width=signature.width,
        profiles=", ".join(f'"{number}"' for number in range(len(facts["profiles"]))),
        warm=",\n".join(warm),
    )
    (folder / "config.pbtxt").write_text(config)


def _warm_batches(profiles: Sequence[Mapping[str, int]]) -> list[tuple[int, ...]]:
    """Lengths of the sentences of each: for every profile a short one, a longest, a full batch."""
    found: dict[tuple[int, ...], None] = {}
    for profile in profiles:
        longest = profile["longest"]
        full = min(profile["sentences"], profile["tokens"] // longest)
        for lengths in ((min(WARM_TOKENS, longest),), (longest,), (longest,) * full):
            found[lengths] = None
    return list(found)


def _warm_up(lengths: Sequence[int], samples: Sequence[str]) -> str:
    name = f"sentences: {len(lengths)}, tokens of each: {lengths[0]}"
    lines = ("  {", f'    name: "{name}"', "    batch_size: 1", *samples, "  }")
    return "\n".join(lines)


def _input(name: str, kind: str, dims: list[int]) -> str:
    shown = ", ".join(map(str, dims))
    return f'  {{\n    name: "{name}"\n    data_type: {kind}\n    dims: [ {shown} ]\n  }}'


def _sample(name: str, kind: str, dims: Sequence[int]) -> str:
    shown = ", ".join(map(str, dims))
    return (
        f'    inputs {{\n      key: "{name}"\n      value: {{\n        data_type: {kind}\n'
        f"        dims: [ {shown} ]\n        zero_data: true\n      }}\n    }}"
    )


def _write_server(bundle: Bundle, work: Path, name: str, number: int, *, on_gpu: bool) -> None:
    advice, more = _advice(bundle, name)
    facts: dict[str, Any] = {"advice": advice, "name": name, "version": __version__}
    probe = {"TEXT": "Habari za asubuhi"}
    if bundle.head["kind"] == "span":
        probe["PAIR"] = "Habari za asubuhi, rafiki yangu."
    facts |= {"probe": json.dumps(probe), "most": MOST_TEXTS}
    facts["wheel"] = WHEEL
    extras = extras_of(bundle)
    extra = f"[{extras}]" if extras else ""
    (work / "Dockerfile").write_text(DOCKERFILE.substitute(facts, extra=extra))
    devices = COMPOSE_GPU if on_gpu else ""
    flags = LATER if _runs_on_later(bundle) else ""
    compose = COMPOSE.substitute(facts, command=COMMAND, devices=devices, flags=flags)
    (work / "compose.yaml").write_text(compose)
    readme = README.substitute(
        facts,
        target=bundle.target,
        precision=bundle.precision,
        fingerprint=bundle.fingerprint[:16],
        output=Signature.read(bundle.manifest).output,
        number=number,
        more=more,
    )
    (work / "README.md").write_text(readme)


def _runs_on_later(bundle: Bundle) -> bool:
    """Whether the engine carries code with which later versions of TensorRT run it."""
    return bundle.target == "tensorrt" and RunsOn.read(bundle.manifest["engine"]).later


def _advice(bundle: Bundle, name: str) -> tuple[str, str]:
    """Which release of Triton to take, and what else there is to know."""
    if bundle.target != "tensorrt":
        return "Any release of Triton with the Python backend and Python 3.11 or later will do.", ""
    facts = bundle.manifest["engine"]
    later = " or later" if _runs_on_later(bundle) else ""
    advice = (
        f"Take a release of Triton that holds TensorRT {facts['version']}{later}; NVIDIA's support "
        "matrix says which one that is."
    )
    more = (
        f"\nThe engine runs on: {facts['runs_on_text']}. As `{name}_engine` it takes packed batches"
        "\ndirectly, for clients that tokenize themselves.\n"
    )
    return advice, more
