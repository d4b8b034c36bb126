"""Bundle → what runs `xopt serve` in containers: a compose file, or objects for Kubernetes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xopt import __version__
from xopt.artifacts import Bundle
from xopt.deploy.container_templates import (
    COMPOSE,
    DOCKERFILE,
    KUBERNETES,
    KUBERNETES_GPU,
    README,
    README_COMPOSE,
    README_KUBERNETES,
)
from xopt.deploy.places import (
    COMPOSE_GPU,
    WHEEL,
    check_least,
    check_name,
    copy_bundle,
    extras_of,
    name_of,
    write_folder,
)

__all__ = ["ContainerOptions", "write_containers"]

Form = Literal["compose", "kubernetes"]
# What an engine and its server take beside the bundle's own bytes, which are held about twice.
BASE_MIB = 768
YAML_WORDS = {"false", "n", "no", "null", "off", "on", "true", "y", "yes"}


@dataclass(frozen=True)
class ContainerOptions:
    """How much a container may take.

    Attributes:
        name: of the model; the bundle's folder if None.
        cpus: cores of one container.
        replicas: most containers that Kubernetes starts.
    """

    name: str | None = None
    cpus: int = 4
    replicas: int = 4

    def __post_init__(self) -> None:
        """Check every value."""
        if self.name is not None:
            check_name(self.name)
        check_least(cpus=self.cpus, replicas=self.replicas)


def write_containers(
    bundle: Bundle, form: Form, out: Path, options: ContainerOptions, *, force: bool = False
) -> list[Path]:
    """Write ``Dockerfile``, ``bundle/``, README, and ``compose.yaml`` or ``kubernetes.yaml``.

    Args:
        bundle: every file is checked before one is copied.
        form: what runs the containers.
        out: a new folder.
        options: how much they may take.
        force: replace what an earlier call has written there.

    Returns:
        Every file, relative to ``out``.

    Raises:
        ArtifactError: a file of the bundle is not the one that was built.
        InputError: ``out`` exists.
        UnsupportedError: the bundle is of a target that answers nothing.
    """
    return write_folder(bundle, out, lambda work: _write(bundle, form, work, options), force=force)


def _write(bundle: Bundle, form: Form, work: Path, options: ContainerOptions) -> None:
    name = name_of(bundle, options.name)
    on_gpu = bundle.target != "openvino"
    facts = {
        "name": name,
        "label": _label(name),
        "version": __version__,
        "wheel": WHEEL,
        "extras": extras_of(bundle, "serve"),
        "cpus": options.cpus,
        "replicas": options.replicas,
        "least": min(2, options.replicas),
        "memory": _memory_mib(bundle),
        "target": bundle.target,
        "precision": bundle.precision,
        "fingerprint": bundle.fingerprint[:16],
    }
    copy_bundle(bundle, work / "bundle")
    (work / "Dockerfile").write_text(DOCKERFILE.substitute(facts), encoding="utf-8")
    if form == "compose":
        text = COMPOSE.substitute(facts, gpu=COMPOSE_GPU if on_gpu else "")
        (work / "compose.yaml").write_text(text, encoding="utf-8")
        more = README_COMPOSE
    else:
        text = KUBERNETES.substitute(facts, gpu=KUBERNETES_GPU if on_gpu else "")
        (work / "kubernetes.yaml").write_text(text, encoding="utf-8")
        more = README_KUBERNETES
    readme = README.substitute(facts, more=more.substitute(facts))
    (work / "README.md").write_text(readme, encoding="utf-8")


def _label(name: str) -> str:
    """A name as Kubernetes takes it (RFC 1035): lower case, letters, digits and dashes.

    It begins with a letter, and is no word that YAML reads as another value than a text.
    """
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:50].strip("-") or "xopt"
    plain = label[0].isalpha() and label not in YAML_WORDS
    return label if plain else f"xopt-{label}"


def _memory_mib(bundle: Bundle) -> int:
    """A limit, in steps of 256."""
    return math.ceil((BASE_MIB + 2 * bundle.size_mib) / 256) * 256
