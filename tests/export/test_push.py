"""`xopt push` through huggingface_hub, against a stand-in of the hub's API."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from xopt.artifacts import Bundle
from xopt.errors import ArtifactError, InputError
from xopt.export.push import push_bundle

Bundles = Callable[..., Bundle]
REPO = "someone/nli-int8"


class Hub(ThreadingHTTPServer):
    """What the hub does for a commit: asks, takes large files by git LFS, the others in line."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.stored: dict[str, bytes] = {}
        self.repos: dict[str, dict[str, Any]] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        """Silent."""

    def reply(self, status: int, document: Any = None) -> None:
        body = json.dumps(document or {}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_PUT(self) -> None:
        data = self.body()
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(data).hexdigest() == oid
        self.server.stored[oid] = data
        self.reply(200)

    def do_GET(self) -> None:
        self.reply(401)

    def do_POST(self) -> None:
        data, hub = self.body(), self.server
        if self.headers.get("Authorization") != "Bearer right":
            self.reply(401)
        elif self.path == "/api/repos/create":
            asked = json.loads(data)
            hub.repos[f"{asked.get('organization', 'someone')}/{asked['name']}"] = asked
            self.reply(200, {"url": f"{hub.url}/{REPO}"})
        elif "/preupload/" in self.path:
            modes = [
                {
                    "path": entry["path"],
                    "uploadMode": "lfs" if entry["size"] > 20_000 else "regular",
                    "shouldIgnore": False,
                }
                for entry in json.loads(data)["files"]
            ]
            self.reply(200, {"files": modes})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**entry, "actions": {"upload": {"href": f"{hub.url}/lfs/{entry['oid']}"}}}
                for entry in json.loads(data)["objects"]
            ]
            self.reply(200, {"transfer": "basic", "objects": objects})
        elif "/commit/" in self.path:
            for line in data.splitlines():
                self.commit(json.loads(line))
            url = f"{hub.url}/{REPO}/commit/1"
            self.reply(200, {"commitUrl": url, "commitOid": "1" * 40, "success": True})
        else:
            self.reply(200, {"errors": [], "warnings": []})

    def commit(self, entry: dict[str, Any]) -> None:
        value = entry["value"]
        if entry["key"] == "file":
            self.server.files[value["path"]] = base64.b64decode(value["content"])
        elif entry["key"] == "lfsFile":
            self.server.files[value["path"]] = self.server.stored[value["oid"]]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def push(folder: Path, endpoint: str, token: str, home: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the hub's library reads its address when it is imported."""
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_TOKEN": token, "HF_HOME": str(home)}
    env |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-P", "-m", "xopt", "push", str(folder), REPO, "--private", "--json"]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def test_what_is_on_the_hub_is_the_bundle_with_its_card(
    hub: Hub, bundles: Bundles, tmp_path: Path
) -> None:
    bundle = bundles("nli")
    done = push(bundle.folder, hub.url, "right", tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"repo": REPO, "commit": f"{hub.url}/{REPO}/commit/1"}
    assert hub.repos[REPO]
    assert hub.stored
    fetched = tmp_path / "fetched"
    for name, data in hub.files.items():
        (fetched / name).parent.mkdir(parents=True, exist_ok=True)
        (fetched / name).write_bytes(data)
    # What `hf download --local-dir` leaves beside the files.
    (fetched / ".gitattributes").write_text("*.bin filter=lfs\n")
    (fetched / ".cache" / "huggingface").mkdir(parents=True)
    (fetched / ".cache" / "huggingface" / "CACHEDIR.TAG").write_text("")
    again = Bundle.open(fetched)
    again.verify()
    assert again.manifest == bundle.manifest
    _, front, text = hub.files["README.md"].decode().split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["library_name"] == "xopt"
    assert facts["tags"] == ["fp32", "openvino"]
    assert (bundle.folder / "card.md").read_text().rstrip() in text
    assert f"hf download {REPO} --local-dir nli-int8" in text


def test_a_file_that_was_not_built_is_still_refused(bundles: Bundles, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(bundles("nli").folder, tmp_path / "copy")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "libother.so").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"libother\.so is not among"):
        Bundle.open(folder).verify()


def test_a_wrong_token_and_a_hub_out_of_reach_say_what_to_do(
    hub: Hub, bundles: Bundles, tmp_path: Path
) -> None:
    folder = bundles("nli").folder
    denied = push(folder, hub.url, "wrong", tmp_path / "home")
    assert denied.returncode == 2
    assert "hf auth login" in denied.stderr
    away = push(folder, "http://127.0.0.1:9", "right", tmp_path / "home")
    assert away.returncode == 2
    assert "cannot be reached" in away.stderr
    assert not hub.files


@pytest.mark.parametrize("name", ["nli", "a/b/c", "/x", "some one/x", "../x"])
def test_a_name_that_is_none_is_refused(name: str, bundles: Bundles) -> None:
    with pytest.raises(InputError, match="OWNER/NAME"):
        push_bundle(bundles("nli"), name)
