"""xopt: compile multilingual encoders to INT8 engines and prove per language what it cost."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xopt.model.core import Model, load
    from xopt.model.results import Answer, Embedding, Prediction, Tags

from xopt.distribution import VERSION as __version__

__all__ = ["Answer", "Embedding", "Model", "Prediction", "Tags", "__version__", "load"]

# What is offered here is imported when it is first asked for: `import xopt` loads no runtime.
_PLACES = {"Model": "core", "load": "core"}


def __getattr__(name: str) -> Any:
    """One of the public names."""
    if name not in __all__:
        raise AttributeError(f"module 'xopt' has no attribute {name!r}")
    return getattr(import_module(f"xopt.model.{_PLACES.get(name, 'results')}"), name)
