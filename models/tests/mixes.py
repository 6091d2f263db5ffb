# Makes mixes.txt: the type that llama.cpp's quantiser chooses for each tensor of some shapes.
"""Writes random models of some shapes and lets `llama_model_quantize` of libllama quantise them.

    LLAMA_LIBRARY=path/to/libllama.so python models/tests/mixes.py

A line is a shape, a mix, whether there was an importance matrix, then for each role the types of its layers with how
often each comes in a row. Types that llama.cpp refuses for a shape are left out.
"""

import ctypes
import os
import tempfile
from pathlib import Path

import gguf
import numpy as np

HERE = Path(__file__).resolve().parent
LIBRARY = ctypes.CDLL(os.environ["LLAMA_LIBRARY"])

# Layers, width, feed-forward, heads, heads of keys and values, experts, whether the embedding is the output matrix.
SHAPES = {
    "stories260k": (5, 64, 172, 8, 4, 0, True),
    "demo": (5, 256, 512, 8, 4, 0, True),
    "grouped": (32, 256, 512, 8, 1, 0, False),
    "alone": (16, 256, 512, 8, 8, 0, False),
    "large": (80, 256, 256, 8, 1, 0, False),
    "experts": (8, 256, 256, 8, 2, 8, False),
}

# Names, as `ply quantize --type` has them, and the numbers of llama.cpp's `llama_ftype`.
MIXES = {
    "f32": 0, "f16": 1, "bf16": 32, "q8_0": 7, "q6_k": 18, "q5_k_m": 17, "q5_k_s": 16, "q5_1": 9, "q5_0": 8,
    "q4_k_m": 15, "q4_k_s": 14, "q4_1": 3, "q4_0": 2, "iq4_nl": 25, "iq4_xs": 30, "q3_k_l": 13, "q3_k_m": 12,
    "q3_k_s": 11, "q2_k": 10, "tq2_0": 37, "tq1_0": 36, "mxfp4_moe": 38, "nvfp4": 39,
}  # fmt: skip

VOCABULARY = 32


class Importance(ctypes.Structure):
    """`llama_model_imatrix_data`"""

    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


class Parameters(ctypes.Structure):
    """`llama_model_quantize_params`"""

    _fields_ = [
        ("nthread", ctypes.c_int32), ("ftype", ctypes.c_int), ("output_tensor_type", ctypes.c_int),
        ("token_embedding_type", ctypes.c_int), ("allow_requantize", ctypes.c_bool),
        ("quantize_output_tensor", ctypes.c_bool), ("only_copy", ctypes.c_bool), ("pure", ctypes.c_bool),
        ("keep_split", ctypes.c_bool), ("dry_run", ctypes.c_bool), ("imatrix", ctypes.POINTER(Importance)),
        ("kv_overrides", ctypes.c_void_p), ("tt_overrides", ctypes.c_void_p), ("prune_layers", ctypes.c_void_p),
        ("max_buf_size", ctypes.c_size_t),
    ]  # fmt: skip


LIBRARY.llama_model_quantize_default_params.restype = Parameters
LIBRARY.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Parameters)]
LIBRARY.llama_model_quantize.restype = ctypes.c_uint32


def tensors(shape):
    """Names of the model's matrices with their shapes, the slowest dimension first."""
    layers, width, inner, heads, kv_heads, experts, tied = shape
    keys = width // heads * kv_heads
    found = {"token_embd.weight": (VOCABULARY, width)}
    stack, ending = ((experts,), "_exps") if experts else ((), "")
    for layer in range(layers):
        found |= {
            f"blk.{layer}.{name}.weight": rows
            for name, rows in {
                "attn_q": (width, width),
                "attn_k": (keys, width),
                "attn_v": (keys, width),
                "attn_output": (width, width),
                "ffn_gate" + ending: (*stack, inner, width),
                "ffn_up" + ending: (*stack, inner, width),
                "ffn_down" + ending: (*stack, width, inner),
            }.items()
        }
    return found if tied else found | {"output.weight": (VOCABULARY, width)}


def write(path, shape):
    layers, width, inner, heads, kv_heads, experts, _ = shape
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(2)
    random = np.random.default_rng(1)
    for name, rows in tensors(shape).items():
        writer.add_tensor(name, random.standard_normal(rows, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def importance(shape):
    """An array as the library wants it, ended by an empty one."""
    entries = []
    for name, rows in tensors(shape).items():
        count = rows[-1] * (rows[0] if len(rows) == 3 else 1)
        entries.append(Importance(name.encode(), (ctypes.c_float * count)(*[1.0] * count), count))
    return (Importance * (len(entries) + 1))(*entries)


def runs(types):
    """`q6_k*4 q4_k*2`, joined by commas."""
    found = []
    for name in types:
        if found and found[-1][0] == name:
            found[-1][1] += 1
        else:
            found.append([name, 1])
    return ",".join(f"{name}*{count}" for name, count in found)


def chosen(path):
    """The types in the order of layers, by role."""
    by_role = {}
    for tensor in gguf.GGUFReader(path).tensors:
        parts = tensor.name.split(".")
        layer, role = (int(parts[1]), parts[2]) if parts[0] == "blk" else (0, parts[0])
        by_role.setdefault(role, {})[layer] = tensor.tensor_type.name.lower()
    return " ".join(f"{role}={runs(by_role[role][layer] for layer in sorted(by_role[role]))}" for role in sorted(by_role))


def main():
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.gguf", Path(folder) / "target.gguf"
        for shape_name, shape in SHAPES.items():
            write(source, shape)
            weights = importance(shape)
            for mix, file_type in MIXES.items():
                for weighted in (False, True):
                    parameters = LIBRARY.llama_model_quantize_default_params()
                    parameters.ftype = file_type
                    parameters.imatrix = weights if weighted else None
                    status = LIBRARY.llama_model_quantize(str(source).encode(), str(target).encode(), parameters)
                    if status != 0:
                        print(f"{shape_name} {mix}: refused")
                        continue
                    label = "weighted" if weighted else "unweighted"
                    lines.append(f"{shape_name} {mix} {label} {chosen(target)}")
    (HERE / "mixes.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} cases")


if __name__ == "__main__":
    main()
