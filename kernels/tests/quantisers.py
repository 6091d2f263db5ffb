# Writes quantisers.txt: the squared error that llama.cpp's quantiser makes, as `xllamacpp` carries it.
"""python kernels/tests/quantisers.py

Each line is a format's name, that of some data, and the sums of squared errors over them: without an importance matrix, and
with one, each error weighted by its column's importance. Rows have 512 elements.

The data are made by integers and by products of single precision, or are the first rows of a tensor of the demo's master, so
that quantisers.rs has the same.
"""

import ctypes
import json
from pathlib import Path

import numpy as np
import xllamacpp
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

HERE = Path(__file__).resolve().parent
MASTER = HERE / "../../models/demo/master/model.safetensors"
FORMATS = "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS"
TENSORS = ["model.embed_tokens.weight", "model.layers.0.self_attn.k_proj.weight", "model.layers.3.mlp.down_proj.weight"]
ROWS, COLUMNS = 32, 512

LIBRARY = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))))
LIBRARY.ggml_quantize_chunk.restype = ctypes.c_size_t


def uniform(count):
    """Integers of 64 bits: SplitMix64 of the numbers 1, 2, 3, ..."""
    with np.errstate(over="ignore"):
        bits = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ bits >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ bits >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        return bits ^ bits >> np.uint64(31)


def gaussian(count):
    """Nearly Gaussian numbers: each the sum of twelve integers of 16 bits, which single precision holds exactly."""
    sums = (uniform(12 * count) >> np.uint64(48)).astype(np.int64).reshape(count, 12).sum(1)
    return ((sums - 6 * 65535) / 65536).astype(np.float32)


def tensor(name):
    file = MASTER.read_bytes()
    begin = 8 + int.from_bytes(file[:8], "little")
    start = begin + json.loads(file[8:begin])[name]["data_offsets"][0]
    return (np.frombuffer(file, "<u2", ROWS * COLUMNS, start).astype(np.uint32) << 16).view(np.float32)


def quantised(kind, rows, importance):
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = np.empty((ROWS, COLUMNS // elements * size), np.uint8)
    arrays = [None if array is None else array.ctypes.data_as(ctypes.c_void_p) for array in (rows, blocks, importance)]
    counts = [ctypes.c_int64(count) for count in (0, ROWS, COLUMNS)]
    assert LIBRARY.ggml_quantize_chunk(int(kind), *arrays[:2], *counts, arrays[2]) == blocks.size
    return dequantize(blocks, kind)


def main():
    numbers = gaussian(ROWS * COLUMNS)
    data = {
        "gaussian": numbers,
        "small": numbers * np.float32(2**-8),
        "tiny": numbers * np.float32(2**-17),
        "heavy": numbers * numbers * numbers,
        "positive": numbers * numbers,
        **{name: tensor(name) for name in TENSORS},
    }
    importance = gaussian(COLUMNS) ** 2 + np.float32(2**-6)
    with (HERE / "quantisers.txt").open("w") as file:
        for name in FORMATS.split():
            for kind, numbers in data.items():
                rows = np.ascontiguousarray(numbers.reshape(ROWS, COLUMNS))
                square = lambda decoded: (decoded.astype(np.float64) - rows) ** 2
                plain = square(quantised(Type[name], rows, None)).sum()
                weighted = (square(quantised(Type[name], rows, importance)) * importance).sum()
                print(name.lower(), kind, f"{plain:.9g} {weighted:.9g}", file=file)


if __name__ == "__main__":
    main()
