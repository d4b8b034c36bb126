"""Reading and checking the PTX that Triton makes."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from triton.backends.nvidia.compiler import get_ptxas

from xopt.errors import BuildError

__all__ = ["Assembly", "assemble_ptx", "matrix_instructions", "strip_hidden_parameters"]

HIDDEN_PARAMETERS = 2
MATRIX_INSTRUCTION = re.compile(r"\b(?:mma\.sync|wgmma\.mma_async|tcgen05\.mma)\.[\w.:]+")


@dataclass(frozen=True)
class Assembly:
    """What the assembler says about a kernel.

    Attributes:
        target: the architecture assembled for, such as ``"sm_90a"``.
        matrix_instructions: each matrix instruction in the PTX with the times it occurs.
        registers: per thread.
        spill_bytes: per thread, stores and loads; 0 in a kernel whose tile fits.
        cubin: the machine code, an ELF file.
    """

    target: str
    matrix_instructions: Mapping[str, int]
    registers: int
    spill_bytes: int
    cubin: bytes


def strip_hidden_parameters(ptx: str, entry: str, expected: int) -> str:
    """Remove the two parameters that Triton appends to a kernel for its scratch memory.

    A runtime that knows only the declared arguments, such as TensorRT, passes nothing for them.

    Args:
        ptx: the module.
        entry: name of its kernel.
        expected: number of arguments that the kernel declares.

    Raises:
        BuildError: the parameters are not the declared ones and two pointers, or the code reads
            one of the two.
    """
    found = re.search(rf"\.entry {re.escape(entry)}\((?P<list>[^)]*)\)", ptx)
    parameters = [] if found is None else [p.strip() for p in found["list"].split(",")]
    hidden = parameters[expected:]
    if found is None or len(hidden) != HIDDEN_PARAMETERS or not all(".u64" in p for p in hidden):
        raise BuildError(
            f"The PTX of {entry} has the parameters {parameters}; expected {expected} and Triton's"
            f" {HIDDEN_PARAMETERS} scratch pointers.",
            hint="This release of Triton passes arguments differently: use one that was tested.",
        )
    body = ptx[found.end() :]
    for parameter in hidden:
        name = parameter.split()[-1]
        if re.search(rf"\b{re.escape(name)}\b", body):
            raise BuildError(f"The code of {entry} reads Triton's scratch pointer {name}.")
    kept = ",\n\t".join(parameters[:expected])
    return f"{ptx[: found.start('list')]}\n\t{kept}\n{ptx[found.end('list') :]}"


def matrix_instructions(ptx: str) -> dict[str, int]:
    """Each matrix instruction in the PTX (mma, wgmma or tcgen05) with the times it occurs."""
    return dict(Counter(MATRIX_INSTRUCTION.findall(ptx)))


def assemble_ptx(ptx: str) -> Assembly:
    """Assemble with the ptxas that Triton brings; needs neither a GPU nor a driver.

    Raises:
        BuildError: ptxas refuses the PTX.
    """
    found = re.search(r"^\.target (sm_(\d+)a?)", ptx, re.MULTILINE)
    if found is None:
        raise BuildError("The PTX names no target architecture.")
    target, sm = found[1], int(found[2])
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx)
        run = subprocess.run(
            [get_ptxas(sm).path, "-v", f"--gpu-name={target}", source, "-o", cubin],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise BuildError(f"ptxas refuses the PTX for {target}: {run.stderr.strip()}")
        code = cubin.read_bytes()
    registers = re.search(r"Used (\d+) registers", run.stderr)
    spills = re.findall(r"(\d+) bytes spill", run.stderr)
    return Assembly(
        target=target,
        matrix_instructions=matrix_instructions(ptx),
        registers=int(registers[1]) if registers else 0,
        spill_bytes=sum(map(int, spills)),
        cubin=code,
    )
