"""Does every link of the documents lead somewhere?

    python docs/check_links.py               # files and headings here; a test runs it
    python docs/check_links.py --external    # also every address, one request each

MkDocs holds what it builds against itself; this also reads what lies outside of ``docs/``. Prints
what leads nowhere and exits with 1.
"""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
# Folders that are made by work in the checkout.
MADE = ("build", "bundles", "dist", "sweeps", "tuned")
SECONDS = 20
HERE = re.compile(r"https?://(localhost|127\.0\.0\.1)\b")


def documents(root: Path = REPOSITORY) -> list[Path]:
    """Every Markdown file of the project; what was made beside it is left out."""
    found = [path.relative_to(root) for path in root.rglob("*.md")]
    own = [
        path for path in found if not path.parts[0].startswith(".") and path.parts[0] not in MADE
    ]
    return [root / path for path in sorted(own)]


def prose(path: Path) -> str:
    """A document without its blocks of code, where a bracket is no link."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"^ {4}.*$", "", text, flags=re.M)


def anchors(path: Path) -> set[str]:
    """Names of the headings, as GitHub and MkDocs make them; a name that comes again is counted."""
    counts: dict[str, int] = {}
    found = set()
    for heading in re.findall(r"^#+ +(.+?) *$", prose(path), re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        again = counts.get(name, 0)
        counts[name] = again + 1
        found |= {f"{name}-{again}", f"{name}_{again}"} if again else {name}
    return found


def targets(path: Path) -> list[str]:
    """What the links and pictures of a document name."""
    return re.findall(r"\]\(<?([^)>\s]+)>?\)", prose(path)) + re.findall(
        r"<(https?://[^>]+)>", prose(path)
    )


def dead_here(root: Path = REPOSITORY) -> Iterator[str]:
    """``document: target`` of every link to a file or a heading that is not there."""
    for path in documents(root):
        for target in targets(path):
            if "://" in target or target.startswith("mailto:"):
                continue
            file, _, anchor = target.partition("#")
            place = (path.parent / file).resolve() if file else path
            known = place.exists() and place.is_relative_to(root)
            if not known or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
                yield f"{path.relative_to(root)}: {target}"


def addresses(root: Path = REPOSITORY) -> dict[str, str]:
    """Every address outside, with the first document that has it."""
    found: dict[str, str] = {}
    for path in documents(root):
        for target in targets(path):
            if "://" in target and not HERE.match(target):
                found.setdefault(target, str(path.relative_to(root)))
    return found


def dead_outside(root: Path = REPOSITORY) -> Iterator[str]:
    """The same of addresses, each asked once."""
    for address, document in sorted(addresses(root).items()):
        request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0"})
        try:
            urllib.request.urlopen(request, timeout=SECONDS).close()
        except (urllib.error.URLError, OSError) as error:
            yield f"{document}: {address}: {error}"


def main() -> int:
    """Print what leads nowhere."""
    dead = list(dead_here())
    if "--external" in sys.argv[1:]:
        dead += dead_outside()
    for line in dead:
        print(line)
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
