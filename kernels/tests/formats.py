# Writes formats.txt: blocks of every format and what the Python package `gguf` decodes them to.
"""python kernels/tests/formats.py

Each line is a format's name, blocks in hexadecimal, and the little-endian f32 values of their elements.
The blocks hold Gaussian numbers, numbers of very different size, zeros, and one row with extreme scales.
"""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

TYPES = {"f32": Type.F32, "f16": Type.F16, "bf16": Type.BF16, "q8_0": Type.Q8_0, "q4_0": Type.Q4_0}

random = np.random.default_rng(1)
rows = random.standard_normal((8, 64)).astype(np.float32)
rows[1] *= 1e-4
rows[2] *= 1e3
rows[3] = 0
rows[4, ::2] = 0
rows[5] = np.linspace(-1, 1, 64)
rows[6] = 60000 * np.sign(rows[6])
rows[7, 0] = 500

with (Path(__file__).parent / "formats.txt").open("w") as file:
    for name, type_ in TYPES.items():
        for row in rows:
            blocks = quantize(row[None], type_)
            values = dequantize(blocks, type_).astype("<f4")
            print(name, blocks.tobytes().hex(), values.tobytes().hex(), row.astype("<f4").tobytes().hex(), file=file)
