"""Who made a bundle: an Ed25519 signature (RFC 8032) of its manifest's checksum, by cryptography.

The manifest holds the sha256 of every file, and its checksum stands for the rest of the manifest;
so one signature stands for all of a bundle. Keys are the files of OpenSSL (PEM) or of OpenSSH.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xopt.errors import ArtifactError, InputError, require

__all__ = ["REQUIRED", "check_signature", "required_key", "sign"]

# The public key without whose signature no bundle is opened, as a file.
REQUIRED = "XOPT_REQUIRE_SIGNATURE"
ALGORITHM = "ed25519"
# What is signed is no text of anything else.
PURPOSE = b"xopt bundle, checksum of the manifest: "
MAKE = (
    "openssl genpkey -algorithm ed25519 -out key.pem, then "
    "openssl pkey -in key.pem -pubout -out key.pub"
)


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
            f"The key {path} cannot be read: {error.strerror}.", hint=f"Make one with: {MAKE}"
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
            hint=f"Make one with: {MAKE}",
        ) from error
    wanted = keys.Ed25519PrivateKey if kind == "private" else keys.Ed25519PublicKey
    if not isinstance(found, wanted):
        raise InputError(
            f"{path} holds a key of another kind than Ed25519.", hint=f"Make one with: {MAKE}"
        )
    return found
