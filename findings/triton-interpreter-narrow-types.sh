#!/usr/bin/env bash
# Triton's interpreter (TRITON_INTERPRET=1): float32 to bfloat16 cuts instead of rounding, NaN to FP8 (E4M3) is 384, and a bfloat16 dot multiplies the bits.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${PYTHON:-python3}" -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install --quiet torch==2.13.0 triton==3.9.0 numpy==2.4.6
"$tmp/venv/bin/python" - <<'PY'
import os
import sys
import tempfile

os.environ["TRITON_INTERPRET"] = "1"
source = '''
import torch, triton, triton.language as tl

@triton.jit
def cast(source, target, size: tl.constexpr, kind: tl.constexpr):
    i = tl.arange(0, size)
    tl.store(target + i, tl.load(source + i).to(kind))

@triton.jit
def product(source, target, size: tl.constexpr):
    i = tl.arange(0, size)
    place = i[:, None] * size + i[None, :]
    x = tl.load(source + place)
    tl.store(target + place, tl.dot(x, x))

def casts(values, dtype, kind):
    out = torch.empty(len(values), dtype=dtype)
    cast[(1,)](torch.tensor(values), out, len(values), kind)
    return out.float().tolist(), torch.tensor(values).to(dtype).float().tolist()

def dot(dtype):
    x, out = torch.full((32, 32), 1.5, dtype=dtype), torch.zeros(32, 32)
    product[(1,)](x, out, 32)
    return out[0, 0].item(), (x.float() @ x.float())[0, 0].item()

print("triton", triton.__version__, "torch", torch.__version__)
seen = {
    "bfloat16": casts([1.01171875, 1.00390625, 3.3895e38, 2.0], torch.bfloat16, tl.bfloat16),
    "E4M3": casts([float("nan"), 448.0, 0.3, 2.0], torch.float8_e4m3fn, tl.float8e4nv),
    "dot float16": dot(torch.float16),
    "dot bfloat16": dot(torch.bfloat16),
}
'''
# Triton reads a kernel's source from its file.
with tempfile.TemporaryDirectory() as folder:
    with open(os.path.join(folder, "kernels.py"), "w") as file:
        file.write(source)
    sys.path.insert(0, folder)
    from kernels import seen

print("expected    tl.cast rounds to nearest even, as PyTorch does; a type that the interpreter cannot compute with is refused")
for name, (interpreted, wanted) in seen.items():
    print(f"{name:13} interpreter {interpreted}  PyTorch {wanted}")
same = {name: interpreted == wanted for name, (interpreted, wanted) in seen.items()}
if same["bfloat16"] or seen["E4M3"][0][0] != 384.0 or same["dot bfloat16"] or not same["dot float16"]:
    raise SystemExit("CHANGED: narrow types are rounded or refused")
print("SEEN: a kernel tested in the interpreter is off by a whole unit of bfloat16, and an overflow looks like a number.")
PY
