"""The plugin's kernels launched through the driver, as TensorRT does; for ``check_gpu.py``."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from xopt.engines import kernels
from xopt.engines.kernels.aot import SHARED_BYTES, TENSORRT_SHARED_BYTES, AotKernel, compile_spec
from xopt.engines.kernels.aot_specs import attention_int8_specs, attention_specs
from xopt.engines.kernels.criteria import EPS, context_bound, largest_error, plain_attention
from xopt.engines.tensorrt.device import Device

HEADS, HEAD_DIM = 12, 64
LENGTHS = (1, 33, 0, 127, 257, 64)
FP16, INT8 = "attention fp16", "attention INT8"


def tactics() -> Iterator[tuple[str, int, int, AotKernel]]:
    """Operator, SM, ISA of its PTX and kernel of everything TensorRT may launch here."""
    device = Device().sm
    specs = {
        FP16: attention_specs(heads=HEADS, head_dim=HEAD_DIM),
        INT8: attention_int8_specs(heads=HEADS, head_dim=HEAD_DIM, out_scale=0.02),
    }
    for operator, choices in specs.items():
        for sm in sorted({80, device} & set(SHARED_BYTES)):
            for spec in choices:
                kernel = compile_spec(spec, sm=sm)
                if kernel.shared_bytes <= TENSORRT_SHARED_BYTES:
                    yield operator, sm, kernel.ptx_version, kernel


class Function:
    """One kernel, loaded into the current context."""

    def __init__(self, device: Device, kernel: AotKernel) -> None:
        self.device, self.kernel = device, kernel
        self.module, self.handle = ctypes.c_void_p(), ctypes.c_void_p()
        device.call("cuModuleLoadData", ctypes.byref(self.module), kernel.ptx.encode() + b"\0")
        entry = kernel.entry.encode()
        device.call("cuModuleGetFunction", ctypes.byref(self.handle), self.module, entry)

    def launch(self, addresses: dict[str, int], tokens: int, sentences: int, stream: int) -> None:
        """Put one launch on ``stream``."""
        scalars = {"tokens": tokens, "sentences": sentences}
        values: list[Any] = [
            ctypes.c_void_p(addresses[name]) if kind[0] == "*" else ctypes.c_int(scalars[name])
            for name, kind in self.kernel.parameters
        ]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        grid = self.kernel.grid.grid(tokens, sentences)
        self.device.call(
            "cuLaunchKernel", self.handle, *grid, self.kernel.block_threads, 1, 1,
            self.kernel.shared_bytes, ctypes.c_void_p(stream), pointers, None,
        )  # fmt: skip

    def unload(self) -> None:
        """Give its memory back."""
        self.device.call("cuModuleUnload", self.module)


def launch_once(kernel: AotKernel, operator: str) -> tuple[float, float]:
    """The largest error of one launch on random tokens, and what is allowed."""
    generator = torch.Generator().manual_seed(int(np.random.default_rng().integers(1 << 30)))
    starts = torch.tensor([0, *LENGTHS]).cumsum(0).to("cuda", torch.int32)
    shape = (sum(LENGTHS) + 7, 3, HEADS, HEAD_DIM)
    normal = torch.randn(shape, generator=generator)
    scale = torch.full((3,), 0.04, device="cuda")
    int8 = operator == INT8
    qkv = (normal * 40).round().clamp(-128, 127) if int8 else normal
    qkv = qkv.to("cuda", torch.int8 if int8 else torch.float16)
    out = torch.full((shape[0], HEADS, HEAD_DIM), 77, dtype=qkv.dtype, device="cuda")
    tensors = {"qkv": qkv, "cu_seqlens": starts, "qkv_scale": scale, "out": out}
    device = Device().enter()
    function = Function(device, kernel)
    addresses = {name: tensor.data_ptr() for name, tensor in tensors.items()}
    torch.cuda.synchronize()
    function.launch(addresses, shape[0], len(LENGTHS), device.stream)
    device.synchronize()
    function.unload()
    device.close()
    arguments = (qkv, starts, max(LENGTHS))
    if int8:
        exact = kernels.varlen_attention_int8_reference(*arguments, qkv_scale=scale, out_scale=0.02)
        steps = (context_bound(qkv, starts, scale) / 0.02).ceil()
        return float(((out.int() - exact.int()).abs() - steps).max()), 0.0
    exact = kernels.varlen_attention_reference(*arguments)
    return largest_error(out, exact), 2 * largest_error(plain_attention(qkv, starts), exact) + EPS


class PtxEngine:
    """What a session asks of a TensorRT engine; each run launches our attention's PTX.

    Args:
        refuse: whether it refuses to be captured.
    """

    scratch_bytes = 256

    def __init__(self, *, refuse: bool) -> None:
        self.refuse = refuse
        self.device = Device().enter()
        kernel = next(k for operator, _, _, k in tactics() if operator == FP16)
        self.function = Function(self.device, kernel)

    def context(self) -> PtxContext:
        """A new execution context."""
        return PtxContext(self)

    def answer(self, session: Any, sentences: int, seed: int) -> float:
        """Run one batch in a session; its error as a share of what is allowed."""
        generator = torch.Generator().manual_seed(seed)
        lengths = [17 * (number + 1) for number in range(sentences)]
        starts = np.cumsum([0, *lengths]).astype(np.int32)
        shape = (sum(lengths), 3, HEADS, HEAD_DIM)
        qkv = torch.randn(shape, generator=generator).half()
        # Sessions hand out fp32; two fp16 numbers fit into each.
        answer = np.full((shape[0], HEADS * HEAD_DIM // 2), np.nan, np.float32)
        arrays = {"qkv": qkv.numpy().reshape(shape[0], -1), "cu_seqlens": starts}
        session.run(0, arrays, "out", answer.shape, answer)
        out = torch.from_numpy(answer.view(np.float16)).view(shape[0], HEADS, HEAD_DIM)
        exact = kernels.varlen_attention_reference(qkv, torch.from_numpy(starts), max(lengths))
        plain = largest_error(plain_attention(qkv.float(), torch.from_numpy(starts)), exact)
        return largest_error(out, exact) / (2 * plain + 2e-3)

    def close(self) -> None:
        """Unload the kernel."""
        self.device.enter()
        self.function.unload()
        self.device.close()


class PtxContext:
    """An execution context of :class:`PtxEngine`."""

    def __init__(self, engine: PtxEngine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.runs = 0

    def set_device_memory(self, address: int, size: int) -> None:
        """Nothing needs it."""

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        return number == 0

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.runs += 1
        # The second run is the one that is captured.
        if self.engine.refuse and self.runs == 2:
            return False
        tokens, sentences = self.shapes["qkv"][0], self.shapes["cu_seqlens"][0] - 1
        self.engine.function.launch(self.addresses, tokens, sentences, stream)
        return True
