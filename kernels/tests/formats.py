# Writes formats.txt: blocks of every format and what the Python package `gguf` decodes them to.
"""python kernels/tests/formats.py

Each line is a format's name, blocks in hexadecimal, and the little-endian f32 values of their elements; where `gguf`
encodes the format as we do, the values that the blocks were made from follow. Those are Gaussian numbers, numbers of very
different size, zeros, and a row with extreme scales.

Blocks of a format that is only read, or whose encoder searches (quantisers.py), are random bits, with scales that are finite:
small, ordinary and large ones, zeros, and with all bits of the codes set. Those after them were written by llama.cpp's own
quantiser, which `xllamacpp` carries.
"""

import ctypes
from pathlib import Path

import numpy as np
import xllamacpp
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

ENCODED = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "MXFP4", "TQ1_0", "TQ2_0"]

# Formats that are not written as `gguf` does, and where the half-precision numbers of a block begin. IQ1_M's is in pieces.
READ = {
    **{"Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]},
    **{"IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0], "IQ1_S": [0], "IQ1_M": None},
}

# Formats that llama.cpp writes only with an importance of each column.
IMPORTANCE = [Type.IQ2_XXS, Type.IQ2_XS, Type.IQ1_S]

random = np.random.default_rng(1)


def made_rows(width):
    rows = random.standard_normal((8, width)).astype(np.float32)
    rows[1] *= 1e-4
    rows[2] *= 1e3
    rows[3] = 0
    rows[4, ::2] = 0
    rows[5] = np.linspace(-1, 1, width)
    rows[6] = 60000 * np.sign(rows[6])
    rows[7, 0] = 500
    return rows


def random_blocks(type_, halves):
    elements, size = GGML_QUANT_SIZES[type_]
    blocks = random.integers(0, 256, (5 * 256 // elements, size), np.uint8)
    kinds = np.split(blocks, 5)
    for kind, scale in zip(kinds, [0.01, 1, 60, 0, 1]):
        numbers = [(scale * random.standard_normal(len(kind))).astype("<f2") for _ in halves or [0]]
        set_halves(kind, halves, numbers)
    kinds[4][:] = 255
    set_halves(kinds[4], halves, numbers)
    return kinds


def set_halves(blocks, halves, numbers):
    if halves is None:
        for nibble, byte in enumerate([49, 51, 53, 55]):
            bits = numbers[0].view("<u2") >> (4 * nibble) & 15
            blocks[:, byte] = blocks[:, byte] & 15 | bits << 4
        return
    for at, numbers in zip(halves, numbers):
        blocks[:, at : at + 2] = numbers[:, None].view(np.uint8)


def llama_cpp_blocks(type_, rows):
    library = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))))
    elements, size = GGML_QUANT_SIZES[type_]
    blocks = np.empty((len(rows), rows.shape[1] // elements * size), np.uint8)
    source, target = rows.ctypes.data_as(ctypes.c_void_p), blocks.ctypes.data_as(ctypes.c_void_p)
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    sizes = [ctypes.c_int64(number) for number in (0, *rows.shape)]
    # Some formats are only written with an importance of each column: here all are equal.
    importance = np.ones(rows.shape[1], np.float32).ctypes.data_as(ctypes.c_void_p) if type_ in IMPORTANCE else None
    assert library.ggml_quantize_chunk(int(type_), source, target, *sizes, importance) == blocks.size
    return list(blocks)


def text(array):
    return array.tobytes().hex()


with (Path(__file__).parent / "formats.txt").open("w") as file:
    for name in ENCODED:
        type_ = Type[name]
        for row in made_rows(max(64, GGML_QUANT_SIZES[type_][0])):
            blocks = quantize(row[None], type_)
            values = dequantize(blocks, type_).astype("<f4")
            print(name.lower(), text(blocks), text(values), text(row.astype("<f4")), file=file)
    # `gguf` only decodes NVFP4: llama.cpp's quantiser wrote these.
    for row in made_rows(64):
        blocks = llama_cpp_blocks(Type.NVFP4, row[None])[0]
        print("nvfp4", text(blocks), text(dequantize(blocks, Type.NVFP4).astype("<f4")), text(row.astype("<f4")), file=file)
    for name, halves in READ.items():
        for blocks in random_blocks(Type[name], halves) + llama_cpp_blocks(Type[name], made_rows(256)[[0, 1, 4, 7]]):
            values = dequantize(blocks, Type[name]).astype("<f4")
            assert np.isfinite(values).all()
            print(name.lower(), text(blocks), text(values), file=file)
    # Doubles of single precision.
    for row in made_rows(64):
        print("f64", text(row.astype("<f8")), text(row.astype("<f4")), text(row.astype("<f4")), file=file)
