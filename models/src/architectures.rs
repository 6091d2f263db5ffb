//! The table of model families: what this build runs, as data. A new family of the same parts is a new row.
//!
//! `models/tests/families/README.md` has the formulas, and where each fact is from.

use plywood_kernels::gated::Activation;
use plywood_kernels::rope::Pairing;
use plywood_kernels::route::Gating;

use crate::names::Role;
use crate::weights::Conventions;

/// Where a layer normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norms {
    /// What goes into attention and the feed-forward.
    Before,
    /// What comes out of them, before it is added to the residual stream.
    After,
    /// Both.
    BeforeAndAfter,
}

/// How queries and keys are normalised before they are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadNorms {
    /// Not at all.
    None,
    /// Each head by itself, with one weight for all.
    Heads,
    /// All heads together.
    Whole,
}

/// What attention keeps of each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionKind {
    /// A key and a value for each head.
    Heads,
    /// One latent for all heads, which is key and value, and one key that is rotated (DeepSeek-V2, <https://arxiv.org/abs/2405.04434>).
    Latent,
}

/// Which layers are local, where files do not say it: those whose attention has a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalLayers {
    /// All, if there is a window.
    All,
    /// All but the last of every so many.
    AllButEvery(usize),
    /// None: a window in a file is not used.
    None,
}

/// What the `yarn_log_multiplier` of GGUF files is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogMultiplier {
    /// `mscale_all_dim`; `mscale` is 1.
    Whole,
    /// A tenth of `mscale_all_dim`, which `mscale` equals.
    Tenth,
}

/// What GGUF files do not say of yarn, the scaling of RoPE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GgufYarn {
    /// Whether frequencies are blended from whole pairs to whole pairs.
    pub truncated: bool,
    /// What the multiplier is.
    pub log_multiplier: LogMultiplier,
}

/// What transformers takes where `config.json` has no key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// Heads of queries; `None` where the key must be there.
    pub heads: Option<usize>,
    /// Heads of keys and values; `None` for as many as of queries.
    pub kv_heads: Option<usize>,
    /// Elements of a head; `None` for the width divided by the heads.
    pub head_width: Option<usize>,
    /// What is added to the mean square in norms.
    pub norm_epsilon: f64,
    /// What scores are divided by the root of; `None` for the elements of a head.
    pub score_scalar: Option<f64>,
    /// The base of RoPE's frequencies.
    pub rope_base: f64,
    /// The longest sequence, in tokens.
    pub context: usize,
    /// Rows of the embedding; `None` where the key must be there.
    pub vocabulary: Option<usize>,
    /// The window of local layers.
    pub window: Option<usize>,
    /// Whether the embedding is the output matrix too.
    pub tied: bool,
}

/// How layers with experts are, as far as files do not say it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixture {
    /// What makes scores of the router's logits.
    pub gating: Gating,
    /// Whether shares add up to 1 in GGUF files.
    pub gguf_normalised: bool,
    /// Whether they do where `config.json` has no `norm_topk_prob`.
    pub class_normalised: bool,
    /// Whether what the shared expert gives is multiplied by a gate.
    pub gated: bool,
    /// Whether the router and the experts have biases.
    pub biases: bool,
    /// What shares are multiplied by where `config.json` does not say it.
    pub class_scale: f64,
    /// How many groups of experts there are, and how many of them stay, where it does not say these.
    pub class_groups: Option<(usize, usize)>,
    /// How many of the first layers have no experts, where it does not say it.
    pub class_dense_layers: usize,
}

/// A model family.
#[derive(Debug, PartialEq)]
pub struct Architecture {
    /// Its name in GGUF files (`general.architecture`), which begins its keys too.
    pub name: &'static str,
    /// Its name in Hugging Face files (`architectures` of `config.json`).
    pub class: &'static str,
    /// Which elements of a head are rotated together in GGUF files, whose q and k rows converters reorder.
    pub gguf_pairing: Pairing,
    /// The same in Hugging Face files.
    pub class_pairing: Pairing,
    /// What the feed-forward's gate goes through.
    pub activation: Activation,
    /// Where layers normalise.
    pub norms: Norms,
    /// What is added to the weights of norms in Hugging Face files; converters add it.
    pub norm_offset: f32,
    /// What attention keeps of each token.
    pub attention: AttentionKind,
    /// Whether each head has one more score, whose share is dropped.
    pub sinks: bool,
    /// How queries and keys are normalised.
    pub head_norms: HeadNorms,
    /// Whether queries, keys and values have biases whatever the settings say.
    pub biases: bool,
    /// Whether attention's output has one whatever the settings say.
    pub output_bias: bool,
    /// Whether q, k and v are one tensor, and gate and up another.
    pub fused: bool,
    /// Whether its files have multipliers of the embedding, the scores, what is added to the residual stream, and the logits.
    pub multipliers: bool,
    /// Whether the embedding is multiplied by the root of the width.
    pub scaled_embedding: bool,
    /// The number of layers of the one size whose scores are scaled by the root of the width over the heads, where GGUF files do not
    /// say it.
    pub scale_by_width: Option<usize>,
    /// How its layers with experts are, if its files may have experts.
    pub mixture: Option<Mixture>,
    /// Names of its tensors that are others than in most families.
    pub names: &'static [(Conventions, Role, &'static str)],
    /// How the names of its class's tensors end whose matrices lie transposed.
    pub transposed: &'static [&'static str],
    /// Which layers have a window.
    pub local: LocalLayers,
    /// Whether local layers are rotated by a base of their own.
    pub local_base: bool,
    /// Of each group of this many layers, the last is not rotated.
    pub unrotated: Option<usize>,
    /// What its GGUF files do not say of yarn.
    pub gguf_yarn: GgufYarn,
    /// What its class takes where `config.json` has no key.
    pub defaults: Defaults,
}

/// Mixtral's experts, which GGUF files of `llama` may have.
const MIXTURE: Mixture = Mixture {
    gating: Gating::Softmax,
    gguf_normalised: true,
    class_normalised: true,
    gated: false,
    biases: false,
    class_scale: 1.0,
    class_groups: None,
    class_dense_layers: 0,
};

const LLAMA: Architecture = Architecture {
    name: "llama",
    class: "LlamaForCausalLM",
    gguf_pairing: Pairing::Adjacent,
    class_pairing: Pairing::Halves,
    activation: Activation::Silu,
    norms: Norms::Before,
    norm_offset: 0.0,
    attention: AttentionKind::Heads,
    sinks: false,
    head_norms: HeadNorms::None,
    biases: false,
    output_bias: false,
    fused: false,
    multipliers: false,
    scaled_embedding: false,
    scale_by_width: None,
    mixture: None,
    names: &[],
    transposed: &[],
    local: LocalLayers::None,
    local_base: false,
    unrotated: None,
    gguf_yarn: GgufYarn { truncated: true, log_multiplier: LogMultiplier::Whole },
    defaults: Defaults {
        heads: None,
        kv_heads: None,
        head_width: None,
        norm_epsilon: 1e-6,
        score_scalar: None,
        rope_base: 10_000.0,
        context: 2048,
        vocabulary: None,
        window: None,
        tied: false,
    },
};

const MISTRAL: Architecture = Architecture {
    class: "MistralForCausalLM",
    local: LocalLayers::All,
    defaults: Defaults { kv_heads: Some(8), window: Some(4096), ..LLAMA.defaults },
    ..LLAMA
};

const QWEN: Architecture = Architecture {
    name: "qwen2",
    class: "Qwen2ForCausalLM",
    gguf_pairing: Pairing::Halves,
    biases: true,
    defaults: Defaults { kv_heads: Some(32), ..LLAMA.defaults },
    ..LLAMA
};

const GEMMA: Architecture = Architecture {
    name: "gemma2",
    class: "Gemma2ForCausalLM",
    gguf_pairing: Pairing::Halves,
    activation: Activation::GeluTanh,
    norms: Norms::BeforeAndAfter,
    norm_offset: 1.0,
    scaled_embedding: true,
    scale_by_width: Some(46),
    local: LocalLayers::AllButEvery(2),
    defaults: Defaults {
        heads: Some(8),
        kv_heads: Some(4),
        head_width: Some(256),
        score_scalar: Some(256.0),
        context: 8192,
        vocabulary: Some(256_000),
        window: Some(4096),
        tied: true,
        ..LLAMA.defaults
    },
    ..LLAMA
};

const DEEPSEEK: Architecture = Architecture {
    name: "deepseek2",
    class: "DeepseekV2ForCausalLM",
    class_pairing: Pairing::Adjacent,
    attention: AttentionKind::Latent,
    mixture: Some(Mixture { gguf_normalised: false, class_normalised: false, ..MIXTURE }),
    names: &[
        (Conventions::HuggingFace, Role::SharedGate, "model.layers.{}.mlp.shared_experts.gate_proj.weight"),
        (Conventions::HuggingFace, Role::SharedUp, "model.layers.{}.mlp.shared_experts.up_proj.weight"),
        (Conventions::HuggingFace, Role::SharedDown, "model.layers.{}.mlp.shared_experts.down_proj.weight"),
    ],
    gguf_yarn: GgufYarn { log_multiplier: LogMultiplier::Tenth, ..LLAMA.gguf_yarn },
    ..LLAMA
};

/// Every family that this build runs.
pub static ALL: [Architecture; 18] = [
    Architecture { mixture: Some(MIXTURE), ..LLAMA },
    MISTRAL,
    Architecture { class: "MinistralForCausalLM", ..MISTRAL },
    Architecture {
        name: "mistral3",
        class: "Ministral3ForCausalLM",
        defaults: Defaults {
            head_width: Some(128),
            norm_epsilon: 1e-5,
            rope_base: 1_000_000.0,
            window: None,
            ..MISTRAL.defaults
        },
        ..MISTRAL
    },
    QWEN,
    Architecture {
        name: "qwen3",
        class: "Qwen3ForCausalLM",
        head_norms: HeadNorms::Heads,
        biases: false,
        defaults: Defaults { head_width: Some(128), ..QWEN.defaults },
        ..QWEN
    },
    Architecture {
        name: "qwen2moe",
        class: "Qwen2MoeForCausalLM",
        mixture: Some(Mixture { gguf_normalised: false, class_normalised: false, gated: true, ..MIXTURE }),
        defaults: Defaults { kv_heads: Some(16), ..QWEN.defaults },
        ..QWEN
    },
    Architecture {
        name: "qwen3moe",
        class: "Qwen3MoeForCausalLM",
        head_norms: HeadNorms::Heads,
        biases: false,
        mixture: Some(Mixture { class_normalised: false, ..MIXTURE }),
        defaults: Defaults { kv_heads: Some(4), ..QWEN.defaults },
        ..QWEN
    },
    Architecture {
        class: "MixtralForCausalLM",
        mixture: Some(MIXTURE),
        names: &[
            (Conventions::HuggingFace, Role::Router, "model.layers.{}.block_sparse_moe.gate.weight"),
            (Conventions::HuggingFace, Role::ExpertGate, "model.layers.{}.block_sparse_moe.experts.{expert}.w1.weight"),
            (Conventions::HuggingFace, Role::ExpertUp, "model.layers.{}.block_sparse_moe.experts.{expert}.w3.weight"),
            (Conventions::HuggingFace, Role::ExpertDown, "model.layers.{}.block_sparse_moe.experts.{expert}.w2.weight"),
        ],
        local: LocalLayers::All,
        defaults: Defaults { norm_epsilon: 1e-5, rope_base: 1_000_000.0, kv_heads: Some(8), ..LLAMA.defaults },
        ..LLAMA
    },
    Architecture {
        name: "phi3",
        class: "Phi3ForCausalLM",
        gguf_pairing: Pairing::Halves,
        fused: true,
        local: LocalLayers::All,
        defaults: Defaults { norm_epsilon: 1e-5, ..LLAMA.defaults },
        ..LLAMA
    },
    GEMMA,
    Architecture {
        name: "gemma3",
        class: "Gemma3ForCausalLM",
        head_norms: HeadNorms::Heads,
        scale_by_width: Some(62),
        local: LocalLayers::AllButEvery(6),
        local_base: true,
        defaults: Defaults { rope_base: 1_000_000.0, context: 131_072, vocabulary: Some(262_208), ..GEMMA.defaults },
        ..GEMMA
    },
    Architecture {
        name: "smollm3",
        class: "SmolLM3ForCausalLM",
        unrotated: Some(4),
        defaults: Defaults { kv_heads: Some(4), rope_base: 2_000_000.0, tied: true, ..LLAMA.defaults },
        ..LLAMA
    },
    Architecture {
        name: "olmo2",
        class: "Olmo2ForCausalLM",
        gguf_pairing: Pairing::Halves,
        norms: Norms::After,
        head_norms: HeadNorms::Whole,
        defaults: Defaults { norm_epsilon: 1e-5, ..LLAMA.defaults },
        ..LLAMA
    },
    Architecture { name: "granite", class: "GraniteForCausalLM", multipliers: true, ..LLAMA },
    DEEPSEEK,
    Architecture {
        class: "DeepseekV3ForCausalLM",
        mixture: Some(Mixture {
            gating: Gating::Sigmoid,
            gguf_normalised: false,
            class_scale: 2.5,
            class_groups: Some((8, 4)),
            class_dense_layers: 3,
            ..MIXTURE
        }),
        ..DEEPSEEK
    },
    Architecture {
        name: "gpt-oss",
        class: "GptOssForCausalLM",
        gguf_pairing: Pairing::Halves,
        activation: Activation::SiluClamped { limit: 7.0 },
        mixture: Some(Mixture { biases: true, ..MIXTURE }),
        names: &[
            (Conventions::Gguf, Role::FeedForwardNorm, "blk.{}.post_attention_norm.weight"),
            (Conventions::HuggingFace, Role::Router, "model.layers.{}.mlp.router.weight"),
            (Conventions::HuggingFace, Role::RouterBias, "model.layers.{}.mlp.router.bias"),
            (Conventions::HuggingFace, Role::ExpertDown, "model.layers.{}.mlp.experts.down_proj.weight"),
        ],
        transposed: &[".mlp.experts.gate_up_proj", ".mlp.experts.down_proj"],
        biases: true,
        output_bias: true,
        sinks: true,
        local: LocalLayers::AllButEvery(2),
        gguf_yarn: GgufYarn { truncated: false, ..LLAMA.gguf_yarn },
        defaults: Defaults {
            kv_heads: Some(8),
            head_width: Some(64),
            norm_epsilon: 1e-5,
            rope_base: 150_000.0,
            context: 131_072,
            window: Some(128),
            ..LLAMA.defaults
        },
        ..LLAMA
    },
];

/// Classes of models that see as well as read, with the `model_type` of the part that reads, and the class of such a part alone.
const SEEING: [(&str, &str, &str); 3] = [
    ("Mistral3ForConditionalGeneration", "ministral3", "Ministral3ForCausalLM"),
    ("Mistral3ForConditionalGeneration", "mistral", "MistralForCausalLM"),
    ("Gemma3ForConditionalGeneration", "gemma3_text", "Gemma3ForCausalLM"),
];

/// The class of the text part of a model that sees as well as reads, if its text part runs.
pub fn text_class(class: &str, model_type: &str) -> Option<&'static str> {
    SEEING.iter().find(|row| (row.0, row.1) == (class, model_type)).map(|row| row.2)
}

impl Architecture {
    /// The family of a name as files of this kind have it.
    pub fn find(kind: Conventions, name: &str) -> Option<&'static Architecture> {
        ALL.iter().find(|row| row.name_in(kind) == name)
    }

    /// Its name in files of a kind.
    pub fn name_in(&self, kind: Conventions) -> &'static str {
        match kind {
            Conventions::Gguf => self.name,
            Conventions::HuggingFace => self.class,
        }
    }

    /// Which elements of a head are rotated together in files of a kind.
    pub fn pairing(&self, kind: Conventions) -> Pairing {
        match kind {
            Conventions::Gguf => self.gguf_pairing,
            Conventions::HuggingFace => self.class_pairing,
        }
    }

    /// What is added to the weights of norms in files of a kind.
    pub fn norm_offset(&self, kind: Conventions) -> f32 {
        match kind {
            Conventions::Gguf => 0.0,
            Conventions::HuggingFace => self.norm_offset,
        }
    }
}

/// The names of all families in files of a kind, for messages.
pub fn known(kind: Conventions) -> String {
    let mut names: Vec<String> = Vec::new();
    for name in ALL.iter().map(|row| row.name_in(kind)) {
        if names.iter().all(|known| known != name) {
            names.push(name.into());
        }
    }
    if kind == Conventions::HuggingFace {
        names.extend(SEEING.iter().map(|(class, text, _)| format!("{class} with a text_config of {text}")));
    }
    names.join(", ")
}
