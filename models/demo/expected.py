# Makes the reference continuations of the demo model, with transformers in float64.
"""Writes models/demo/expected.json from models/demo/demo.gguf.

    python models/demo/expected.py

The weights are the dequantised ones of the GGUF, so an engine that computes
with these very weights must give the same ids, as long as its errors stay
well below `smallest_gap`. Nothing of Plywood is used here.
"""

import json
from pathlib import Path

import gguf
import numpy
import torch
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

HERE = Path(__file__).resolve().parent
MASTER = HERE / "master"
MODEL = HERE / "demo.gguf"
OUTPUT = HERE / "expected.json"

PROMPTS = ["", "Once upon a time", "It is a truth universally acknowledged"]
TOKENS = 100
THREADS = 1


def norm_forward(norm, hidden):
    """RMS norm without the detour through float32 that transformers makes."""
    scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)
    return norm.weight * hidden * scale


def rope_forward(rope, hidden, position_ids):
    """RoPE's angles in float64, from the definition."""
    size, base = rope.config.head_dim, 10000.0
    assert rope.config.rope_parameters["rope_theta"] == base
    frequencies = base ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angles = position_ids[:, :, None].to(torch.float64) * frequencies
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def softmax(scores, dim, dtype=None):
    """Softmax that ignores the wish for float32."""
    return torch.exp(scores - torch.logsumexp(scores, dim, keepdim=True))


def read_weights(config):
    """The GGUF's tensors in float64 under transformers' names, q and k rows in its order."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(MODEL).tensors}
    with torch.device("meta"):
        wanted = [name for name in LlamaForCausalLM(config).state_dict() if name != "lm_head.weight"]
    weights = {}
    for name in wanted:
        tensor = stored.pop(names.get_name(name, try_suffixes=(".weight",)))
        weight = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float64))
        for ending, heads in (("q_proj.weight", config.num_attention_heads), ("k_proj.weight", config.num_key_value_heads)):
            if name.endswith(ending):
                weight = weight.reshape(heads, weight.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)
        weights[name] = weight
    assert not stored, f"unused tensors: {list(stored)}"
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    return weights


def load():
    modeling_llama.LlamaRMSNorm.forward = norm_forward
    modeling_llama.LlamaRotaryEmbedding.forward = rope_forward
    modeling_llama.nn.functional.softmax = softmax
    config = LlamaConfig.from_pretrained(MASTER)
    config._attn_implementation = "eager"
    config.dtype = torch.float64
    model = LlamaForCausalLM(config).to(torch.float64).eval()
    model.load_state_dict(read_weights(config))
    return model


@torch.no_grad()
def continue_greedily(model, ids):
    """The best next id, again and again, over the whole text each time: no cache to trust."""
    ids, gaps = list(ids), []
    for _ in range(TOKENS):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        assert logits.dtype == torch.float64
        best, second = torch.topk(logits, 2).values.tolist()
        gaps.append(best - second)
        ids.append(int(logits.argmax()))
    return ids[-TOKENS:], gaps


def main():
    torch.set_num_threads(THREADS)
    tokenizer, model = Tokenizer.from_file(str(MASTER / "tokenizer.json")), load()
    cases = []
    for prompt in PROMPTS:
        prompt_ids = tokenizer.encode(prompt).ids
        generated, gaps = continue_greedily(model, prompt_ids)
        cases.append({
            "prompt": prompt,
            "prompt_ids": prompt_ids,
            "generated_ids": generated,
            "first_eos_at": generated.index(0) if 0 in generated else None,
            "text": tokenizer.decode(generated, skip_special_tokens=False),
            "smallest_gap": min(gaps),
            "smallest_gap_at": gaps.index(min(gaps)),
        })
        print(repr(prompt), min(gaps), repr(cases[-1]["text"]))
    note = (
        "Greedy (highest logit) continuation by transformers in float64 with the dequantised weights of demo.gguf. "
        "Prompt ids include BOS; an end of text is generated past. smallest_gap is the smallest difference between the "
        "best and the second logit at any generated position, smallest_gap_at its index in generated_ids."
    )
    lines = [json.dumps(case, ensure_ascii=False) for case in cases]
    body = ",\n  ".join(lines)
    OUTPUT.write_text(
        f'{{\n "weights": "demo.gguf",\n "note": {json.dumps(note)},\n "cases": [\n  {body}\n ]\n}}\n', encoding="utf-8"
    )


if __name__ == "__main__":
    main()
