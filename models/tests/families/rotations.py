"""Writes rotations.json: RoPE's frequencies and factors by transformers in double precision, which models/src/config/rope/tests.rs reads.

Run `python rotations.py` with torch, transformers, gguf and safetensors. The settings are those of published models, and what they leave
out; of GGUF files, which transformers does not read, those of the fixtures, by formulas.py.
"""

import json

import gguf
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.deepseek_v3.modeling_deepseek_v3 import yarn_get_mscale

import formulas
import readers
from double import widened
from make import HERE

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "rope_theta": 1000000.0}
DEEPSEEK = {"rope_type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "rope_theta": 10000, "beta_fast": 32, "beta_slow": 1,
            "mscale": 1.0, "mscale_all_dim": 1.0}
LONG = {"rope_type": "longrope", "original_max_position_embeddings": 4096, "rope_theta": 10000.0,
        "short_factor": [1.0 + index / 16 for index in range(48)], "long_factor": [1.1 + index * index / 40 for index in range(48)]}
# Elements that turn, the longest text, and the settings.
DIRECTORIES = {
    "qwen2.5": (128, 131072, YARN),
    "deepseek v3": (64, 163840, DEEPSEEK),
    "deepseek v2": (64, 163840, {**DEEPSEEK, "mscale": 0.707, "mscale_all_dim": 0.707}),
    "other mscales": (64, 163840, {**DEEPSEEK, "mscale": 1.0, "mscale_all_dim": 0.5}),
    "one mscale": (64, 163840, {**DEEPSEEK, "mscale": 0}),
    "gpt-oss": (64, 131072, {**YARN, "factor": 32.0, "original_max_position_embeddings": 4096, "rope_theta": 150000, "beta_fast": 32.0,
                             "beta_slow": 1.0, "truncate": False}),
    "ministral 3": (128, 262144, {**YARN, "factor": 16.0, "original_max_position_embeddings": 16384, "beta_fast": 32.0, "beta_slow": 1.0,
                                  "mscale": 1.0, "mscale_all_dim": 1.0}),
    "a given factor": (128, 131072, {**YARN, "attention_factor": 0.75}),
    "no factor": (128, 131072, {**YARN, "factor": 1.0}),
    "other turns": (128, 131072, {**YARN, "beta_fast": 8, "beta_slow": 0}),
    "a ramp without length": (128, 131072, {**YARN, "beta_fast": 4.0, "beta_slow": 4.0, "truncate": False}),
    "a short text": (128, 131072, {**YARN, "original_max_position_embeddings": 3}),
    "phi-3.5": (96, 131072, LONG),
    "phi-3.5 with a factor": (96, 131072, {**LONG, "factor": 8.0}),
    "phi-3.5 with a given factor": (96, 131072, {**LONG, "attention_factor": 1.5}),
    "phi-3.5 no longer": (96, 4096, LONG),
}
GGUFS = ("ministral3", "gpt_oss", "deepseek_v2", "deepseek_v3", "phi35")


def directory(name):
    elements, context, settings = DIRECTORIES[name]
    kind, original = settings["rope_type"], settings["original_max_position_embeddings"]
    with widened():
        config = LlamaConfig(hidden_size=elements, num_attention_heads=1, head_dim=elements, max_position_embeddings=context,
                             rope_parameters=dict(settings))
        config.original_max_position_embeddings = original
        short, long = (ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=count) for count in (original, original + 1))
    assert short[0].dtype == torch.float64 and short[1] == long[1]
    mscale = settings.get("mscale_all_dim") if kind == "yarn" else None
    return {"name": name, "elements": elements,
            "config": {"max_position_embeddings": context, "rope_parameters": settings},
            "short": short[0].tolist(), "long": long[0].tolist(), "magnitude": short[1],
            "score": yarn_get_mscale(settings["factor"], mscale) ** 2 if mscale else 1.0}


def gguf_file(name):
    reader = gguf.GGUFReader(HERE / name / "model.gguf")
    fields = {key: value.contents() for key, value in reader.fields.items()}
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    family = fields["general.architecture"]

    def get(key, default=None):
        return fields.get(f"{family}.{key}", default)

    elements = get("attention.key_length", get("embedding_length") // get("attention.head_count"))
    rope = readers.gguf_rope(get, family, tensors, get("rope.dimension_count", elements))
    (short, magnitude), (long, _) = (formulas.frequencies(rope, count) for count in (rope["original"], rope["original"] + 1))
    score = readers.magnitude(rope["factor"], get("rope.scaling.yarn_log_multiplier") * 10) ** 2 if family == "deepseek2" else None
    return {"name": name, "elements": elements, "short": short.tolist(), "long": long.tolist(), "magnitude": magnitude, "score": score}


if __name__ == "__main__":
    written = {"directories": [directory(name) for name in DIRECTORIES], "ggufs": [gguf_file(name) for name in GGUFS]}
    (HERE / "rotations.json").write_text(json.dumps(written) + "\n")
