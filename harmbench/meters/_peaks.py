"""What devices can do at most, by their makers' data sheets: dense, without sparsity, at boost clock."""

from __future__ import annotations

from typing import Literal

# Part of the device's name -> 10^12 operations per second in bfloat16 (tensor cores, float32 sums) and in float32
# (no TF32, as torch computes unless told otherwise); None where the device has no such units. The first that fits
# counts.
PEAKS: dict[str, tuple[float | None, float]] = {
    "H200 NVL": (836, 60),
    "H200": (989, 67),
    "GH200": (989, 67),
    "H100 NVL": (836, 60),
    "H100 PCIe": (756, 51),
    "H100": (989, 67),
    "A100": (312, 19.5),
    "A30": (165, 10.3),
    "A40": (149.7, 37.4),
    "A10": (125, 31.2),
    "L40S": (362, 91.6),
    "L40": (181, 90.5),
    "L4": (121, 30.3),
    "T4": (None, 8.1),
    "V100": (None, 15.7),
    "RTX 4090": (165.2, 82.6),
    "RTX 3090": (71, 35.6),
}


def peak_flops(device_name: str, precision: Literal["float32", "bfloat16"]) -> float | str:
    """Operations per second at most, or why that is not known.

    >>> peak_flops("NVIDIA A100-SXM4-80GB", "bfloat16"), peak_flops("Tesla T4", "float32")
    (312000000000000.0, 8100000000000.0)
    >>> peak_flops("some processor", "float32")
    'no peak is listed for some processor'
    """
    words = device_name.replace("-", " ").replace("_", " ") + " "
    for part, (bfloat16, float32) in PEAKS.items():
        if f" {part} " in f" {words}":
            peak = bfloat16 if precision == "bfloat16" else float32
            return f"{part} has no units for {precision}" if peak is None else peak * 1e12
    return f"no peak is listed for {device_name}"
