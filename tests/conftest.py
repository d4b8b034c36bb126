"""A cache of its own for every test run, and tiny checkpoints of every architecture and head."""

from __future__ import annotations

import gc
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import settings
from tests.tiny import save_checkpoint, save_tokenizer

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
# Tiny products are slower on several threads than on one, and two files run at a time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Triton reads it when it is first imported, which any test may do first.
os.environ.setdefault("TRITON_INTERPRET", "1")

# No test is held to a time of the wall clock.
settings.register_profile("xopt", deadline=None)
settings.load_profile("xopt")

REPOSITORY = Path(__file__).parents[1]
CheckpointFactory = Callable[..., Path]


# Files of more than a minute. They come first, each in its random order, so that no worker is left
# with one of them when the others have nothing left to do.
LONG = {
    "bulk/test_run_output.py",
    "cli/test_cli.py",
    "compile/test_heads.py",
    "compile/test_trace.py",
    "encoders/test_builds.py",
    "engines/cuda/test_answers.py",
    "engines/kernels/test_machine_code.py",
    "engines/tensorrt/test_rtx.py",
    "engines/tensorrt/test_rtx_rotary.py",
    "engines/test_openvino_attention.py",
    "evaluate/test_suite.py",
    "evaluate/test_tasks.py",
    "faults/test_harness.py",
    "model/test_compact.py",
    "model/test_libraries.py",
    "report/test_browser.py",
    "test_check_gpu.py",
    "test_reference.py",
    "tune/test_phases.py",
    "tune/test_resume.py",
    "tune/test_sweep.py",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests wait for other processes, browsers and servers."""
    return min(4, (os.cpu_count() or 1) + 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""
    tests = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(tests).as_posix() not in LONG)


def pytest_collection_finish() -> None:
    """What the tests' modules import lives to the end: a collection need not look at it again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Modules of C++ count what is left at the end."""
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws in PyTorch is the same every time, whichever tests ran before it."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """A logger that a test has silenced hides from later ones what they look for."""
    for name in [None, *(n for n in logging.root.manager.loggerDict if n.startswith("xopt"))]:
        logger = logging.getLogger(name)
        level = logging.WARNING if name is None else logging.NOTSET
        if logger.level != level or logger.disabled or not logger.propagate:
            pytest.fail(f"{item.nodeid} left the logger {logger.name} changed")
    if logging.root.manager.disable:
        pytest.fail(f"{item.nodeid} left logging disabled")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("XOPT_CACHE")
    os.environ["XOPT_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XOPT_CACHE"]
    else:
        os.environ["XOPT_CACHE"] = before


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all workers of this run share."""
    # Workers have a folder each in that of the run.
    base = tmp_path_factory.getbasetemp()
    kept = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    kept.mkdir(mode=0o700, exist_ok=True)
    return kept


@pytest.fixture(scope="session", autouse=True)
def compiler(run_folder: Path) -> Iterator[None]:
    """Compiles the same C++ once for all workers and caches."""
    if "CXX" in os.environ or not shutil.which("g++"):
        yield
        return
    script = Path(__file__).with_name("compiler.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "CXX", shlex.join([sys.executable, "-IS", str(script), str(run_folder), "g++"])
        )
        yield


@pytest.fixture(scope="session")
def made_once(run_folder: Path) -> Callable[[str, Callable[[Path], object]], Path]:
    """``made_once("name.json", write)``: the file, which the first worker that asks writes."""

    def find(name: str, write: Callable[[Path], object]) -> Path:
        path = run_folder / name
        with FileLock(f"{path}.lock"):
            if not path.exists():
                write(path)
        return path

    return find


@pytest.fixture(scope="session")
def warm_cache(cache: Path) -> Callable[[Path], None]:
    """Puts our compiled operations into another cache, as behind a machine's first run."""
    from xopt.engines.openvino import open_core
    from xopt.engines.openvino_native import load_attention

    load_attention(open_core())

    def into(other: Path) -> None:
        if (cache / "native").is_dir():
            shutil.copytree(cache / "native", other / "native")

    return into


@pytest.fixture(scope="session")
def tokenizer_file(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A small byte-level BPE over the calibration texts, with XLM-R's special tokens."""
    return made_once("tokenizer.json", save_tokenizer)


@pytest.fixture(scope="session")
def make_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path
) -> CheckpointFactory:
    """``make_checkpoint("bert", "tag", layers=2)``: random weights, the small tokenizer."""

    def make(
        model_type: str = "xlm-roberta",
        head: str = "embed",
        *,
        seed: int = 0,
        labels: list[str] | None = None,
        **changes: Any,
    ) -> Path:
        folder = tmp_path_factory.mktemp(f"{model_type}-{head}")
        save_checkpoint(folder, tokenizer_file, model_type, head, seed, labels, **changes)
        return folder

    return make


FLAGS = (
    "--no-sandbox --disable-gpu --disable-background-networking --no-first-run --disable-sync "
    "--disable-component-update --disable-quic"
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, headless; tests that need it skip where it is not."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium (Debian's package chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=FLAGS.split())
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def xtreme_data() -> Path:
    """Real XTREME data beside the repository; tests that need it skip where it is not."""
    folder = REPOSITORY.parent / "shared" / "data" / "xtreme"
    if not folder.is_dir():
        pytest.skip("the real XTREME data is not beside this repository")
    return folder


def _tags(task: str) -> list[str]:
    from xopt.evaluate.tasks import TASKS

    return list(reversed(TASKS.resolve(task).tags))  # type: ignore[attr-defined]


# Name -> head, and labels that stand in another order than the task's own, or the task's name.
TASK_HEADS: dict[str, tuple[str, list[str] | str | None]] = {
    "nli": ("classify", ["neutral", "contradiction", "ENTAILMENT"]),
    "pair": ("classify", ["1", "0"]),
    "pos": ("tag", "udpos"),
    "ner": ("tag", "panx"),
    "qa": ("span", None),
    "encoder": ("embed", None),
}


@pytest.fixture(scope="session")
def heads(make_checkpoint: CheckpointFactory) -> Callable[[str], Path]:
    """``heads("nli")``: the checkpoint's folder."""
    made: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in made:
            kind, labels = TASK_HEADS[name]
            labels = _tags(labels) if isinstance(labels, str) else labels
            made[name] = make_checkpoint("xlm-roberta", kind, labels=labels, seed=len(name))
        return made[name]

    return find


@pytest.fixture(scope="session")
def bundles(
    heads: Callable[[str], Path], tmp_path_factory: pytest.TempPathCheckpointFactory
) -> Callable[..., Any]:
    """``bundles("nli", "int8")``."""
    from xopt.artifacts import Bundle
    from xopt.compile.build import BuildOptions, build_bundle

    root = tmp_path_factory.mktemp("bundles")

    def find(name: str, precision: str = "fp32", target: str = "cpu") -> Any:
        out = root / f"{name}-{precision}-{target}"
        if not out.is_dir():
            options: dict[str, Any] = {"checkpoint": str(heads(name)), "precision": precision}
            options |= {"calibration_tokens": 512, "target": target, "out": str(out)}
            build_bundle(BuildOptions(**options))
        return Bundle.open(out)

    return find
