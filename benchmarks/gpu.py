"""Compiles every Triton kernel for NVIDIA GPUs, none of which need be here, and tells what each would use of one.

    python benchmarks/gpu.py [--markdown] [--quick] [OPERATOR...]

Needs `pip install triton`; its wheel brings NVIDIA's assembler and disassembler. A kernel that spills registers, or
keeps anything in thread-local memory, makes the exit status 1. Loop columns are for the innermost loop of the
machine code: all instructions of one turn (four coordinates of a tile of pairs), and those among them that do
arithmetic on float32. `--quick`: sm_90, and the tile for large problems only.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from harmbench.nn.kernels import gpu
from harmbench.nn.kernels.operators import OPERATORS, TritonKernel

KERNELS = {kernel.name: kernel for record in OPERATORS.values() for kernel in record.triton_kernels}
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
WORDS = """compiled, not run.
Registers a thread, bytes of stack a thread, bytes of shared memory a block; instructions of the innermost loop, and
those of them that do arithmetic on float32.

`forward`: distances. `again`: pairs that left the range of float32, or need 1 - d with all digits. `dx`, `dw`:
gradients of features and of centers."""
ARITHMETIC = ("FADD", "FFMA", "FMUL", "FMNMX", "FSETP", "FSEL", "MUFU", "FSET", "FCHK")


class Use(NamedTuple):
    """What a compiled kernel uses: registers a thread, bytes a thread (stack) and a block (shared), instructions."""

    kernel: str
    capability: int
    tile: tuple[int, int]
    warps: int
    registers: int
    stack: int
    shared: int
    loop: int
    arithmetic: int


def _compile(kernel: Any, capability: int, warps: int, ones: tuple[str, ...], constants: dict[str, Any]) -> Any:
    """As a call would: pointers and the length of vectors divisible by 16, `ones` known to be 1."""
    scalars = {"option": "fp32", "low": "fp32", "high": "fp32", "smoothing": "fp32", "floor": "fp32"}
    pointers = {"targets_ptr": "*i64", "all_weights_ptr": "*fp64"}
    constants = {**constants, **dict.fromkeys(ones, 1)}
    signature, hints = {}, {}
    for place, name in enumerate(kernel.arg_names):
        signature[name] = "constexpr" if name in constants else scalars.get(name, "i32")
        if name.endswith("_ptr"):
            signature[name] = pointers.get(name, "*fp32")
        if name.endswith("_ptr") or name == "N":
            hints[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constexprs=constants, attrs=hints)
    options = {"num_warps": warps, "enable_fp_fusion": True}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def _use(name: str, compiled: Any, capability: int, tile: tuple[int, int], warps: int) -> Use:
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        binary.write_bytes(compiled.asm["cubin"])
        said = _run("cuobjdump", "-res-usage", binary)
        code = _run("nvdisasm", "-c", binary)
    numbers = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", said)}
    loop = max(_loops(code), key=len, default=[])
    arithmetic = sum(instruction.startswith(ARITHMETIC) for instruction in loop)
    stack = numbers["STACK"] + numbers["LOCAL"]
    return Use(name, capability, tile, warps, numbers["REG"], stack, compiled.metadata.shared, len(loop), arithmetic)


def _run(tool: str, *arguments: str | Path) -> str:
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=True).stdout


def _loops(code: str) -> Iterator[list[str]]:
    """Instructions of each loop that holds no other: from a label to the branch back to it."""
    labels: dict[str, int] = {}
    lines: list[str] = []
    for line in code.splitlines():
        if found := re.match(r"\s*(\.L_x_\d+):", line):
            labels[found[1]] = len(lines)
        elif found := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]+)(.*)", line):
            lines.append(found[1])
            target = re.search(r"\.L_x_\d+", found[2])
            if found[1].startswith("BRA") and target and target[0] in labels:
                start = labels[target[0]]
                if len(lines) - start > 4:
                    yield lines[start:]
                labels = {name: at for name, at in labels.items() if at > start}


def _tiles(kernel: TritonKernel, quick: bool) -> list[tuple[int, int]]:
    """What `gpu.tile` chooses for few, some and many vectors or coordinates; for `quick`, for many only."""
    counts = (1 << 20,) if quick else (8, 100, 1 << 20)
    return sorted({gpu.tile(down, across, kernel.is_heavy) for down in counts for across in counts}, reverse=True)


def uses(quick: bool, names: Sequence[str]) -> Iterator[Use]:
    """Every kernel of these names, for every architecture and tile."""
    kernels = [KERNELS[name] for name in names]
    repeated = [kernel for kernel in kernels if kernel.again is not None]
    repeated += [kernel.rest for kernel in kernels if kernel.has_rest]
    whole = [(kernel, kernel.first, False) for kernel in (*kernels, gpu.TIES)]
    again = [(kernel, kernel.again, True) for kernel in repeated]
    for capability in (90,) if quick else (90, 80):
        for kernel, first, partial in (*whole, *again):
            for tile in _tiles(kernel, quick):
                flags = {"HAS_AUX": kernel.has_aux and not partial, "PARTIAL": partial}
                constants = {"OP": kernel.name, "FIRST": first, **flags, "BM": tile[0], "BK": tile[1]}
                compiled = _compile(gpu._forward, capability, gpu.warps(*tile), (), constants)
                name = f"{'again' if partial else 'forward'} {kernel.name}"
                yield _use(name, compiled, capability, tile, gpu.warps(*tile))
        for kernel in kernels:
            for tile in _tiles(kernel, quick):
                constants = {"OP": kernel.name, "HAS_C2": kernel.has_c2, "BM": tile[0], "BF": tile[1]}
                for side, ones in (("dx", ("other_stride",)), ("dw", ("own_stride",))):
                    compiled = _compile(gpu._backward, capability, gpu.warps(*tile), ones, constants)
                    yield _use(f"{side} {kernel.name}", compiled, capability, tile, gpu.warps(*tile))
        for block in (2048,) if quick else (2048, 1024, 16):
            warps = 8 if block > 1024 else 4
            compiled = _compile(gpu._harmonic, capability, warps, (), {"HAS_WEIGHTS": True, "BLOCK": block})
            yield _use("harmonic", compiled, capability, (1, block), warps)


def main() -> None:
    """Print a line for each kernel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("operators", nargs="*", metavar="OPERATOR", help=", ".join(KERNELS))
    asked = parser.parse_args()
    unknown = set(asked.operators) - set(KERNELS)
    if unknown:
        parser.error(f"no operator {', '.join(sorted(unknown))}; there are {', '.join(KERNELS)}")
    heads = ("kernel", "sm", "tile", "warps", "registers", "stack", "shared", "loop", "arithmetic")
    if asked.markdown:
        command = " ".join(["python benchmarks/gpu.py", *sys.argv[1:]])
        sys.stdout.write(f"# What the Triton kernels use\n\n`{command}`, Triton {triton.__version__}; {WORDS}\n\n")
        sys.stdout.write(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}\n")
    spilling = 0
    for use in uses(asked.quick, asked.operators or tuple(KERNELS)):
        cells = [f"{cell[0]} x {cell[1]}" if isinstance(cell, tuple) else str(cell) for cell in use]
        sys.stdout.write(f"| {' | '.join(cells)} |\n" if asked.markdown else "  ".join(cells) + "\n")
        sys.stdout.flush()
        spilling += use.stack > 0
    sys.exit(f"{spilling} kernels spill registers" if spilling else 0)


if __name__ == "__main__":
    main()
