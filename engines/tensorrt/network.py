"""ONNX → engine with a TensorRT module; runs in the child process of :mod:`.child` alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from xopt.errors import BuildError

__all__ = ["Request", "build_engine", "logger_for", "monitor_for"]

# What prepares a configuration, and what is then to be done with the engine.
Setup = Callable[[ModuleType, Any, Mapping[str, Any]], Callable[[Any], None] | None]

SEVERITIES = {"INTERNAL_ERROR": "F", "ERROR": "E", "WARNING": "W", "INFO": "I", "VERBOSE": "V"}


@dataclass(frozen=True)
class Request:
    """What the child is asked to build; a JSON file.

    Attributes:
        module: ``tensorrt_rtx`` or ``tensorrt``.
        graph: ONNX file; its weights lie beside it.
        engine: file to write.
        log: file for TensorRT's messages, one a line, led by a letter for its severity.
        profiles: ``input -> [smallest, usual, largest]`` shape, for each optimization profile.
        sms: compute capabilities to build for; TensorRT-RTX only.
        setup: ``module:function`` called with the TensorRT module, the configuration and
            ``setup_options`` before anything is parsed; what it returns is called with the engine.
        setup_options: for ``setup``.
    """

    module: str
    graph: str
    engine: str
    log: str
    profiles: tuple[dict[str, list[list[int]]], ...]
    sms: tuple[int, ...] = ()
    setup: str = ""
    setup_options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Request:
        """From the file that the parent wrote."""
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        facts |= {name: tuple(facts[name]) for name in ("profiles", "sms")}
        return cls(**facts)


def build_engine(
    trt: ModuleType,
    request: Request,
    logger: Any,
    monitor: Any,
    setup: Setup | None = None,
) -> None:
    """Parse, build and write the engine.

    Raises:
        BuildError: TensorRT refused the graph, a profile or the build.
    """
    builder = trt.Builder(logger)
    # 11.0 knows no other kind of network, and may have lost the flag.
    strong = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if strong is None else 1 << int(strong))
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.progress_monitor = monitor
    if request.sms:
        config.num_compute_capabilities = len(request.sms)
        for place, sm in enumerate(request.sms):
            config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{sm}"), place)
    finish = setup(trt, config, request.setup_options) if setup is not None else None
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(request.graph):
        said = "\n  ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise BuildError(f"TensorRT could not read the graph:\n  {said}")
    for shapes in request.profiles:
        profile = builder.create_optimization_profile()
        for name, (smallest, usual, largest) in shapes.items():
            profile.set_shape(name, tuple(smallest), tuple(usual), tuple(largest))
        if config.add_optimization_profile(profile) < 0:
            raise BuildError(f"TensorRT refused the profile {shapes}.")
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BuildError("TensorRT built no engine.")
    Path(request.engine).write_bytes(engine)
    if finish is not None:
        finish(engine)


def logger_for(trt: ModuleType, path: Path) -> Any:
    """A TensorRT logger that writes every message to ``path`` at once."""
    stream = path.open("w", encoding="utf-8", buffering=1)

    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        """Lines of a severity letter and a message."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            """Write one message, which may hold several lines."""
            letter = SEVERITIES.get(str(severity).rpartition(".")[2], "V")
            stream.writelines(f"{letter} {line}\n" for line in message.splitlines())

    return Log()


def monitor_for(
    trt: ModuleType,
    report: Callable[[float], None],
    stopped: Callable[[], bool] = lambda: False,
) -> Any:
    """A TensorRT progress monitor that reports the finished share of the outermost phase.

    Args:
        trt: the module.
        report: called with the share.
        stopped: asked after each step whether the build is to end here.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        """Follows the phase that has no parent."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            """A phase begins."""
            if not parent:
                self.steps[name] = max(steps, 1)

        def step_complete(self, name: str, step: int) -> bool:
            """A step is done; the build goes on unless it is to stop."""
            if name in self.steps:
                report((step + 1) / self.steps[name])
            return not stopped()

        def phase_finish(self, name: str) -> None:
            """A phase is over."""
            self.steps.pop(name, None)

    return Monitor()
