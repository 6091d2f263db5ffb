"""Asks llama.cpp: reads each model.gguf by its Python package and compares what it gives with expected.safetensors.

Run `python verify.py [NAME ...]` with gguf, xllamacpp, safetensors and torch. Weights are widened to F32 first, in a copy, for
llama.cpp rounds activations to the type of the weights. The server in the package gives logarithms of shares, at each position.
"""

import json
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
import xllamacpp
from safetensors.torch import load_file

import double
from make import FAMILIES, HERE, error, load, settings

# llama.cpp takes every model with 26 or 27 layers, and no other, for one without q_lora; it needs the key in others.
EXTRA = {"deepseek_v2_lite": {"deepseek2.attention.q_lora_rank": 0}}
# It takes the long factors where the context, 256 at least, is longer than this, and not by the prompt.
SHORT = {"phi3.rope.scaling.original_context_length": 4096}
# Where it differs from transformers: changes to the GGUF and to config.json under which both must agree.
ONE_GROUP = {"deepseek2.expert_group_count": 1, "deepseek2.expert_group_used_count": 1}
INSTEAD = {
    "phi3": ({}, {"sliding_window": None}),
    "gpt_oss": ({}, {"rope_scaling": FAMILIES["gpt_oss"].config["rope_scaling"] | {"truncate": True}}),
    "deepseek_v2": (ONE_GROUP, FAMILIES["deepseek_v2"].gguf | {"topk_method": "greedy"}),
}


def widen(source, target, changes):
    """A copy of a GGUF with all tensors in F32 and some integers of its metadata changed."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture" or field.name in changes:
            continue
        element = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], element)
    for key, value in changes.items():
        writer.add_uint32(key, value)
    for tensor in reader.tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, data.reshape(tensor.shape.tolist()[::-1]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def shares(model, ids):
    """The logarithms of the shares at each position of ids, as llama.cpp gives them."""
    settings = xllamacpp.CommonParams()
    settings.model.path = str(model)
    settings.n_gpu_layers, settings.n_parallel, settings.n_ctx, settings.warmup = 0, 1, 256, False
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.cpuparams.n_threads = 1
    server = xllamacpp.Server(settings)
    rows = []
    for count in range(1, len(ids) + 1):
        wish = {"prompt": ids[:count], "n_predict": 1, "n_probs": 64, "temperature": 0.0, "cache_prompt": False}
        answer = server.handle_completions(wish)
        answer = json.loads(answer) if isinstance(answer, (str, bytes)) else answer
        given = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        row = torch.empty(len(given), dtype=torch.float64)
        row[[one["id"] for one in given]] = torch.tensor([one["logprob"] for one in given], dtype=torch.float64)
        rows.append(row)
    return torch.stack(rows)


def given(name, ids, changes):
    """What llama.cpp gives for a family's GGUF with some integers of its metadata changed."""
    with tempfile.NamedTemporaryFile(suffix=".gguf") as copy:
        widen(HERE / name / "model.gguf", copy.name, EXTRA.get(name, {}) | changes)
        return shares(copy.name, ids)


def verify(name):
    family, wanted = FAMILIES[name], load_file(HERE / name / "expected.safetensors")
    for count in family.prompts:
        end = "" if count == family.prompts[0] else f"_{count}"
        ids = wanted["input_ids" + end].tolist()
        found = given(name, ids, SHORT if end else {})
        for key in ("logits", "gguf_logits"):
            if key + end in wanted:
                print(f"{name:18} {key + end:14} {error(found, wanted[key + end].double().log_softmax(-1)):.1e}", flush=True)
    if name in INSTEAD:
        keys, changes = INSTEAD[name]
        expected = double.logits(settings(family.config, changes), load(name, HERE / name), ids)
        print(f"{name:18} {'instead':14} {error(given(name, ids, keys), expected.log_softmax(-1)):.1e}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or [name for name, family in FAMILIES.items() if family.has_gguf]:
        verify(name)
