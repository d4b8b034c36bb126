"""The name under which xopt is installed; on the package index, xopt is another project's."""

from __future__ import annotations

from functools import cache

__all__ = ["VERSION", "install_command"]

VERSION = "0.1.0"


@cache
def _installed() -> str:
    """What pip is given, with a place for the extras: ``.{}`` in a checkout, or ``NAME{}``.

    What was installed from a folder or a file that is still there is named by it: the index may
    not have it.
    """
    # `import xopt` reads this file, and has no need of it.
    import json
    from importlib import metadata
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    for name in metadata.packages_distributions().get("xopt", []):
        found = metadata.distribution(name)
        if found.read_text("RECORD") is None:
            # What a build left in the checkout, and no installer wrote.
            continue
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            continue
        url = origin.get("url", "")
        place = Path(unquote(urlsplit(url).path))
        if not url.startswith("file:") or not place.exists():
            return f"{found.name}{{}}"
        return f"{place}{{}}" if place.is_dir() else f"{found.name}{{}} @ {url}"
    return ".{}"


def install_command(*extras: str) -> str:
    """What to type for these extras: by where xopt was installed from, or in the checkout."""
    what = _installed().replace("{}", f"[{','.join(extras)}]")
    return f"pip install '{what}'"
