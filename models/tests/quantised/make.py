"""Makes the folders beside it: tiny Llama directories in the layouts of quantised Hugging Face models, and what they must give.

Run `python make.py` with numpy, torch, safetensors and transformers; name folders to make only those. The bytes are the same each
time. Each folder holds config.json, model.safetensors and a tokenizer; expected.safetensors has four rows of each quantised weight, as
read back value by value, and the logits of IDS, all in double precision.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from layouts import EMBEDDING, HEAD, HEADS, KV_HEADS, LAYER, SCHEMES, VOCABULARY, numbers, random_weight

HERE = Path(__file__).parent
IDS = [1, 5, 9, 33, 2, 60, 7]
THETA, EPSILON = 10000.0, 1e-5
NORMS = [LAYER + "input_layernorm", LAYER + "post_attention_layernorm", "model.norm"]


def settings(scheme):
    """config.json."""
    return {
        "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2,
        "head_dim": scheme.width // HEADS, "hidden_act": "silu", "hidden_size": scheme.width,
        "intermediate_size": scheme.feed_forward, "max_position_embeddings": 128, "mlp_bias": False, "model_type": "llama",
        "num_attention_heads": HEADS, "num_hidden_layers": 1, "num_key_value_heads": KV_HEADS, **scheme.config,
        "rms_norm_eps": EPSILON, "rope_scaling": None, "rope_theta": THETA, "tie_word_embeddings": scheme.tied,
        "torch_dtype": str(scheme.dtype).removeprefix("torch."), "use_cache": True, "vocab_size": VOCABULARY,
    }


def tokenizer():
    """tokenizer.json with a token for each byte that a small text needs: the loader wants one."""
    letters = ["<unk>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz", "\u0120"]
    special = [{"id": index, "content": letters[index], "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for index in range(3)]
    spaces = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "vocab": {letter: index for index, letter in enumerate(letters)}, "merges": []}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": spaces, "post_processor": None, "decoder": spaces, "model": model}


def store(name, scheme):
    """Every tensor of the model as it lies in the file."""
    tensors = {}
    for module, (rows, columns) in scheme.shapes().items():
        random = numbers(name, module)
        weight = random_weight(random, rows, columns, scheme.group if scheme.group > 0 else columns)
        if module in (EMBEDDING, HEAD):
            weight *= 4
        if module in scheme.quantised():
            stored = scheme.write(module, weight, random)
        else:
            stored = {"weight": torch.from_numpy(weight).to(scheme.dtype)}
        tensors |= {f"{module}.{suffix}": tensor.contiguous() for suffix, tensor in stored.items()}
    for module in NORMS:
        gain = 1 + 0.2 * numbers(name, module).normal(0, 1, scheme.width)
        tensors[module + ".weight"] = torch.from_numpy(gain).to(scheme.dtype)
    return tensors


def part(tensors, module):
    """The tensors of a module, by their names after its name."""
    return {name.removeprefix(module + "."): tensor for name, tensor in tensors.items() if name.startswith(module + ".")}


def load(folder, scheme):
    """The weights that a folder holds in double precision, read value by value from the file."""
    tensors = load_file(folder / "model.safetensors")
    weights = {}
    for module, (rows, columns) in scheme.shapes().items():
        if module in scheme.quantised():
            value = scheme.read(module, part(tensors, module))
            weights[module] = np.array([[value(row, column) for column in range(columns)] for row in range(rows)])
        else:
            weights[module] = tensors[module + ".weight"].double().numpy()
    return weights | {module: tensors[module + ".weight"].double().numpy() for module in NORMS}


def forward(scheme, weights):
    """The logits of IDS in double precision."""
    count, size = len(IDS), scheme.width // HEADS
    angles = np.arange(count)[:, None] * THETA ** (-np.arange(0, size, 2) / size)

    def norm(hidden, module):
        return hidden / np.sqrt((hidden**2).mean(-1, keepdims=True) + EPSILON) * weights[module]

    def linear(hidden, name):
        return hidden @ weights[LAYER + name].T

    def heads(hidden, name, rotate):
        states = linear(hidden, "self_attn." + name).reshape(count, -1, size).transpose(1, 0, 2)
        first, second = states[:, :, : size // 2], states[:, :, size // 2 :]
        turned = [first * np.cos(angles) - second * np.sin(angles), second * np.cos(angles) + first * np.sin(angles)]
        return np.concatenate(turned, -1) if rotate else states

    hidden = weights[EMBEDDING][IDS]
    normed = norm(hidden, NORMS[0])
    queries = heads(normed, "q_proj", True)
    keys, values = (np.repeat(heads(normed, name, name == "k_proj"), HEADS // KV_HEADS, 0) for name in ("k_proj", "v_proj"))
    scores = queries @ keys.transpose(0, 2, 1) / math.sqrt(size) + np.triu(np.full((count, count), -np.inf), 1)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    attended = (shares / shares.sum(-1, keepdims=True)) @ values
    hidden = hidden + linear(attended.transpose(1, 0, 2).reshape(count, -1), "self_attn.o_proj")
    normed = norm(hidden, NORMS[1])
    gate = linear(normed, "mlp.gate_proj")
    hidden = hidden + linear(gate / (1 + np.exp(-gate)) * linear(normed, "mlp.up_proj"), "mlp.down_proj")
    return norm(hidden, NORMS[2]) @ weights[EMBEDDING if scheme.tied else HEAD].T


def reference(scheme, weights):
    """The same logits from transformers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    plain = {key: value for key, value in settings(scheme).items() if key not in scheme.config}
    model = LlamaForCausalLM(LlamaConfig(**plain, attn_implementation="eager")).double()
    state = {module + ".weight": torch.from_numpy(weight) for module, weight in weights.items()}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and missing.missing_keys == ([HEAD + ".weight"] if scheme.tied else []), missing
    model.tie_weights()
    # Whatever the weights are, transformers rotates, normalises and takes the softmax in single precision.
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].numpy()


def make(name, scheme):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    save_file(store(name, scheme), folder / "model.safetensors", {"format": scheme.metadata})
    (folder / "config.json").write_text(json.dumps(settings(scheme), indent=2) + "\n")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(), separators=(",", ":"), ensure_ascii=False) + "\n")

    weights = load(folder, scheme)
    logits = forward(scheme, weights)
    other = reference(scheme, weights)
    difference = np.abs(logits - other).max()
    assert difference < 2e-6 * np.abs(logits).max(), difference
    expected = {"logits": logits}
    for module in scheme.quantised():
        rows = len(weights[module])
        expected[module + ".weight"] = weights[module][[0, 1, rows // 2, rows - 1]]
    expected = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in expected.items()}
    save_file(expected, folder / "expected.safetensors")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{name:20} {size:8} bytes, logits to {np.abs(logits).max():.2f}, transformers differs by {difference:.1e}")


if __name__ == "__main__":
    for name in sys.argv[1:] or SCHEMES:
        make(name, SCHEMES[name])
