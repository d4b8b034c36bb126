"""What ``xopt build`` says of a bundle."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from xopt.artifacts import Bundle
from xopt.card import vocabulary_lines
from xopt.cli.output import console
from xopt.encoders.spec import products_in_int8
from xopt.engines.cuda import RUNS_ON, open_device
from xopt.engines.openvino_native import obstacle
from xopt.errors import MissingExtraError, UnsupportedError
from xopt.evaluate.tasks import TASKS, fitting_tasks
from xopt.host import peak_rss_mib
from xopt.languages import to_iso1
from xopt.progress import Stage

if TYPE_CHECKING:
    from xopt.compile.build import BuildResult

__all__ = ["document", "show"]

# Share of tokens read as smaller pieces above which it is said what helps; see docs/results.md.
MANY = 0.03


def document(result: BuildResult) -> dict[str, Any]:
    """As ``--json`` prints it."""
    return {
        "bundle": str(result.bundle.folder),
        "size_mib": round(result.bundle.size_mib, 2),
        "seconds": round(result.seconds, 2),
        "peak_rss_mib": round(peak_rss_mib(), 1),
        "stages": {stage.name: _stage(stage, result.seconds) for stage in result.stages},
        "fingerprint": result.bundle.fingerprint,
        "cached": result.cached,
        "checkpoint": result.bundle.manifest["checkpoint"],
        "precision": result.bundle.precision,
        "target": result.bundle.target,
        "cpu": result.bundle.manifest["engine"].get("cpu"),
        "vocabulary": result.bundle.manifest.get("vocabulary"),
        "notes": _notes(result.bundle),
    }


def _notes(bundle: Bundle) -> list[str]:
    """What this machine, or what was asked for, makes of no use."""
    return [" ".join(line.split()) for line in (_attention(bundle) + _sites(bundle)).splitlines()]


def _stage(stage: Stage, whole: float) -> dict[str, float]:
    return {
        "seconds": round(stage.seconds, 2),
        "share": round(stage.seconds / max(whole, 1e-9), 4),
        "peak_rss_mib": round(stage.peak_rss_mib, 1),
    }


def _layers(bundle: Bundle) -> str:
    """What the engine of a GPU runs on, and what was read back from one of TensorRT-RTX."""
    found, engine = bundle.manifest.get("layers"), bundle.manifest["engine"]
    runs_on = engine.get("runs_on_text")
    lines = f"  runs on      {runs_on}\n" if runs_on else ""
    if found is None:
        return lines
    return (
        f"{lines}"
        f"  kernels      {found['kernels']}: {found['int8_products']} of {found['products']} "
        f"products in INT8, {found['fused_attentions']} of {found['attentions']} attentions "
        f"fused ({engine['attention']})\n"
    )


def _tokens(bundle: Bundle) -> str:
    """Where the bundle's tokenizer is from, if not from ``tokenizer.json`` as it stands."""
    found = bundle.manifest["tokenizer"]
    library = f"{found['library']} {found['version']}"
    lines = ""
    if found["different"]:
        lines += (
            f"  tokens       as {library} makes them ({found['class']}); tokenizer.json gives "
            f"others in {found['different']} of {found['texts']} texts\n"
        )
    elif found["adopted"] and not found["texts"]:
        lines += f"  tokens       {library} made the tokenizer of {found['source']}\n"
    if bundle.manifest["text"]["normalize"] == "nfc":
        lines += (
            "  texts        composed (NFC) before the tokenizer; --normalize none leaves that out\n"
        )
    return lines


def _vocabulary(bundle: Bundle) -> str:
    """What was kept of the vocabulary, and what texts lose that were not counted."""
    facts = bundle.manifest.get("vocabulary")
    lines = [line.removeprefix("- ") for line in vocabulary_lines(facts)]
    held_out = facts["held_out"] if facts else {}
    if any(found["replaced"] > MANY * found["tokens"] for found in held_out.values()):
        lines.append(
            "  That costs accuracy. Keep more: --pieces 0, or --count with thousands of texts of "
            "each language."
        )
    return "".join(f"  {line}\n" for line in lines)


def _numbers(bundle: Bundle) -> str:
    """For which CPUs INT8 numbers are."""
    found = bundle.manifest["engine"].get("cpu")
    return f" (--cpu {found})" if found else ""


def _attention(bundle: Bundle) -> str:
    """What makes a bundle slower than it could be on this machine."""
    why_not = obstacle() if bundle.target == "openvino" else ""
    return f"  attention    OpenVINO's, which is slower: {why_not}\n" if why_not else ""


def show(result: BuildResult, asked: str | None, data: str | None = None) -> None:
    """As a person reads it.

    Args:
        result: of the build.
        asked: the task, if one was named.
        data: where its rows are, if that was named.
    """
    bundle = result.bundle
    out = console()
    how = "already built" if result.cached else f"built in {result.seconds:.1f} s"
    out.print(f"[bold green]{escape(str(bundle.folder))}[/bold green]  {how}", highlight=False)
    parity = bundle.manifest["parity"]
    target = "cpu" if bundle.target == "openvino" else bundle.target
    out.print(
        f"  checkpoint   {bundle.manifest['checkpoint']}\n"
        f"  precision    {bundle.precision} for {target}{_numbers(bundle)}, "
        f"{bundle.size_mib:.1f} MiB\n"
        f"  parity       within {parity['max_abs_difference']:.1e} of {parity['against']}\n"
        f"{_layers(bundle)}"
        f"{_tokens(bundle)}"
        f"{_vocabulary(bundle)}"
        f"{_attention(bundle)}"
        f"{_sites(bundle)}"
        f"  fingerprint  {bundle.fingerprint[:16]}\n"
        f"  peak memory  {peak_rss_mib():,.0f} MiB",
        highlight=False,
        markup=False,
    )
    said = f"Next{_where(bundle)}: {_next(bundle, asked, data)}"
    out.print(said, highlight=False, markup=False, soft_wrap=True)


def _sites(bundle: Bundle) -> str:
    """That bf16 was asked for and gains no time on this machine, or that nothing is in INT8."""
    exact, brain = (bundle.manifest["engine"].get(f"{how}_sites", []) for how in ("fp32", "bf16"))
    lines = ""
    if "embeddings" in exact and not products_in_int8(bundle.manifest):
        use = "" if brain else "; --precision fp32 builds the same for every CPU"
        lines += f"  INT8         nothing is left in it{use}\n"
    if brain:
        from xopt.compile.mixing import bf16_obstacle

        why_not = bf16_obstacle(bundle)
        lines += f"  bf16 sites   no faster here than fp32: {why_not}\n" if why_not else ""
    return lines


def _where(bundle: Bundle) -> str:
    """Where the next command runs, if not here: `xopt eval` predicts only what has a graph."""
    if bundle.target == "cuda":
        try:
            open_device("cuda")
        except (UnsupportedError, MissingExtraError):
            return f", on {RUNS_ON}"
    return ""


def _next(bundle: Bundle, asked: str | None, data: str | None) -> str:
    """The command for the first task that the head can answer; without one, for a text."""
    folder = shlex.quote(str(bundle.folder))
    task = asked or next(iter(fitting_tasks(bundle.head)), None)
    if task:
        # The others' texts lose the pieces that were trimmed away.
        kept = (bundle.manifest.get("vocabulary") or {}).get("languages", ())
        read = set(map(to_iso1, TASKS.resolve(task).languages))
        codes = ",".join(code for code in kept if code in read)
        more = (f" --languages {codes}" if codes else "") + (
            f" --data {shlex.quote(data)}" if data else ""
        )
        return f"xopt eval {folder} --task {task}{more}"
    return f'xopt run {folder} "TEXT"'
