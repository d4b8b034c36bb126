"""The names that the tracer gives to what every lowering looks for."""

from __future__ import annotations

import re

__all__ = ["LINEAR", "READER", "SITE", "WORDS"]

# The linear layer that reads each site.
READER = {
    "qkv_in": "qkv",
    "context": "attention_output",
    "ffn_in": "ffn_in",
    "ffn_act": "ffn_out",
}
SITE = {linear: site for site, linear in READER.items()}
LINEAR = re.compile(r"^(layers\.\d+)\.(qkv|attention_output|ffn_in|ffn_out)\.weight$")
WORDS = "embeddings.word.weight"
