"""The part of TensorRT that a build uses, strict about it; the engine is JSON of what it was told.

``XOPT_FAKE_TENSORRT`` is a version, and words: ``waits`` begins its second step when a signal
comes, ``unread`` does not read its own engine, ``lean`` has no lean runtime, ``untimed`` keeps no
timings.
"""

import json
import os
import signal
import socket
import types
from enum import IntEnum

import onnx

_told = os.environ.get("XOPT_FAKE_TENSORRT", "11.4.0.106").split()
__version__ = _told[0]
_WAITS = "waits" in _told


class DataType:
    FLOAT, HALF, INT8, INT32 = "FLOAT", "HALF", "INT8", "INT32"


class MemoryPoolType(IntEnum):
    WORKSPACE = 0


class BuilderFlag(IntEnum):
    REFIT, VERSION_COMPATIBLE, REFIT_IDENTICAL = 4, 12, 19


class HardwareCompatibilityLevel(IntEnum):
    NONE, AMPERE_PLUS, SAME_COMPUTE_CAPABILITY = range(3)


class NetworkDefinitionCreationFlag(IntEnum):
    # Every network is, from 11 on; the flag is ignored.
    STRONGLY_TYPED = 0


class ProfilingVerbosity(IntEnum):
    LAYER_NAMES_ONLY, NONE, DETAILED = range(3)


class LayerInformationFormat(IntEnum):
    ONELINE, JSON = range(2)


class ILogger:
    pass


class Logger(ILogger):
    WARNING = 2

    def __init__(self, severity=2):
        pass


class IProgressMonitor:
    pass


class TimingCache:
    def __init__(self, content):
        self.content = content

    def serialize(self):
        return b"timed " + __version__.encode()


class Config:
    def __init__(self):
        self.flags, self.pools, self.profiles, self.cache = [], {}, [], None
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self.profiling_verbosity = self.progress_monitor = None

    def set_flag(self, flag):
        self.flags.append(BuilderFlag(flag).name)

    def set_memory_pool_limit(self, pool, size):
        self.pools[MemoryPoolType(pool).name] = size

    def create_timing_cache(self, content):
        # A damaged one is none.
        return None if content == b"damaged" or "untimed" in _told else TimingCache(content)

    def set_timing_cache(self, cache, ignore_mismatch):
        if cache.content not in (b"", b"timed " + __version__.encode()):
            return False
        self.cache = cache
        return True

    def get_timing_cache(self):
        return self.cache

    def add_optimization_profile(self, profile):
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1


class Profile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, smallest, usual, largest):
        if not all(a <= b <= c for a, b, c in zip(smallest, usual, largest, strict=True)):
            raise ValueError(f"{name}: {smallest} {usual} {largest}")
        self.shapes[name] = [smallest, usual, largest]


class Network:
    def __init__(self, flags):
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        self.layers, self.plugins, self.inputs = [], [], {}


class Builder:
    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags):
        return Network(flags)

    def create_builder_config(self):
        return Config()

    def create_optimization_profile(self):
        return Profile()

    def build_serialized_network(self, network, config):
        monitor = config.progress_monitor
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        if _WAITS:
            signal.set_wakeup_fd(writer.fileno())
        monitor.phase_start("Building engine", None, 6)
        for step in range(6):
            if _WAITS and step == 1:
                reader.recv(1)
            if not monitor.step_complete("Building engine", step):
                return None
        monitor.phase_finish("Building engine")
        if "lean" in _told and "VERSION_COMPATIBLE" in config.flags:
            return None
        for profile in config.profiles:
            assert set(profile) == set(network.inputs)
        told = {
            "flags": config.flags,
            "pools": config.pools,
            "level": config.hardware_compatibility_level.name,
            "verbosity": ProfilingVerbosity(config.profiling_verbosity).name,
            "cached": config.cache.content.decode() if config.cache else None,
            "profiles": config.profiles,
            "layers": network.layers,
            "plugins": network.plugins,
        }
        return json.dumps(told).encode()


class ParserError:
    def __init__(self, text):
        self.text = text

    def desc(self):
        return self.text


class OnnxParser:
    def __init__(self, network, logger):
        self.network, self.errors = network, []

    @property
    def num_errors(self):
        return len(self.errors)

    def get_error(self, number):
        return self.errors[number]

    def parse_from_file(self, path):
        graph = onnx.load(path, load_external_data=False).graph
        self.network.inputs = {value.name for value in graph.input}
        for node in graph.node:
            self.network.layers.append(node.name)
            if node.domain and not self._plugin(node):
                self.errors.append(ParserError(f"no plugin for {node.op_type}"))
        return not self.errors

    def _plugin(self, node):
        """Register first, then parse: what is not registered is no operator."""
        from tensorrt import plugin

        fields = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        name = f"{fields.pop('plugin_namespace').decode()}::{node.op_type}"
        if name not in plugin.REGISTRY:
            return False
        assert (fields.pop("plugin_version"), fields.pop("aot")) == (b"1", 1)
        width = 3 * fields["heads"] * fields["head_dim"]
        kind = "INT8" if len(node.input) == 3 else "HALF"
        tensors = [(["T", width], kind), (["B_plus_1"], "INT32"), ([3], "FLOAT")]
        layer = plugin.build_layer(name, tensors[: len(node.input)], fields)
        self.network.plugins.append([node.op_type, layer["dtype"], len(layer["kernels"])])
        return True


class Runtime:
    engine_host_code_allowed = False

    def __init__(self, logger):
        pass

    def deserialize_cuda_engine(self, content):
        if "unread" in _told:
            return None
        told = json.loads(content)
        assert self.engine_host_code_allowed == ("VERSION_COMPATIBLE" in told["flags"])
        information = json.dumps({"Layers": told["layers"]})
        inspector = types.SimpleNamespace(get_engine_information=lambda form: information)
        return types.SimpleNamespace(create_engine_inspector=lambda: inspector)
