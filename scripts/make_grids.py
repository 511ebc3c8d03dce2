#!/usr/bin/env python3
"""Writes mistralrs-kernels/src/block/grids/<type>.bin: the combinations of magnitudes that the IQ types choose from.

A combination is a little-endian 16-bit word with the places of its magnitudes among those the type knows, from the
lowest bits on: eight of two bits, or four of three. They are parts of ggml's formats, taken from the `gguf` package
(pip install gguf numpy). Usage: make_grids.py [output folder]
"""

import sys
from pathlib import Path

import numpy as np
from gguf import quants

# IQ1_M chooses from the same combinations as IQ1_S.
TYPES = ("IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")


def words(name: str) -> np.ndarray:
    ty = getattr(quants, name)
    ty.init_grid()
    grid = ty.grid.reshape(ty.grid_shape)
    places = sum((grid == value) * place for place, value in enumerate(ty.grid_map))
    bits = 2 if grid.shape[1] == 8 else 3
    shifts = bits * np.arange(grid.shape[1])
    return (places.astype(np.uint16) << shifts).sum(axis=1).astype("<u2")


def main() -> None:
    folder = Path(__file__).parent.parent / "mistralrs-kernels/src/block/grids"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in TYPES:
        (folder / f"{name}.bin").write_bytes(words(name).tobytes())


if __name__ == "__main__":
    main()
