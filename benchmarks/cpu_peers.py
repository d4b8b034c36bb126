"""Each peer of ``cpu.py``: made from the same checkpoint, called with the same token ids.

A peer is a function ``(checkpoint, scratch, threads) -> call``, and ``call(ids)`` answers a batch
given as one array of ids per sentence. Whatever a peer can prepare ahead (conversion,
calibration, compilation) happens outside of the timing; padding the batch is part of it.

OpenVINO with NNCF's INT8 stands in every form that a careful user runs it in: the whole batch
padded, in f32 and in bf16, and sorted by length in groups of 2, 4 and 8, a stream for each core.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cpu_base import Call, Ids, Peer, onnxruntime_call, padded, padded_logits, torch_model
from cpu_floor import floor
from cpu_more_peers import onnxruntime_fused
from cpu_packed_peers import packed_torch

from xopt.calibrate.corpus import load_corpus
from xopt.text_spec import TextSpec
from xopt.tokenization import Tokenizer

# From a checkpoint to a module of ids and mask, and an example of both.
Module = Callable[[Path], Any]


def xopt(checkpoint: Path, scratch: Path, threads: int) -> Call:
    from xopt.compile.build import BuildOptions, build_bundle
    from xopt.engines.base import open_engine
    from xopt.packing import Encoding, pack

    place = str(scratch / "xopt-int8")
    bundle = build_bundle(BuildOptions(checkpoint=str(checkpoint), out=place)).bundle
    engine = open_engine(bundle, threads=threads)

    def call(ids: Ids) -> object:
        encodings = [Encoding(i, np.zeros(len(i), np.int32)) for i in ids]
        return engine.run(pack(encodings, first_position=engine.signature.first_position))

    return call


def transformers_fp32(checkpoint: Path, scratch: Path, threads: int) -> Call:
    import torch

    torch.set_num_threads(threads)
    model = torch_model(checkpoint)

    def call(ids: Ids) -> object:
        table, mask = padded(ids)
        with torch.inference_mode():
            return model(torch.from_numpy(table), attention_mask=torch.from_numpy(mask)).logits

    return call


def ctranslate2_int8(checkpoint: Path, scratch: Path, threads: int) -> Call:
    import ctranslate2

    place = scratch / "ctranslate2"
    if not place.exists():
        converter = ctranslate2.converters.TransformersConverter(str(checkpoint))
        converter.convert(str(place), quantization="int8")
    encoder = ctranslate2.Encoder(
        str(place), device="cpu", compute_type="int8", intra_threads=threads, inter_threads=1
    )

    def call(ids: Ids) -> object:
        return np.array(encoder.forward_batch([i.tolist() for i in ids]).last_hidden_state)

    return call


def onnxruntime_dynamic_int8(checkpoint: Path, scratch: Path, threads: int) -> Call:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantized = scratch / "onnxruntime-int8.onnx"
    if not quantized.exists():
        quantize_dynamic(
            _padded_onnx(checkpoint, scratch),
            quantized,
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": 1},
        )
    return onnxruntime_call(quantized, threads)


def _nncf_int8(checkpoint: Path, scratch: Path, module_of: Module) -> Path:
    """The padded model after NNCF's static INT8 for transformers, calibrated on xopt's texts."""
    place = scratch / "nncf-int8.xml"
    if not place.exists():
        import nncf
        import openvino

        tokenizer = Tokenizer.build((checkpoint / "tokenizer.json").read_text(), TextSpec(128))
        encodings = tokenizer.encode([text for _, text in load_corpus().rows])[::6]
        data = [padded([e.ids]) for e in encodings]
        feeds = [{"input_ids": table, "attention_mask": mask} for table, mask in data]
        module, (example_ids, example_mask) = module_of(checkpoint)
        example = {"input_ids": example_ids, "attention_mask": example_mask}
        model = openvino.convert_model(module, example_input=example)
        quantized = nncf.quantize(
            model,
            nncf.Dataset(feeds),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(feeds),
        )
        openvino.save_model(quantized, place, compress_to_fp16=False)
    return place


def openvino_whole(precision: str, module_of: Module = padded_logits) -> Peer:
    """The batch padded to its longest sentence, all cores in one request."""

    def make(checkpoint: Path, scratch: Path, threads: int) -> Call:
        compiled = _compiled(_nncf_int8(checkpoint, scratch, module_of), threads, 1, precision)
        request = compiled.create_infer_request()

        def call(ids: Ids) -> object:
            table, mask = padded(ids)
            feed = {"input_ids": table, "attention_mask": mask}
            return request.infer(feed, share_inputs=True)[0]

        return call

    return make


def openvino_groups(size: int, precision: str, module_of: Module = padded_logits) -> Peer:
    """Sorted by length, ``size`` sentences at a time, on as many streams as there are cores."""

    def make(checkpoint: Path, scratch: Path, threads: int) -> Call:
        import openvino

        place = _nncf_int8(checkpoint, scratch, module_of)
        compiled = _compiled(place, threads, threads, precision)
        queue = openvino.AsyncInferQueue(compiled, threads)
        found: dict[int, Any] = {}
        queue.set_callback(
            lambda request, at: found.update({at: request.get_output_tensor(0).data.copy()})
        )

        def call(ids: Ids) -> object:
            order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
            answers: list[Any] = [None] * len(ids)
            groups = [order[start : start + size] for start in range(0, len(order), size)]
            for at, group in enumerate(groups):
                table, mask = padded([ids[i] for i in group])
                queue.start_async({"input_ids": table, "attention_mask": mask}, at)
            queue.wait_all()
            for at, group in enumerate(groups):
                for row, sentence in enumerate(group):
                    answers[sentence] = found[at][row]
            return answers

        return call

    return make


def _compiled(place: Path, threads: int, streams: int, precision: str) -> Any:
    import openvino

    config = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        "INFERENCE_PRECISION_HINT": precision,
    }
    return openvino.Core().compile_model(place, "CPU", config)


def _padded_onnx(checkpoint: Path, scratch: Path) -> Path:
    import torch

    place = scratch / "padded.onnx"
    if not place.exists():
        module, example = padded_logits(checkpoint)
        dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=18,
            input_names=["input_ids", "attention_mask"],
            dynamic_shapes=(dynamic, dynamic),
            verbose=False,
        )
        assert program is not None
        program.save(place, external_data=True)
    return place


PEERS: dict[str, Peer] = {
    "xopt": xopt,
    "openvino_f32": openvino_whole("f32"),
    "openvino_bf16": openvino_whole("bf16"),
    "openvino_bf16_groups2": openvino_groups(2, "bf16"),
    "openvino_bf16_groups4": openvino_groups(4, "bf16"),
    "openvino_bf16_groups8": openvino_groups(8, "bf16"),
    "ctranslate2": ctranslate2_int8,
    "onnxruntime_dynamic": onnxruntime_dynamic_int8,
    "onnxruntime_fused": onnxruntime_fused,
    "torch_packed_bf16": packed_torch("inductor", int8=False),
    "torchao_packed_int8": packed_torch("inductor", int8=True),
    "zentorch_packed_bf16": packed_torch("zentorch", int8=False),
    "zentorch_packed_int8": packed_torch("zentorch", int8=True),
    "floor": floor,
    "transformers_fp32": transformers_fp32,
}
