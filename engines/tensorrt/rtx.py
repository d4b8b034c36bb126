"""TensorRT-RTX: built on any machine for the GPUs that are named, finished on the GPU it runs on.

A runtime cache keeps what is compiled on the GPU; see :func:`runtime_cache_path`.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import platform
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from xopt.artifacts import Bundle, LoweredGraph
from xopt.distribution import install_command
from xopt.engines.building import Built, Context
from xopt.engines.tensorrt.builder import EngineBuilder
from xopt.engines.tensorrt.compat import RunsOn
from xopt.engines.tensorrt.listing import (
    Kernel,
    Listing,
    UnfusedError,
    chosen_kernels,
    read_alphas,
    read_log,
    read_padded_lengths,
    unfused_attentions,
)
from xopt.engines.tensorrt.options import RtxOptions
from xopt.engines.tensorrt.runtime import ENGINE, TensorRtEngine
from xopt.errors import InputError, MissingExtraError, UnsupportedError, did_you_mean
from xopt.hashing import cache_folder
from xopt.progress import Progress
from xopt.publishing import write_whole

__all__ = ["CACHE_VARIABLE", "RtxBuilder", "RtxEngine", "runtime_cache_path"]

MODULE, DISTRIBUTION, EXTRA = "tensorrt_rtx", "tensorrt-rtx", "tensorrt-rtx"
# Where runtime caches lie, instead of xopt's own cache folder.
CACHE_VARIABLE = "XOPT_RTX_CACHE"
KERNELS = "kernels.json"
# When kernels are compiled for one shape alone.
SPECIALIZE = ("none", "lazy", "eager")


class RtxBuilder(EngineBuilder[RtxOptions]):
    """A lowered graph to an engine for every GPU that is asked for; needs no GPU and no driver."""

    target = "tensorrt-rtx"
    module = MODULE

    def look(self) -> dict[str, Any]:
        """The library, whose version is among those of every build.

        Raises:
            MissingExtraError: it is not installed.
        """
        library_version()
        return {}

    def build(self, context: Context, out: Path, progress: Progress) -> Built:
        """Write ``engine.trt``, ``kernels.json`` and ``portable/``.

        Raises:
            MissingExtraError: TensorRT-RTX is not installed.
            UnfusedError: attention did not become one kernel in every layer.
            BuildError: TensorRT refused or died, or a linear layer is no INT8 product.
        """
        lowered = context.lower()
        try:
            return self._build(context, lowered, out, progress)
        except UnfusedError:
            if not (self.options.allow_unfused and lowered.manifest["lowering"]["attention"]):
                raise
        return self._build(context, context.lower(attention=False), out, progress)

    def _runs_on(self) -> RunsOn:
        return RunsOn(
            library="tensorrt_rtx",
            version=library_version(),
            later=False,
            sm=self.options.targets,
            above=False,
            gpu="",
            system=platform.system(),
            processor=platform.machine(),
        )

    def _wishes(self, out: Path) -> dict[str, Any]:
        return {"sms": self.options.targets}

    def _read_back(self, lowered: LoweredGraph, out: Path, log: Path) -> dict[str, Any]:
        kernels = read_log(log)
        with (
            (out / ENGINE).open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as plan,
        ):
            alphas, padded = read_alphas(plan), read_padded_lengths(plan)
        listing = Listing.read(kernels, alphas)
        lowering = lowered.manifest["lowering"]
        listing.check(
            layers=lowered.manifest["layers"],
            int8=lowering["weights"] == "int8",
            int8_attention=lowering["attention"],
            unfused=unfused_attentions(kernels),
        )
        write_kernels(kernels, out)
        return {
            "attention": "int8" if lowering["attention"] else "fp16",
            "padded_lengths": padded,
            "layers": listing.manifest(),
            "layer_kernels": chosen_kernels(kernels),
        }


def library_version() -> str:
    """The installed TensorRT-RTX, which is not loaded here: only the child may crash.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError(
            f"Building for tensorrt-rtx needs {DISTRIBUTION}, which is not installed.",
            hint=f"Install it with: {install_command(EXTRA)}",
        ) from error


def write_kernels(kernels: list[Kernel], out: Path) -> None:
    """Every kernel of every profile, for people who look for a slow one."""
    text = json.dumps([asdict(kernel) for kernel in kernels], indent=1)
    (out / KERNELS).write_text(text + "\n", encoding="utf-8")


class RtxEngine(TensorRtEngine):
    """A session of TensorRT-RTX.

    The first batch of a profile is compiled for the GPU at hand; what was compiled goes into the
    runtime cache, and the next process finds it there.

    Args:
        bundle: of the target ``tensorrt-rtx``.
        specialize: ``none`` runs kernels made for every shape; ``lazy`` and ``eager`` also compile
            some for each shape that comes; batches are filled up to buckets, so shapes do repeat.
        options: of :class:`~xopt.engines.tensorrt.runtime.TensorRtEngine`.
    """

    name = "tensorrt-rtx"
    module = MODULE
    extra = EXTRA
    # It captures a graph for each shape itself; a context for each would load its kernels anew.
    graphs = False

    def __init__(self, bundle: Bundle, *, specialize: str = "none", **options: Any) -> None:
        if specialize not in SPECIALIZE:
            raise InputError(
                f"Unknown specialization {specialize!r}.",
                hint=did_you_mean(specialize, SPECIALIZE),
            )
        self._specialize = specialize
        self._cache: Any = None
        self._config: Any = None
        super().__init__(bundle, **options)

    def _open(self, plan: bytes) -> None:
        super()._open(plan)
        config = self.made(self.engine.create_runtime_config(), "runtime configuration")
        strategies = self.trt.DynamicShapesKernelSpecializationStrategy
        config.dynamic_shapes_kernel_specialization_strategy = getattr(
            strategies, self._specialize.upper()
        )
        config.cuda_graph_strategy = self.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        config.set_execution_context_allocation_strategy(
            self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        self._cache = self.made(config.create_runtime_cache(), "runtime cache")
        self.cache_path = runtime_cache_path(self.bundle, self.machine.sm, self.machine.version)
        if self.cache_path.is_file():
            # One that another driver or version wrote is refused, and written anew.
            self._cache.deserialize(self.cache_path.read_bytes())
        config.set_runtime_cache(self._cache)
        self._config = config

    def _check_plan(self, plan: bytes) -> None:
        validity, diagnostics = self.runtime.get_engine_validity(plan)
        if validity != self.trt.EngineValidity.INVALID:
            return
        flags = self.trt.EngineInvalidityDiagnostics.__members__.items()
        named = [name for name, flag in flags if int(diagnostics) & int(flag)]
        said = ", ".join(name.lower().replace("_", " ") for name in named) or "no reason"
        raise UnsupportedError(
            f"TensorRT-RTX {self.machine.version} refuses this engine on {self.machine.gpu}: "
            f"{said}.",
            hint="Update the driver, or build the bundle again for this machine.",
        )

    def context(self) -> Any:
        """A new execution context, with the runtime cache."""
        with self.making:
            context = self.engine.create_execution_context(self._config)
        return self.made(context, "execution context")

    def _prepared(self) -> None:
        """Keep what was just compiled, so that a crash later costs none of it."""
        with self.making, contextlib.suppress(OSError):
            write_whole(self.cache_path, bytes(self._cache.serialize()))

    def close(self) -> None:
        """Free the GPU's memory; the runtime cache is on the disk already."""
        self.pool.close()
        self._cache = self._config = None
        super().close()

    def describe(self) -> dict[str, Any]:
        """GPU, version, profiles and the runtime cache."""
        return super().describe() | {"runtime_cache": str(self.cache_path)}


def runtime_cache_path(bundle: Bundle, sm: int, version: str) -> Path:
    """Where a bundle's runtime cache lies: one file for each bundle, GPU and version.

    The folder is ``$XOPT_RTX_CACHE``, or ``tensorrt-rtx`` in xopt's cache folder. To spare the
    first start of a deployment its compilation, run the bundle once and ship the file.
    """
    folder = os.environ.get(CACHE_VARIABLE)
    place = Path(folder) if folder else cache_folder() / "tensorrt-rtx"
    return place / f"{bundle.fingerprint[:16]}-sm{sm}-{version}.cache"
