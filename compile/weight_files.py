"""Which files hold the encoder's weights; what is no safetensors is refused with a way out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from xopt.compile.st_folder import MODULES
from xopt.compile.st_transformer import read_json
from xopt.errors import CheckpointError, require
from xopt.forms import reads
from xopt.reading import copied_again

if TYPE_CHECKING:
    import torch

__all__ = ["read_tensors", "refuse_adapter", "refuse_special", "weight_files"]

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth")
ADAPTER = "adapter_config.json"
# PEFT's task -> its class that loads the adapter with its base, and the number of outputs to give.
PEFT_CLASSES = {
    "SEQ_CLS": "AutoPeftModelForSequenceClassification",
    "TOKEN_CLS": "AutoPeftModelForTokenClassification",
    "QUESTION_ANS": "AutoPeftModelForQuestionAnswering",
}


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files, one or several; one whole file comes before an index.

    transformers looks for them in the same order: a folder saved in shards once and as one file
    later keeps its old index.

    Raises:
        CheckpointError: files are missing, pickled, or lie outside of the folder.
    """
    paths = [folder / WHOLE]
    index = folder / INDEX
    if not paths[0].is_file() and index.is_file():
        with reads(f"{index} is damaged", hint="", error=CheckpointError):
            names = sorted({str(name) for name in read_json(index)["weight_map"].values()})
        paths = [folder / name for name in names]
        for path in paths:
            if path.parent.resolve() != folder.resolve():
                raise CheckpointError(f"{index} names {path.name!r} outside of its folder.")
    missing = [path.name for path in paths if not path.is_file()]
    if not missing:
        return paths
    pickled = [name for name in PICKLED if (folder / name).is_file()]
    if pickled:
        raise CheckpointError(
            f"{folder} has its weights as a pickle ({pickled[0]}); xopt reads safetensors "
            "only, because loading a pickle can run any code.",
            hint=_conversion(folder),
        )
    raise CheckpointError(f"{folder} has no {', '.join(missing)}.")


def _conversion(folder: Path) -> str:
    """The command that writes safetensors beside a pickle, with the head that the folder has.

    ``AutoModel`` would leave the head out. A class that is no plain name is not repeated: the
    line is typed into a shell.
    """
    try:
        named = (read_json(folder / "config.json").get("architectures") or [""])[0]
    except (CheckpointError, AttributeError, LookupError, TypeError):
        named = ""
    plain = isinstance(named, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", named)
    kind = named if plain else "AutoModel"
    return (
        "Where you trust it, write safetensors beside it, and type your command again: "
        f'python -c "import sys; from transformers import {kind} as M; '
        f'M.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])" {shlex.quote(str(folder))}'
    )


def refuse_special(*folders: Path) -> None:
    """Refuse pipes, sockets and devices: whoever reads one of them may wait, or read, for ever.

    Args:
        folders: a checkpoint's own, and those of its modules.

    Raises:
        CheckpointError: there is one; it is named.
    """
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise CheckpointError(f"{path} is no file but a pipe, a socket or a device.")


def refuse_adapter(folder: Path, transformer: Path) -> None:
    """Refuse an adapter (LoRA and its like), and say how to merge it.

    Args:
        folder: what was given.
        transformer: where the encoder's weights lie; the same but in old layouts.

    Raises:
        CheckpointError: there is an ``adapter_config.json``.
    """
    path = transformer / ADAPTER
    if not path.is_file():
        return
    facts = read_json(path)
    base = facts.get("base_model_name_or_path")
    if (folder / MODULES).is_file():
        lines = (
            "from sentence_transformers import SentenceTransformer as S; "
            f"m = S({str(folder)!r}); m[0].model.merge_and_unload(); "
            "m.save_pretrained('merged')"
        )
    else:
        name = PEFT_CLASSES.get(str(facts.get("task_type")), "AutoPeftModelForFeatureExtraction")
        options = ", num_labels=N" if "Classification" in name else ""
        lines = (
            f"from peft import {name} as A; from transformers import AutoTokenizer as T; "
            f"A.from_pretrained({str(folder)!r}{options}).merge_and_unload()"
            ".save_pretrained('merged'); "
            f"T.from_pretrained({str(base)!r}).save_pretrained('merged')"
        )
    more = " (N: how many labels it has)" if "num_labels=N" in lines else ""
    raise CheckpointError(
        f"{folder} holds an adapter ({path.name}) of {base!r}, not the weights of an encoder.",
        hint=f"Merge it{more}, then build 'merged':\n"
        f'  pip install peft\n  python -c "{lines}"\n'
        "If its weights are merged already, remove the adapter's files.",
    )


def read_tensors(files: Iterable[Path]) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of safetensors files with its name, fp32 where it was of another float.

    Raises:
        CheckpointError: a file is truncated or none.
    """
    safetensors = require("safetensors", extra="build", why="Reading a checkpoint")
    for path in files:
        try:
            with safetensors.safe_open(str(path), framework="pt") as stream:
                for name in stream.keys():  # noqa: SIM118  (safe_open is no mapping)
                    tensor: torch.Tensor = stream.get_tensor(name)
                    yield name, tensor.float() if tensor.is_floating_point() else tensor
        except (safetensors.SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is no readable safetensors file: {error}.",
                hint=copied_again(path),
            ) from error
