"""The drawings in docs/images: the packed layout, the INT8 sites, and what an interval says.

python docs/make_drawings.py
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
# Readable on white and on black.
INK, LINE, FILLS = "#7a8694", "#9aa5b1", ("#5b9bd5", "#e0913c", "#6aa66a")
EMPTY = "#c9d1d955"


def main() -> None:
    """Write the three files."""
    (HERE / "images").mkdir(exist_ok=True)
    for name, text in (("packed", packed()), ("sites", sites()), ("intervals", intervals())):
        (HERE / "images" / f"{name}.svg").write_text(text, encoding="utf-8")


def packed() -> str:
    """Three sentences padded, and the same end to end."""
    lengths, longest, size = (3, 7, 5), 7, 34
    parts = [text(0, 16, "padded: B · S = 21 slots, 6 of them hold nothing")]
    for row, length in enumerate(lengths):
        for column in range(longest):
            fill = FILLS[row] if column < length else EMPTY
            parts.append(box(column * size, 28 + row * size, size - 4, size - 4, fill))
    top, at = 160, 0
    parts.append(text(0, top, "packed: T = 15 tokens, end to end"))
    for row, length in enumerate(lengths):
        for _ in range(length):
            parts.append(box(at * size, top + 12, size - 4, size - 4, FILLS[row]))
            at += 1
    starts = [0, 3, 10, 15]
    for start in starts:
        x = start * size - 2
        parts.append(f'<path d="M{x} {top + 8}v{size + 8}" stroke="{INK}" stroke-width="2"/>')
        parts.append(text(max(x - 4, 0), top + size + 32, str(start)))
    parts.append(text(0, top + size + 56, "cu_seqlens = 0, 3, 10, 15: where each sentence starts"))
    return drawing(
        530, 260, "The packed layout", "Three sentences of 3, 7 and 5 tokens as a padded table of "
        "three rows by seven columns, and as one row of fifteen tokens.", parts,
    )  # fmt: skip


def sites() -> str:
    """One encoder layer: linear layers in INT8, everything between them in fp32."""
    steps = (
        ("Q, K, V", "INT8", 1), ("attention", "fp32", 0), ("output", "INT8", 1),
        ("add, norm", "fp32", 0), ("up", "INT8", 1), ("GELU", "fp32", 0), ("down", "INT8", 1),
        ("add, norm", "fp32", 0),
    )  # fmt: skip
    names = {0: "qkv_in", 2: "context", 4: "ffn_in", 6: "ffn_act"}
    parts, width, gap = [], 84, 14
    for number, (name, kind, quantized) in enumerate(steps):
        x = number * (width + gap)
        parts.append(box(x, 40, width, 56, FILLS[0] + "55" if quantized else EMPTY))
        parts.append(text(x + width / 2, 64, name, "middle"))
        parts.append(text(x + width / 2, 84, kind, "middle", small=True))
        if number:
            parts.append(
                f'<path d="M{x - gap} 68h{gap - 4}l-4 -4m4 4l-4 4" fill="none" stroke="{LINE}"/>'
            )
        if number in names:
            mark = x - gap / 2 if number else 4
            parts.append(f'<circle cx="{mark}" cy="68" r="5" fill="{FILLS[1]}"/>')
            parts.append(f'<path d="M{mark} 74v42" stroke="{FILLS[1]}"/>')
            parts.append(text(max(mark - 24, 0), 132, names[number]))
    parts.append(text(0, 18, "one layer of a BERT encoder on the CPU; a dot is a site"))
    parts.append(
        text(
            0, 160, "site: values are rounded to 8 bits here, by a scale and a zero point measured"
        )
    )
    parts.append(
        text(0, 180, "on the calibration texts; weights have a scale for each output channel")
    )
    return drawing(
        780, 192, "The INT8 sites of a layer", "Four linear layers run in INT8; before each, a "
        "site where activations are quantized: qkv_in, context, ffn_in and ffn_act.", parts,
    )  # fmt: skip


def intervals() -> str:
    """Three languages whose difference is the same, and what may be said of each."""
    rows = (
        ("many examples", -1.0, 0.4, "lost: the interval leaves out zero"),
        ("few examples", -1.0, 1.7, "not known: zero is inside"),
        ("no loss", 0.0, 0.5, "less than 0.5 lost or won"),
    )
    scale, zero = 60, 330
    parts = [f'<path d="M{zero} 26v112" stroke="{INK}" stroke-dasharray="4 4"/>']
    parts += [text(zero, 18, "0", "middle"), text(zero - 3 * scale, 18, "−3", "middle")]
    parts += [text(zero + 2 * scale, 18, "+2 points", "middle")]
    for number, (name, middle, half, said) in enumerate(rows):
        y, color = 46 + number * 36, FILLS[number]
        low, high = zero + (middle - half) * scale, zero + (middle + half) * scale
        parts.append(text(0, y + 5, name))
        parts.append(
            f'<path d="M{low} {y}H{high}M{low} {y - 6}v12M{high} {y - 6}v12" stroke="{color}" '
            'stroke-width="3"/>'
        )
        parts.append(f'<circle cx="{zero + middle * scale}" cy="{y}" r="5" fill="{color}"/>')
        parts.append(text(zero + 2.4 * scale, y + 5, said))
    return drawing(
        740, 160, "What an interval says", "Differences to fp32 with 95 percent intervals: a loss "
        "of one point is certain with many examples, and not with few.", parts,
    )  # fmt: skip


def box(x: float, y: float, width: float, height: float, fill: str) -> str:
    """A rounded rectangle."""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="{fill}" '
        f'stroke="{LINE}"/>'
    )


def text(x: float, y: float, said: str, anchor: str = "start", *, small: bool = False) -> str:
    """A line of text."""
    size = 12 if small else 14
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{INK}">'
        f"{escape(said)}</text>"
    )


def drawing(width: int, height: int, title: str, said: str, parts: Sequence[str]) -> str:
    """The whole file."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 0 {width + 16} {height}" role="img" '
        f'font-family="system-ui, sans-serif">\n<title>{escape(title)}</title>\n'
        f"<desc>{escape(said)}</desc>\n{body}\n</svg>\n"
    )


if __name__ == "__main__":
    main()
