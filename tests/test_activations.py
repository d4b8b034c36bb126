"""What is made of logits, beside torch's own classes."""

import numpy as np
import pytest
import torch

from xopt.activations import ACTIVATIONS, PROBABILITIES, activate

NUMBERS = [-90, -6.5, -2.75, -1, -0.51, -0.5, -0.25, 0, 0.25, 0.5, 0.51, 2.75, 3, 6.5, 25, 90]
LOGITS = np.array(NUMBERS, np.float32).reshape(4, 4)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_as_the_class_of_torch(name: str) -> None:
    classes = {each.lower(): each for each in dir(torch.nn)}
    along = {"dim": -1} if "max" in name or "min" in name else {}
    layer = getattr(torch.nn, classes[name])(**along)
    expected = layer(torch.from_numpy(LOGITS).double()).float().numpy()
    found = activate(name, LOGITS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-30)
    np.testing.assert_array_equal(activate(name, LOGITS[1]), found[1])


def test_probabilities_are_those_that_lie_between_0_and_1_and_grow() -> None:
    for name in PROBABILITIES:
        found = activate(name, LOGITS)
        assert found.min() >= 0
        assert found.max() <= 1
        assert (np.diff(found, axis=-1) >= 0).all()
