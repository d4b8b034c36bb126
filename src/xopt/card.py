"""``card.md``: what a bundle is, where it came from, and the evidence it carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xopt.encoders.spec import named_layers, products_in_int8
from xopt.languages import language_name
from xopt.text_spec import behind

__all__ = [
    "asked_behind", "part_lines", "prediction", "render_card", "retention_rows", "search_lines",
    "stress_of", "vocabulary_lines",
]  # fmt: skip

# A part that is no other measure of the same answers, but a harder question: a row of the table.
STRESS = {"near_duplicates": "near-duplicates"}
PARTS = {"f1": "F1", "exact_match": "exact match", "token_accuracy": "token accuracy"}
FORMS = {"text": "texts", "pair": "pairs", "question": "questions with a text each"}
NUMBERS = {
    "any": "for every CPU (`--cpu any`): all give the same sums",
    "vnni": "for CPUs with VNNI or AMX (`--cpu vnni`); others refuse them",
    "none": "no product has any, so the bundle is for every CPU",
}
KINDS = ("unknown_before", "unknown_after", "replaced")


def render_card(manifest: Mapping[str, Any], reports: Sequence[Mapping[str, Any]]) -> str:
    """Markdown from a bundle's manifest and the evaluation reports recorded in it."""
    head = manifest["head"]
    lines = [
        f"# {manifest['checkpoint'].split(' (')[0]} · {manifest['precision']} · "
        f"{manifest['target']}",
        "",
        f"- checkpoint: {manifest['checkpoint']}",
        f"- head: {head['kind']}" + _head_text(head),
        f"- longest input: {manifest['signature']['max_tokens']} tokens",
        f"- parity of the fp32 graph with {manifest['parity']['against']}: max |Δ| "
        f"{manifest['parity']['max_abs_difference']:.1e} over {manifest['parity']['sentences']} "
        "multilingual sentences",
    ]
    if "runs_on_text" in manifest.get("engine", {}):
        lines.append(f"- runs on: {manifest['engine']['runs_on_text']}")
    if "buckets_text" in manifest.get("engine", {}):
        lines.append(f"- on the GPU: {manifest['engine']['buckets_text']}")
    if "cpu" in manifest.get("engine", {}):
        numbers = manifest["engine"]["cpu"] if products_in_int8(manifest) else "none"
        lines.append(f"- INT8 numbers: {NUMBERS[numbers]}")
    if "fp32_sites" in manifest.get("engine", {}):
        lines.append(f"- in fp32: {named_layers(manifest['engine']['fp32_sites'])}")
    if "bf16_sites" in manifest.get("engine", {}):
        lines.append(
            f"- in bf16: {named_layers(manifest['engine']['bf16_sites'])} (weights; their products "
            "read bf16 in our own layers, with the same answers on every instruction set, and fp32 "
            "in OpenVINO's)"
        )
    if "search" in manifest:
        lines += [f"- {line}" for line in search_lines(manifest["search"])]
    lines += [f"- {line}" for line in training_lines(manifest["provenance"].get("training"))]
    calibration = manifest["provenance"].get("calibration")
    if calibration:
        recipe = manifest["provenance"]["calibration_recipe"]
        lines.append(
            f"- calibration: {calibration['texts']} {FORMS[calibration.get('form', 'text')]}"
            f"{behind(calibration.get('prompts', ()))}, "
            f"{calibration['tokens']:,} tokens, "
            f"{len(calibration['by_language'])} languages from {calibration['corpus']}; "
            f"{recipe['method']} ranges, SmoothQuant α {recipe['alpha']}"
        )
    lines += vocabulary_lines(manifest.get("vocabulary"))
    tools = ", ".join(f"{name} {version}" for name, version in manifest["tools"].items())
    lines += [f"- made with: {tools}", ""]
    if not reports:
        lines += [_not_evaluated(manifest.get("tasks")), ""]
    for report in reports:
        lines += _report_section(report)
    return "\n".join(lines)


def _not_evaluated(tasks: Sequence[str] | None) -> str:
    """What to type: for the first task that the head answers; None where the build did not say."""
    if tasks is None:
        return "No evaluation is recorded yet: run `xopt eval BUNDLE --task TASK`."
    if not tasks:
        return "No task of XTREME scores this head: ask it with `xopt run BUNDLE TEXT`."
    return f"No evaluation is recorded yet: run `xopt eval BUNDLE --task {tasks[0]}`."


def vocabulary_lines(facts: Mapping[str, Any] | None) -> list[str]:
    """What was kept of a trimmed vocabulary, and what texts lose that were not counted."""
    if not facts:
        return []
    languages = ", ".join(map(language_name, facts["languages"]))
    lines = [
        f"- vocabulary: {facts['kept']:,} of {facts['of']:,} pieces, for {languages}; "
        f"{facts['counted_texts']:,} texts of {facts['corpus']} counted. The tokenizer is whole: "
        "texts of kept pieces have the same tokens, others are told."
    ]
    # Bundles of before 2026-11-29 do not say how many were asked for.
    if 0 < (asked := facts.get("asked", 0)) < facts["kept"]:
        lines.append(
            f"  - more than the {asked:,} of --pieces: special tokens, characters, signs "
            "and the pieces of counted texts always stay"
        )
    if apart := [code for code in facts["languages"] if code not in facts["held_out"]]:
        lines.append(
            f"  - {', '.join(map(language_name, apart))}: {facts['corpus']} has too few texts "
            "to leave one in four uncounted, so what others lose was not measured"
        )
    for code, found in facts["held_out"].items():
        share = {name: found[name] / found["tokens"] for name in KINDS}
        lines.append(
            f"  - {language_name(code)}, {found['texts']:,} texts that were not counted: unknown "
            f"tokens {share['unknown_before']:.2%} before, {share['unknown_after']:.2%} after; "
            f"{share['replaced']:.2%} of the tokens are read as smaller pieces"
        )
    return lines


def _head_text(head: Mapping[str, Any]) -> str:
    """The rest of the line on the head: pooling and modules, or how logits become answers."""
    if head["kind"] != "embed":
        return f", {head['activation']}" if "activation" in head else ""
    parts = [f"layer {head['layer']}", f"{' + '.join(head['pooling'])} pooling"]
    parts += [] if head["include_prompt"] else ["without the prompt's tokens"]
    for module in head["modules"]:
        size = f" to {module['outputs']}, {module['activation']}" if "outputs" in module else ""
        parts.append(module["type"] + size)
    parts += ["length 1"] if head["normalize"] else []
    own = [
        f"{name} {' + '.join(value) if isinstance(value, list) else value}"
        for name, value in head.get("overridden", {}).items()
    ]
    said = f" (chosen by hand; the checkpoint itself says {', '.join(own)})" if own else ""
    return f", {', '.join(parts)}{said}"


def search_lines(search: Mapping[str, Any]) -> list[str]:
    """What ``xopt build --max-drop`` held the bundle to, and why which sites are not in INT8."""
    worst, loss = min(search["checked"].items(), key=lambda item: item[1]["difference"])
    rows = sum(found["rows"] for found in search["checked"].values())
    lines = [
        f"searched so that no language loses more than {search['max_drop']:g} points of "
        f"{search['task']} beyond chance; on {rows:,} rows that the search never saw the worst of "
        f"{len(search['checked'])} is {language_name(worst)} ({loss['difference']:+.2f} "
        f"{_pair(loss['ci95'])})"
    ]
    for kept in search["kept"]:
        names = ", ".join(map(language_name, kept["languages"]))
        lines.append(
            f"{kept['site']} stays in {kept.get('precision', 'fp32')}: {kept['share']:.0%} of the "
            f"error of {names}"
        )
    if search["kept"] and search.get("without_bf16"):
        lines.append(f"bf16 was not tried: {search['without_bf16']}")
    return lines


PHASES = {
    "intermediate": "intermediate tasks",
    "target": "target task",
    "student": "distilled on",
    "qat": "quantization-aware on",
}


def training_lines(training: Mapping[str, Any] | None) -> list[str]:
    """One line for each phase that ``xopt tune`` ran, the first phase first."""
    found: list[str] = []
    while training is not None:
        try:
            found.append(_phase_line(training))
            before = training["parent"]
            if before["training"] is None:
                found.append(f"tuned from: {before['checkpoint']}")
            training = before["training"]
        except (LookupError, TypeError, ValueError, AttributeError):
            # Anyone can have edited the file; what it no longer says must not stop a build.
            found.append("tuned, but training.json does not say how")
            break
    return found[::-1]


def _phase_line(training: Mapping[str, Any]) -> str:
    parts = [f"{part['task']} ({part['train']:,} examples)" for part in training["data"]]
    result, recipe = training["result"], training["recipe"]
    scores = dict(result["scores"])[result["best_step"]]
    form = f" for {recipe['form']}" if training["phase"] == "qat" and "form" in recipe else ""
    return (
        f"{PHASES[training['phase']]}: {', '.join(parts)}{form}; {result['best_step']:,} steps, "
        f"learning rate {recipe['lr']:g}, seed {recipe['seed']}; "
        f"English dev score {scores['score']:.1f}"
    )


def _report_section(report: Mapping[str, Any]) -> list[str]:
    lines = [
        f"## {report['task']} ({report['metric']}) on {report['data']['label']}"
        + (", predicted" if report.get("predicted") else ""),
        "",
        *([f"Predicted: {prediction(report)}", ""] if report.get("predicted") else []),
        "| language | n | reference | this bundle | difference | 95 % interval | agreement |",
        "|---|--:|--:|--:|--:|---|--:|",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in retention_rows(report)]
    speed = report["throughput"]
    latency = speed["latency_ms"]
    lines += [
        "",
        f"- Worst language: {language_name(report['worst']['language'])} "
        f"({report['worst']['difference']:+.2f}).",
        *([f"- Asked{said}."] if (said := asked_behind(report)) else []),
        *(f"- {line}." for line in part_lines(report)),
        f"- {speed['sentences_per_s']:,.0f} sentences/s, {speed['tokens_per_s']:,.0f} tokens/s; "
        f"one sentence alone p50 {latency['p50']:.2f} ms, p99 {latency['p99']:.2f} ms "
        f"({_machine(report['host'])}).",
        f"- Reproduce: `{report['command']}`",
        "",
    ]
    return lines


def _machine(host: Mapping[str, Any]) -> str:
    """CPU, cores, and the instruction set that the INT8 answers are of."""
    int8 = f", INT8 by {host['int8']}" if "int8" in host else ""
    return f"{host['cpu']}, {host['cores']} cores{int8}"


def prediction(report: Mapping[str, Any]) -> str:
    """What a predicted report is, in a sentence."""
    return (
        f"answered by OpenVINO on this CPU from the bundle's own graph, with the same integers as "
        f"{report['target']} and fp32 between them. The speeds are the CPU's."
    ) + (
        " This CPU has no VNNI: it rounds these integers once more, and the scores may be too low."
        if report["host"].get("int8", "").endswith("without VNNI")
        else ""
    )


def asked_behind(report: Mapping[str, Any]) -> str:
    """What was put before every sentence, of a pair before its first, in words."""
    return behind([report.get("conventions", {}).get("prefix") or ""])


def part_lines(report: Mapping[str, Any]) -> list[str]:
    """The scores beside a task's main one (F1 and exact match, token accuracy): means."""
    languages = report["languages"].values()
    lines = []
    for name in next(iter(languages)).get("parts", {}):
        if name in STRESS:
            continue
        sides = ("reference", "candidate")
        a, b = (sum(f["parts"][name][s] for f in languages) / len(languages) for s in sides)
        lines.append(f"{PARTS[name]}: mean {a:.2f} → {b:.2f} ({b - a:+.2f})")
    return lines


def stress_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """The means of harder questions, by what a table calls them."""
    return {STRESS[n]: found for n, found in report.get("parts", {}).items() if n in STRESS}


def _pair(ends: Sequence[float]) -> str:
    return f"[{ends[0]:+.2f}, {ends[1]:+.2f}]"


def retention_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The table of a retention report, the mean and what is harder last: seven cells a row."""
    rows = []
    for code, found in report["languages"].items():
        rows.append(
            [
                language_name(code) + f" ({code})",
                f"{found['n']:,}",
                f"{found['reference']:.2f}",
                f"{found['candidate']:.2f}",
                f"{found['difference']:+.2f}",
                _pair(found["ci95"]),
                f"{found['agreement']:.1%}",
            ]
        )
    count = f"{sum(found['n'] for found in report['languages'].values()):,}"
    means = {"mean": report["mean"]}
    means |= stress_of(report)
    for name, mean in means.items():
        rows.append(
            [
                name,
                count,
                f"{mean['reference']:.2f}",
                f"{mean['candidate']:.2f}",
                f"{mean['difference']:+.2f}",
                _pair(mean["ci95"]) if "ci95" in mean else "",
                "",
            ]
        )
    return rows
