#!/usr/bin/env bash
# huggingface_hub: InferenceClient.text_classification takes the first element of a flat list, the answer that text-embeddings-inference documents for one text.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet huggingface_hub==2.4.0
"$tmp/venv/bin/python" - <<'PY'
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import huggingface_hub
from huggingface_hub import InferenceClient

flat = [{"label": "positive", "score": 0.9}, {"label": "negative", "score": 0.1}]
answers = {"/flat": flat, "/nested": [flat]}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(answers[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
seen = {}
for path in answers:
    client = InferenceClient(model=f"http://127.0.0.1:{server.server_port}{path}")
    seen[path] = client.text_classification("guten Tag", top_k=2)
server.shutdown()
print("huggingface_hub", huggingface_hub.__version__)
print("expected    a list of two elements: the method's type and its docstring say so")
print("seen        flat list ", type(seen["/flat"]).__name__, seen["/flat"])
print("seen        list of it", type(seen["/nested"]).__name__, len(seen["/nested"]))
if isinstance(seen["/flat"], list) or not isinstance(seen["/nested"], list):
    raise SystemExit("CHANGED: a flat list is now returned whole")
print("SEEN: the first element is always taken; for one text a server must answer [[...]], or the other labels are lost.")
PY
