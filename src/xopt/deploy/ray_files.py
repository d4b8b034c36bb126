"""Bundle → the folder of an application of Ray Serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import Template

from xopt import __version__
from xopt.artifacts import Bundle
from xopt.deploy.places import (
    check_least,
    check_name,
    copy_bundle,
    extras_of,
    name_of,
    write_folder,
)

__all__ = ["RayOptions", "write_ray_serve"]

APP = Template(
    '''\
"""$name on Ray Serve: serve run app:app"""

from pathlib import Path

from xopt.deploy.ray_serve import application

# The same path on every machine of the cluster.
BUNDLE = Path(__file__).resolve().parent / "bundle"

app = application(BUNDLE, fingerprint="$fingerprint", replicas=$replicas, cpus=$cpus, gpus=$gpus)
'''
)
README = Template(
    """\
# $name on Ray Serve

Written by xopt $version from a bundle for $target ($precision), fingerprint $short.

Every machine of the cluster needs this folder under the same path, and xopt, in a checkout:

    pip install '.[$extras]'

Start it in this folder, and ask:

    serve run --name $name app:app
    curl localhost:8000 -d '{"texts": ["Habari za asubuhi", "Good morning"]}'

Pairs of texts go as `"pairs": [...]`; `"truncate": true` cuts texts that are too long.

At least $replicas replicas of $cpus cores run, and more by what waits. A replica that cannot
answer a text, or whose process ended, is replaced. A request that was in it is answered with 5xx:
ask it again, as for every 503.
"""
)


@dataclass(frozen=True)
class RayOptions:
    """How much a replica may take.

    Attributes:
        name: of the application; the bundle's folder if None.
        cpus: cores of one replica.
        replicas: least number of replicas.
    """

    name: str | None = None
    cpus: int = 4
    replicas: int = 2

    def __post_init__(self) -> None:
        """Check every value."""
        if self.name is not None:
            check_name(self.name)
        check_least(cpus=self.cpus, replicas=self.replicas)


def write_ray_serve(
    bundle: Bundle, out: Path, options: RayOptions, *, force: bool = False
) -> list[Path]:
    """Write ``app.py``, ``bundle/`` and ``README.md`` into ``out``; errors as ``write_folder``."""
    return write_folder(bundle, out, lambda work: _write(bundle, work, options), force=force)


def _write(bundle: Bundle, work: Path, options: RayOptions) -> None:
    facts = {
        "name": name_of(bundle, options.name),
        "version": __version__,
        "fingerprint": bundle.fingerprint,
        "short": bundle.fingerprint[:16],
        "target": bundle.target,
        "precision": bundle.precision,
        "replicas": options.replicas,
        "cpus": options.cpus,
        "gpus": 0 if bundle.target == "openvino" else 1,
        "extras": extras_of(bundle, "ray-serve"),
    }
    copy_bundle(bundle, work / "bundle")
    (work / "app.py").write_text(APP.substitute(facts), encoding="utf-8")
    (work / "README.md").write_text(README.substitute(facts), encoding="utf-8")
