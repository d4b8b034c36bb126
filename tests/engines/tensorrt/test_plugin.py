"""The attention plugin's choices, and how strict the fake of ``tensorrt.plugin`` is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from xopt.engines.tensorrt import plugin
from xopt.errors import BuildError, UnsupportedError

HERE = Path(__file__).parent


@pytest.fixture
def fake() -> ModuleType:
    """A fresh ``tensorrt`` and ``tensorrt.plugin`` in one, with nothing registered."""
    spec = importlib.util.spec_from_file_location("fake_plugin", HERE / "fake_plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_registers_tensors_then_attributes(fake: ModuleType) -> None:
    plugin.register_plugins(fake, fake, plugin.PluginTarget())
    found = {k: (p.tensors, p.attributes) for k, p in fake.REGISTRY.items()}
    # As ONNX's library sorts them: the real one hands them over by position in the node's order.
    sizes = {"head_dim": int, "heads": int}
    assert found == {
        "xopt::VarlenAttention": (["qkv", "cu_seqlens"], sizes),
        "xopt::VarlenAttentionInt8": (
            ["qkv", "cu_seqlens", "qkv_scale"],
            sizes | {"out_int8": int},
        ),
    }
    assert all(list(p.attributes) == sorted(p.attributes) for p in fake.REGISTRY.values())
    assert all(p.autotune and p.launch for p in fake.REGISTRY.values())


def test_tensorrt_may_not_ask_for_a_kernel_that_was_not_offered() -> None:
    kernels: Any = ("a", "b")
    assert [plugin._choose(kernels, tactic) for tactic in (0, 1, 2)] == ["a", "a", "b"]
    with pytest.raises(BuildError, match="tactic 3; there are 2"):
        plugin._choose(kernels, 3)


@pytest.mark.parametrize(
    ("device", "ampere_plus", "expected"),
    [(80, False, 80), (89, False, 89), (89, True, 80), (90, False, 90), (110, False, 89)],
)
def test_the_kernel_is_compiled_for_what_runs_it(
    device: int, ampere_plus: bool, expected: int
) -> None:
    assert plugin.plugin_sm(device, ampere_plus=ampere_plus) == expected


def test_turing_is_sent_to_native_attention() -> None:
    with pytest.raises(UnsupportedError, match="SM 75") as caught:
        plugin.plugin_sm(75)
    assert "--attention native" in caught.value.hint


class TestTheFakeIsStrict:
    """Refusing what the real ``tensorrt.plugin`` refuses is what gives the tests above a value."""

    def test_a_number_left_of_an_expression(self, fake: ModuleType) -> None:
        size = fake.ShapeExpr(lambda sizes: sizes["T"])
        assert (size * 2 + 1).evaluate({"T": 4}) == 9
        for operation in (lambda: 2 * size, lambda: 1 + size, lambda: int(size), lambda: size / 2):
            with pytest.raises(TypeError):
                operation()
        with pytest.raises(RuntimeError):
            bool(size < 5)

    def test_hints_as_strings(self, fake: ModuleType) -> None:
        def describe(qkv: Any) -> Any:
            return qkv

        with pytest.raises(TypeError):
            fake.register("a::b")(describe)

    def test_missing_hints_defaults_and_order(self, fake: ModuleType) -> None:
        desc = fake.TensorDesc

        def hinted(function: Any, **hints: Any) -> Any:
            function.__annotations__ = {**hints, "return": desc}
            return function

        cases = [
            (hinted(lambda x: x), "no type hint"),
            (hinted(lambda x, n=1: x, x=desc, n=int), "default value"),
            (hinted(lambda x, n, y: x, x=desc, n=int, y=desc), "behind an attribute"),
            (hinted(lambda n, x: x, n=int, x=desc), "tensors come first"),
            (hinted(lambda x, tactic: x, x=desc, tactic=int), "no attribute"),
            (hinted(lambda x, n: x, x=desc, n=list), "no attribute"),
        ]
        for function, message in cases:
            with pytest.raises(ValueError, match=message):
                fake.register("a::b")(function)
        for name in ("trt::b", "a.c::b", "::b"):
            with pytest.raises(ValueError, match="name"):
                fake.register(name)

    def test_extra_arguments_of_other_types(self, fake: ModuleType) -> None:
        params, extra = fake.KernelLaunchParams(), fake.SymIntExprs(1)
        with pytest.raises(AttributeError):
            params.cluster_x = 2
        for wrong in (5, fake.SymInt16(5)):
            extra[0] = wrong
            with pytest.raises(TypeError, match="SymInt32"):
                fake._launchable("name", "ptx", params, extra)
        extra[0] = fake.SymInt32(5)
        assert fake._launchable("name", "ptx", params, extra)["extra"][0]({}) == 5

    def test_other_types_than_the_networks(self, fake: ModuleType) -> None:
        plugin.register_plugins(fake, fake, plugin.PluginTarget())
        kernels = fake.REGISTRY["xopt::VarlenAttention"]
        kernels.autotune = lambda *arguments: [fake.AutoTuneCombination("INT8, INT32, INT8")]
        tensors = [(["T", 192], "HALF"), (["B1"], "INT32")]
        with pytest.raises(ValueError, match="strongly typed"):
            fake.build_layer("xopt::VarlenAttention", tensors, {"heads": 1, "head_dim": 64})
