"""Texts in, embeddings out: xopt beside sentence-transformers and fastembed, e5-small on this CPU.

    python benchmarks/cpu_texts.py --json > cpu_texts.json

Real texts of xopt's own corpus in 40 languages; the tokenizer is part of every time. Calls take
turns as in ``cpu.py``. fastembed runs e5-small through ONNX Runtime in dynamic INT8,
sentence-transformers in fp32 and bf16. Its OpenVINO form needs optimum-intel, which refuses
transformers 5.6 and later.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cpu import BUSY, PAUSE_S, WARMUP, busy_share

from xopt.calibrate.corpus import load_corpus
from xopt.compile.sources import PIP_E5, locate
from xopt.evaluate.work import timing
from xopt.hashing import cache_folder
from xopt.host import cpu_count, host_facts, tool_versions

Call = Callable[[Sequence[str]], object]

CASES = {"one": 1, "texts32": 32, "texts256": 256}


def xopt(checkpoint: Path, scratch: Path, threads: int) -> Call:
    from xopt.compile.build import BuildOptions, build_bundle
    from xopt.model.core import load

    place = str(scratch / "xopt-int8")
    build_bundle(BuildOptions(checkpoint=str(checkpoint), out=place))
    model = load(place, threads=threads)
    return lambda texts: model.encode(texts, normalize=True)


def sentence_transformers(dtype: str) -> Callable[[Path, Path, int], Call]:
    def make(checkpoint: Path, scratch: Path, threads: int) -> Call:
        import torch
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Normalize, Pooling, Transformer

        torch.set_num_threads(threads)
        parts = Transformer(str(checkpoint), model_kwargs={"dtype": dtype})
        pooling = Pooling(parts.get_embedding_dimension(), "mean")
        model = SentenceTransformer(modules=[parts, pooling, Normalize()], device="cpu")
        return lambda texts: model.encode(list(texts), batch_size=32, show_progress_bar=False)

    return make


def fastembed(checkpoint: Path, scratch: Path, threads: int) -> Call:
    import torch
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from transformers import AutoModel

    folder = scratch / "fastembed"
    if not (folder / "model.onnx").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for path in checkpoint.iterdir():
            if path.suffix == ".json":
                (folder / path.name).write_bytes(path.read_bytes())
        settings = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512}
        settings |= {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        special = {key: settings[key] for key in ("pad_token", "cls_token", "sep_token")}
        (folder / "special_tokens_map.json").write_text(json.dumps(special))
        encoder = AutoModel.from_pretrained(checkpoint, dtype="float32").eval()
        ids, dynamic = torch.ones((3, 7), dtype=torch.long), torch.export.Dim.DYNAMIC
        program = torch.onnx.export(
            encoder, (ids, ids), dynamo=True, opset_version=18, verbose=False,
            input_names=["input_ids", "attention_mask"], output_names=["last_hidden_state", "pool"],
            dynamic_shapes=({0: dynamic, 1: dynamic}, {0: dynamic, 1: dynamic}),
        )  # fmt: skip
        assert program is not None
        program.save(scratch / "encoder.onnx", external_data=True)
        quantize_dynamic(
            scratch / "encoder.onnx", folder / "model.onnx", per_channel=True,
            weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": 1},
        )  # fmt: skip
    TextEmbedding.add_custom_model(
        model="e5-small", pooling=PoolingType.MEAN, normalization=True, dim=384,
        sources=ModelSource(url="https://localhost/none"), model_file="model.onnx",
    )  # fmt: skip
    model = TextEmbedding("e5-small", threads=threads, specific_model_path=str(folder))
    return lambda texts: np.array(list(model.embed(texts, batch_size=32)))


PEERS = {
    "xopt": xopt,
    "sentence_transformers_fp32": sentence_transformers("float32"),
    "sentence_transformers_bf16": sentence_transformers("bfloat16"),
    "fastembed_int8": fastembed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--repeat", type=int, default=9, help="most timed rounds")
    parser.add_argument("--seconds", type=float, default=120, help="for the whole, about")
    given = parser.parse_args()
    begin = time.monotonic()
    checkpoint = Path(locate(PIP_E5).folder)
    scratch = cache_folder() / "benchmarks" / "cpu-texts"
    scratch.mkdir(parents=True, exist_ok=True)
    names = given.peers.split(",")
    calls = {name: PEERS[name](checkpoint, scratch, cpu_count()) for name in names}
    rows = [text for _, text in load_corpus().rows]
    texts = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    versions = tool_versions("sentence-transformers", "fastembed", "onnxruntime", "torch")
    document: dict[str, Any] = {
        "command": "python benchmarks/cpu_texts.py " + " ".join(sys.argv[1:]),
        "host": host_facts() | {"peers": versions},
        "cases": {},
    }
    answers = {name: np.asarray(call(texts[:32])) for name, call in calls.items()}
    for name, answer in answers.items():
        cosine = (answer * answers["xopt"]).sum(axis=1).mean()
        print(f"{name}: cosine to xopt {cosine:.4f}", file=sys.stderr)
    for number, (case, count) in enumerate(CASES.items()):
        until = begin + given.seconds * (number + 1) / len(CASES)
        samples: dict[str, list[float]] = {name: [] for name in calls}
        busy: list[float] = []
        for round_ in range(WARMUP + given.repeat):
            if round_ >= WARMUP + 3 and time.monotonic() > until:
                break
            busy.append(round(busy_share(), 3))
            for name, call in calls.items():
                time.sleep(PAUSE_S)
                start = time.perf_counter()
                call(texts[:count])
                if round_ >= WARMUP:
                    samples[name].append((time.perf_counter() - start) * 1e3)
        timed = {name: timing(found, count) for name, found in samples.items()}
        document["cases"][case] = timed | {"busy_rounds": sum(share > BUSY for share in busy)}
        shown = {name: round(found["median_ms"], 1) for name, found in timed.items()}
        print(case, shown, file=sys.stderr)
    if given.json:
        print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
