"""What watches the values at one quantization site and says their range.

A range is symmetric: ``amax``, so that ``[-amax, amax]`` is quantized to 8 bits. Percentile and
entropy are NVIDIA ModelOpt's calibrators; MSE is our own (``docs/decisions.md``).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xopt.distribution import install_command
from xopt.errors import InputError, MissingExtraError, did_you_mean

if TYPE_CHECKING:
    import torch

__all__ = ["METHODS", "MODELOPT", "MseObserver", "Observer", "mse_amax", "observer"]

METHODS = ("minmax", "percentile", "entropy", "mse")
# Those whose numbers are the library's.
MODELOPT = ("percentile", "entropy")
BINS = 2048


class Observer(Protocol):
    """Sees values batch by batch, then names a range."""

    def collect(self, values: torch.Tensor) -> None:
        """Take note of ``values``, of any shape."""
        ...

    def amax(self) -> float:
        """The range ``[-amax, amax]``."""
        ...


def observer(method: str, *, percentile: float = 99.99) -> Observer:
    """A new observer.

    Args:
        method: ``minmax``, ``percentile``, ``entropy`` (Migacz, 2017) or ``mse``.
        percentile: share of the absolute values that the range holds, in percent.

    Raises:
        InputError: no such method.
        MissingExtraError: ModelOpt is not installed.
    """
    match method:
        case "minmax":
            return _MinMax()
        case "percentile":
            options = {"method": "percentile", "percentile": percentile}
            return _ModelOpt(_calibrators().HistogramCalibrator(8, None, False), options)
        case "entropy":
            options = {"method": "entropy", "stride": 8}
            return _ModelOpt(_calibrators().HistogramCalibrator(8, None, False), options)
        case "mse":
            return MseObserver()
        case other:
            raise InputError(
                f"Unknown calibration method {other!r}.", hint=did_you_mean(other, METHODS)
            )


def _calibrators() -> Any:
    try:
        # It warns of every transformers release that is newer than its own tests.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            # In a thread: what it tries to import and keeps the error of would keep our frames too,
            # and with them the whole encoder.
            with ThreadPoolExecutor(1) as pool:
                name = "modelopt.torch.quantization.calib"
                return pool.submit(importlib.import_module, name).result()
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"This calibration method needs {error.name}, which is not installed.",
            hint=f"Install it with: {install_command('calibrate')}, or leave --ranges out.",
        ) from error


class _MinMax:
    """The largest absolute value."""

    def __init__(self) -> None:
        self._largest = 0.0

    def collect(self, values: torch.Tensor) -> None:
        """Look at ``values``."""
        self._largest = max(self._largest, float(values.abs().max()))

    def amax(self) -> float:
        """What was seen."""
        return self._largest


class _ModelOpt:
    """One of ModelOpt's calibrators behind :class:`Observer`."""

    def __init__(self, calibrator: Any, options: dict[str, Any]) -> None:
        self._calibrator, self._options = calibrator, options

    def collect(self, values: torch.Tensor) -> None:
        """Hand ``values`` on."""
        self._calibrator.collect(values)

    def amax(self) -> float:
        """ModelOpt's answer."""
        return float(self._calibrator.compute_amax(**self._options))


class MseObserver:
    """Histogram of absolute values whose range doubles, so that one pass is enough."""

    def __init__(self) -> None:
        self.top = 0.0
        self.counts: NDArray[np.float64] = np.zeros(BINS)
        self.largest = 0.0

    def collect(self, values: torch.Tensor) -> None:
        """Add ``values`` to the histogram; bins are merged in pairs when the range doubles."""
        flat = values.detach().abs().flatten()
        largest = float(flat.max())
        self.largest = max(self.largest, largest)
        if self.top == 0.0:
            self.top = largest or 1.0
        while self.top < largest:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros(BINS // 2)])
            self.top *= 2
        self.counts += flat.histc(BINS, 0.0, self.top).double().numpy()

    def amax(self) -> float:
        """The range of least mean squared error."""
        return mse_amax(self.counts, self.top, self.largest)


def mse_amax(
    counts: NDArray[np.float64], top: float, largest: float, *, levels: int = 127
) -> float:
    """The ``amax`` whose symmetric rounding to ``levels`` steps a side has the least squared error.

    Args:
        counts: ``[bins]``, histogram of absolute values over ``[0, top]``.
        top: upper end of the histogram.
        largest: the largest absolute value seen; no wider range is tried.
        levels: steps on one side of zero.
    """
    width = top / len(counts)
    centers = (np.arange(len(counts)) + 0.5) * width
    candidates = np.linspace(largest * 0.02, largest, 200)
    step = candidates[:, None] / levels
    rounded = np.minimum(np.round(centers / step), levels) * step
    errors = ((rounded - centers) ** 2 * counts).sum(axis=1)
    return float(candidates[int(np.argmin(errors))])
