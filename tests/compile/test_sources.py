import fnmatch
import json
import os
import shutil
import struct
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import try_to_load_from_cache
from safetensors.numpy import load_file

from xopt.compile import e5s1, sources
from xopt.compile.checkpoint import Checkpoint
from xopt.errors import CheckpointError, InputError


def q4(values: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Encode ``values`` in blocks of 32 as the format says, and what they decode to."""
    blocks, decoded = b"", []
    for block in values.reshape(-1, 32):
        scale = np.float16(np.abs(block).max() / 7)
        nibbles = np.clip(np.round(block / np.float32(scale)) + 8, 0, 15).astype(np.uint8)
        blocks += scale.tobytes() + bytes(nibbles[:16] | (nibbles[16:] << 4))
        decoded.append((nibbles.astype(np.float32) - 8) * np.float32(scale))
    return blocks, np.concatenate(decoded)


def write_e5s1(path: Path) -> dict[str, np.ndarray]:
    hidden, intermediate, vocabulary, positions = 32, 64, 6, 4
    header = b"E5S1" + struct.pack(
        "<I7ifi", 1, hidden, 1, 2, intermediate, vocabulary, positions, 2, 1e-12, 32
    )
    pieces = b"abc"
    tokenizer = struct.pack("<5iQ", 3, 0, 2, 1, 3, len(pieces)) + struct.pack("<4I", 0, 1, 2, 3)
    tokenizer += struct.pack("<3f", 0, 0, 0) + pieces + struct.pack("<iI", 0, 0)
    generator = np.random.default_rng(0)
    shapes = {
        "emb.word": (vocabulary, hidden), "emb.pos": (positions, hidden), "emb.type": (2, hidden),
        "emb.ln.w": (hidden,), "emb.ln.b": (hidden,),
        "l0.fi.w": (intermediate, hidden), "l0.fi.b": (intermediate,),
        "l0.fo.w": (hidden, intermediate), "l0.fo.b": (hidden,),
    }  # fmt: skip
    for name in ("q", "k", "v", "ao"):
        shapes |= {f"l0.{name}.w": (hidden, hidden), f"l0.{name}.b": (hidden,)}
    for name in ("aln", "oln"):
        shapes |= {f"l0.{name}.w": (hidden,), f"l0.{name}.b": (hidden,)}
    directory, payload, expected = b"", b"", {}
    size = len(header) + len(tokenizer) + 4
    size += sum(2 + len(name) + struct.calcsize("<BIQQ") for name in shapes)
    for name, shape in shapes.items():
        values = generator.standard_normal(shape).astype(np.float32)
        four_bits = (name.endswith(".w") and len(shape) == 2) or name == "emb.word"
        data, decoded = q4(values) if four_bits else (values.tobytes(), values.ravel())
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", int(four_bits), values.size, size + len(payload), 0)
        payload += data
        expected[name] = decoded.reshape(shape)
    count = struct.pack("<i", len(shapes))
    path.write_bytes(header + tokenizer + count + directory + payload)
    return expected


def test_the_4_bit_file_is_decoded_to_a_hugging_face_folder(tmp_path: Path) -> None:
    from transformers import BertModel

    expected = write_e5s1(tmp_path / "e5.bin")
    (tmp_path / "tokenizer.json").write_text("{}")
    out = tmp_path / "out"
    out.mkdir()
    e5s1.decode(tmp_path / "e5.bin", tmp_path / "tokenizer.json", out)
    found = load_file(out / "model.safetensors")
    np.testing.assert_array_equal(found["encoder.layer.0.output.dense.weight"], expected["l0.fo.w"])
    np.testing.assert_array_equal(found["embeddings.word_embeddings.weight"], expected["emb.word"])
    model = BertModel.from_pretrained(out, add_pooling_layer=False)
    assert model.config.layer_norm_eps == 1e-12
    assert len(found) == len(expected)


@pytest.mark.parametrize("keep", [3, 40, 120, 500])
def test_a_truncated_file_is_explained(tmp_path: Path, keep: int) -> None:
    write_e5s1(tmp_path / "e5.bin")
    path = tmp_path / "e5.bin"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        e5s1.decode(path, path, tmp_path)


def test_what_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no folder") as caught:
        sources.locate(str(tmp_path / "nowhere"))
    assert sources.PIP_E5 in caught.value.hint
    with pytest.raises(InputError, match="pip:bert"):
        sources.locate("pip:bert")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="is a file"):
        sources.locate(str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match="not in the local hub cache"):
        sources.locate("someone/something")


def test_a_folder_with_a_space_is_quoted_in_the_command_to_type(tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(CheckpointError) as caught:
        sources.locate(str(folder / "config.json"))
    assert caught.value.hint == f"Give its folder: xopt build '{folder}'"
    (folder / "config.json").rename(folder / "manifest.json")
    with pytest.raises(CheckpointError) as caught:
        Checkpoint.open(folder)
    assert caught.value.hint.endswith(f"xopt inspect '{folder}'")


def test_a_local_hub_snapshot_is_found_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    root = tmp_path / "hub" / "models--intfloat--multilingual-e5-small"
    snapshot = root / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_text("{}")
    (snapshot / "model.safetensors").write_text("")
    # Without its tokenizer it is a download that was interrupted.
    with pytest.raises(CheckpointError, match="not in the local hub cache"):
        sources.locate(sources.DEFAULT)
    (snapshot / "tokenizer.json").write_text("{}")
    found = sources.locate(None)
    assert found.folder == snapshot
    # transformers made this copy: nobody has asked whether there is a modules.json.
    assert found.label.startswith("hub:intfloat/multilingual-e5-small (a local copy without")
    marker = root / ".no_exist" / "abc" / "modules.json"
    marker.parent.mkdir(parents=True)
    marker.touch()
    assert sources.locate(None).label == "hub:intfloat/multilingual-e5-small"


def test_the_hubs_own_variables_say_where_its_copies_are(tmp_path: Path) -> None:
    root = tmp_path / "huggingface" / "hub" / "models--someone--plain"
    snapshot = root / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (snapshot / name).write_text("{}")
    # The library reads them when it is imported.
    code = "from xopt.compile import sources; print(sources.locate('someone/plain').folder)"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_HOME", "HF_HUB_CACHE"))}
    env |= {"XDG_CACHE_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout.strip() == str(snapshot)


class FakeHub(types.ModuleType):
    """The hub's library over a folder: it copies what the patterns allow."""

    def __init__(self, remote: Path, cache: Path) -> None:
        super().__init__("huggingface_hub")
        self.remote, self.cache = remote, cache
        self.downloads = 0
        self.constants: Any = types.SimpleNamespace(
            HF_HUB_OFFLINE=False, ENDPOINT="https://hub.test"
        )

    def get_session(self) -> Any:
        return self

    def head(self, address: str, *, timeout: float) -> types.SimpleNamespace:
        return types.SimpleNamespace(status_code=200)

    def snapshot_download(self, name: str, allow_patterns: list[str]) -> str:
        self.downloads += 1
        root = self.cache / ("models--" + name.replace("/", "--"))
        folder = root / "snapshots" / "abc"
        for path in self.remote.rglob("*"):
            place = path.relative_to(self.remote).as_posix()
            if path.is_file() and any(fnmatch.fnmatch(place, p) for p in allow_patterns):
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / place)
        (root / "refs").mkdir(exist_ok=True)
        (root / "refs" / "main").write_text("abc")
        return str(folder)

    def try_to_load_from_cache(self, name: str, file: str) -> Any:
        return try_to_load_from_cache(name, file, cache_dir=self.cache)

    def hf_hub_download(self, name: str, file: str, revision: str) -> str:
        root = self.cache / ("models--" + name.replace("/", "--"))
        (root / ".no_exist" / revision).mkdir(parents=True, exist_ok=True)
        (root / ".no_exist" / revision / file).touch()
        raise FileNotFoundError(file)


@pytest.mark.parametrize("place", ["", "0_Transformer"])
def test_the_files_of_every_module_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    remote = tmp_path / "remote"
    types_ = {place: "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense"}
    for folder in types_:
        (remote / folder).mkdir(parents=True, exist_ok=True)
        (remote / folder / "config.json").write_text("{}")
    entries = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in types_.items()
    ]
    (remote / "modules.json").write_text(json.dumps(entries))
    for name in ("tokenizer.json", "tokenizer_config.json", "sentence_bert_config.json"):
        (remote / place / name).write_text("{}")
    (remote / "onnx").mkdir()
    for part in (Path(place), Path("2_Dense"), Path("onnx")):
        (remote / part / "model.safetensors").write_text("")
    (remote / "2_Dense" / "pytorch_model.bin").write_text("")
    hub = FakeHub(remote, tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", hub.constants)
    found = sources.locate("someone/labse")
    assert found.label == "hub:someone/labse"
    fetched = {p.relative_to(found.folder).as_posix() for p in found.folder.rglob("*")}
    assert {"modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors"} <= fetched
    assert (found.folder / place / "tokenizer_config.json").is_file()
    assert not fetched & {"onnx/model.safetensors", "2_Dense/pytorch_model.bin"}
    before = hub.downloads
    assert sources.locate("someone/labse").folder == found.folder
    assert hub.downloads == before, "a whole copy is taken as it is"
    # A copy that lacks a module's weights is not whole.
    (found.folder / "2_Dense" / "model.safetensors").unlink()
    assert (sources.locate("someone/labse").folder / "2_Dense" / "model.safetensors").is_file()


def test_a_plain_encoder_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = tmp_path / "remote"
    remote.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (remote / name).write_text("{}")
    hub = FakeHub(remote, tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.constants", hub.constants)
    for _ in range(3):
        assert sources.locate("someone/plain").label == "hub:someone/plain"
    assert hub.downloads == 1


@pytest.mark.parametrize(
    ("kind", "message", "hint"),
    [
        ("GatedRepoError", "its owner asks for consent first", "https://huggingface.co/a/b"),
        ("RepositoryNotFoundError", "the hub has no such checkpoint", "HF_TOKEN"),
        (
            "LocalEntryNotFoundError",
            "the connection to the hub was lost",
            "pip:multilingual-e5-small",
        ),
        ("LocalTokenNotFoundError", "LocalTokenNotFoundError", "pip:multilingual-e5-small"),
    ],
)
def test_what_the_hub_refuses_is_said_in_words(
    kind: str, message: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classes are the library's own; a gated repository is also one that is not found."""
    import huggingface_hub
    from huggingface_hub import constants, errors

    raised = getattr(errors, kind)

    def refuse(name: str, allow_patterns: list[str]) -> str:
        raise raised.__new__(raised)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.setattr("xopt.hub._silence", lambda library, address: "")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError) as caught:
        sources.locate("a/b")
    assert message in caught.value.message
    assert hint in caught.value.hint
