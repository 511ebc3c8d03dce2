#!/usr/bin/env python3
"""Writes mistralrs-kernels/tests/data/<type>.bin: blocks and the numbers they stand for.

Blocks are random bytes with chosen scales (ordinary, zero, subnormal, largest finite, negative);
the numbers come from the `gguf` package (pip install gguf numpy). File: all blocks, then all
numbers as little-endian f32. Usage: make_block_fixtures.py [output folder]
"""

import sys
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

# type -> byte offsets of the half-precision scales within a block
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0], "IQ3_S": [0], "IQ3_XXS": [0], "IQ2_S": [0], "IQ2_XS": [0], "IQ2_XXS": [0],
    "IQ1_M": [], "IQ1_S": [0],
}
# as bits: 0.01, -0.3, 0, -0, smallest subnormal, largest subnormal, largest, -largest
HALVES = [0x211F, 0xB4CD, 0x0000, 0x8000, 0x0001, 0x03FF, 0x7BFF, 0xFBFF]


def blocks_of(name: str, random: np.random.Generator) -> np.ndarray:
    length, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    blocks = random.integers(0, 256, (len(HALVES), size), dtype=np.uint8)
    for i, bits in enumerate(HALVES):
        for which, offset in enumerate(SCALES[name]):
            half = bits if which == 0 else HALVES[(i * 3 + 1) % len(HALVES)]
            blocks[i, offset : offset + 2] = (half & 255, half >> 8)
        if name == "IQ1_M":  # four bits in the high nibble of every second byte
            nibbles = [bits >> shift & 15 for shift in (0, 4, 8, 12)]
            blocks[i, 49::2] = blocks[i, 49::2] & 15 | np.uint8(nibbles) << 4
    return blocks


def dense_of(name: str, random: np.random.Generator) -> np.ndarray:
    if name == "F32":
        return random.integers(0, 2**32, 64, dtype=np.uint32).view(np.uint8).reshape(1, -1)
    bits = random.integers(0, 2**16, 64, dtype=np.uint16)
    bits[:6] = (0x0000, 0x8000, 0x0001, 0x03FF, 0x7BFF, 0x7C00)
    finite = bits[(bits & 0x7C00 != 0x7C00) | (bits == 0x7C00)] if name == "F16" else bits
    return finite.view(np.uint8).reshape(1, -1)


def main() -> None:
    folder = Path(__file__).parent.parent / "mistralrs-kernels/tests/data"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in [*SCALES, "F16", "BF16", "F32"]:
        random = np.random.default_rng(sum(name.encode()))
        blocks = blocks_of(name, random) if name in SCALES else dense_of(name, random)
        if name == "F16":
            numbers = blocks.view(np.float16).astype(np.float32)
        elif name == "F32":
            numbers = blocks.view(np.float32)
        else:
            numbers = dequantize(blocks, GGMLQuantizationType[name])
        with open(folder / f"{name}.bin", "wb") as file:
            file.write(blocks.tobytes() + numbers.astype("<f4").tobytes())


if __name__ == "__main__":
    main()
