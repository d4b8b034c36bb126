"""Tags of whole sentences, drawn at random."""

from __future__ import annotations

import numpy as np

from xopt.evaluate.tasks.panx import PanX
from xopt.evaluate.tasks.udpos import UdPos

UPOS = list(UdPos.tags)


NER = list(PanX.tags)


def random_tags(tags: list[str], seed: int, count: int = 200) -> list[list[str]]:
    generator = np.random.default_rng(seed)
    # Repeats are common, so that runs of one tag are joined or not.
    return [
        [
            tags[i]
            for i in np.repeat(generator.integers(0, len(tags), n), generator.integers(1, 4, n))
        ]
        for n in generator.integers(1, 12, count)
    ]


def noisy(gold: list[list[str]], tags: list[str], seed: int) -> list[list[str]]:
    generator = np.random.default_rng(seed)
    return [
        [t if generator.random() > 0.3 else tags[generator.integers(len(tags))] for t in sentence]
        for sentence in gold
    ]
