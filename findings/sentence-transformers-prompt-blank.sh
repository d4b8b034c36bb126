#!/usr/bin/env bash
# sentence-transformers: with include_prompt=False, a prompt that ends in a blank ("query: ") takes the first word of the text out of the mean too.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 sentence-transformers==6.2.0 tokenizers==0.23.3
"$tmp/venv/bin/python" - <<'PY'
import os
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import sentence_transformers
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

transformers.utils.logging.disable_progress_bar()
pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁query", ":", "guten", "▁guten", "▁Tag"]
inner = Tokenizer(models.Unigram([(p, -1.0) for p in pieces], unk_id=3))
inner.pre_tokenizer = pre_tokenizers.Metaspace()
inner.post_processor = processors.TemplateProcessing(
    single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
)  # fmt: skip
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>"
)
config = XLMRobertaConfig(
    vocab_size=len(pieces), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    max_position_embeddings=40, pad_token_id=1,
)  # fmt: skip
rest = {}
with tempfile.TemporaryDirectory() as folder:
    tokenizer.save_pretrained(folder)
    XLMRobertaModel(config).save_pretrained(folder)
    model = SentenceTransformer(modules=[modules.Transformer(folder), modules.Pooling(16, include_prompt=False)])
    for prompt in ("query:", "query: "):
        features = model.preprocess(["guten Tag"], prompt=prompt)
        found = [pieces[i] for i in features["input_ids"][0].tolist()]
        rest[prompt] = found[features["prompt_length"] :]
        print(repr(prompt), found, "prompt_length", features["prompt_length"])
print("sentence-transformers", sentence_transformers.__version__, "transformers", transformers.__version__)
print("expected    the mean is taken over the two words and </s>, for both prompts")
print("seen       ", " | ".join(f"{prompt!r} {kept}" for prompt, kept in rest.items()))
if rest["query:"] != ["guten", "▁Tag", "</s>"] or rest["query: "] != ["▁Tag", "</s>"]:
    raise SystemExit("CHANGED: the prompt's length is now that of its tokens in front of the text")
print("SEEN: the prompt alone ends in a piece '▁' that joins the first word in the text; a query of one word has only </s> left.")
PY
