//! Which format each tensor of a model gets: mixes as data, and what stands in where blocks do not divide a row.
//!
//! The choices are those of llama.cpp's `llama-quantize` (`src/llama-quant.cpp`), so that a type's name means the same
//! here and there; `models/tests/mixes.py` records what it chooses.

use plywood_kernels::Format;
use plywood_kernels::formats::{
    BF16, F16, F32, IQ4_NL, IQ4_XS, MXFP4, NVFP4, Q2_K, Q3_K, Q4_0, Q4_1, Q4_K, Q5_0, Q5_1, Q5_K, Q6_K, Q8_0, TQ1_0,
    TQ2_0,
};

/// A kind of file that can be written.
#[derive(Debug)]
pub struct Mix {
    /// Its names; the first is the one that is told.
    pub names: &'static [&'static str],
    /// Its number in GGUF files (`general.file_type`).
    pub file_type: u32,
    /// The format of matrices for which no rule says otherwise.
    pub format: Format,
    /// The exceptions; the first that applies counts.
    rules: &'static [Rule],
}

/// An exception of a mix.
#[derive(Debug)]
struct Rule(MatrixRole, When, Format);

/// What a matrix is for, as far as mixes distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatrixRole {
    /// The output matrix.
    Output,
    /// The token embedding.
    Embedding,
    /// Values of attention, alone or with queries and keys.
    Value,
    /// Keys of attention.
    Key,
    /// Output of attention.
    AttentionOutput,
    /// Output of the feed-forward.
    Down,
    /// Gate of the feed-forward and its other half.
    GateUp,
    /// Any other.
    Other,
}

/// When a rule applies.
#[derive(Debug, Clone, Copy)]
enum When {
    Always,
    /// In the first eighth of the layers, the last, and every third between.
    MoreBits,
    /// In the first this many layers.
    Below(usize),
    /// In the first of this many equal shares of the layers.
    FirstOf(usize),
    /// The same without an importance matrix, and with one.
    FirstOfUnweighted(usize),
    FirstOfWeighted(usize),
    /// Where four heads or more share keys and values.
    Grouped,
    /// Where there are eight experts.
    EightExperts,
    /// The matrices of several experts in one.
    Stacked,
}

/// What decides about one matrix.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    /// What it is for.
    pub part: MatrixRole,
    /// Its layer, where it has one.
    pub layer: usize,
    /// Elements of its rows.
    pub columns: usize,
    /// Whether it holds the matrices of several experts.
    pub stacked: bool,
}

/// What decides about all matrices of a model.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Layers.
    pub layers: usize,
    /// Query heads for each head of keys and values.
    pub group: usize,
    /// Experts of a feed-forward; 0 where there are none.
    pub experts: usize,
    /// Whether the embedding is the output matrix too.
    pub tied: bool,
    /// Whether there is an importance matrix.
    pub weighted: bool,
}

use MatrixRole::{AttentionOutput, Down, Embedding, GateUp, Key, Value};
use When::{Always, Below, EightExperts, FirstOf, FirstOfUnweighted, FirstOfWeighted, Grouped, MoreBits, Stacked};

/// Experts share attention, which is small beside them.
const EXPERTS: [Rule; 2] = [Rule(Value, EightExperts, Q8_0), Rule(Key, EightExperts, Q8_0)];

/// Models of this many layers with grouped heads (Llama 2 70B) have small value matrices.
const LARGE_LAYERS: usize = 80;

const fn mix(names: &'static [&'static str], file_type: u32, format: Format, rules: &'static [Rule]) -> Mix {
    Mix { names, file_type, format, rules }
}

/// Every mix.
pub static ALL: [Mix; 24] = [
    mix(&["f32"], 0, F32, &[]),
    mix(&["f16"], 1, F16, &[]),
    mix(&["bf16"], 32, BF16, &[]),
    mix(&["q8_0"], 7, Q8_0, &[]),
    mix(&["q6_k"], 18, Q6_K, &[]),
    mix(&["q5_k_m", "q5_k"], 17, Q5_K, &[Rule(Value, MoreBits, Q6_K), Rule(Down, MoreBits, Q6_K)]),
    mix(&["q5_k_s"], 16, Q5_K, &[]),
    mix(&["q5_1"], 9, Q5_1, &[]),
    mix(&["q5_0"], 8, Q5_0, &[Rule(Down, FirstOfWeighted(8), Q5_1)]),
    mix(
        &["q4_k_m", "q4_k"],
        15,
        Q4_K,
        &[Rule(Value, MoreBits, Q6_K), Rule(Down, MoreBits, Q6_K), Rule(AttentionOutput, EightExperts, Q5_K)],
    ),
    mix(
        &["q4_k_s"],
        14,
        Q4_K,
        &[Rule(Value, Below(4), Q5_K), Rule(Down, FirstOf(8), Q5_K), Rule(AttentionOutput, EightExperts, Q5_K)],
    ),
    mix(&["q4_1"], 3, Q4_1, &[]),
    mix(&["q4_0"], 2, Q4_0, &[Rule(Down, FirstOfWeighted(8), Q4_1)]),
    mix(
        &["iq4_nl"],
        25,
        IQ4_NL,
        &[
            Rule(Value, Grouped, Q5_K),
            Rule(Down, FirstOfUnweighted(8), Q5_K),
            Rule(AttentionOutput, EightExperts, Q5_K),
        ],
    ),
    mix(
        &["iq4_xs"],
        30,
        IQ4_XS,
        &[
            Rule(Value, Grouped, Q5_K),
            Rule(Down, FirstOfUnweighted(8), Q5_K),
            Rule(AttentionOutput, EightExperts, Q5_K),
        ],
    ),
    mix(
        &["q3_k_l"],
        13,
        Q3_K,
        &[
            Rule(Value, Always, Q5_K),
            Rule(Down, Always, Q5_K),
            Rule(AttentionOutput, EightExperts, Q3_K),
            Rule(AttentionOutput, Always, Q5_K),
        ],
    ),
    mix(
        &["q3_k_m", "q3_k"],
        12,
        Q3_K,
        &[
            Rule(Value, Below(2), Q5_K),
            Rule(Value, Always, Q4_K),
            Rule(Down, FirstOf(16), Q5_K),
            Rule(Down, Always, Q4_K),
            Rule(AttentionOutput, EightExperts, Q5_K),
            Rule(AttentionOutput, Always, Q4_K),
        ],
    ),
    mix(&["q3_k_s"], 11, Q3_K, &[Rule(AttentionOutput, EightExperts, Q5_K)]),
    mix(
        &["q2_k"],
        10,
        Q2_K,
        &[
            Rule(Value, Grouped, Q4_K),
            Rule(Value, Always, Q3_K),
            Rule(Down, Always, Q3_K),
            Rule(AttentionOutput, EightExperts, Q5_K),
            Rule(AttentionOutput, Always, Q3_K),
        ],
    ),
    mix(&["tq2_0"], 37, TQ2_0, &[Rule(Embedding, Always, Q4_K)]),
    mix(&["tq1_0"], 36, TQ1_0, &[Rule(Embedding, Always, Q4_K)]),
    // MXFP4 has no number of its own but that of files whose experts alone have it.
    mix(&["mxfp4"], 38, MXFP4, &[]),
    mix(&["mxfp4_moe"], 38, Q8_0, &[Rule(GateUp, Stacked, MXFP4), Rule(Down, Stacked, MXFP4)]),
    mix(&["nvfp4"], 39, NVFP4, &[]),
];

/// What stands in where blocks do not divide a row; F16 where its own do not either.
const FALLBACKS: [(Format, Format); 9] = [
    (Q2_K, Q4_0),
    (Q3_K, Q4_0),
    (TQ1_0, Q4_0),
    (TQ2_0, Q4_0),
    (IQ4_XS, IQ4_NL),
    (Q4_K, Q5_0),
    (Q5_K, Q5_1),
    (Q6_K, Q8_0),
    (NVFP4, IQ4_NL),
];

/// The format for rows of this many elements: the one wanted, or what stands in for it.
pub fn fitting(wanted: Format, columns: usize) -> Format {
    let fits = |format: &Format| columns.is_multiple_of(format.block_elements);
    let fallback = FALLBACKS.iter().find(|row| row.0 == wanted).map(|row| row.1);
    [Some(wanted), fallback].into_iter().flatten().find(fits).unwrap_or(F16)
}

impl Mix {
    /// The mix of a name in any case.
    pub fn find(name: &str) -> Option<&'static Mix> {
        ALL.iter().find(|mix| mix.names.iter().any(|known| known.eq_ignore_ascii_case(name)))
    }

    /// Its first name.
    pub fn name(&self) -> &'static str {
        self.names[0]
    }

    /// The format of a matrix, before it is known whether its blocks divide the rows.
    pub fn choose(&self, facts: &Facts, matrix: &Matrix) -> Format {
        if self.format.is_float() {
            return self.format;
        }
        if matrix.part == MatrixRole::Output || (matrix.part == MatrixRole::Embedding && facts.tied) {
            return self.output(matrix);
        }
        let rules = EXPERTS.iter().chain(self.rules);
        let found =
            rules.filter(|rule| rule.0 == matrix.part && rule.1.applies(facts, matrix)).map(|rule| rule.2).next();
        let format = found.unwrap_or(self.format);
        let large = facts.layers == LARGE_LAYERS && facts.group > 1;
        if large && matrix.part == Value && (format == Q3_K || format == Q4_K) { Q5_K } else { format }
    }

    /// The format of the matrix that makes logits, on which most depends.
    fn output(&self, matrix: &Matrix) -> Format {
        let fits = matrix.columns.is_multiple_of(self.format.block_elements);
        if self.format == Q8_0 || !fits { Q8_0 } else { Q6_K }
    }
}

impl When {
    fn applies(self, facts: &Facts, matrix: &Matrix) -> bool {
        let (layer, layers) = (matrix.layer, facts.layers);
        match self {
            Always => true,
            MoreBits => {
                let eighth = layers / 8;
                layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
            }
            Below(count) => layer < count,
            FirstOf(shares) => layer < layers / shares,
            FirstOfUnweighted(shares) => !facts.weighted && layer < layers / shares,
            FirstOfWeighted(shares) => facts.weighted && layer < layers / shares,
            Grouped => facts.group >= 4,
            EightExperts => facts.experts == 8,
            Stacked => matrix.stacked,
        }
    }
}

impl MatrixRole {
    /// What the tensor of a name in a GGUF file is for.
    pub fn of(name: &str) -> MatrixRole {
        const PARTS: [(&str, MatrixRole); 8] = [
            ("attn_qkv.weight", Value),
            ("attn_kv_b.weight", Value),
            ("attn_v.weight", Value),
            ("attn_k.weight", Key),
            ("attn_output.weight", AttentionOutput),
            ("ffn_up", GateUp),
            ("ffn_gate", GateUp),
            ("ffn_down", Down),
        ];
        match name {
            "output.weight" => MatrixRole::Output,
            "token_embd.weight" => Embedding,
            _ => PARTS.iter().find(|row| name.contains(row.0)).map_or(MatrixRole::Other, |row| row.1),
        }
    }
}
