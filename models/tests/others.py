# Shows that llama.cpp reads what `ply quantize` writes, and computes from it what we compute.
"""Quantises models to several types and runs them by llama.cpp (the library in xllamacpp) and by `ply`.

    python models/tests/others.py [PLY] [TYPE ...]

For each file: the ids of a text; the logits of the same ids in a row (NMSE of centred logits); the greedy continuation, or
where it departs and how close the best two logits were. llama.cpp keeps keys and values in f16, and rounds activations
to f16 or 8 bits where weights are; `ply` does neither here. Then, for the tokenizers of the data pack, how many texts get the
same ids by llama.cpp from the converted file and by `ply` from the directory.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import xllamacpp
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("PLYWOOD_DATA", HERE / "../../../shared/data"))
PLY = sys.argv[1] if len(sys.argv) > 1 else str(HERE / "../../target/release/ply")
TYPES = sys.argv[2:] or "f32 f16 bf16 q8_0 q6_k q5_k_m q4_k_m q4_k_s q3_k_m q2_k q5_1 q5_0 q4_1 q4_0 iq4_nl iq4_xs".split()
MODELS = {"demo": HERE / "../demo/master", "stories260k": DATA / "models/stories260k/hf"}
TEXTS = {
    "demo": "It is a truth universally acknowledged, that a single man in possession of 42 fortunes\n\n  must want—a wife's  café.",
    "stories260k": "Once upon a time, there was a little girl named Lily.\n  She had 42 cats — and a café!",
}
GREEDY = 40

# Directories of tokenizers, the rows of their embeddings, and whose trial texts to take.
TOKENIZERS = {"gpt2": 50_257, "qwen2": 151_936, "phi-3-mini": 32_064}
TRIALS = DATA / "tokenizers/llama.cpp-vocab/ggml-vocab-phi-3.gguf.inp"

LIBRARY = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))))


class Opaque(ctypes.Structure):
    """Any of the library's structures, which it passes in memory: room for more than they have."""

    _fields_ = [("bytes", ctypes.c_byte * 1024)]


for name, result, arguments in [
    ("llama_model_default_params", Opaque, []),
    ("llama_context_default_params", Opaque, []),
    ("llama_model_load_from_file", ctypes.c_void_p, [ctypes.c_char_p, Opaque]),
    ("llama_init_from_model", ctypes.c_void_p, [ctypes.c_void_p, Opaque]),
    ("llama_model_get_vocab", ctypes.c_void_p, [ctypes.c_void_p]),
    ("llama_vocab_n_tokens", ctypes.c_int32, [ctypes.c_void_p]),
    ("llama_batch_get_one", Opaque, [ctypes.c_void_p, ctypes.c_int32]),
    ("llama_decode", ctypes.c_int32, [ctypes.c_void_p, Opaque]),
    ("llama_get_logits", ctypes.POINTER(ctypes.c_float), [ctypes.c_void_p]),
    ("llama_free", None, [ctypes.c_void_p]),
    ("llama_model_free", None, [ctypes.c_void_p]),
]:
    getattr(LIBRARY, name).restype = result
    getattr(LIBRARY, name).argtypes = arguments


class Theirs:
    """A model opened by llama.cpp."""

    def __init__(self, path):
        self.model = LIBRARY.llama_model_load_from_file(str(path).encode(), LIBRARY.llama_model_default_params())
        assert self.model, f"llama.cpp does not load {path}"
        self.vocabulary = LIBRARY.llama_model_get_vocab(self.model)
        self.count = LIBRARY.llama_vocab_n_tokens(self.vocabulary)

    def ids(self, text):
        ids = (ctypes.c_int32 * 1000)()
        text = text.encode()
        arguments = (ctypes.c_void_p(self.vocabulary), text, len(text), ids, 1000, ctypes.c_bool(True), ctypes.c_bool(False))
        return list(ids[: LIBRARY.llama_tokenize(*arguments)])

    def logits(self, ids, more=0):
        """The logits after each id, then the ids that follow greedily and the gaps between the best two logits."""
        context = LIBRARY.llama_init_from_model(self.model, LIBRARY.llama_context_default_params())
        rows, greedy, gaps, ids = [], [], [], list(ids)
        while len(rows) < len(ids):
            token = (ctypes.c_int32 * 1)(ids[len(rows)])
            assert LIBRARY.llama_decode(context, LIBRARY.llama_batch_get_one(token, 1)) == 0
            rows.append(np.ctypeslib.as_array(LIBRARY.llama_get_logits(context), (self.count,)).copy())
            if len(rows) == len(ids) and len(greedy) < more:
                second, first = np.argsort(rows[-1])[-2:]
                greedy.append(int(first))
                gaps.append(float(rows[-1][first] - rows[-1][second]))
                ids.append(int(first))
        LIBRARY.llama_free(context)
        return np.array(rows[: len(ids) - len(greedy)], np.float64), greedy, gaps

    def close(self):
        LIBRARY.llama_model_free(self.model)


def ply(*arguments):
    told = subprocess.run([PLY, *map(str, arguments)], capture_output=True, text=True)
    if told.returncode != 0:
        raise RuntimeError(told.stderr.strip())
    return told.stdout


def nmse(reference, other):
    reference, other = (rows - rows.mean(axis=1, keepdims=True) for rows in (reference, other))
    return float(((reference - other) ** 2).sum() / (reference**2).sum())


def ours(path, folder, ids):
    out = folder / "logits.safetensors"
    ply("logits", path, "--tokens", ",".join(map(str, ids)), "-o", out, "--exact", "--adapters", "host", "-q")
    return load_file(out)["logits"].astype(np.float64)


def continued(path, text):
    arguments = ["-p", text, "-n", GREEDY, "--temp", 0, "--repeat-penalty", 1, "--ignore-eos"]
    told = ply("generate", path, *arguments, "--exact", "--adapters", "host", "--json", "-q")
    return json.loads(told)["generated_tokens"]


def compare(name, kind, folder):
    path, text = folder / f"{name}-{kind}.gguf", TEXTS[name]
    try:
        ply("quantize", MODELS[name], path, "--type", kind, "-q")
    except RuntimeError as error:
        return print(f"| {name} | {kind} | {error} |")
    theirs = Theirs(path)
    ids = json.loads(ply("tokenize", path, text, "--json"))["ids"]
    same_ids = "same" if theirs.ids(text) == ids else f"other: {theirs.ids(text)}"
    rows, greedy, gaps = theirs.logits(ids, GREEDY)
    found = continued(path, text)
    first = next((place for place, pair in enumerate(zip(greedy, found)) if pair[0] != pair[1]), None)
    told = f"{len(greedy)} same" if first is None else f"{first} same, then a gap of {gaps[first]:.4f}"
    print(f"| {name} | {kind} | {path.stat().st_size} | {same_ids} | {nmse(ours(path, folder, ids), rows):.1e} | {told} |", flush=True)
    theirs.close()


def tiny(folder, tokenizer, rows):
    """A directory of a model of one layer with the files of a tokenizer."""
    folder.mkdir()
    for file in (DATA / "tokenizers" / tokenizer).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    settings = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 1, "num_hidden_layers": 1}
    settings |= {"architectures": ["LlamaForCausalLM"], "vocab_size": rows, "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(settings))
    matrices = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    matrices += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    tensors = {f"layers.0.{name}": np.ones((32, 32), np.float32) for name in matrices}
    norms = ["layers.0.input_layernorm", "layers.0.post_attention_layernorm", "norm"]
    tensors |= {name: np.ones(32, np.float32) for name in norms} | {"embed_tokens": np.ones((rows, 32), np.float32)}
    save_file({f"model.{name}.weight": tensor for name, tensor in tensors.items()}, folder / "model.safetensors")


def compare_tokenizer(name, folder):
    tiny(folder / name, name, TOKENIZERS[name])
    path = folder / f"{name}.gguf"
    ply("quantize", folder / name, path, "--type", "q8_0", "-q")
    theirs, same, texts = Theirs(path), 0, TRIALS.read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    for text in texts:
        found = theirs.ids(text)
        # An argument cannot be empty, and may not begin with a dash.
        wanted = json.loads(ply("tokenize", folder / name, "-p", text, "--json"))["ids"] if text else found
        same += found == wanted
        if found != wanted:
            print(f"{name}: {text!r} is {found} to llama.cpp and {wanted} to us", file=sys.stderr)
    print(f"{name}: {same} of {len(texts)} texts have the same ids")
    theirs.close()


def main():
    print("| model | type | bytes | ids | NMSE of logits | greedy |\n|---|---|---:|---|---:|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            for kind in TYPES:
                compare(name, kind, Path(folder))
        for name in TOKENIZERS:
            compare_tokenizer(name, Path(folder))


if __name__ == "__main__":
    main()
