"""A family's full shape with random weights: what its INT8 build takes, and how fast it is.

python benchmarks/families.py SHAPE --build-only, then SHAPE [--cases a,b] [--peers a,b] [--json]

The peers run the checkpoint's own class on padded batches, with scaled_dot_product_attention where
the class has that (mDeBERTa's does not); OpenVINO runs it after NNCF's INT8, in the forms of
``cpu_peers.py`` (``pip install -r benchmarks/requirements-cpu.txt``).
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from cpu_base import Ids, of_ids_and_mask, padded
from cpu_peers import openvino_groups, openvino_whole

from xopt.artifacts import Bundle
from xopt.compile.build import BuildOptions, build_bundle
from xopt.compile.checkpoint import Checkpoint
from xopt.engines.base import open_engine
from xopt.engines.profile import open_profiled
from xopt.evaluate.work import WORK, time_interleaved, timing
from xopt.hashing import cache_folder
from xopt.host import cpu_count, host_facts, tool_versions
from xopt.packing import Encoding, pack

# OpenMP's threads spin for a moment after their work.
PAUSE_S = 0.3
CASES: dict[str, Sequence[int]] = {
    "mixed32": WORK["mixed32"],
    "b1_s32": WORK["b1_s32"],
    **{f"b1_s{tokens}": [tokens] for tokens in (512, 1024, 2048, 4096, 8192)},
}
# name -> class prefix, numbers of the config
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "mmbert-base": (
        "ModernBert",
        {"vocab_size": 256_000, "num_hidden_layers": 22, "intermediate_size": 1152},
    ),
    "gte-multilingual-base": ("Gte", {"vocab_size": 250_048, "num_hidden_layers": 12}),
    "eurobert-210m": (
        "EuroBert",
        {"vocab_size": 128_256, "num_hidden_layers": 12, "intermediate_size": 3072},
    ),
    # It takes 512 tokens: --cases mixed32,b1_s32,b1_s512.
    "mdeberta-base": (
        "DebertaV2",
        {
            "vocab_size": 251_000, "hidden_size": 768, "num_hidden_layers": 12,
            "num_attention_heads": 12, "intermediate_size": 3072, "relative_attention": True,
            "position_buckets": 256, "pos_att_type": "p2c|c2p", "share_att_key": True,
            "norm_rel_ebd": "layer_norm", "position_biased_input": False,
        },
    ),
    # Its texts have 2,048 tokens at most.
    "embeddinggemma-300m": (
        "Gemma3Text",
        {
            "vocab_size": 262_144, "hidden_size": 768, "num_hidden_layers": 24,
            "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 256,
            "intermediate_size": 1152, "query_pre_attn_scalar": 256, "sliding_window": 512,
            "max_position_embeddings": 2048, "use_bidirectional_attention": True,
        },
    ),
    # For trying out this file where nothing is measured.
    "tiny": ("ModernBert", {"vocab_size": 256_000, "num_hidden_layers": 3, "hidden_size": 96,
                            "intermediate_size": 96}),
}  # fmt: skip


def checkpoint_of(shape: str, folder: Path) -> Path:
    """The encoder with seeded random weights, and multilingual-e5-small's tokenizer."""
    if (folder / "tokenizer.json").is_file():
        return folder
    import torch
    import transformers

    from xopt.compile.sources import PIP_E5, locate

    prefix, numbers = SHAPES[shape]
    special = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    if prefix == "ModernBert":
        special |= {"cls_token_id": 0, "sep_token_id": 2}
    torch.manual_seed(0)
    config = getattr(transformers, f"{prefix}Config")(**(special | numbers))
    getattr(transformers, f"{prefix}Model")(config).save_pretrained(folder)
    tokens = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    text = json.dumps(tokens | {"tokenizer_class": "PreTrainedTokenizerFast"})
    (folder / "tokenizer_config.json").write_text(text)
    document = json.loads((locate(PIP_E5).folder / "tokenizer.json").read_text(encoding="utf-8"))
    cut_pieces(document, config.vocab_size)
    (folder / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


def cut_pieces(document: dict[str, Any], rows: int) -> None:
    """Leave a Unigram tokenizer no more pieces than the embeddings have rows: the likeliest."""
    document["model"]["vocab"] = document["model"]["vocab"][:rows]
    document["added_tokens"] = [t for t in document["added_tokens"] if t["id"] < rows]


def xopt(checkpoint: Path, scratch: Path, threads: int) -> Callable[[Ids], object]:
    """The INT8 bundle that ``--build-only`` left."""
    engine = open_engine(Bundle.open(scratch / "xopt-int8"), threads=threads)

    def call(ids: Ids) -> object:
        encodings = [Encoding(i, np.zeros(len(i), np.int32)) for i in ids]
        return engine.run(pack(encodings, first_position=engine.signature.first_position))

    return call


def transformers_of(dtype: str, *, compiled: bool) -> Callable[..., Any]:
    """A peer: the checkpoint's class in ``dtype``, as it is or through ``torch.compile``."""

    def make(checkpoint: Path, scratch: Path, threads: int) -> Callable[[Ids], object]:
        import torch
        from transformers import AutoModel

        torch.set_num_threads(threads)
        model: Any = AutoModel.from_pretrained(checkpoint, dtype=dtype).eval()
        if compiled:
            model = torch.compile(model)

        def call(ids: Ids) -> object:
            table, mask = padded(ids)
            with torch.inference_mode():
                found = model(torch.from_numpy(table), attention_mask=torch.from_numpy(mask))
            return found.last_hidden_state

        return call

    return make


def states_of(checkpoint: Path) -> Any:
    """As :func:`~cpu_base.of_ids_and_mask`, of the checkpoint's class without a head."""
    from transformers import AutoModel

    model: Any = AutoModel.from_pretrained(checkpoint, dtype="float32").eval()
    return of_ids_and_mask(model, "last_hidden_state")


PEERS: dict[str, Callable[..., Any]] = {
    "xopt": xopt,
    "transformers fp32": transformers_of("float32", compiled=False),
    "transformers bf16": transformers_of("bfloat16", compiled=False),
    "torch.compile bf16": transformers_of("bfloat16", compiled=True),
    "OpenVINO f32": openvino_whole("f32", states_of),
    "OpenVINO bf16": openvino_whole("bf16", states_of),
    "OpenVINO bf16 groups of 4": openvino_groups(4, "bf16", states_of),
}


def attention_ms(checkpoint: Path, scratch: Path, threads: int) -> dict[str, Any]:
    """Of one layer with a window and of one without, for one text of so many tokens."""
    blocks = Checkpoint.open(checkpoint).config.blocks
    engine = open_profiled(Bundle.open(scratch / "xopt-int8"), threads=threads)
    found: dict[str, Any] = {}
    for tokens in (1024, 2048, 4096, 8192):
        encoding = Encoding(np.full(tokens, 7, np.int32), np.zeros(tokens, np.int32))
        batch = pack([encoding], first_position=engine.signature.first_position)
        kinds: dict[str, list[float]] = {"window": [], "whole": []}
        for op in engine.profile([batch], repeat=3, warmup=1).operations:
            if op.kind == "attention":
                windowed = blocks[int(op.place)].window is not None
                kinds["window" if windowed else "whole"].append(1e3 * op.seconds)
        found[str(tokens)] = {kind: round(float(np.mean(ms)), 2) for kind, ms in kinds.items()}
    engine.close()
    return found


def main() -> None:
    """Build, or build and time."""
    arguments = _arguments()
    scratch = cache_folder() / "benchmarks" / "families" / arguments.shape
    scratch.mkdir(parents=True, exist_ok=True)
    checkpoint = checkpoint_of(arguments.shape, scratch / "checkpoint")
    document: dict[str, Any] = {"shape": arguments.shape, "host": host_facts()}
    if arguments.build_only:
        place = str(scratch / "xopt-int8")
        options = BuildOptions(
            checkpoint=str(checkpoint), out=place, calibration_tokens=arguments.calibration_tokens
        )
        begin = time.process_time()
        result = build_bundle(options, record=False)
        document["build"] = {
            "seconds": round(result.seconds, 1),
            "cpu_seconds": round(time.process_time() - begin, 1),
            "stages": [asdict(stage) for stage in result.stages],
            "cached": result.cached,
            # In KiB on Linux.
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "size_mib": round(result.bundle.size_mib, 1),
            "parity": result.bundle.manifest["parity"],
        }
        print(json.dumps(document, indent=1))
        return
    if arguments.attention:
        document["attention_ms"] = attention_ms(checkpoint, scratch, arguments.threads)
        print(json.dumps(document, indent=1))
        return
    peers = {}
    for name in arguments.peers.split(","):
        print(f"preparing {name}", file=sys.stderr)
        peers[name] = PEERS[name](checkpoint, scratch, arguments.threads)
    cases: dict[str, Any] = {}
    for case in arguments.cases.split(","):
        print(f"timing {case}", file=sys.stderr)
        generator = np.random.default_rng(1)
        ids = [generator.integers(5, 120_000, n).astype(np.int32) for n in CASES[case]]
        calls = {name: lambda call=call, ids=ids: call(ids) for name, call in peers.items()}
        timed = time_interleaved(
            calls, repeat=arguments.repeat, warmup=arguments.warmup, pause_s=PAUSE_S
        )
        cases[case] = {name: timing(timed[name], sum(CASES[case])) for name in peers}
    document["cases"] = cases
    document["versions"] = tool_versions("openvino", "transformers", "torch")
    if arguments.json:
        print(json.dumps(document, indent=1))
        return
    for case, found in cases.items():
        print(case)
        for name, numbers in found.items():
            low, middle = min(numbers["samples_ms"]), numbers["median_ms"]
            ratio = middle / found["xopt"]["median_ms"] if "xopt" in found else float("nan")
            print(f"  {name:25s} median {middle:9.1f} ms  min {low:9.1f} ms  {ratio:5.2f}x")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--build-only", action="store_true", help="build, and say what it took")
    parser.add_argument(
        "--attention", action="store_true", help="time attention with a window and without"
    )
    parser.add_argument("--calibration-tokens", type=int, default=16_384)
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated")
    parser.add_argument("--cases", default="mixed32,b1_s32,b1_s4096", help="comma-separated")
    parser.add_argument("--repeat", type=int, default=5, help="timed rounds")
    parser.add_argument("--warmup", type=int, default=2, help="rounds before the timed ones")
    parser.add_argument("--threads", type=int, default=cpu_count(), help="cores for every peer")
    return parser.parse_args()


if __name__ == "__main__":
    main()
