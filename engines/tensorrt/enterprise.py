"""Building with TensorRT proper, on the GPU that the engine will run on."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from xopt.artifacts import LoweredGraph
from xopt.distribution import install_command
from xopt.engines.building import Context
from xopt.engines.tensorrt.builder import EngineBuilder
from xopt.engines.tensorrt.compat import Machine, RunsOn, this_machine, version_of
from xopt.engines.tensorrt.device import Device
from xopt.engines.tensorrt.network import Request
from xopt.engines.tensorrt.options import TensorRtOptions
from xopt.engines.tensorrt.plugin import (
    NAMESPACE,
    PluginTarget,
    plugin_ptx,
    plugin_sm,
    register_plugins,
)
from xopt.engines.tensorrt.runtime import quiet_logger
from xopt.errors import BuildError, UnsupportedError, require
from xopt.hashing import cache_folder
from xopt.progress import Progress
from xopt.publishing import write_whole

__all__ = [
    "LAYERS", "TensorRtBuilder", "asked_facts", "check_library", "configure", "gpu_to_build_on",
    "kernel_sm", "timing_cache_path",
]  # fmt: skip

# What the engine inspector says, in the bundle.
LAYERS = "layers.json"
# The oldest version that xopt is written for; 10.3 was not tried.
OLDEST = (10, 12)
# From which version on there are plugins compiled ahead of time, and `--compat same-sm`.
PLUGINS = (10, 9)
# Ahead-of-time Python plugins do not work in this one (torch_tensorrt excludes it too).
BROKEN_PLUGINS = (10, 14)
MIB = 2**20
# An engine for later versions carries a library that the package `tensorrt` does not bring.
LEAN = (
    "--compat version needs TensorRT's lean runtime, and of the same version: "
    "pip install tensorrt-lean=={}. Where it is installed, leave --refit out too."
)


class TensorRtBuilder(EngineBuilder[TensorRtOptions]):
    """A lowered graph to an engine for the GPU at hand; ``layers.json`` is what it became."""

    target = "tensorrt"

    def __init__(self, options: TensorRtOptions, *, driver: Any = None) -> None:
        super().__init__(options)
        self.driver = driver

    def look(self) -> dict[str, Any]:
        """The library and the GPU; what they cannot build is refused before it is lowered.

        Raises:
            MissingExtraError: TensorRT is not installed.
            UnsupportedError: it is too old, or there is no GPU, or one that cannot run it.
        """
        return asdict(self.machine)

    @functools.cached_property
    def machine(self) -> Machine:
        """This one, which builds and will run the engine."""
        device = gpu_to_build_on(self.target, self.driver)
        trt = require("tensorrt", extra="tensorrt", why="Building for tensorrt")
        check_library(trt.__version__, plugin=self.options.plugin)
        machine = this_machine("tensorrt", trt.__version__, device)
        kernel_sm(machine, self.options)
        return machine

    def _runs_on(self) -> RunsOn:
        return RunsOn.of_build(self.machine, self.options.compat)

    def _plugins(self) -> tuple[str, ...]:
        return (NAMESPACE,) if self.options.plugin else ()

    def _wishes(self, out: Path) -> dict[str, Any]:
        return {
            "setup": f"{__name__}:configure",
            "setup_options": {
                "compat": self.options.compat,
                "workspace_mib": self.options.workspace,
                "refit": self.options.refit,
                "plugin_sm": kernel_sm(self.machine, self.options),
                "timing_cache": str(timing_cache_path(self.machine)),
                "layers": str(out / LAYERS),
            },
        }

    def _compile(self, request: Request, progress: Progress) -> None:
        try:
            super()._compile(request, progress)
        except BuildError as error:
            if self.options.compat != "version":
                raise
            hint = LEAN.format(self.machine.version)
            raise BuildError(error.message, hint=hint) from error

    def _portable(self, context: Context, lowered: LoweredGraph) -> LoweredGraph:
        # What answers for a GPU that is not there knows no plugin.
        return context.lower(form="tensorrt") if self.options.plugin else lowered

    def _read_back(self, lowered: LoweredGraph, out: Path, log: Path) -> dict[str, Any]:
        return asked_facts(self.machine, self.options)


def gpu_to_build_on(target: str, driver: Any) -> Device:
    """The GPU at hand; asked for before the library, which brings none.

    Raises:
        UnsupportedError: there is none.
    """
    try:
        return Device(0, driver)
    except UnsupportedError as error:
        raise UnsupportedError(
            f"The target {target} is built on the GPU that will run it. {error.message}",
            hint="Without a GPU at hand, build with --target tensorrt-rtx or cuda; to run on the "
            "CPU, with --target cpu.",
        ) from error


def kernel_sm(machine: Machine, options: TensorRtOptions) -> int | None:
    """What the plugin's kernel is compiled for; None without the plugin.

    Raises:
        UnsupportedError: the GPU is older than SM 80.
    """
    if not options.plugin:
        return None
    return plugin_sm(machine.sm, ampere_plus=options.compat == "ampere-plus")


def asked_facts(machine: Machine, options: TensorRtOptions) -> dict[str, Any]:
    """What a manifest says of the options."""
    sm = kernel_sm(machine, options)
    return {
        "attention": options.attention,
        "refit": options.refit,
        "plugin_ptx": None if sm is None else plugin_ptx(sm),
    }


def check_library(version: str, *, plugin: bool) -> None:
    """Refuse a TensorRT that cannot build what xopt lowers.

    Raises:
        UnsupportedError: says what it lacks, and where to get it.
    """
    found = version_of(version)[:2]
    if found < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        lacks = (
            " It lacks plugins compiled ahead of time and engines for every GPU of one SM."
            if found < PLUGINS
            else ""
        )
        raise UnsupportedError(
            f"TensorRT {version} is older than {wanted}, the oldest version that xopt is written "
            f"for.{lacks}",
            hint="JetPack 6 has 10.3 and gets no later one: there, build with --target cpu, or use "
            f"JetPack 7.2.2 or later. Elsewhere: {install_command('tensorrt')}",
        )
    if plugin and found == BROKEN_PLUGINS:
        raise UnsupportedError(
            f"TensorRT {version} cannot build the attention plugin: such plugins do not work in "
            "10.14.",
            hint="Use another version, or TensorRT's own attention: --attention native",
        )


def timing_cache_path(machine: Machine) -> Path:
    """Where the timings of one GPU under one version are kept between builds."""
    gpu = "".join(letter if letter.isalnum() else "-" for letter in machine.gpu).lower()
    return cache_folder() / "tensorrt" / f"{gpu}-sm{machine.sm}-{machine.version}.timing"


def configure(
    trt: ModuleType | Any, config: Any, options: Mapping[str, Any]
) -> Callable[[Any], None]:
    """Set up the builder; runs in the child, before the graph is parsed.

    Returns:
        What is to be done with the built engine: keep the timings, and inspect it.
    """
    if options["workspace_mib"] is not None:
        size = options["workspace_mib"] * MIB
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)
    match options["compat"]:
        case "same-sm":
            levels = trt.HardwareCompatibilityLevel
            config.hardware_compatibility_level = levels.SAME_COMPUTE_CAPABILITY
        case "ampere-plus":
            config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
        case "version":
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options["refit"]:
        # REFIT, its more general form, may drop the bias of a product (TensorRT 11.3's notes).
        config.set_flag(trt.BuilderFlag.REFIT_IDENTICAL)
    place = Path(options["timing_cache"])
    known = place.read_bytes() if place.is_file() else b""
    # A cache of another GPU or version is refused, a damaged one is not even made: begun anew.
    cache = config.create_timing_cache(known)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        if cache is not None:
            config.set_timing_cache(cache, False)
    if options["plugin_sm"] is not None:
        plugins = importlib.import_module(f"{trt.__name__}.plugin")
        register_plugins(trt, plugins, PluginTarget(options["plugin_sm"]))

    def finish(engine: Any) -> None:
        _keep_timings(config, place)
        _inspect(trt, engine, options)

    return finish


def _keep_timings(config: Any, place: Path) -> None:
    cache = config.get_timing_cache()
    content = None if cache is None else cache.serialize()
    if content is None:
        # The next build measures again; this one is whole.
        return
    write_whole(place, bytes(content))


def _inspect(trt: Any, engine: Any, options: Mapping[str, Any]) -> None:
    """Write what the inspector says of every layer."""
    runtime = trt.Runtime(quiet_logger(trt))
    # This process has just built it.
    runtime.engine_host_code_allowed = options["compat"] == "version"
    read = runtime.deserialize_cuda_engine(engine)
    inspector = None if read is None else read.create_engine_inspector()
    if inspector is None:
        raise BuildError(
            f"TensorRT {trt.__version__} does not read the engine that it has just built.",
            hint="Most often the GPU's memory is full: free some, or build with a smaller "
            "--batch-tokens and --workspace.",
        )
    text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    Path(options["layers"]).write_text(
        json.dumps(json.loads(text), indent=1) + "\n", encoding="utf-8"
    )
