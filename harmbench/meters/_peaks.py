"""Peak rates of devices, from their makers' data sheets: dense, without sparsity, at boost clock."""

from __future__ import annotations

from typing import Literal

# Part of the device's name -> 10^12 operations per second in bfloat16 (tensor cores, float32 sums) and in float32
# (no TF32, as torch computes unless told otherwise); None where the device has no such units. The first that fits
# counts. Sheets that give figures with 2:4 sparsity are halved. Only devices whose figures were found in a second place
# that quotes the sheet: Lightning (fabric/utilities/throughput.py), NeMo's performance guide, sellers' copies.
PEAKS: dict[str, tuple[float | None, float]] = {
    "H200": (989, 67),  # nvdam.widen.net/s/nb5zzzsjdf/hpc-datasheet-sc23-h200-datasheet-3002446: 1979 sparse
    "H100 PCIe": (756, 51),  # resources.nvidia.com/en-us-tensor-core/nvidia-tensor-core-gpu-datasheet: 1513 sparse
    "H100": (989, 67),  # the same, SXM: 1979 sparse
    "A100": (312, 19.5),  # nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf
    "A40": (149.7, 37.4),  # nvidia-a40-datasheet.pdf
    "A10": (125, 31.2),  # a10-datasheet.pdf
    "L40S": (362, 91.6),  # L40S data sheet: 733 sparse
    "L40": (181, 90.5),  # L40 data sheet: 362 sparse
    "L4": (121, 30.3),  # resources.nvidia.com/en-us-data-center-overview/l4-gpu-datasheet: 242 sparse
    "T4": (None, 8.1),  # t4-tensor-core-datasheet-951643.pdf
    "V100 PCIE": (None, 14.0),  # volta-v100-datasheet-update-us-1165301-r5.pdf
    "V100S PCIE": (None, 16.4),  # the same
    "V100": (None, 15.7),  # the same, SXM2
}
OTHERS = ("NVL",)  # cards that share a listed name, with clocks of their own, for which no second source was found


def peak_flops(device_name: str, precision: Literal["float32", "bfloat16"]) -> float | str:
    """Operations per second at most, or why that is not known.

    >>> peak_flops("NVIDIA A100-SXM4-80GB", "bfloat16"), peak_flops("Tesla T4", "float32")
    (312000000000000.0, 8100000000000.0)
    >>> peak_flops("Tesla V100-PCIE-16GB", "float32")
    14000000000000.0
    >>> peak_flops("NVIDIA H100 NVL", "float32")
    'no peak is listed for NVIDIA H100 NVL'
    """
    words = device_name.replace("-", " ").replace("_", " ") + " "
    listed = {} if any(f" {other} " in words for other in OTHERS) else PEAKS
    for part, (bfloat16, float32) in listed.items():
        if f" {part} " in f" {words}":
            peak = bfloat16 if precision == "bfloat16" else float32
            return f"{part} has no units for {precision}" if peak is None else peak * 1e12
    return f"no peak is listed for {device_name}"
