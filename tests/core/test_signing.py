"""Signed bundles: OpenSSL's own command is the referee of the signature."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from tests.core.made import FACTS

import xopt
from xopt.artifacts import Bundle, publish, write_manifest
from xopt.cli.sign import sign_bundle
from xopt.errors import ArtifactError, InputError
from xopt.signing import PURPOSE, REQUIRED, check_signature, sign

OURS = {**FACTS, "target": "openvino", "precision": "int8"}
Spoil = Callable[[dict[str, Any], Path], None]


def make_bundle(folder: Path) -> Bundle:
    with publish(folder) as work:
        (work / "model.bin").write_bytes(bytes(range(256)))
        write_manifest(work, Bundle.kind, "0" * 64, OURS)
    return Bundle.open(folder)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """Files of a private key and its public one."""
    key = ed25519.Ed25519PrivateKey.generate()
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def test_openssl_verifies_what_we_signed(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    signed = sign_bundle(make_bundle(tmp_path / "b"), keys[0])
    (tmp_path / "text").write_bytes(PURPOSE + signed.manifest["checksum"].encode())
    (tmp_path / "sig").write_bytes(bytes.fromhex(signed.manifest["signed"]["signature"]))
    words = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(keys[1]), "-rawin", "-in",
             str(tmp_path / "text"), "-sigfile", str(tmp_path / "sig")]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True)
    assert "Verified Successfully" in done.stdout, done.stderr


def test_keys_of_openssh_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    private, public = tmp_path / "id", tmp_path / "id.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))
    signed = sign_bundle(make_bundle(tmp_path / "b"), private)
    monkeypatch.setenv(REQUIRED, str(public))
    signed.verify()


def change_a_file(manifest: dict[str, Any], folder: Path) -> None:
    """And sum everything up again, as a stranger can."""
    (folder / "model.bin").write_bytes(bytes(256))
    signed = manifest["signed"]
    facts = {k: v for k, v in manifest.items() if k in OURS}
    write_manifest(folder, Bundle.kind, manifest["fingerprint"], facts)
    manifest.clear()
    manifest |= json.loads((folder / "manifest.json").read_text()) | {"signed": signed}


def drop_the_signature(manifest: dict[str, Any], folder: Path) -> None:
    del manifest["signed"]


def change_the_signature(manifest: dict[str, Any], folder: Path) -> None:
    manifest["signed"]["signature"] = "00" * 64


def no_number(manifest: dict[str, Any], folder: Path) -> None:
    manifest["signed"]["signature"] = "no number"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (change_a_file, "was changed after"),
        (drop_the_signature, "is not signed"),
        (change_the_signature, "was changed after"),
        (no_number, "was changed after"),
    ],
)
def test_what_was_not_signed_is_refused_where_a_signature_is_required(
    tmp_path: Path,
    keys: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    spoil: Spoil,
    said: str,
) -> None:
    bundle = sign_bundle(make_bundle(tmp_path / "b"), keys[0])
    monkeypatch.setenv(REQUIRED, str(keys[1]))
    bundle.verify()
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    spoil(manifest, bundle.folder)
    (bundle.folder / "manifest.json").write_text(json.dumps(manifest))
    spoiled = Bundle.open(bundle.folder)
    with pytest.raises(ArtifactError, match=said):
        spoiled.verify()
    with pytest.raises(ArtifactError, match=said):
        xopt.load(bundle.folder)
    # Where nobody asks for a signature, the files are those of the manifest.
    monkeypatch.delenv(REQUIRED)
    spoiled.verify()


def test_another_key_is_refused_by_name(
    tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ed25519.Ed25519PrivateKey.generate().public_key()
    raw = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "other.pub").write_bytes(raw)
    bundle = sign_bundle(make_bundle(tmp_path / "b"), keys[0])
    monkeypatch.setenv(REQUIRED, str(tmp_path / "other.pub"))
    with pytest.raises(ArtifactError, match=r"not by .*other\.pub"):
        bundle.verify()


def test_what_is_no_key_is_refused(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    bundle = make_bundle(tmp_path / "b")
    locked = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "locked.pem").write_bytes(
        locked.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    )
    curve = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "curve.pem").write_bytes(
        curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    for name, said in (
        ("key.pub", "holds no private key"), ("locked.pem", "holds no private key without"),
        ("curve.pem", "another kind than Ed25519"), ("none.pem", "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said) as caught:
            sign_bundle(bundle, tmp_path / name)
        told = "It is a public key" if name == "key.pub" else "openssl genpkey"
        assert told in caught.value.hint
    assert "signed" not in Bundle.open(bundle.folder).manifest


def test_the_command_line(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    make_bundle(tmp_path / "b")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "xopt", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    refused = run("--require-signature", "key.pub", "inspect", "b")
    assert refused.returncode == 2
    assert "is not signed" in refused.stderr
    signed = run("sign", "b", "--key", "key.pem", "--json")
    assert json.loads(signed.stdout)["bundle"] == "b", signed.stderr
    # A key that is not there protects nothing, and must not look as if it did.
    missing = run("--require-signature", "none.pub", "inspect", "b")
    assert missing.returncode == 2
    assert "cannot be read" in missing.stderr


def test_what_is_said_of_a_key_writes_over_none(
    keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(keys[0].parent)
    with pytest.raises(InputError) as swapped:
        sign("0" * 64, Path("key.pub"))
    assert swapped.value.hint.startswith("It is a public key")
    with pytest.raises(InputError) as missing:
        sign("0" * 64, Path("nokey.pem"))
    assert "-out key2.pem, then openssl pkey -in key2.pem -pubout -out key2.pub" in (
        missing.value.hint
    )
    with pytest.raises(InputError) as secret:
        check_signature(None, "0" * 64, Path("key.pem"), "bundle")
    assert secret.value.hint.endswith("openssl pkey -in key.pem -pubout -out key2.pub")
    with pytest.raises(InputError, match="cannot be read") as absent:
        check_signature(None, "0" * 64, Path("nokey.pub"), "bundle")
    assert "openssl genpkey" not in absent.value.hint
