"""Triton out of its wheel, with PyTorch and transformers in its Python backend, until Ctrl-C.

    python benchmarks/serve_triton.py .triton checkpoints/e5 --port 8300
    python benchmarks/serve_speed.py bundles/e5 --peer triton=http://127.0.0.1:8300/v2/models/m/infer

The first argument is a virtual environment of this Python with nvidia-pytriton==0.7.0 and numpy
1.26, as ``tests/deploy/test_real_triton.py`` takes it. The model is what one writes for that
backend: requests are joined by Triton for at most 2 ms, up to 64 texts, sorted by length, padded
and answered together; with ``--int8`` the linear layers are PyTorch's dynamic INT8. With
``--repository`` a folder that ``xopt deploy triton`` wrote is started instead.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import xopt

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
CONFIG = """
backend: "python"
max_batch_size: 64
input [{ name: "TEXT" data_type: TYPE_STRING dims: [1] }]
output [{ name: "embeddings" data_type: TYPE_FP32 dims: [-1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
dynamic_batching { max_queue_delay_microseconds: 2000 }
"""
MODEL = """
import numpy as np
import torch
import triton_python_backend_utils as pb
from tokenizers import Tokenizer
from transformers import AutoModel


class TritonPythonModel:
    def initialize(self, args):
        torch.set_num_threads({threads})
        self.tokenizer = Tokenizer.from_file({folder!r} + "/tokenizer.json")
        self.tokenizer.enable_truncation(512)
        self.model = AutoModel.from_pretrained({folder!r}, attn_implementation="sdpa").eval()
        self.padding = self.model.config.pad_token_id
        if {int8}:
            torch.ao.quantization.quantize_dynamic(
                self.model, {{torch.nn.Linear}}, torch.qint8, inplace=True
            )

    @torch.inference_mode()
    def encode(self, texts):
        ids = [found.ids for found in self.tokenizer.encode_batch(texts)]
        answers = np.empty((len(ids), self.model.config.hidden_size), np.float32)
        # As sentence-transformers does: like lengths together.
        order = sorted(range(len(ids)), key=lambda n: -len(ids[n]))
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            longest = len(ids[chosen[0]])
            table = torch.full((len(chosen), longest), self.padding)
            mask = torch.zeros((len(chosen), longest), dtype=torch.long)
            for row, n in enumerate(chosen):
                table[row, : len(ids[n])] = torch.tensor(ids[n])
                mask[row, : len(ids[n])] = 1
            found = self.model(input_ids=table, attention_mask=mask).last_hidden_state
            weights = mask[:, :, None].float()
            answers[chosen] = ((found * weights).sum(1) / weights.sum(1)).numpy()
        return answers

    def execute(self, requests):
        texts = [
            [t.decode() for t in pb.get_input_tensor_by_name(r, "TEXT").as_numpy().reshape(-1)]
            for r in requests
        ]
        found = self.encode([t for one in texts for t in one])
        answers, place = [], 0
        for one in texts:
            rows = found[place : place + len(one)]
            place += len(one)
            answers.append(pb.InferenceResponse([pb.Tensor("embeddings", rows)]))
        return answers
"""


def main() -> int:
    """Start the server and wait for its end."""
    parser = argparse.ArgumentParser(description="Triton's Python backend as a peer")
    parser.add_argument("environment", type=Path)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--repository", type=Path)
    parser.add_argument("--port", type=int, default=8300)
    parser.add_argument("--int8", action="store_true")
    given = parser.parse_args()
    site = given.environment.resolve() / "lib" / f"python{VERSION}" / "site-packages"
    # The environment's numpy is the one that Triton's Python was made for.
    places = [str(site), *(p for p in sys.path if p.endswith("site-packages"))]
    places += [str(Path(xopt.__file__).parents[1])]
    begin = f"import sys\nsys.path[:0] = {places!r}\n"
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch, "models")
        if given.repository is None:
            program = models / "m" / "1" / "model.py"
            program.parent.mkdir(parents=True)
            (models / "m" / "config.pbtxt").write_text(CONFIG)
            threads = len(os.sched_getaffinity(0))
            folder = str(given.checkpoint.resolve())
            text = MODEL.format(threads=threads, folder=folder, int8=given.int8)
            program.write_text(begin + text)
        else:
            shutil.copytree(given.repository / "models", models)
            for program in models.glob("*/1/model.py"):
                program.write_text(begin + program.read_text())
        server = start(site, models, given.port, Path(scratch, "triton"))
        for wanted in (signal.SIGINT, signal.SIGTERM):
            signal.signal(wanted, lambda *_: server.terminate())
        return server.wait()


def start(site: Path, models: Path, port: int, triton: Path) -> subprocess.Popen[bytes]:
    """The server of the wheel, which lacks a few links and rights that it needs."""
    shutil.copytree(site / "pytriton" / "tritonserver", triton)
    stub = triton / "python_backend_stubs" / VERSION / "triton_python_backend_stub"
    shutil.copy(stub, triton / "backends" / "python")
    for program in ("bin/tritonserver", "backends/python/triton_python_backend_stub"):
        (triton / program).chmod(0o755)
    libraries = [triton / "external_libs", site / "nvidia_pytriton.libs", f"{sys.base_prefix}/lib"]
    command = [
        str(triton / "bin" / "tritonserver"),
        f"--model-repository={models}",
        f"--backend-directory={triton / 'backends'}",
        f"--http-port={port}",
        "--http-address=127.0.0.1",
        "--allow-grpc=false",
        "--allow-metrics=false",
        "--exit-on-error=true",
        "--log-verbose=0",
    ]
    environment = os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}
    return subprocess.Popen(command, env=environment)


if __name__ == "__main__":
    sys.exit(main())
