"""Clients that xopt's own environment has not: each asks the real server in a process of its own.

Skipped where a package is absent. ``XOPT_CLIENTS`` may name the Python of an environment that has
kserve, tritonclient[http], langchain-openai, langchain-huggingface and
llama-index-embeddings-text-embeddings-inference.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xopt.model.core import load

PYTHON = os.environ.get("XOPT_CLIENTS") or sys.executable
TEXTS = ["Habari za asubuhi", "Guten Morgen, wie geht es Ihnen heute?", "おはよう", "شكرا"]
KSERVE = """
import asyncio, numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
async def ask():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_ready(url) and await client.is_server_live(url)
    assert await client.is_model_ready(url, "embed")
    tensor = InferInput("TEXT", [len(texts), 1], "BYTES")
    values = np.array([[t.encode()] for t in texts], object)
    tensor.set_data_from_numpy(values, binary_data=BINARY)
    asked = InferRequest(
        model_name="embed", infer_inputs=[tensor], parameters={"binary_data_output": BINARY}
    )
    found = await client.infer(url, asked, model_name="embed")
    return found.outputs[0].as_numpy()
found = asyncio.run(ask())
"""
TRITON = """
import numpy as np, tritonclient.http as http
client = http.InferenceServerClient(url.removeprefix("http://"))
assert client.is_server_ready() and client.is_server_live() and client.is_model_ready("embed")
described = client.get_model_metadata("embed")
name = described["outputs"][0]["name"]
tensor = http.InferInput("TEXT", [len(texts), 1], "BYTES")
tensor.set_data_from_numpy(np.array([[t] for t in texts], object), binary_data=BINARY)
asked = [http.InferRequestedOutput(n, binary_data=BINARY) for n in ("TOKENS", name)]
found = client.infer("embed", [tensor], outputs=asked)
assert [o["name"] for o in found.get_response()["outputs"]] == ["TOKENS", name]
assert found.as_numpy("TOKENS").shape == (len(texts), 1)
whole = client.infer("embed", [tensor])
assert (whole.as_numpy(name) == found.as_numpy(name)).all()
try:
    client.infer("embed", [tensor], outputs=[http.InferRequestedOutput("other")])
except http.InferenceServerException as error:
    assert 'no output "other"' in str(error), error
else:
    raise AssertionError("an output that there is not was answered")
assert not client.is_model_ready("none")
try:
    client.get_model_metadata("none")
except http.InferenceServerException as error:
    assert error.status() == "404", error
else:
    raise AssertionError("a model that there is not was described")
found = found.as_numpy(name)
"""
PROGRAMS = {
    "kserve, JSON": ("kserve", KSERVE.replace("BINARY", "False")),
    "kserve, bytes": ("kserve", KSERVE.replace("BINARY", "True")),
    "tritonclient, JSON": ("tritonclient", TRITON.replace("BINARY", "False")),
    "tritonclient, bytes": ("tritonclient", TRITON.replace("BINARY", "True")),
    "langchain-openai": (
        "langchain_openai",
        """
from langchain_openai import OpenAIEmbeddings
asked = OpenAIEmbeddings(
    model="embed", base_url=url + "/v1", api_key="none", check_embedding_ctx_length=False
)
found = [*asked.embed_documents(texts[:-1]), asked.embed_query(texts[-1])]
""",
    ),
    "langchain-huggingface": (
        "langchain_huggingface",
        """
from huggingface_hub import InferenceClient
from langchain_huggingface import HuggingFaceEndpointEmbeddings
# It takes no address any more, but another client.
asked = HuggingFaceEndpointEmbeddings(model="a/b", huggingfacehub_api_token="none")
asked.client = InferenceClient(url)
found = [*asked.embed_documents(texts[:-1]), asked.embed_query(texts[-1])]
""",
    ),
    "llama-index": (
        "llama_index.embeddings.text_embeddings_inference",
        """
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
asked = TextEmbeddingsInference(model_name="embed", base_url=url)
found = [*asked.get_text_embedding_batch(texts[:-1]), asked.get_query_embedding(texts[-1])]
""",
    ),
}


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "HF_HUB_OFFLINE")}
    return subprocess.run(
        [PYTHON, "-c", program, *words],
        capture_output=True,
        text=True,
        env=environment,
        timeout=100,
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_client_gets_the_models_embeddings(
    server: Any, bundles: dict[str, Path], name: str
) -> None:
    package, program = PROGRAMS[name]
    find = "import importlib.util as u, sys; u.find_spec(sys.argv[1].split('.')[0]) or sys.exit(9)"
    if run(find, package).returncode == 9:
        pytest.skip(f"no {name.split(',')[0]} (XOPT_CLIENTS may name a Python that has it)")
    begin = "import json, sys\nurl, texts = sys.argv[1], json.loads(sys.argv[2])\n"
    end = "print('found:', json.dumps([[float(v) for v in row] for row in found]))"
    done = run(begin + program + end, server.url, json.dumps(TEXTS))
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.rsplit("found:", 1)[1])
    with load(bundles["embed"]) as model:
        np.testing.assert_array_equal(np.array(found, np.float32), model.encode(TEXTS))
