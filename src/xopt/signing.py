"""Who made a bundle: an Ed25519 signature (RFC 8032) of its manifest's checksum, by cryptography.

The manifest holds the sha256 of every file, and its checksum stands for the rest of the manifest;
so one signature stands for all of a bundle. Keys are the files of OpenSSL (PEM) or of OpenSSH.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

from xopt.errors import ArtifactError, InputError, require

__all__ = ["REQUIRED", "check_signature", "required_key", "sign"]

# The public key without whose signature no bundle is opened, as a file.
REQUIRED = "XOPT_REQUIRE_SIGNATURE"
ALGORITHM = "ed25519"
# What is signed is no text of anything else.
PURPOSE = b"xopt bundle, checksum of the manifest: "


def sign(checksum: str, key: Path) -> dict[str, str]:
    """The signature of a manifest's checksum.

    Args:
        checksum: of the manifest.
        key: file of a private Ed25519 key, without a password.

    Raises:
        InputError: it holds no such key.
        MissingExtraError: cryptography is not installed.
    """
    private = _read(key, "private")
    raw = private.public_key().public_bytes_raw()
    signature = private.sign(PURPOSE + checksum.encode())
    return {"algorithm": ALGORITHM, "public_key": raw.hex(), "signature": signature.hex()}


def required_key() -> Path | None:
    """The public key that ``--require-signature`` names; None where none is required."""
    named = os.environ.get(REQUIRED)
    return Path(named) if named else None


def check_signature(
    signature: Mapping[str, Any] | None, checksum: str, key: Path, called: str
) -> None:
    """Refuse what the owner of ``key`` has not signed.

    Args:
        signature: as :func:`sign` made it; None if there is none.
        checksum: of the manifest, computed anew.
        key: file of a public Ed25519 key.
        called: the bundle, in messages.

    Raises:
        ArtifactError: it is not signed, or by another key, or something else was signed.
        InputError: the file holds no public key.
        MissingExtraError: cryptography is not installed.
    """
    public = _read(key, "public")
    if signature is None:
        raise ArtifactError(
            f"{called} is not signed, and a signature of {key} is required.",
            hint="Its maker signs it with: xopt sign BUNDLE --key KEY",
        )
    raw = public.public_bytes_raw()
    if signature["public_key"] != raw.hex():
        raise ArtifactError(
            f"{called} is signed by the key {signature['public_key'][:16]}…, not by {key} "
            f"({raw.hex()[:16]}…).",
            hint="Ask its maker for the public key, and trust it only if you know whose it is.",
        )
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(bytes.fromhex(signature["signature"]), PURPOSE + checksum.encode())
    except (InvalidSignature, ValueError) as error:
        raise ArtifactError(
            f"{called} was changed after {key} signed it.",
            hint="Take it from its maker again.",
        ) from error


def _read(path: Path, kind: str) -> Any:
    """The Ed25519 key in a file."""
    keys = require(
        "cryptography.hazmat.primitives.asymmetric.ed25519", extra="sign", why="A signature"
    )
    forms = require("cryptography.hazmat.primitives.serialization", extra="sign", why="A signature")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"The key {path} cannot be read: {error.strerror}.", hint=_advice(path, kind)
        ) from error
    try:
        if kind == "private":
            ssh = b"BEGIN OPENSSH" in data
            read = forms.load_ssh_private_key if ssh else forms.load_pem_private_key
            found = read(data, password=None)
        elif data.startswith(b"ssh-"):
            found = forms.load_ssh_public_key(data)
        else:
            found = forms.load_pem_public_key(data)
    except Exception as error:
        raise InputError(
            f"{path} holds no {kind} key without a password: {error}.",
            hint=_advice(path, kind, data),
        ) from error
    wanted = keys.Ed25519PrivateKey if kind == "private" else keys.Ed25519PublicKey
    if not isinstance(found, wanted):
        raise InputError(
            f"{path} holds a key of another kind than Ed25519.", hint=_advice(path, kind)
        )
    return found


def _advice(path: Path, kind: str, data: bytes = b"") -> str:
    """How to come by a key that is read; what is to be typed writes over no file."""
    if kind == "private" and (b"PUBLIC KEY" in data or data.startswith(b"ssh-")):
        return "It is a public key; a bundle is signed with the private one that it was made of."
    if kind == "public" and b"PRIVATE KEY" in data:
        beside, given = _free(path.with_suffix(".pub")), shlex.quote(str(path))
        ssh = b"BEGIN OPENSSH" in data
        way = "ssh-keygen -y -f {} > {}" if ssh else "openssl pkey -in {} -pubout -out {}"
        return "It is a private key; its public one is written by: " + way.format(given, beside)
    if kind == "public":
        return "Give the file with the public key of whoever signs, such as key.pub."
    return (
        f"Make one with: openssl genpkey -algorithm ed25519 -out {_free(Path('key.pem'))}, then "
        f"openssl pkey -in {_free(Path('key.pem'))} -pubout -out {_free(Path('key.pub'))}"
    )


def _free(path: Path) -> str:
    """This name for a shell, with a number where a file has it."""
    tried = chain([path], (path.with_stem(f"{path.stem}{number}") for number in count(2)))
    return shlex.quote(str(next(name for name in tried if not name.exists())))
