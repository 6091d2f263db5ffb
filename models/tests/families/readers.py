"""Reads a fixture's directory or GGUF into one shape for formulas.py, by nothing but README.md."""

import json
import math
from dataclasses import dataclass, field

import gguf
import numpy as np
import torch
from safetensors.torch import load_file

from mxfp4 import VALUES

ADJACENT_CLASSES = ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM")
ADJACENT_NAMES = ("llama", "mistral3", "smollm3", "granite", "deepseek2")


@dataclass
class Model:
    """A model's numbers; defaults are those of plain Llama."""

    heads: int
    kv_heads: int
    head: int
    eps: float
    adjacent: bool
    ropes: list
    windows: list
    embedding: np.ndarray = None
    output: np.ndarray = None
    output_norm: np.ndarray = None
    layers: list = field(default_factory=list)
    scale: float = None
    norm_offset: float = 0.0
    activation: str = "silu"
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_divisor: float = 1.0
    score_cap: float = None
    final_cap: float = None
    temperature: float = None
    wide_norms: bool = False
    latent: int = 0
    router: str = "softmax"
    used: int = 0
    groups: int = 1
    groups_used: int = 1
    normalised: bool = True
    routed_scale: float = 1.0
    limit: float = 7.0

    def rope(self, index):
        return self.ropes[index]

    def window(self, index):
        return self.windows[index]


def magnitude(factor, mscale):
    return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0


# Directories.

SAME = {"self_attn.q_proj": "q", "self_attn.k_proj": "k", "self_attn.v_proj": "v", "self_attn.o_proj": "o", "mlp.gate_proj": "gate",
        "mlp.up_proj": "up", "mlp.down_proj": "down", "self_attn.q_norm": "q_norm", "self_attn.k_norm": "k_norm",
        "self_attn.q_a_proj": "q_a", "self_attn.q_b_proj": "q_b", "self_attn.q_a_layernorm": "q_a_norm",
        "self_attn.kv_a_proj_with_mqa": "kv_a", "self_attn.kv_a_layernorm": "kv_a_norm", "self_attn.kv_b_proj": "kv_b",
        "self_attn.sinks": "sinks", "self_attn.qkv_proj": "qkv", "mlp.gate_up_proj": "gate_up", "input_layernorm": "attention_norm",
        "mlp.gate": "router", "mlp.router": "router", "block_sparse_moe.gate": "router", "mlp.gate.e_score_correction_bias": "correction",
        "mlp.shared_expert_gate": "router_shexp", "mlp.shared_expert.gate_proj": "gate_shexp",
        "mlp.shared_experts.gate_proj": "gate_shexp", "mlp.shared_expert.up_proj": "up_shexp", "mlp.shared_experts.up_proj": "up_shexp",
        "mlp.shared_expert.down_proj": "down_shexp", "mlp.shared_experts.down_proj": "down_shexp",
        "pre_feedforward_layernorm": "feed_forward_norm", "post_feedforward_layernorm": "feed_forward_post_norm"}
PARTS = {"gate_proj": "gate_exps", "up_proj": "up_exps", "down_proj": "down_exps", "w1": "gate_exps", "w3": "up_exps", "w2": "down_exps"}


def unpack(blocks, scales):
    codes = np.stack([blocks & 15, blocks >> 4], -1).reshape(*blocks.shape[:3], 32)
    weight = VALUES.double().numpy()[codes] * 2.0 ** (scales.astype(np.int64) - 127)[..., None]
    return weight.reshape(*blocks.shape[:2], -1)


def gpt_oss_experts(layer):
    for part in ("gate_up_proj", "down_proj"):
        if f"mlp.experts.{part}" in layer:
            layer[part] = layer.pop(f"mlp.experts.{part}").transpose(0, 2, 1)
        else:
            layer[part] = unpack(layer.pop(f"mlp.experts.{part}_blocks"), layer.pop(f"mlp.experts.{part}_scales"))
        layer[part + ".bias"] = layer.pop(f"mlp.experts.{part}_bias")
    both, bias = layer.pop("gate_up_proj"), layer.pop("gate_up_proj.bias")
    layer |= {"gate_exps": both[:, ::2], "up_exps": both[:, 1::2], "gate_exps.bias": bias[:, ::2], "up_exps.bias": bias[:, 1::2],
              "down_exps": layer.pop("down_proj"), "down_exps.bias": layer.pop("down_proj.bias")}


def directory_layer(tensors, index, config, model):
    start, layer, experts = f"model.layers.{index}.", {}, {}
    sandwich = config["model_type"] in ("gemma2", "gemma3_text", "olmo2")
    for name, tensor in tensors.items():
        if not name.startswith(start):
            continue
        name = name.removeprefix(start).removesuffix(".weight")
        bare = name.removesuffix(".bias")
        if ".experts." in name and config["model_type"] != "gpt_oss":
            number, part = name.split(".experts.")[1].split(".")
            experts.setdefault(PARTS[part], {})[int(number)] = tensor
        elif name == "post_attention_layernorm":
            layer["attention_post_norm" if sandwich else "feed_forward_norm"] = tensor
        else:
            layer[SAME.get(bare, bare) + (".bias" if bare != name else "")] = tensor
    layer |= {part: np.stack([every[number] for number in sorted(every)]) for part, every in experts.items()}
    if config["model_type"] == "gpt_oss":
        gpt_oss_experts(layer)
    split(layer, model)
    if "kv_b" in layer:
        both = layer.pop("kv_b").reshape(model.heads, -1, model.latent)
        plain = config["qk_nope_head_dim"]
        layer |= {"k_b": both[:, :plain].transpose(0, 2, 1), "v_b": both[:, plain:]}
    return layer


def split(layer, model):
    """Parts fused rows: q, k, v; the gate and up."""
    if "qkv" in layer:
        ends = [model.heads * model.head, (model.heads + model.kv_heads) * model.head]
        layer["q"], layer["k"], layer["v"] = np.split(layer.pop("qkv"), ends)
    if "gate_up" in layer:
        layer["gate"], layer["up"] = np.split(layer.pop("gate_up"), 2)


def directory_rope(config, head):
    scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
    base = scaling.get("rope_theta", config.get("rope_theta", 10000.0))
    kind = scaling.get("rope_type", scaling.get("type"))
    rope = {"base": base, "rotated": config.get("qk_rope_head_dim") or int(head * config.get("partial_rotary_factor", 1.0)), "kind": kind}
    if kind == "llama3":
        rope |= {"low": scaling["low_freq_factor"], "high": scaling["high_freq_factor"]}
    if kind == "longrope":
        original = config["original_max_position_embeddings"]
        factor = config["max_position_embeddings"] / original
        rope |= {"long": scaling["long_factor"], "short": scaling["short_factor"],
                 "attention": math.sqrt(1 + math.log(factor) / math.log(original))}
    if kind == "yarn":
        all_dimensions, mscale = scaling.get("mscale_all_dim"), scaling.get("mscale")
        factor = scaling["factor"]
        both = mscale and all_dimensions
        rope |= {"fast": scaling["beta_fast"], "slow": scaling["beta_slow"], "truncate": scaling.get("truncate", True),
                 "attention": magnitude(factor, mscale) / magnitude(factor, all_dimensions) if both else magnitude(factor, 1)}
    return rope | {"factor": scaling.get("factor"),
                   "original": scaling.get("original_max_position_embeddings", config.get("original_max_position_embeddings"))}


def directory_windows(config):
    """The window of each layer, None for none."""
    kind, count, window = config["model_type"], config["num_hidden_layers"], config.get("sliding_window")
    if kind.startswith("qwen") and not config["use_sliding_window"]:
        return [None] * count
    local = [True] * count
    if kind == "gemma2":
        local = [index % 2 == 0 for index in range(count)]
    if kind == "gemma3_text":
        local = [(index + 1) % config["sliding_window_pattern"] != 0 for index in range(count)]
    if "layer_types" in config:
        local = [name == "sliding_attention" for name in config["layer_types"]]
    return [window if is_local else None for is_local in local]


def directory(folder):
    config = json.loads((folder / "config.json").read_text())
    tensors = {name: tensor.numpy() if tensor.dtype == torch.uint8 else tensor.double().numpy()
               for name, tensor in load_file(folder / "model.safetensors").items()}
    kind, heads, width = config["model_type"], config["num_attention_heads"], config["hidden_size"]
    head, count, gemma = config.get("head_dim") or width // heads, config["num_hidden_layers"], config["model_type"].startswith("gemma")
    rope, windows = directory_rope(config, head), directory_windows(config)
    ropes = [rope] * count
    if kind == "gemma3_text":
        local = {"base": config["rope_local_base_freq"], "rotated": head}
        ropes = [local if window else rope for window in windows]
    if kind == "smollm3":
        ropes = [rope if turns else None for turns in config["no_rope_layers"]]
    model = Model(heads, config["num_key_value_heads"], head, config["rms_norm_eps"], config["architectures"][0] in ADJACENT_CLASSES,
                  ropes, windows)
    model.scale = config.get("attention_multiplier", config.get("query_pre_attn_scalar", head) ** -0.5)
    model.norm_offset, model.activation = (1.0, "gelu") if gemma else (0.0, "silu")
    model.embedding_scale = math.sqrt(width) if gemma else config.get("embedding_multiplier", 1.0)
    model.residual_scale, model.logit_divisor = config.get("residual_multiplier", 1.0), config.get("logits_scaling", 1.0)
    model.score_cap, model.final_cap = config.get("attn_logit_softcapping"), config.get("final_logit_softcapping")
    model.temperature = (config.get("rope_parameters") or {}).get("llama_4_scaling_beta")
    model.wide_norms = kind == "olmo2"
    model.used = config.get("num_experts_per_tok", 0)
    model.normalised = config.get("norm_topk_prob", True)
    if kind.startswith("deepseek"):
        model.latent = config["kv_lora_rank"]
        scaling = config["rope_scaling"]
        model.scale = (config["qk_nope_head_dim"] + config["qk_rope_head_dim"]) ** -0.5 \
            * magnitude(scaling["factor"], scaling["mscale_all_dim"]) ** 2
        model.router, model.routed_scale = config["scoring_func"], config["routed_scaling_factor"]
        model.groups = 1 if config["topk_method"] == "greedy" else config["n_group"]
        model.groups_used = config["topk_group"]
    if kind == "gpt_oss":
        model.router, model.limit = "chosen", config["swiglu_limit"]
    model.embedding, model.output_norm = tensors["model.embed_tokens.weight"], tensors["model.norm.weight"]
    model.output = tensors.get("lm_head.weight", model.embedding)
    model.layers = [directory_layer(tensors, index, config, model) for index in range(count)]
    return model


# GGUF files.

BLOCKS = {"attn_q": "q", "attn_k": "k", "attn_v": "v", "attn_output": "o", "attn_qkv": "qkv", "ffn_gate": "gate", "ffn_up": "up",
          "ffn_down": "down", "attn_q_norm": "q_norm", "attn_k_norm": "k_norm", "attn_q_a": "q_a", "attn_q_b": "q_b",
          "attn_q_a_norm": "q_a_norm", "attn_kv_a_mqa": "kv_a", "attn_kv_a_norm": "kv_a_norm", "attn_k_b": "k_b", "attn_v_b": "v_b",
          "attn_sinks": "sinks", "attn_norm": "attention_norm", "ffn_norm": "feed_forward_norm",
          "post_ffw_norm": "feed_forward_post_norm", "post_attention_norm": "attention_post_norm", "ffn_gate_inp": "router",
          "ffn_gate_inp_shexp": "router_shexp"}


def gguf_layer(tensors, index, name, model):
    layer = {}
    for key, tensor in tensors.items():
        if not key.startswith(f"blk.{index}."):
            continue
        bare, suffix = key.removeprefix(f"blk.{index}.").rsplit(".", 1)
        if bare == "exp_probs_b":
            layer["correction"] = tensor
        else:
            layer[BLOCKS.get(bare, bare.removeprefix("ffn_")) + (".bias" if suffix == "bias" else "")] = tensor
    if name == "gpt-oss":
        layer["feed_forward_norm"] = layer.pop("attention_post_norm")
    if name == "phi3":
        layer["gate_up"] = layer.pop("up")
    split(layer, model)
    return layer


def gguf_rope(get, name, tensors, rotated):
    kind, factor, multiplier = get("rope.scaling.type"), get("rope.scaling.factor"), get("rope.scaling.yarn_log_multiplier")
    rope = {"base": get("rope.freq_base", 10000.0), "rotated": rotated, "kind": kind, "factor": factor,
            "original": get("rope.scaling.original_context_length")}
    if "rope_freqs.weight" in tensors:
        rope |= {"kind": "divisors", "divisors": tensors["rope_freqs.weight"]}
    if "rope_factors_long.weight" in tensors:
        rope |= {"kind": "longrope", "long": tensors["rope_factors_long.weight"], "short": tensors["rope_factors_short.weight"],
                 "attention": get("rope.scaling.attn_factor")}
    if kind == "yarn":
        attention = {"deepseek2": 1.0, "mistral3": magnitude(factor, 1) / magnitude(factor, multiplier or 0)}
        rope |= {"fast": get("rope.scaling.yarn_beta_fast", 32.0), "slow": get("rope.scaling.yarn_beta_slow", 1.0),
                 "truncate": name != "gpt-oss", "attention": attention.get(name, magnitude(factor, 1))}
    return rope


def gguf_file(folder):
    reader = gguf.GGUFReader(folder / "model.gguf")
    fields = {key: value.contents() for key, value in reader.fields.items()}
    tensors = {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape.tolist()[::-1]).astype(np.float64)
               for tensor in reader.tensors}
    name = fields["general.architecture"]

    def get(key, default=None):
        return fields.get(f"{name}.{key}", default)

    heads, width, count = get("attention.head_count"), get("embedding_length"), get("block_count")
    head, window, gemma = get("attention.key_length", width // heads), get("attention.sliding_window") or None, name.startswith("gemma")
    rope = gguf_rope(get, name, tensors, get("rope.dimension_count", head))
    local = [True] * count
    if name in ("gemma2", "gpt-oss"):
        local = [index % 2 == 0 for index in range(count)]
    if name == "gemma3":
        local = [(index + 1) % 6 != 0 for index in range(count)]
    ropes = [rope] * count
    if name == "gemma3":
        ropes = [{"base": get("rope.freq_base_swa", 10000.0), "rotated": head} if is_local else rope for is_local in local]
    if name == "smollm3":
        ropes = [rope if (index + 1) % 4 else None for index in range(count)]
    model = Model(heads, get("attention.head_count_kv"), head, get("attention.layer_norm_rms_epsilon"), name in ADJACENT_NAMES, ropes,
                  [window if is_local else None for is_local in local])
    large = (name, count) in (("gemma2", 46), ("gemma3", 62))
    model.scale = get("attention.scale") or (width // heads if large else head) ** -0.5
    model.activation = "gelu" if gemma else "silu"
    model.embedding_scale = math.sqrt(width) if gemma else get("embedding_scale", 1.0)
    model.residual_scale, model.logit_divisor = get("residual_scale", 1.0), get("logit_scale", 1.0)
    model.score_cap, model.final_cap = get("attn_logit_softcapping"), get("final_logit_softcapping")
    model.temperature, model.wide_norms = get("attention.temperature_scale"), name == "olmo2"
    model.used = get("expert_used_count", 0)
    model.normalised = name != "qwen2moe"
    if name == "deepseek2":
        model.latent = get("attention.kv_lora_rank")
        model.scale = get("attention.key_length_mla") ** -0.5 \
            * magnitude(rope["factor"], get("rope.scaling.yarn_log_multiplier") * 10) ** 2
        model.router = {1: "softmax", 2: "sigmoid"}[get("expert_gating_func", 1)]
        model.routed_scale, model.normalised = get("expert_weights_scale", 1.0), get("expert_weights_norm", False)
        model.groups, model.groups_used = get("expert_group_count", 1), get("expert_group_used_count", 1)
    if name == "gpt-oss":
        model.router = "chosen"
    model.embedding, model.output_norm = tensors["token_embd.weight"], tensors["output_norm.weight"]
    model.output = tensors.get("output.weight", model.embedding)
    model.layers = [gguf_layer(tensors, index, name, model) for index in range(count)]
    return model
