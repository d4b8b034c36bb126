"""The name under which xopt is installed; on the package index, xopt is another project's."""

from __future__ import annotations

from functools import cache

__all__ = ["VERSION", "install_command"]

VERSION = "0.1.0"


@cache
def _installed() -> str | None:
    """The distribution that brought the package; None in a checkout, installed editable or not."""
    # `import xopt` reads this file, and has no need of it.
    import json
    from importlib import metadata

    for name in metadata.packages_distributions().get("xopt", []):
        found = metadata.distribution(name)
        if found.read_text("RECORD") is None:
            # What a build left in the checkout, and no installer wrote.
            continue
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        if not origin.get("dir_info", {}).get("editable"):
            return found.name
    return None


def install_command(*extras: str) -> str:
    """What to type for these extras: by the installed name, or in the checkout."""
    return f"pip install '{_installed() or '.'}[{','.join(extras)}]'"
