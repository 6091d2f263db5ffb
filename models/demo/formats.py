# Makes formats.md: what each weight format costs the demo model, as `ply perplexity` tells it.
"""Quantises the demo's master to every type, by `ply quantize` where it writes the type, and by llama.cpp's quantiser.

    python models/demo/formats.py [PLY]

The text is the end of the novel, which the training did not see; the reference is the master in F32. Each model continues a
prompt on every adapter here, by float kernels: the tokens must be the same, or differ first where two logits are as good as equal.
"""

import ctypes
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import xllamacpp
from safetensors.numpy import load_file

from export import write

HERE = Path(__file__).resolve().parent
TEXT = Path(os.environ.get("PLYWOOD_DATA", HERE / "../../../shared/data")) / "text" / "pride_and_prejudice.txt"
PLY = sys.argv[1] if len(sys.argv) > 1 else str(HERE / "../../target/release/ply")

# Type, and whether an importance matrix is used, as llama.cpp's quantiser wants it for its smallest types.
TYPES = [
    *((name, False) for name in "f32 f16 bf16 q8_0 q6_k q5_1 q5_k q5_0 q4_1 q4_k q4_0 iq4_nl iq4_xs nvfp4 mxfp4 q3_k q2_k".split()),
    *((name, True) for name in "q6_k q5_k q4_k iq4_nl q3_k iq3_s iq3_xxs q2_k iq2_s iq2_xs iq2_xxs iq1_m iq1_s".split()),
    ("tq2_0", False),
    ("tq1_0", False),
]
MIXES = "q6_k q5_k_m q4_k_m q3_k_m".split()
WRITTEN = set("f32 f16 bf16 q8_0 q6_k q5_1 q5_k q5_0 q4_1 q4_k q4_0 iq4_nl iq4_xs nvfp4 mxfp4 q3_k q2_k tq2_0 tq1_0".split())

CACHES = "f32 f16 q8_0".split()

VALIDATION_CHARACTERS = 6_000
CONTEXT = 256
PROMPT = "It is a truth universally acknowledged"
TOKENS = 32
GAP = 1e-3

LIBRARY = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))))
LIBRARY.ggml_quantize_chunk.restype = ctypes.c_size_t


def ply(*arguments):
    told = subprocess.run([PLY, *map(str, arguments), "--json"], capture_output=True, text=True)
    if told.returncode != 0:
        sys.exit(f"ply {' '.join(map(str, arguments))}: {told.stderr.strip()}")
    return json.loads(told.stdout)


def importance():
    """The mean squares of importance.dat by name."""
    data = (HERE / "importance.dat").read_bytes()
    (count,), at, found = struct.unpack_from("<i", data), 4, {}
    for _ in range(count):
        (length,) = struct.unpack_from("<i", data, at)
        name = data[at + 4 : at + 4 + length].decode()
        calls, size = struct.unpack_from("<ii", data, at + 4 + length)
        at += 12 + length
        found[name] = np.frombuffer(data, "<f4", size, at) / calls
        at += 4 * size
    return found


def encoder(name, weights):
    """Rows to blocks of a type, by llama.cpp's own quantiser."""
    kind = gguf.GGMLQuantizationType[name.upper()]

    def encode(rows, tensor):
        if name in ("f32", "f16", "bf16"):
            return gguf.quants.quantize(rows, kind), kind
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        rows = np.ascontiguousarray(rows, np.float32)
        blocks = np.empty((rows.shape[0], rows.shape[1] // elements * size), np.uint8)
        pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (rows, blocks)]
        counts = [ctypes.c_int64(count) for count in (0, *rows.shape)]
        # The embedding has no importance in such files; the smallest types want one.
        columns = weights and np.ascontiguousarray(weights.get(tensor, np.ones(rows.shape[1])), np.float32)
        columns = columns.ctypes.data_as(ctypes.c_void_p) if weights else None
        assert LIBRARY.ggml_quantize_chunk(int(kind), *pointers, *counts, columns) == blocks.size
        return blocks, kind

    return encode


def generated(model, adapter):
    arguments = ["--temp", 0, "-n", TOKENS, "--exact", "--ignore-eos", "--adapters", adapter["index"]]
    return ply("generate", model, PROMPT, *arguments)


def gap(model, ids, folder):
    """The distance of the two largest logits after some ids."""
    ply("logits", model, "--tokens", ",".join(map(str, ids)), "--out", folder / "logits", "--exact", "--adapters", "host")
    best = np.sort(load_file(folder / "logits")["logits"][-1])
    return float(best[-1] - best[-2])


def agreement(model, adapters, folder):
    """Whether all adapters continue alike, and how."""
    told = [generated(model, adapter) for adapter in adapters]
    host = told[-1]["generated_tokens"]
    for adapter, other in zip(adapters, told):
        tokens = other["generated_tokens"]
        if tokens != host:
            place = next(place for place, pair in enumerate(zip(tokens, host)) if pair[0] != pair[1])
            found = gap(model, told[-1]["prompt_tokens"] + host[:place], folder)
            assert found < GAP, f"{model}: {adapter['name']} differs at token {place}, where the gap is {found}"
            return f"to token {place} (gap {found:.0e})", told[-1]["text"]
    return "yes", told[-1]["text"]


def score(model, text, reference):
    told = ply("perplexity", model, text, "-c", CONTEXT, "--against", reference, "--exact")
    return told["tokens"], told["perplexity"], told["against"]["kl"], told["against"]["same_top"]


def caches(text):
    """The lines about what each type of the KV cache costs the built-in model."""
    lines = [
        "## What each type of the KV cache costs the demo model",
        "",
        "Of the model that is built in, over the same text:",
        "",
        "```sh",
        f"tail -c {VALIDATION_CHARACTERS} pride_and_prejudice.txt > text.txt",
        f"ply perplexity demo text.txt -c {CONTEXT} --kv-type q8_0",
        "```",
        "",
        "| type | bytes of a token | perplexity | nats per token |",
        "|---|---:|---:|---:|",
    ]
    for name in CACHES:
        told = ply("perplexity", "demo", text, "-c", CONTEXT, "--kv-type", name)
        stages = ply("generate", "demo", PROMPT, "-n", 1, "-c", CONTEXT, "--kv-type", name)["placement"]
        token_bytes = sum(stage["bytes"]["kv_cache"] for stage in stages) // CONTEXT
        lines.append(f"| {name} | {token_bytes:,} | {told['perplexity']:.4f} | {told['nll']:.6f} |")
    return lines


def bits_per_weight(model):
    types = ply("inspect", model)["types"]
    matrices = [entry for name, entry in types.items() if name != "f32" or len(types) == 1]
    return 8 * sum(entry["bytes"] for entry in matrices) / sum(entry["parameters"] for entry in matrices)


def main():
    adapters = ply("adapters")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        text, reference = folder / "text.txt", folder / "reference.gguf"
        text.write_text(TEXT.read_text(encoding="utf-8")[-VALIDATION_CHARACTERS:], encoding="utf-8")
        write(reference, encoder("f32", None))
        rows, samples = [], []

        def tell(name, weighted, arguments):
            weights = importance() if weighted else None
            ours, theirs = folder / "ours.gguf", folder / "theirs.gguf"
            kl_of_theirs = ""
            if name in gguf.GGMLQuantizationType.__members__ or name.upper() in gguf.GGMLQuantizationType.__members__:
                write(theirs, encoder(name, weights))
                kl_of_theirs = f"{score(theirs, text, reference)[2]:.5f}"
            if arguments is not None:
                matrix = ["--imatrix", HERE / "importance.dat"] if weighted else []
                ply("quantize", HERE / "master", ours, "--type", name, *arguments, *matrix, "--force")
            model = theirs if arguments is None else ours
            tokens, perplexity, kl, same = score(model, text, reference)
            alike, story = agreement(model, adapters, folder)
            kl = "" if arguments is None else f"{kl:.5f}"
            label = name + (", by importance" if weighted else "") + ("" if arguments is None or "--pure" in arguments else " (mix)")
            rows.append(
                f"| {label} | {bits_per_weight(model):.4g} | {perplexity:.2f} | {kl} | {kl_of_theirs} | {same * 100:.1f} % | {alike} |"
            )
            samples.append(f"- {label}: {story.strip()!r}")
            print(rows[-1], flush=True)
            return tokens

        for name, weighted in TYPES:
            tokens = tell(name, weighted, ["--pure"] if name in WRITTEN else None)
        for name in MIXES:
            tell(name, False, [])
        of_caches = caches(text)
    lines = [
        "# What each format costs the demo model",
        "",
        f"Made by `formats.py`: every matrix of the bf16 master in one type (or a mix of types), by `ply quantize` where it writes the type; windows of",
        f"{CONTEXT} tokens of the novel's last {VALIDATION_CHARACTERS:,} characters, {tokens} tokens scored; KL divergence in nats per token from the master in F32, with",
        "our blocks and with those of llama.cpp's quantiser. So few tokens leave the perplexities within noise of each other; the divergence is",
        "the column to read. The model is tiny, so that few bits cost it more than they cost a large one; the ternary types are for models",
        "trained for them. The last column: whether the float kernels of all adapters here generate the same tokens "
        f"({', '.join(adapter['name'] + ' ' + adapter['backend'] for adapter in adapters)}).",
        "",
        "| type | bits per weight | perplexity | KL divergence | of llama.cpp's | same top token | same tokens |",
        "|---|---:|---:|---:|---:|---:|---|",
        *rows,
        "",
        f"How each goes on after {PROMPT!r}, without chance:",
        "",
        *samples,
        "",
        *of_caches,
    ]
    (HERE / "formats.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
