# Makes formats.md: what each weight format costs the demo model, as `ply perplexity` tells it.
"""Quantises the demo's master to every type that llama.cpp's quantiser writes without an importance matrix.

    python models/demo/formats.py [PLY]

The text is the end of the novel, which the training did not see; the reference is the master in F32.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

from export import write

HERE = Path(__file__).resolve().parent
TEXT = Path(os.environ.get("PLYWOOD_DATA", HERE / "../../../shared/data")) / "text" / "pride_and_prejudice.txt"
PLY = sys.argv[1] if len(sys.argv) > 1 else str(HERE / "../../target/release/ply")

TYPES = "F16 BF16 Q8_0 Q6_K Q5_K Q5_1 Q5_0 Q4_K Q4_1 Q4_0 IQ4_NL IQ4_XS NVFP4 MXFP4 IQ3_S IQ3_XXS Q3_K IQ2_S Q2_K TQ2_0 TQ1_0"
VALIDATION_CHARACTERS = 6_000
CONTEXT = 256

LIBRARY = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))))
LIBRARY.ggml_quantize_chunk.restype = ctypes.c_size_t


def encoder(name):
    """Rows to blocks of a type, by llama.cpp's own quantiser."""
    kind = gguf.GGMLQuantizationType[name]

    def encode(rows):
        if name in ("F32", "F16", "BF16"):
            return gguf.quants.quantize(rows, kind), kind
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        rows = np.ascontiguousarray(rows, np.float32)
        blocks = np.empty((rows.shape[0], rows.shape[1] // elements * size), np.uint8)
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (rows, blocks)]
        counts = [ctypes.c_int64(count) for count in (0, *rows.shape)]
        assert LIBRARY.ggml_quantize_chunk(int(kind), *pointers, *counts, None) == blocks.size
        return blocks, kind

    return encode


def bits_per_weight(name):
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    return size * 8 / elements


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        text = folder / "text.txt"
        text.write_text(TEXT.read_text(encoding="utf-8")[-VALIDATION_CHARACTERS:], encoding="utf-8")
        reference = folder / "F32.gguf"
        write(reference, encoder("F32"))
        rows = []
        for name in TYPES.split():
            model = folder / f"{name}.gguf"
            write(model, encoder(name))
            arguments = [PLY, "perplexity", model, text, "-c", str(CONTEXT), "--against", reference, "--exact", "--json"]
            told = subprocess.run(arguments, capture_output=True, text=True)
            if told.returncode != 0:
                print(f"{name}: {told.stderr.strip()}", file=sys.stderr)
                continue
            score = json.loads(told.stdout)
            against = score["against"]
            rows.append(
                f"| {name.lower()} | {bits_per_weight(name):.4g} | {score['perplexity']:.2f} | {against['kl']:.5f} "
                f"| {against['same_top'] * 100:.1f} % |"
            )
            print(rows[-1])
    lines = [
        "# What each format costs the demo model",
        "",
        f"Made by `formats.py`: every matrix of the bf16 master in one type, by llama.cpp's quantiser; windows of {CONTEXT} tokens of the",
        f"novel's last {VALIDATION_CHARACTERS:,} characters, {score['tokens']} tokens scored; KL divergence in nats per token from the master in F32.",
        "So few tokens leave the perplexities within noise of each other; the divergence is the column to read. The model is tiny, so that",
        "few bits cost it more than they cost a large one; the ternary types are for models trained for them.",
        "",
        "| type | bits per weight | perplexity | KL divergence | same top token |",
        "|---|---:|---:|---:|---:|",
        *rows,
    ]
    (HERE / "formats.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
