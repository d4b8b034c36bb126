"""The files of a Triton model repository, as templates."""

from __future__ import annotations

from string import Template

__all__ = ["COMPOSE", "DOCKERFILE", "ENGINE", "FRONT", "MODEL", "README"]

# Texts in, answers out: gathers the texts of concurrent requests into one packed batch.
# Of a front that answers by itself. One before an engine of its own has none: Triton may load it
# before that engine, which warms itself up.
FRONT_WARMUP = """\
model_warmup [
  {
    name: "one text"
    batch_size: 1
    inputs {
      key: "TEXT"
      value: {
        data_type: TYPE_STRING
        dims: [ 1 ]
        input_data_file: "text"
      }
    }
  }
]
"""

FRONT = Template(
    """\
name: "$name"
backend: "python"
max_batch_size: $texts
input [
  {
    name: "TEXT"
    data_type: TYPE_STRING
    dims: [ 1 ]
  },
  {
    name: "PAIR"
    data_type: TYPE_STRING
    dims: [ 1 ]
    optional: true
  }
]
output [
  {
    name: "$output"
    data_type: TYPE_FP32
    dims: [ $dims ]
  },
  {
    name: "TOKENS"
    data_type: TYPE_INT32
    dims: [ 1 ]
  }
]
dynamic_batching {
  max_queue_delay_microseconds: $delay
}
instance_group [
  {
    count: 1
    kind: $kind
  }
]
${warmup}parameters: {
  key: "engine"
  value: { string_value: "$engine" }
}
"""
)

# The packed batch as it stands. Its first axis is tokens, so Triton itself cannot join requests.
ENGINE = Template(
    """\
name: "$name"
backend: "tensorrt"
max_batch_size: 0
default_model_filename: "model.plan"
input [
$inputs
]
output [
  {
    name: "$output"
    data_type: TYPE_FP32
    dims: [ -1, $width ]
  }
]
instance_group [
  {
    count: 1
    kind: KIND_GPU
    profile: [ $profiles ]
  }
]
model_warmup [
  {
    name: "one sentence of $tokens tokens"
    batch_size: 1
$samples
  }
]
"""
)

MODEL = '''\
"""Texts to answers; the work is done by the package xopt."""

from xopt.deploy.serve import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''

DOCKERFILE = Template(
    """\
# $advice
# $wheel lies beside this file; README.md says how it is made.
ARG TRITON_IMAGE
FROM $${TRITON_IMAGE}
COPY $wheel /tmp/
RUN pip install --no-cache-dir '/tmp/$wheel$extra'
"""
)

COMPOSE = Template(
    """\
services:
  triton:
    build:
      context: .
      args:
        TRITON_IMAGE: "$${TRITON_IMAGE:?$advice}"
    command: ["tritonserver", "--model-repository=/models", "--exit-on-error=true"$flags]
    volumes:
      - ./models:/models:ro
    ports:
      - "127.0.0.1:8000:8000"
      - "127.0.0.1:8001:8001"
      - "127.0.0.1:8002:8002"
    shm_size: 1gb
$devices"""
)

README = Template(
    """\
# $name on NVIDIA Triton Inference Server

Written by xopt $version from a bundle for $target ($precision), fingerprint $fingerprint.

$advice

The image takes xopt from a wheel in this folder, because another project has the name xopt on PyPI.
Make it in a checkout of xopt $version, and copy it here:

    python -m build --wheel
    cp dist/$wheel FOLDER

Then:

    TRITON_IMAGE=nvcr.io/nvidia/tritonserver:YY.MM-py3 docker compose up --build

`$name` takes TEXT (and PAIR, for pairs of texts) and answers `$output` and TOKENS, the number of
tokens of each text. Requests that wait at the same time run as one packed batch.
$more"""
)
