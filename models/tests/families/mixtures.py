"""The families whose layers have experts, each as a small model with the keys of a published config.json."""

from dataclasses import replace

from dense import BF16, GLOBAL, LOCAL, Q_AND_K, SILU, WINDOW, llama, named
from family import Family, flat, scaled

MIXTRAL = Family(
    {**named("MixtralForCausalLM", "mixtral"), **llama(48, 6, 2, 32), **SILU, **BF16, "attention_dropout": 0.0,
     "max_position_embeddings": 128, "num_experts_per_tok": 2, "num_local_experts": 4, "output_router_logits": False,
     "rms_norm_eps": 1e-5, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.02, "sliding_window": None,
     "tie_word_embeddings": False, "transformers_version": "4.36.0.dev0"},
    {"second expert": {"num_experts_per_tok": 1}, "router": scaled("gate.weight")},
)

QWEN2_MOE_KEYS = {
    **named("Qwen2MoeForCausalLM", "qwen2_moe"), **SILU, **BF16, "attention_dropout": 0.0, "decoder_sparse_step": 1,
    "max_position_embeddings": 128, "max_window_layers": 1, "moe_intermediate_size": 32, "norm_topk_prob": False, "num_experts": 4,
    "num_experts_per_tok": 2, "output_router_logits": False, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
    "router_aux_loss_coef": 0.001, "shared_expert_intermediate_size": 40, "sliding_window": WINDOW, "tie_word_embeddings": False,
    "transformers_version": "4.39.0.dev0", "use_sliding_window": False,
}
QWEN2_MOE_OFF = {
    "norm_topk_prob": {"norm_topk_prob": True}, "shared expert": scaled("shared_expert.down_proj.weight"),
    "gate of the shared expert": scaled("shared_expert_gate.weight"), "biases": scaled("q_proj.bias", "k_proj.bias", "v_proj.bias"),
}
QWEN2_MOE = Family({**QWEN2_MOE_KEYS, **llama(40, 5, 5, 64)}, QWEN2_MOE_OFF)
# Layer 0 is dense by decoder_sparse_step, layer 3 by mlp_only_layers; 1 has experts.
QWEN2_MOE_MIXED = Family(
    {**QWEN2_MOE_KEYS, **llama(32, 4, 2, 48, 4), "decoder_sparse_step": 2, "mlp_only_layers": [3]}, QWEN2_MOE_OFF,
    # llama.cpp has no names for the dense layers.
    has_gguf=False,
)

QWEN3_MOE = Family(
    {**named("Qwen3MoeForCausalLM", "qwen3_moe"), **llama(40, 6, 2, 64), **SILU, **BF16, "attention_bias": False,
     "attention_dropout": 0.0, "decoder_sparse_step": 1, "head_dim": 16, "max_position_embeddings": 128, "max_window_layers": 2,
     "mlp_only_layers": [], "moe_intermediate_size": 24, "norm_topk_prob": True, "num_experts": 6, "num_experts_per_tok": 3,
     "output_router_logits": False, "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 1000000.0,
     "router_aux_loss_coef": 0.001, "sliding_window": None, "tie_word_embeddings": False, "transformers_version": "4.51.0",
     "use_sliding_window": False},
    {"norm_topk_prob": {"norm_topk_prob": False}, "weights of q and k norms": flat(*Q_AND_K)},
    generation={"bos_token_id": 1, "do_sample": True, "eos_token_id": [2, 1], "pad_token_id": 1, "temperature": 0.6, "top_k": 20,
                "top_p": 0.95, "transformers_version": "4.51.0"},
)

YARN = {"beta_fast": 32, "beta_slow": 1, "factor": 8.0, "mscale": 0.707, "mscale_all_dim": 0.707,
        "original_max_position_embeddings": 16, "type": "yarn"}
DEEPSEEK = {
    **SILU, **BF16, "attention_bias": False, "attention_dropout": 0.0, "aux_loss_alpha": 0.001, "first_k_dense_replace": 1,
    "kv_lora_rank": 24, "max_position_embeddings": 128, "moe_intermediate_size": 16, "moe_layer_freq": 1, "pretraining_tp": 1,
    "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "rms_norm_eps": 1e-6, "rope_theta": 10000, "seq_aux": True,
    "tie_word_embeddings": False, "v_head_dim": 12,
}
V2 = {**named("DeepseekV2ForCausalLM", "deepseek_v2"), **DEEPSEEK, **llama(48, 4, 4, 64), "ep_size": 1, "n_shared_experts": 2,
      "norm_topk_prob": False, "scoring_func": "softmax", "transformers_version": "4.33.1"}
V2_YARN_OFF = {
    "yarn": {"rope_scaling": None}, "mscale of scores": {"rope_scaling": {**YARN, "mscale_all_dim": 0.0, "mscale": 0.0,
                                                                            "attention_factor": 1.0}},
}
DEEPSEEK_V2_LITE = Family(
    {**V2, "n_group": 1, "n_routed_experts": 6, "num_experts_per_tok": 3, "q_lora_rank": None, "rope_scaling": YARN,
     "routed_scaling_factor": 1.0, "topk_group": 1, "topk_method": "greedy"},
    {**V2_YARN_OFF, "shared experts": scaled("shared_experts.down_proj.weight"), "norm of kv": flat("kv_a_layernorm.weight")},
)
# mscale differs from mscale_all_dim, so that the rotation is scaled too.
DEEPSEEK_V2 = Family(
    {**V2, "n_group": 4, "n_routed_experts": 8, "num_experts_per_tok": 3, "q_lora_rank": 32,
     "rope_scaling": {**YARN, "mscale": 1.0}, "routed_scaling_factor": 16.0 / 8, "topk_group": 2,
     "topk_method": "group_limited_greedy"},
    {**V2_YARN_OFF, "mscale of the rotation": {"rope_scaling": YARN}, "groups": {"topk_method": "greedy"},
     "routed_scaling_factor": {"routed_scaling_factor": 1.0}, "norm of q": flat("q_a_layernorm.weight")},
    gguf={"rope_scaling": YARN},
)
DEEPSEEK_V3 = Family(
    {**named("DeepseekV3ForCausalLM", "deepseek_v3"), **DEEPSEEK, **llama(48, 4, 4, 64), "ep_size": 1, "n_group": 4,
     "n_routed_experts": 8, "n_shared_experts": 1, "norm_topk_prob": True, "num_experts_per_tok": 3, "num_nextn_predict_layers": 0,
     "q_lora_rank": 32, "rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}, "routed_scaling_factor": 2.5,
     "scoring_func": "sigmoid", "topk_group": 2, "topk_method": "noaux_tc", "transformers_version": "4.33.1"},
    {"yarn": V2_YARN_OFF["yarn"], "mscale of scores": V2_YARN_OFF["mscale of scores"],
     "e_score_correction_bias": scaled("e_score_correction_bias"), "groups": {"topk_group": 4},
     "routed_scaling_factor": {"routed_scaling_factor": 1.0}, "norm_topk_prob": {"norm_topk_prob": False}},
)

GPT_OSS_YARN = {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 64, "rope_type": "yarn",
                "truncate": False}
GPT_OSS = Family(
    {**named("GptOssForCausalLM", "gpt_oss"), **llama(64, 6, 2, 32), **SILU, **BF16, "attention_bias": True, "attention_dropout": 0.0,
     "experts_per_token": 2, "head_dim": 16, "initial_context_length": 64, "layer_types": [LOCAL, GLOBAL],
     "max_position_embeddings": 2048, "num_experts_per_tok": 2, "num_local_experts": 4, "output_router_logits": False,
     "pad_token_id": 2,
     "quantization_config": {"modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                                        "model.embed_tokens", "lm_head"], "quant_method": "mxfp4"},
     "rms_norm_eps": 1e-5, "rope_scaling": GPT_OSS_YARN, "rope_theta": 150000, "router_aux_loss_coef": 0.9, "sliding_window": WINDOW,
     "swiglu_limit": 7.0, "tie_word_embeddings": False, "transformers_version": "4.55.0.dev0"},
    {"sinks": scaled("sinks", by=-100.0), "sliding_window": {"sliding_window": 64},
     "end of the window": {"sliding_window": WINDOW + 1}, "yarn": {"rope_scaling": None},
     "truncate": {"rope_scaling": {**GPT_OSS_YARN, "truncate": True}}, "swiglu_limit": {"swiglu_limit": 1e9},
     "biases of attention": scaled("proj.bias"), "biases of experts": scaled("proj_bias"), "bias of the router": scaled("router.bias"),
     "layer_types": {"layer_types": [GLOBAL, LOCAL]}},
    generation={"bos_token_id": 1, "do_sample": True, "eos_token_id": [2, 4], "pad_token_id": 2,
                "transformers_version": "4.55.0.dev0"},
    gains={"gate_up_proj": 3.0, "down_proj": 0.7},
)
# As people publish it once they have fine-tuned it: what transformers saves, with experts in BF16. Twice their width is not the model's.
GPT_OSS_BF16 = replace(
    GPT_OSS, config={key: value for key, value in GPT_OSS.config.items() if key != "quantization_config"} | {"intermediate_size": 48},
)

MIXTURES = {
    "mixtral": MIXTRAL, "qwen2_moe": QWEN2_MOE, "qwen2_moe_mixed": QWEN2_MOE_MIXED, "qwen3_moe": QWEN3_MOE,
    "deepseek_v2_lite": DEEPSEEK_V2_LITE, "deepseek_v2": DEEPSEEK_V2, "deepseek_v3": DEEPSEEK_V3, "gpt_oss": GPT_OSS,
    "gpt_oss_bf16": GPT_OSS_BF16,
}
