"""What reads bytes of a stranger, each as a function that a fuzzer can call.

A reader gets the bytes as a file of its own, or as a body, and ends with a value or with one of
the errors that it promises. Anything else that it raises is a fault.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from safetensors.numpy import save

from xopt.arrays import read_arrays
from xopt.artifacts import Bundle
from xopt.bulk.reading import Columns, open_input
from xopt.compile.external import load_model
from xopt.compile.weight_files import read_tensors
from xopt.engines.null import NullEngine
from xopt.errors import XoptError
from xopt.languages import language_name
from xopt.reading import read_objects
from xopt.report.documents import read_runs
from xopt.serve.options import ServeOptions
from xopt.serve.tensors import read_request
from xopt.serve.wire import parse
from xopt.settings import read_section
from xopt.signing import check_signature, sign
from xopt.tune.options import TuneOptions
from xopt.tune.sweep.experiment import read_experiment

__all__ = ["Reader", "readers"]

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Reader:
    """One of them.

    Attributes:
        read: what is called with the bytes.
        seeds: sound bytes.
        errors: what it may raise.
    """

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    errors: tuple[type[Exception], ...] = (XoptError,)

    def holds(self, data: bytes) -> bool:
        """Whether the bytes are read; no other error than the promised ones may come."""
        try:
            self.read(data)
        except self.errors:
            return False
        return True


def readers(root: Path, bundle: Path) -> dict[str, Reader]:
    """Every reader by its name.

    Args:
        root: an empty folder, for files.
        bundle: a sound bundle, whose manifest is the seed of one reader.
    """
    made = root / "made"
    made.mkdir(parents=True)
    return {
        "csv": Reader(_file(root / "t.csv", _rows), (b'id,text\n1,"a, b"\n2,c\n',)),
        "jsonl": Reader(_file(root / "t.jsonl", _rows), (b'{"id": 1, "text": "a"}\n',)),
        "objects": Reader(_file(root / "o.jsonl", read_objects), (b'{"a": [1, {"b": null}]}\n',)),
        "toml": Reader(
            _file(root / "xopt.toml", lambda path: read_section(TuneOptions, "tune", path.parent)),
            (b'[tune]\ntarget = "xnli"\nmax-steps = 4\n',),
        ),
        "experiment": Reader(
            _file(root / "one.toml", read_experiment),
            (b'checkpoints = ["a"]\ntargets = ["xnli"]\n[eval]\nlanguages = ["sw"]\n',),
        ),
        "manifest": Reader(_manifest(root / "b", bundle), ((bundle / MANIFEST).read_bytes(),)),
        "report": Reader(_file(root / "run.json", lambda path: read_runs([path])), (REPORT,)),
        "tensors": Reader(_tensors, TENSORS),
        "key": _key(made, root / "key.pub"),
        "language": Reader(lambda data: language_name(data.decode("latin-1")), (b"sr-Latn",)),
        "npz": Reader(
            _file(root / "t.npz", lambda path: read_arrays(path, 1 << 20)), (_npz(made),),
            (ValueError,),
        ),
        "safetensors": Reader(
            _file(root / "t.safetensors", lambda path: read_tensors([path])),
            (save({"a": np.zeros(3, np.float32), "b": np.ones((2, 2), np.float16)}),),
        ),
        "onnx": Reader(_file(root / "t.onnx", load_model), (_onnx(), _onnx(outside=True))),
    }  # fmt: skip


REPORT = Path(__file__).with_name("bench.json").read_bytes()
REQUEST = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}
BINARY = {
    "inputs": [{"name": "text", "datatype": "BYTES", "parameters": {"binary_data_size": 5}}]
}  # fmt: skip


def _with_length(head: dict[str, Any], tail: bytes) -> bytes:
    said = json.dumps(head).encode()
    return len(said).to_bytes(2, "little") + said + tail


# Two bytes say how long the JSON is; none, if both are 255.
TENSORS = (
    b"\xff\xff" + json.dumps(REQUEST).encode(),
    _with_length(BINARY, b"\1\0\0\0a"),
)


def _tensors(data: bytes) -> object:
    stated = int.from_bytes(data[:2], "little")
    length = None if stated == 0xFFFF else str(stated)
    return read_request(data[2:], length, parse, ServeOptions().max_texts)


def _file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """The bytes as a file; what is read bit by bit is read to its end."""

    def call(data: bytes) -> object:
        path.write_bytes(data)
        found = read(path)
        return list(found) if isinstance(found, Iterable) else found

    return call


def _rows(path: Path) -> object:
    return open_input(path, Columns(None, None), None).rows()


def _manifest(folder: Path, bundle: Path) -> Callable[[bytes], object]:
    """All that reads a manifest, which a stranger can sum up again, but for native libraries."""
    shutil.copytree(bundle, folder)
    (folder / "engine.json").write_text('{"seed": 7}')

    def call(data: bytes) -> object:
        (folder / MANIFEST).write_bytes(data)
        with NullEngine(Bundle.open(folder)) as engine:
            return engine.signature

    return call


def _key(folder: Path, path: Path) -> Reader:
    """The public key that a signature is checked with, in both of its forms."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    checksum = "0" * 64
    signature = sign(checksum, folder / "key.pem")
    seeds = [
        private.public_key().public_bytes(*form)
        for form in (
            (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            (Encoding.OpenSSH, PublicFormat.OpenSSH),
        )
    ]
    read = _file(path, lambda key: check_signature(signature, checksum, key, "b"))
    return Reader(read, tuple(seeds))


def _npz(folder: Path) -> bytes:
    np.savez_compressed(folder / "a.npz", ids=np.arange(9), counts=np.zeros(3))
    return (folder / "a.npz").read_bytes()


def _onnx(*, outside: bool = False) -> bytes:
    """A model of one weight, inside of it or, as it says, in its own file."""
    from onnx import TensorProto, helper, numpy_helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    weight = numpy_helper.from_array(np.zeros(1, np.float32), "w")
    if outside:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "t.onnx"), ("offset", "0"), ("length", "4")):
            weight.external_data.add(key=key, value=value)
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weight])
    found: bytes = helper.make_model(graph).SerializeToString()
    return found
