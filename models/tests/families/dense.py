"""The families whose layers have one feed-forward, each as a small model with the keys of a published config.json."""

from family import VOCABULARY, Family, flat, scaled

SILU = {"hidden_act": "silu", "initializer_range": 0.02, "use_cache": True, "vocab_size": VOCABULARY, "bos_token_id": 1,
        "eos_token_id": 2}
BF16, F16 = {"torch_dtype": "bfloat16"}, {"torch_dtype": "float16"}
NO_BIAS = {"attention_bias": False, "mlp_bias": False}
WINDOW = 24
NO_WINDOW = {"sliding_window": None}
GLOBAL, LOCAL = "full_attention", "sliding_attention"
Q_AND_K = ("q_norm.weight", "k_norm.weight")


def llama(width, heads, kv_heads, feed_forward, layers=2):
    return {"hidden_size": width, "num_attention_heads": heads, "num_key_value_heads": kv_heads, "intermediate_size": feed_forward,
            "num_hidden_layers": layers}


def named(class_name, model_type):
    return {"architectures": [class_name], "model_type": model_type}


LLAMA2 = Family(
    # As the first files had it: no rope_theta, no head_dim, no bias keys.
    {**named("LlamaForCausalLM", "llama"), **llama(48, 6, 6, 80), **SILU, **F16, "max_position_embeddings": 4096, "pretraining_tp": 1,
     "rms_norm_eps": 1e-5, "rope_scaling": None, "tie_word_embeddings": False, "transformers_version": "4.31.0.dev0"},
    {"rope_theta": {"rope_theta": 1e6}, "rms_norm_eps": {"rms_norm_eps": 0.1}},
    generation={"bos_token_id": 1, "do_sample": True, "eos_token_id": 2, "max_length": 4096, "pad_token_id": 0, "temperature": 0.6,
                "top_p": 0.9, "transformers_version": "4.31.0.dev0"},
)

LLAMA3_SCALING = {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 64,
                  "rope_type": "llama3"}
LLAMA3 = Family(
    {**named("LlamaForCausalLM", "llama"), **llama(48, 6, 2, 80), **SILU, **BF16, **NO_BIAS, "attention_dropout": 0.0, "head_dim": 16,
     "eos_token_id": [2, 4, 5], "max_position_embeddings": 512, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_theta": 5000.0,
     "rope_scaling": LLAMA3_SCALING, "tie_word_embeddings": True, "transformers_version": "4.45.0.dev0"},
    {"rope_scaling": {"rope_scaling": None}, "rope_theta": {"rope_theta": 10000.0}},
    generation={"bos_token_id": 1, "do_sample": True, "eos_token_id": [2, 4, 5], "temperature": 0.6, "top_p": 0.9,
                "transformers_version": "4.45.0.dev0"},
)

# As people train them: the keys are there in every Llama's config.json, and almost always false.
LLAMA_BIASES = Family(
    {**named("LlamaForCausalLM", "llama"), **llama(48, 6, 2, 80), **SILU, **BF16, "attention_bias": True, "attention_dropout": 0.0,
     "head_dim": 8, "max_position_embeddings": 128, "mlp_bias": True, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_scaling": None,
     "rope_theta": 10000.0, "tie_word_embeddings": False, "transformers_version": "4.45.0.dev0"},
    {"biases of q, k and v": scaled("q_proj.bias", "k_proj.bias", "v_proj.bias"), "bias of o": scaled("o_proj.bias"),
     "bias of the gate": scaled("gate_proj.bias"), "bias of up": scaled("up_proj.bias"), "bias of down": scaled("down_proj.bias")},
)

MISTRAL = Family(
    {**named("MistralForCausalLM", "mistral"), **llama(48, 6, 2, 80), **SILU, **BF16, "max_position_embeddings": 128,
     "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": WINDOW, "tie_word_embeddings": False,
     "transformers_version": "4.34.0.dev0"},
    {"sliding_window": NO_WINDOW, "end of the window": {"sliding_window": WINDOW + 1}},
    generation={"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "transformers_version": "4.34.0.dev0"},
    gguf=NO_WINDOW,
)

MISTRAL_NEMO = Family(
    {**named("MistralForCausalLM", "mistral"), **llama(40, 4, 2, 72), **SILU, **BF16, "attention_dropout": 0.0, "head_dim": 16,
     "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 1000000.0, "sliding_window": None,
     "tie_word_embeddings": False, "transformers_version": "4.43.0.dev0"},
    {"rope_theta": {"rope_theta": 10000.0}},
    generation={"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2, "transformers_version": "4.43.0.dev0"},
)

MINISTRAL = Family(
    {**named("MinistralForCausalLM", "ministral"), **llama(40, 6, 2, 64, 3), **SILU, **BF16, "attention_dropout": 0.0, "head_dim": 16,
     "layer_types": [GLOBAL, LOCAL, LOCAL], "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 100000000.0,
     "sliding_window": WINDOW, "tie_word_embeddings": False, "transformers_version": "4.57.0"},
    {"sliding_window": {"layer_types": [GLOBAL] * 3}, "layer_types": {"layer_types": [LOCAL] * 3}},
    has_gguf=False,
)

MINISTRAL3_ROPE = {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 16.0, "llama_4_scaling_beta": 0.1, "mscale": 1.0,
                   "mscale_all_dim": 1.0, "original_max_position_embeddings": 16, "rope_theta": 1000000.0, "rope_type": "yarn",
                   "type": "yarn"}
MINISTRAL3 = Family(
    {**named("Ministral3ForCausalLM", "ministral3"), **llama(40, 6, 2, 72), **SILU, **BF16, "attention_dropout": 0.0, "head_dim": 16,
     "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_parameters": MINISTRAL3_ROPE, "sliding_window": None,
     "tie_word_embeddings": True, "transformers_version": "5.0.0.dev0"},
    {"llama_4_scaling_beta": {"rope_parameters": {**MINISTRAL3_ROPE, "llama_4_scaling_beta": 0.0}},
     "yarn": {"rope_parameters": {**MINISTRAL3_ROPE, "factor": 1.0}},
     "mscale": {"rope_parameters": {**MINISTRAL3_ROPE, "mscale_all_dim": 0.0}}},
)

QWEN2 = Family(
    {**named("Qwen2ForCausalLM", "qwen2"), **llama(48, 6, 2, 80), **SILU, **BF16, "attention_dropout": 0.0,
     "max_position_embeddings": 128, "max_window_layers": 1, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
     # A window that use_sliding_window keeps switched off, as all published ones do.
     "sliding_window": WINDOW, "tie_word_embeddings": True, "transformers_version": "4.43.1", "use_sliding_window": False},
    {"query bias": scaled("q_proj.bias"), "key bias": scaled("k_proj.bias"), "value bias": scaled("v_proj.bias"),
     "a window after all": {"use_sliding_window": True, "max_window_layers": 0}},
    generation={"bos_token_id": 1, "pad_token_id": 1, "do_sample": True, "eos_token_id": [2, 1], "repetition_penalty": 1.1,
                "temperature": 0.7, "top_p": 0.8, "top_k": 20, "transformers_version": "4.37.0"},
)

QWEN3 = Family(
    {**named("Qwen3ForCausalLM", "qwen3"), **llama(40, 6, 2, 72), **SILU, **BF16, "attention_bias": False, "attention_dropout": 0.0,
     "head_dim": 16, "max_position_embeddings": 128, "max_window_layers": 2, "rms_norm_eps": 1e-6, "rope_scaling": None,
     "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": False, "transformers_version": "4.51.0",
     "use_sliding_window": False},
    {"weights of q and k norms": flat(*Q_AND_K)},
    generation={"bos_token_id": 1, "do_sample": True, "eos_token_id": [2, 1], "pad_token_id": 1, "temperature": 0.6, "top_k": 20,
                "top_p": 0.95, "transformers_version": "4.51.0"},
)

PHI = {**named("Phi3ForCausalLM", "phi3"), **SILU, "attention_bias": False, "attention_dropout": 0.0, "embd_pdrop": 0.0,
       "resid_pdrop": 0.0, "rms_norm_eps": 1e-5, "pad_token_id": 2, **BF16}
PHI3 = Family(
    {**PHI, **llama(48, 6, 6, 64), "max_position_embeddings": 128, "original_max_position_embeddings": 128, "rope_scaling": None,
     "rope_theta": 10000.0, "sliding_window": WINDOW - 1, "tie_word_embeddings": False, "transformers_version": "4.40.2"},
    {"sliding_window": NO_WINDOW, "end of the window": {"sliding_window": WINDOW}},
    generation={"_from_model_config": True, "bos_token_id": 1, "eos_token_id": [2, 4, 5], "pad_token_id": 2,
                "transformers_version": "4.40.2"},
)

LONG = {"long_factor": [1.5, 2.5, 5.0, 7.5], "short_factor": [1.0, 1.25, 1.5, 2.0], "type": "longrope"}
PHI35 = Family(
    {**PHI, **llama(48, 6, 2, 64), "max_position_embeddings": 128, "original_max_position_embeddings": 32, "rope_scaling": LONG,
     "rope_theta": 100.0, "sliding_window": 128, "tie_word_embeddings": False, "transformers_version": "4.43.3"},
    {"longrope": {"rope_scaling": None}, "long factors": {"rope_scaling": {**LONG, "long_factor": LONG["short_factor"]}},
     "scale of attention": {"rope_scaling": {**LONG, "attention_factor": 1.0}}},
    prompts=(60, 32),
)

PHI4 = Family(
    {**PHI, **llama(40, 5, 1, 72), "max_position_embeddings": 128, "original_max_position_embeddings": 128, "rope_scaling": None,
     "rope_theta": 250000, "sliding_window": None, "tie_word_embeddings": False, "transformers_version": "4.47.0"},
    {"rope_theta": {"rope_theta": 100.0}},
)

MINI = {"long_factor": [1.0, 2.0, 4.0], "short_factor": [1.0, 1.0, 1.0], "type": "longrope"}
PHI4_MINI = Family(
    {**PHI, **llama(48, 6, 2, 64), "full_attn_mod": 1, "interpolate_factor": 1, "lm_head_bias": False, "mlp_bias": False,
     "max_position_embeddings": 128, "original_max_position_embeddings": 32, "partial_rotary_factor": 0.75, "rope_scaling": MINI,
     "rope_theta": 100.0, "sliding_window": 512, "tie_word_embeddings": True, "transformers_version": "4.45.0"},
    {"long factors": {"rope_scaling": {**MINI, "long_factor": MINI["short_factor"]}},
     "scale of attention": {"rope_scaling": {**MINI, "attention_factor": 1.0}},
     "partial_rotary_factor": {"partial_rotary_factor": 1.0, "rope_scaling": {**MINI, "long_factor": [1.0, 2.0, 4.0, 8.0],
                                                                                "short_factor": [1.0, 1.0, 1.0, 1.0]}}},
    prompts=(60, 20),
)

GEMMA = {"attention_bias": False, "attention_dropout": 0.0, "bos_token_id": 1, "cache_implementation": "hybrid",
         "hidden_activation": "gelu_pytorch_tanh", "initializer_range": 0.02, "pad_token_id": 0, "rms_norm_eps": 1e-6,
         "use_cache": True, "vocab_size": VOCABULARY, **BF16}
GEMMA2 = Family(
    # No tie_word_embeddings: the class ties unless told otherwise.
    {**named("Gemma2ForCausalLM", "gemma2"), **GEMMA, **llama(48, 4, 2, 64, 3), "attn_logit_softcapping": 8.0, "eos_token_id": [2, 4],
     "final_logit_softcapping": 6.0, "head_dim": 16, "hidden_act": "gelu_pytorch_tanh", "max_position_embeddings": 128,
     "query_pre_attn_scalar": 9, "rope_theta": 10000.0, "sliding_window": WINDOW, "sliding_window_size": WINDOW,
     "transformers_version": "4.42.4"},
    {"attn_logit_softcapping": {"attn_logit_softcapping": None}, "final_logit_softcapping": {"final_logit_softcapping": None},
     "query_pre_attn_scalar": {"query_pre_attn_scalar": 16}, "sliding_window": {"sliding_window": 64},
     "end of the window": {"sliding_window": WINDOW + 1}, "local and global": {"layer_types": [GLOBAL, LOCAL, GLOBAL]},
     "gelu": {"hidden_activation": "silu"},
     "post norms": flat("post_attention_layernorm.weight", "post_feedforward_layernorm.weight", to=0.0)},
    generation={"_from_model_config": True, "bos_token_id": 1, "cache_implementation": "hybrid", "eos_token_id": [2, 4],
                "pad_token_id": 0, "transformers_version": "4.42.4"},
    gguf={"query_pre_attn_scalar": 16}, gains={"embed_tokens.weight": 0.15}, norm_offset=0.0,
)

GEMMA3 = Family(
    {**named("Gemma3ForCausalLM", "gemma3_text"), **GEMMA, **llama(32, 4, 1, 48, 6), "attn_logit_softcapping": None,
     "eos_token_id": [2, 4], "final_logit_softcapping": None, "head_dim": 16, "max_position_embeddings": 128,
     "query_pre_attn_scalar": 9, "rope_local_base_freq": 10000, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
     "rope_theta": 1000000, "sliding_window": WINDOW, "sliding_window_pattern": 6, "transformers_version": "4.50.0.dev0"},
    {"sliding_window": {"sliding_window": 64}, "end of the window": {"sliding_window": WINDOW + 1},
     "rope_local_base_freq": {"rope_local_base_freq": 1000000},
     "rope_theta": {"rope_theta": 10000}, "rope_scaling": {"rope_scaling": None},
     "sliding_window_pattern": {"layer_types": [GLOBAL, LOCAL, LOCAL, LOCAL, LOCAL, LOCAL]},
     "query_pre_attn_scalar": {"query_pre_attn_scalar": 16},
     "weights of q and k norms": flat(*Q_AND_K, to=0.0), "gelu": {"hidden_activation": "silu"}},
    generation={"cache_implementation": "hybrid", "do_sample": True, "eos_token_id": [2, 4], "pad_token_id": 0, "top_k": 64,
                "top_p": 0.95, "transformers_version": "4.50.0.dev0"},
    gguf={"query_pre_attn_scalar": 16}, gains={"embed_tokens.weight": 0.3}, norm_offset=0.0,
)

SMOLLM2 = Family(
    {**named("LlamaForCausalLM", "llama"), **llama(72, 9, 3, 48), **SILU, **BF16, **NO_BIAS, "attention_dropout": 0.0,
     "is_llama_config": True, "max_position_embeddings": 128, "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_interleaved": False,
     "rope_scaling": None, "rope_theta": 100000, "tie_word_embeddings": True, "transformers_version": "4.42.3"},
    {"rope_theta": {"rope_theta": 100.0}},
)

SMOLLM3 = Family(
    {**named("SmolLM3ForCausalLM", "smollm3"), **llama(32, 4, 1, 56, 5), **SILU, **BF16, **NO_BIAS, "attention_dropout": 0.0,
     "layer_types": [GLOBAL] * 5, "max_position_embeddings": 128, "max_window_layers": 28, "no_rope_layer_interval": 4,
     "no_rope_layers": [1, 1, 1, 0, 1], "pad_token_id": 4, "pretraining_tp": 2, "rms_norm_eps": 1e-6, "rope_scaling": None,
     "rope_theta": 5000000.0, "sliding_window": None, "transformers_version": "4.54.0.dev0", "use_sliding_window": False,
     "tie_word_embeddings": True},
    {"no_rope_layers": {"no_rope_layers": [1] * 5}},
    generation={"bos_token_id": 1, "do_sample": True, "eos_token_id": 2, "pad_token_id": 4, "temperature": 0.6, "top_p": 0.95,
                "transformers_version": "4.54.0.dev0"},
)

OLMO2 = Family(
    {**named("Olmo2ForCausalLM", "olmo2"), **llama(48, 6, 2, 80), **SILU, **BF16, "attention_bias": False, "attention_dropout": 0.0,
     "max_position_embeddings": 128, "pad_token_id": 0, "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 500000,
     "tie_word_embeddings": False, "transformers_version": "4.47.0"},
    {"weights of q and k norms": flat(*Q_AND_K), "post norms": flat("layernorm.weight")},
)

GRANITE3 = Family(
    {**named("GraniteForCausalLM", "granite"), **llama(48, 6, 2, 80), **SILU, **BF16, **NO_BIAS, "attention_dropout": 0.1,
     "attention_multiplier": 0.25, "embedding_multiplier": 4.0, "logits_scaling": 1.6, "max_position_embeddings": 128,
     "pad_token_id": 0, "residual_multiplier": 0.22, "rms_norm_eps": 1e-5, "rope_scaling": None, "rope_theta": 10000.0,
     "tie_word_embeddings": True, "transformers_version": "4.46.0.dev0"},
    {"attention_multiplier": {"attention_multiplier": 8**-0.5}, "embedding_multiplier": {"embedding_multiplier": 1.0},
     "residual_multiplier": {"residual_multiplier": 1.0}, "logits_scaling": {"logits_scaling": 1.0}},
    gains={"embed_tokens.weight": 0.35, "o_proj.weight": 3.0, "down_proj.weight": 3.0},
)

DENSE = {
    "llama2": LLAMA2, "llama3": LLAMA3, "llama_biases": LLAMA_BIASES, "mistral": MISTRAL, "mistral_nemo": MISTRAL_NEMO, "ministral": MINISTRAL,
    "ministral3": MINISTRAL3, "qwen2": QWEN2, "qwen3": QWEN3, "phi3": PHI3, "phi35": PHI35, "phi4": PHI4, "phi4_mini": PHI4_MINI,
    "gemma2": GEMMA2, "gemma3": GEMMA3, "smollm2": SMOLLM2, "smollm3": SMOLLM3, "olmo2": OLMO2, "granite3": GRANITE3,
}
