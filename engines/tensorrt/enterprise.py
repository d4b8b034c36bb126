"""Building with TensorRT proper, on the GPU that the engine will run on."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from xopt.distribution import install_command
from xopt.engines.building import Builder, Built, Context
from xopt.engines.tensorrt.child import run_child
from xopt.engines.tensorrt.compat import Machine, RunsOn, this_machine, version_of
from xopt.engines.tensorrt.corpus_profiles import corpus_profiles
from xopt.engines.tensorrt.device import Device
from xopt.engines.tensorrt.graph import check_graph, graph_inputs
from xopt.engines.tensorrt.network import Request
from xopt.engines.tensorrt.options import TensorRtOptions
from xopt.engines.tensorrt.plugin import (
    NAMESPACE,
    PluginTarget,
    plugin_ptx,
    plugin_sm,
    register_plugins,
)
from xopt.engines.tensorrt.portable import copy_portable
from xopt.engines.tensorrt.profiles import LengthProfile
from xopt.engines.tensorrt.runtime import ENGINE, quiet_logger
from xopt.errors import BuildError, UnsupportedError, require
from xopt.hashing import cache_folder
from xopt.progress import Progress

__all__ = ["LAYERS", "TensorRtBuilder", "check_library", "configure", "timing_cache_path"]

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


class TensorRtBuilder(Builder[TensorRtOptions, Context]):
    """A lowered graph to an engine for the GPU at hand."""

    target = "tensorrt"
    reads_lengths = True

    def __init__(self, options: TensorRtOptions, *, driver: Any = None) -> None:
        super().__init__(options)
        self.driver = driver

    def look(self) -> dict[str, Any]:
        """The library and the GPU; what they cannot build is refused before it is lowered.

        Raises:
            MissingExtraError: TensorRT is not installed.
            UnsupportedError: it is too old, or there is no GPU, or one that cannot run it.
        """
        return asdict(self._machine())

    def _machine(self) -> Machine:
        trt = require("tensorrt", extra="tensorrt", why="Building for tensorrt")
        plugin = self.options.plugin
        check_library(trt.__version__, plugin=plugin)
        machine = this_machine("tensorrt", trt.__version__, Device(0, self.driver))
        if plugin:
            self._plugin_sm(machine)
        return machine

    def _plugin_sm(self, machine: Machine) -> int:
        return plugin_sm(machine.sm, ampere_plus=self.options.compat == "ampere-plus")

    def build(self, context: Context, out: Path, progress: Progress) -> Built:
        """Write ``engine.trt``, ``layers.json`` and ``portable/``.

        Raises:
            MissingExtraError: TensorRT is not installed.
            UnsupportedError: it is too old, or there is no GPU, or one that cannot run it.
            BuildError: TensorRT refused or died.
        """
        options, plugin = self.options, self.options.plugin
        machine = self._machine()
        lowered = context.lower()
        manifest = lowered.manifest
        domains = (NAMESPACE,) if plugin else ()
        check_graph(lowered.path, layers=manifest["layers"], plugins=domains)
        inputs = graph_inputs(lowered.path)
        profiles = corpus_profiles(
            context.lengths,
            max_tokens=manifest["max_tokens"],
            batch_tokens=options.batch_tokens,
            padded="pad_index" in inputs,
        )
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="xopt-trt-") as scratch:
            request = Request(
                module="tensorrt",
                graph=str(lowered.path),
                engine=str(out / ENGINE),
                log=str(Path(scratch) / "build.log"),
                profiles=tuple(
                    {name: [list(shape) for shape in three] for name, three in shapes.items()}
                    for shapes in (profile.shapes(inputs) for profile in profiles)
                ),
                setup=f"{__name__}:configure",
                setup_options=setup_options(machine, options, out, plugin=plugin),
            )
            try:
                run_child(request, progress)
            except BuildError as error:
                if options.compat != "version":
                    raise
                raise BuildError(error.message, hint=LEAN.format(machine.version)) from error
        # What answers for a GPU that is not there knows no plugin.
        copy_portable(context.lower(form="tensorrt") if plugin else lowered, out)
        runs_on = RunsOn.of_build(machine, options.compat)
        facts = {
            "library": f"tensorrt {machine.version}",
            "version": machine.version,
            "runs_on": runs_on.manifest(),
            "runs_on_text": runs_on.describe(),
            "attention": options.attention,
            "refit": options.refit,
            "plugin_ptx": plugin_ptx(self._plugin_sm(machine)) if plugin else None,
            "profiles": [asdict(bounds(profile)) for profile in profiles],
            "inputs": inputs,
            "build_s": round(time.perf_counter() - begin, 2),
            "engine_mib": round((out / ENGINE).stat().st_size / MIB, 2),
        }
        return Built(lowered, facts)


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


def bounds(profile: LengthProfile) -> LengthProfile:
    """What the runtime needs of a profile."""
    return LengthProfile(profile.sentences, profile.longest, profile.tokens)


def timing_cache_path(machine: Machine) -> Path:
    """Where the timings of one GPU under one version are kept between builds."""
    gpu = "".join(letter if letter.isalnum() else "-" for letter in machine.gpu).lower()
    return cache_folder() / "tensorrt" / f"{gpu}-sm{machine.sm}-{machine.version}.timing"


def setup_options(
    machine: Machine, options: TensorRtOptions, out: Path, *, plugin: bool
) -> dict[str, Any]:
    """What :func:`configure` reads in the child, as a JSON object."""
    sm = plugin_sm(machine.sm, ampere_plus=options.compat == "ampere-plus") if plugin else None
    return {
        "compat": options.compat,
        "workspace_mib": options.workspace,
        "refit": options.refit,
        "plugin_sm": sm,
        "timing_cache": str(timing_cache_path(machine)),
        "layers": str(out / LAYERS),
    }


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
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_suffix(f".{os.getpid()}.partial")
    partial.write_bytes(bytes(content))
    partial.replace(place)


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
