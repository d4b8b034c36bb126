"""The files of a Triton model repository, as templates."""

from __future__ import annotations

from string import Template

__all__ = ["COMPOSE", "DOCKERFILE", "ENGINE", "FRONT", "MODEL", "README"]

FRONT = Template(
    """\
name: "$name"
backend: "python"
max_batch_size: $most
version_policy: { $versions }
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
    dims: [ $dims ]$labels
  },
  {
    name: "TOKENS"
    data_type: TYPE_INT32
    dims: [ 1 ]
  }
]
dynamic_batching {
  preferred_batch_size: [ $texts ]
  max_queue_delay_microseconds: $delay
  default_queue_policy {
    timeout_action: REJECT
    default_timeout_microseconds: 60000000
    max_queue_size: $queue
  }
}
instance_group [
  {
    count: 1
    kind: $kind
  }
]
parameters: {
  key: "engine"
  value: { string_value: "$engine" }
}
parameters: {
  key: "max_text_kib"
  value: { string_value: "1024" }
}
parameters: {
  key: "truncate"
  value: { string_value: "false" }
}
"""
)

# The packed batch as it stands. Its first axis is tokens, so Triton itself cannot join requests.
ENGINE = Template(
    """\
name: "$name"
backend: "tensorrt"
max_batch_size: 0
version_policy: { $versions }
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
$warm
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
RUN python3 -c "import sys; sys.exit(sys.version_info < (3, 11) and 'xopt needs Python 3.11; \\\
take a later release of Triton: this image has %d.%d' % sys.version_info[:2])"
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
    command: [$command$flags]
    restart: unless-stopped
    stop_grace_period: 40s
    # A server can be ready and its model gone: only an answer says that it works. One whose model's
    # process has died says so to every request for ever; it is ended, and started again.
    healthcheck:
      test:
        - CMD-SHELL
        - >-
          said=$$$$(curl -sS --fail-with-body -m 10 -d '$probe'
          http://localhost:8000/v2/models/$name/generate 2>&1) && exit 0;
          case "$$$$said" in *"is not healthy"*) kill 1;; esac; echo "$$$$said"; exit 1
      interval: 15s
      timeout: 12s
      retries: 3
      start_period: 120s
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
tokens of each text. Requests that wait at the same time run as one packed batch, and one request
may hold up to $most texts. A text that cannot be answered is told as INVALID_ARG (HTTP 400).
$more
## Asking

    curl -d '$probe' localhost:8000/v2/models/$name/generate

    import numpy as np
    import tritonclient.http as triton        # or tritonclient.grpc, at port 8001

    client = triton.InferenceServerClient("localhost:8000")
    texts = np.array([["Habari za asubuhi"], ["Good morning"]], object)    # [N, 1], UTF-8
    tensor = triton.InferInput("TEXT", list(texts.shape), "BYTES")
    tensor.set_data_from_numpy(texts)
    answer = client.infer("$name", [tensor])
    print(answer.as_numpy("$output").shape, answer.as_numpy("TOKENS"))

The compose file restarts the server when it ends, calls it unhealthy when a text is not answered,
and ends it when the model's process has died. A text of more than `max_text_kib` (1,024) is refused
before it is tokenized, and `truncate` cuts texts that are too long, unless a request's own
parameter `truncate` says otherwise: both are parameters in `models/$name/config.pbtxt`.

## Versions

    xopt deploy triton BUNDLE -o FOLDER --name $name --version N

adds a version to this folder and touches nothing else in it; the same N again needs `--force` and
replaces that one alone. The bundle gives answers of the same form, for the same target. This folder
began with version $number. `version_policy` in `models/$name/config.pbtxt` names what is served:
the two newest, each with memory of its own. Who asks for none gets the newest; who wants another
says so:

    curl -d '$probe' localhost:8000/v2/models/$name/versions/$number/generate
    client.infer("$name", [tensor], model_version="$number")

A server reads the folder when it starts: `docker compose restart`. With `--model-control-mode=poll`
in the compose file's `command` it sees a new version by itself; requests go on meanwhile.
To go back for everybody, write `version_policy: { specific { versions: [ $number ] } }` and let the
server read it. The health check asks the version that clients get who ask for none.

Seen with Triton 2.51:

- Its Python backend ends at the first answer under numpy 2, so the image keeps the numpy that it
  came with.
- What is no request at all (JSON that ends early, a number for a text, a tensor without a name) is
  refused by Triton itself, with 500 and its reason; no model sees it.
- Told to end, it answers on over connections that clients keep open, for 30 seconds, and then cuts
  what runs. Whoever sends through a proxy takes the server out of it first; others ask again.
"""
)
