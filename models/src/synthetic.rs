//! Models with the shapes of real ones and random weights: for benches, and for tests that need a large file.

use std::path::Path;

use plywood_kernels::Format;
use plywood_kernels::formats::{self, F32};
use plywood_kernels::random::{Random, random_blocks};
use plywood_kernels::route::Gating;

use crate::architectures;
use crate::config::{Attends, Config, Experts, Rope, Sampling, Scales};
use crate::error::{Error, Result};
use crate::gguf::{Array, Value, writer};
use crate::names::{self, Role};
use crate::quantise::settings::{self, text};
use crate::weights::{Conventions, Storage, TensorInfo, Weights, check_read};

/// The shape of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Its name on the command line.
    pub name: &'static str,
    /// Layers.
    pub layers: usize,
    /// Elements of the residual stream.
    pub width: usize,
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_width: usize,
    /// Elements inside the feed-forward, or inside an expert.
    pub feed_forward: usize,
    /// How many experts layers have, and how many a token is sent to; `None` for one feed-forward.
    pub experts: Option<(usize, usize)>,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Whether the embedding is the output matrix too.
    pub tied: bool,
    /// The longest sequence, in tokens.
    pub context: usize,
}

impl Shape {
    /// Elements in the rows of its matrices.
    pub fn row_widths(&self) -> [usize; 3] {
        [self.width, self.heads * self.head_width, self.feed_forward]
    }
}

/// The shapes, smallest first: the `config.json` of Llama-3.2-1B and 3B, Llama-2-7B, Llama-3.1-8B and 70B; `tiny` is that of
/// stories15M, `moe-30b` that of Qwen3-30B-A3B without its norms of heads, `qwen-32b` that of Qwen2.5-32B without its biases, `moe-141b`
/// that of Mixtral-8x22B.
pub static SHAPES: [Shape; 9] = [
    Shape {
        name: "tiny",
        layers: 6,
        width: 288,
        heads: 6,
        kv_heads: 6,
        head_width: 48,
        feed_forward: 768,
        experts: None,
        vocabulary: 32_000,
        tied: true,
        context: 256,
    },
    Shape {
        name: "llama-1b",
        layers: 16,
        width: 2048,
        heads: 32,
        kv_heads: 8,
        head_width: 64,
        feed_forward: 8192,
        experts: None,
        vocabulary: 128_256,
        tied: true,
        context: 131_072,
    },
    Shape {
        name: "llama-3b",
        layers: 28,
        width: 3072,
        heads: 24,
        kv_heads: 8,
        head_width: 128,
        feed_forward: 8192,
        experts: None,
        vocabulary: 128_256,
        tied: true,
        context: 131_072,
    },
    Shape {
        name: "llama-7b",
        layers: 32,
        width: 4096,
        heads: 32,
        kv_heads: 32,
        head_width: 128,
        feed_forward: 11_008,
        experts: None,
        vocabulary: 32_000,
        tied: false,
        context: 4096,
    },
    Shape {
        name: "llama-8b",
        layers: 32,
        width: 4096,
        heads: 32,
        kv_heads: 8,
        head_width: 128,
        feed_forward: 14_336,
        experts: None,
        vocabulary: 128_256,
        tied: false,
        context: 131_072,
    },
    Shape {
        name: "moe-30b",
        layers: 48,
        width: 2048,
        heads: 32,
        kv_heads: 4,
        head_width: 128,
        feed_forward: 768,
        experts: Some((128, 8)),
        vocabulary: 151_936,
        tied: false,
        context: 40_960,
    },
    Shape {
        name: "qwen-32b",
        layers: 64,
        width: 5120,
        heads: 40,
        kv_heads: 8,
        head_width: 128,
        feed_forward: 27_648,
        experts: None,
        vocabulary: 152_064,
        tied: false,
        context: 32_768,
    },
    Shape {
        name: "llama-70b",
        layers: 80,
        width: 8192,
        heads: 64,
        kv_heads: 8,
        head_width: 128,
        feed_forward: 28_672,
        experts: None,
        vocabulary: 128_256,
        tied: false,
        context: 131_072,
    },
    Shape {
        name: "moe-141b",
        layers: 56,
        width: 6144,
        heads: 48,
        kv_heads: 8,
        head_width: 128,
        feed_forward: 16_384,
        experts: Some((8, 2)),
        vocabulary: 32_768,
        tied: false,
        context: 65_536,
    },
];

/// Blocks of random elements that all matrices are cut from: a prime, so that few rows are equal.
const BLOCKS: usize = 4093;

/// Elements of such a block: a multiple of what any format has in one.
const BLOCK_ELEMENTS: usize = 256;

/// The largest weight; the standard deviation of real ones is about 0.02.
const LARGEST: f32 = 0.035;

/// RoPE's base and the norms' epsilon of Llama 3.
const ROPE_BASE: f64 = 500_000.0;
const NORM_EPSILON: f32 = 1e-5;

/// A model of a named shape whose weights are made as they are read.
#[derive(Debug)]
pub struct Synthetic {
    /// Its numbers.
    pub config: Config,
    tensors: Vec<TensorInfo>,
    /// Random elements of a matrix, encoded: matrices repeat them.
    block: Vec<u8>,
}

impl Synthetic {
    /// A model by `SHAPE:FORMAT`, such as `llama-1b:q8_0`.
    pub fn named(name: &str) -> Result<Synthetic> {
        let unknown = || Error::UnknownSynthetic {
            name: name.into(),
            shapes: SHAPES.iter().map(|shape| shape.name).collect::<Vec<_>>().join(", "),
            formats: formats::ALL.iter().map(|format| format.name).collect::<Vec<_>>().join(", "),
        };
        let (shape, format) = name.split_once(':').ok_or_else(unknown)?;
        let shape = SHAPES.iter().find(|row| row.name == shape).ok_or_else(unknown)?;
        let format = Format::from_name(format).ok_or_else(unknown)?;
        let block_elements = format.block_elements;
        match shape.row_widths().into_iter().find(|width| !width.is_multiple_of(block_elements)) {
            Some(width) => Err(Error::UnevenSynthetic { name: name.into(), width, block_elements }),
            None => Ok(Synthetic::new(shape, format)),
        }
    }

    /// A model of a shape, its matrices in one format, its norms in F32 and all 1.
    pub fn new(shape: &Shape, format: Format) -> Synthetic {
        let config = config(shape);
        Synthetic { tensors: tensors(&config, format), block: random_block(format), config }
    }

    /// Writes it to a GGUF file with a vocabulary of bytes and made-up words, so that it can be loaded and run.
    pub fn write_gguf(&self, path: &Path) -> Result<()> {
        writer::write(path, &metadata(&self.config), self)
    }
}

impl Weights for Synthetic {
    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn read(&self, tensor: usize, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let info = check_read(&self.tensors, tensor, offset, buffer.len())?;
        if info.shape.len() == 1 {
            let ones = 1.0f32.to_le_bytes();
            let bytes = ones.iter().cycle().skip(offset as usize % ones.len());
            buffer.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            return Ok(());
        }
        // Each tensor begins elsewhere in the random block, so that no two are equal.
        let stride = self.block.len() / BLOCKS;
        let begin = (tensor * 7 % BLOCKS * stride) as u64 + offset;
        let mut place = (begin % self.block.len() as u64) as usize;
        let mut rest = buffer;
        while !rest.is_empty() {
            let count = rest.len().min(self.block.len() - place);
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&self.block[place..place + count]);
            rest = later;
            place = 0;
        }
        Ok(())
    }
}

fn config(shape: &Shape) -> Config {
    let rope = Rope::plain(ROPE_BASE, shape.head_width);
    let score = (shape.head_width as f64).sqrt().recip() as f32;
    Config {
        kind: Conventions::Gguf,
        architecture: &architectures::ALL[0],
        layers: shape.layers,
        width: shape.width,
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_width: shape.head_width,
        latent: None,
        predicting_layers: 0,
        feed_forward: shape.feed_forward,
        experts: shape.experts.map(|(count, chosen)| experts(shape, count, chosen)),
        vocabulary: shape.vocabulary,
        norm_epsilon: NORM_EPSILON,
        local_rope: rope.clone(),
        rope,
        attends: vec![Attends { window: None, rotated: true }; shape.layers],
        scales: Scales { embedding: 1.0, score, residual: 1.0, logit: 1.0 },
        score_cap: None,
        logit_cap: None,
        biases: false,
        feed_forward_biases: false,
        tied: shape.tied,
        context: shape.context,
        bos: Some(1),
        ends: vec![2],
        sampling: Sampling::default(),
    }
}

/// A mixture of experts as Mixtral has it.
fn experts(shape: &Shape, count: usize, chosen: usize) -> Experts {
    Experts {
        count,
        chosen,
        width: shape.feed_forward,
        gating: Gating::Softmax,
        normalised: true,
        scale: 1.0,
        groups: None,
        shared: None,
        layers: vec![true; shape.layers],
    }
}

fn tensors(config: &Config, format: Format) -> Vec<TensorInfo> {
    let (queries, keys) = (config.heads * config.head_width, config.kv_heads * config.head_width);
    let (width, inner) = (config.width, config.feed_forward);
    let mut roles = vec![(Role::Embedding, 0, vec![config.vocabulary, width])];
    for layer in 0..config.layers {
        roles.extend([
            (Role::AttentionNorm, layer, vec![width]),
            (Role::Query, layer, vec![queries, width]),
            (Role::Key, layer, vec![keys, width]),
            (Role::Value, layer, vec![keys, width]),
            (Role::AttentionOutput, layer, vec![width, queries]),
            (Role::FeedForwardNorm, layer, vec![width]),
        ]);
        match &config.experts {
            Some(experts) => roles.extend([
                (Role::Router, layer, vec![experts.count, width]),
                (Role::ExpertGate, layer, vec![experts.count, inner, width]),
                (Role::ExpertUp, layer, vec![experts.count, inner, width]),
                (Role::ExpertDown, layer, vec![experts.count, width, inner]),
            ]),
            None => roles.extend([
                (Role::Gate, layer, vec![inner, width]),
                (Role::Up, layer, vec![inner, width]),
                (Role::Down, layer, vec![width, inner]),
            ]),
        }
    }
    roles.push((Role::OutputNorm, 0, vec![width]));
    if !config.tied {
        roles.push((Role::Output, 0, vec![config.vocabulary, width]));
    }
    let tensor = |(role, layer, shape): (Role, usize, Vec<usize>)| {
        let format = if shape.len() == 1 { F32 } else { format };
        let elements: usize = shape.iter().product();
        let bytes = (elements / format.block_elements * format.block_bytes) as u64;
        let name = names::name(Conventions::Gguf, role, layer);
        TensorInfo { name, shape, storage: Storage::Format(format), file: 0, offset: 0, bytes }
    };
    roles.into_iter().map(tensor).collect()
}

/// Random elements between plus and minus [`LARGEST`], the same in every run.
fn random_block(format: Format) -> Vec<u8> {
    random_blocks(format, BLOCKS * BLOCK_ELEMENTS, LARGEST, &mut Random::new(1))
}

/// The metadata of a GGUF file of a model, with a vocabulary as SentencePiece has it.
fn metadata(config: &Config) -> Vec<(String, Value)> {
    let (tokens, types) = vocabulary(config.vocabulary);
    let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
    let vocabulary = [
        ("general.name".into(), text("synthetic")),
        ("tokenizer.ggml.model".into(), text("llama")),
        ("tokenizer.ggml.tokens".into(), Value::Array(Array::String(tokens))),
        ("tokenizer.ggml.scores".into(), Value::Array(Array::F32(scores))),
        ("tokenizer.ggml.token_type".into(), Value::Array(Array::I32(types))),
        ("tokenizer.ggml.bos_token_id".into(), Value::U32(1)),
        ("tokenizer.ggml.eos_token_id".into(), Value::U32(2)),
        ("tokenizer.ggml.unknown_token_id".into(), Value::U32(0)),
    ];
    settings::entries(config).into_iter().chain(vocabulary).collect()
}

/// The marks, the bytes, the space, then made-up words; with their types.
fn vocabulary(count: usize) -> (Vec<String>, Vec<i32>) {
    let marks = ["<unk>", "<s>", "</s>"].map(|mark| (mark.to_owned(), 3));
    let bytes = (0..=u8::MAX).map(|byte| (format!("<0x{byte:02X}>"), 6));
    let words = (0..).map(|number| (format!("▁w{number}"), 1));
    let space = [("▁".to_owned(), 1)];
    marks.into_iter().chain(bytes).chain(space).chain(words).take(count).unzip()
}
