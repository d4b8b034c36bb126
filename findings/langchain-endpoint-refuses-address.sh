#!/usr/bin/env bash
# langchain-huggingface: HuggingFaceEndpointEmbeddings refuses the address of one's own server, which HuggingFaceEndpoint of the same package takes.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet langchain-huggingface==1.2.3 huggingface_hub==1.33.0
"$tmp/venv/bin/python" - <<'PY'
from collections.abc import Callable
from importlib.metadata import version

from langchain_huggingface import HuggingFaceEndpoint, HuggingFaceEndpointEmbeddings

address = "http://localhost:8080"


def attempt(make: Callable[..., object], **options: str) -> str:
    try:
        return f"made for {make(**options).client.model}"
    except Exception as error:
        return type(error).__name__


cases = [(kind, {name: address}) for kind in (HuggingFaceEndpoint, HuggingFaceEndpointEmbeddings) for name in ("model", "endpoint_url")]
seen = [attempt(kind, **options) for kind, options in cases]
print({name: version(name) for name in ("langchain-huggingface", "huggingface_hub")})
print("expected    both classes take the address of an endpoint")
for (kind, options), answer in zip(cases, seen, strict=True):
    print(f"{kind.__name__}({options})  {answer}")
if seen != [f"made for {address}"] * 2 + ["ValidationError"] * 2:
    raise SystemExit("CHANGED: the class for embeddings takes an address")
print("SEEN: one's own server is reached only by naming some repository and replacing the object's client afterwards.")
PY
