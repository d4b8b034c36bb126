"""README.md of an exported graph: what every input is, and how to run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["onnx_readme"]

INPUTS: Mapping[str, tuple[str, str, str]] = {
    "input_ids": (
        "[T]",
        "int32",
        "the tokens of all sentences end to end, special tokens included",
    ),
    "position_ids": ("[T]", "int32", "their positions"),
    "token_type_ids": ("[T]", "int32", "0 for a first text and its special tokens, 1 for a second"),
    "cu_seqlens": ("[B + 1]", "int32", "where each sentence starts; the last entry is T"),
    "pad_index": ("[B, S]", "int32", "slot → token; slots behind a sentence's end point at 0"),
    "unpad_index": ("[T]", "int32", "token → slot, into B·S"),
    "attention_bias": ("[B, 1, 1, S]", "float32", "0, or −10000 in slots behind a sentence's end"),
    "prompt_tokens": ("[B]", "int32", "tokens of each sentence's prompt, left out of the pooling"),
    "window_queries": ("[N, Q]", "int32", "blocks of windowed attention: slot → token"),
    "window_keys": ("[N, K]", "int32", "the tokens that a block's queries may see"),
    "window_slots": ("[T]", "int32", "token → slot, into N·Q"),
    "window_bias": ("[N, 1, Q, K]", "float32", "0 where a query sees a key, else −10000"),
}
LAST_STEP = {
    "softmax": "softmax over a row gives probabilities",
    "sigmoid": "the sigmoid of each value is a probability",
    "identity": "the values are scores",
}


def onnx_readme(source: str, form: str, facts: Mapping[str, Any]) -> str:
    """Markdown for the folder of a graph.

    Args:
        source: the checkpoint, in words.
        form: ``onnx-fp32`` or ``onnx-qdq``.
        facts: ``head``, ``text``, ``signature`` and ``parity``, as in a bundle's manifest.
    """
    signature, head, text = facts["signature"], facts["head"], facts["text"]
    parity = facts["parity"]
    lines = [
        f"# {source.split(' (')[0]} as {form}",
        "",
        f"Exported by xopt from {source}. The fp32 graph's answers are those of "
        f"{parity['against']} within {parity['max_abs_difference']:.1e}.",
        "",
        "    pip install onnxruntime numpy tokenizers",
        '    python run.py "Habari za asubuhi" "Good morning"',
        "",
        "`run.py` is a whole example: it tokenizes, packs, runs the graph and does the last step.",
        "",
        "## Inputs",
        "",
        "B sentences with T tokens in all, the longest of S tokens. Nothing is padded outside of "
        "attention, so a batch costs as much as its tokens.",
        "",
        "| input | shape | type | what |",
        "|---|---|---|---|",
    ]
    for name in signature["inputs"]:
        shape, kind, what = INPUTS[name]
        lines.append(f"| `{name}` | {shape} | {kind} | {what} |")
    rows = "T" if signature["per_token"] else "B"
    lines += [
        "",
        f"Positions begin at {signature['first_position']}"
        + (
            f"; the padding token ({signature['first_position'] - 1}) is not counted."
            if signature["first_position"]
            else "."
        ),
        f"A sentence has at most {signature['max_tokens']} tokens.",
        "",
        "## Output",
        "",
        f"`{signature['output']}`, [{rows}, {signature['width']}] float32. {_last_step(head)}",
        "",
        "## Texts",
        "",
        *_texts(text),
        "",
        "## What this form does not do",
        "",
        *_limits(form),
    ]
    return "\n".join(lines) + "\n"


def _last_step(head: Mapping[str, Any]) -> str:
    if head["kind"] == "embed":
        return (
            "Divide a row by its length for the checkpoint's own answer."
            if head["normalize"]
            else "A row is the embedding."
        )
    if head["kind"] == "span":
        return "The columns are the logits of an answer's first and last token."
    name = head["activation"]
    step = LAST_STEP.get(name, f"torch's {name} of a row gives scores")
    return f"{step[0].upper()}{step[1:]}: {', '.join(head['labels'])}."


def _texts(text: Mapping[str, Any]) -> Sequence[str]:
    lines = ["`tokenizer.json` is read by the package `tokenizers`, without padding."]
    if text["normalize"] == "nfc":
        lines.append("Texts are composed (Unicode NFC) first.")
    if text["lower"]:
        lines.append("A Lowercase step stands before its own normalizer.")
    if text["default_prompt"]:
        prompt = text["prompts"][text["default_prompt"]]
        lines.append(f"Every text of an embedding begins with the prompt {prompt!r}.")
    return lines


def _limits(form: str) -> Sequence[str]:
    if form == "onnx-fp32":
        return ["- It is not quantized: `xopt export --form onnx-qdq` is."]
    return [
        "- Q/DQ says where INT8 is; how much faster that is, each tool decides. A tool that fuses "
        "nothing runs it as fp32 with rounding.",
        "- Attention's two products stay in fp32, and the word embeddings are INT8 rows.",
        "- Tools round between operators in their own order: against xopt's engine an answer moves "
        "as much as INT8 itself does from one machine to another, not by a defect.",
        "- Weights are signed and activations unsigned. ONNX Runtime needs "
        "`session.x64quantprecision` on CPUs without VNNI; `run.py` sets it.",
    ]
