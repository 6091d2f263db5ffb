//! Heads as attention wants them: queries and keys normalised and rotated, keys and values in the cache. What [`RmsNorm`] of heads, [`Rope`]
//! and [`KvWrite`] do, one after the other, in a single dispatch: [`crate::fuse`] makes it of these.
//!
//! [`RmsNorm`]: crate::rms_norm::RmsNorm
//! [`Rope`]: crate::rope::Rope
//! [`KvWrite`]: crate::kv_cache::KvWrite

use crate::candidate::Candidate;
use crate::cases::{Case, HALF, sequences};
use crate::dispatch::{Binding, Count, Extent, Grid, Launch, Lowered, Work, read, read_pages, read_tokens, write};
use crate::graph::{CacheSlot, Rows, Slice, Weight};
use crate::host::HostRun;
use crate::kv_cache::{KvType, PAGES, PUT, cached_constants, write_keys, write_values};
use crate::lowering::{LoweringContext, Precision};
use crate::op::{Kernel, Op};
use crate::reference::Operands;
use crate::rms_norm::{self, Norm};
use crate::rope::{self, Pairing, ROTATION, Rotation, read_tables, rotate_head, rotation_params, tables};
use crate::{attention::Attention, params, shared};

/// `input` `[tokens, (heads + 2 * kv_heads) * head_width]`, queries before keys before values; weight `tables` of [`crate::rope`], and
/// perhaps a `gain` `[(heads + kv_heads) * head_width]` in F32. Keys and values go to the cache slot at each token's position; output
/// `[tokens, (heads + kv_heads) * head_width]`: queries and keys as they are then.
#[derive(Debug, Clone)]
pub struct Heads {
    /// Heads of queries, a multiple of the cache slot's.
    pub heads: usize,
    /// Each head of queries and keys is normalised by itself first, with this added to its mean square.
    pub norm: Option<f32>,
    /// Elements of a head that are rotated, an even number.
    pub rotated: usize,
    /// Which of them are rotated together.
    pub pairing: Pairing,
}

impl Kernel for Heads {
    fn name(&self) -> &'static str {
        "heads"
    }

    fn writes_cache(&self) -> bool {
        true
    }

    fn candidates(&self, context: &LoweringContext) -> Vec<Candidate> {
        let of_size = |workgroup| Candidate::new("heads").with("workgroup", workgroup);
        context.features.sizes([64, 16]).map(of_size).to_vec()
    }

    fn lower(&self, context: &LoweringContext, candidate: &Candidate) -> Lowered {
        let cache = context.cache();
        let (head_width, all_kv_heads) = (cache.slot.key_width as u32, cache.slot.kv_heads as u32);
        let heads = self.heads as u32;
        let group = heads / all_kv_heads;
        let norm = match self.norm {
            Some(_) => include_str!("norm_heads.wgsl"),
            None => include_str!("norm_none.wgsl"),
        };
        let mut lowered = Lowered::default();
        let mut first = 0;
        for (shard, kv_heads) in cache.shards.iter().enumerate() {
            let mut bindings = vec![
                read_tokens(),
                read_pages(),
                read("input", "f32", "[tokens, all heads, HEAD_WIDTH]", Binding::Input("input")),
                read_tables("tables"),
                write_keys(shard),
                write_values(shard),
                write("output", "f32", "[tokens, heads of queries and keys, HEAD_WIDTH]", Binding::Output),
            ];
            let mut params = params! {
                // Heads of queries and of keys in the shard, and where its queries, keys and values begin among all heads of a row.
                heads: group * kv_heads,
                kv_heads: *kv_heads,
                first_query: group * first,
                first_key: heads + first,
                first_value: heads + all_kv_heads + first,
                pages_per_sequence: cache.pages_per_sequence,
                input: context.inputs["input"],
                output: context.output(),
            };
            params.extend(rotation_params(context.weights["tables"], self.rotated));
            if let Some(epsilon) = self.norm {
                params.extend(params! { epsilon: epsilon });
                let gain = Binding::Shard { weight: "gain", shard: 0 };
                bindings.push(read("gain", "f32", "[heads of queries and keys, HEAD_WIDTH]", gain));
            }
            lowered.push(Launch {
                shader: ("heads", include_str!("heads.wgsl")),
                modules: vec![
                    shared::reduce(context.features),
                    self.pairing.module(),
                    ROTATION,
                    ("norm", norm),
                    cache.kv_type.module(),
                    PAGES,
                    ("keys", PUT),
                    ("values", PUT),
                ],
                constants: [
                    cached_constants(cache),
                    vec![
                        ("WORKGROUP", candidate.number("workgroup")),
                        ("FINE_POSITIONS", rope::FINE_POSITIONS as u32),
                        ("HEAD_WIDTH", head_width),
                    ],
                ]
                .concat(),
                params,
                bindings,
                grid: Grid {
                    spread: Count::fixed((group + 2) * kv_heads),
                    rows: Count::each(Extent::Rows(context.rows)),
                },
                work: Work::fixed(8 * u64::from(head_width)),
            });
            first += kv_heads;
        }
        lowered
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        let slot = *run.cache.as_ref().expect("the op uses the cache").slot();
        let (isa, head_width, width) = (run.isa, slot.key_width, run.output().width());
        let gain = self.norm.map(|epsilon| (epsilon, run.operands.weights["gain"].row(0)));
        run.each_row(8 * width, |operands, row, out| {
            let token = &operands.step.tokens[row];
            let pairs = Rotation::at(operands.weights["tables"], token, self.rotated).pairs(self.rotated);
            let mut normed = vec![0.0; head_width];
            let heads = operands.inputs["input"].row(row)[..width].chunks(head_width);
            for (index, (head, out)) in heads.zip(out.chunks_mut(head_width)).enumerate() {
                let Some((epsilon, gain)) = &gain else {
                    rotate_head(&pairs, self.pairing, head, out);
                    continue;
                };
                let weight = &gain[index * head_width..][..head_width];
                isa.run(Norm { input: head, weight, epsilon: *epsilon, out: &mut normed });
                rotate_head(&pairs, self.pairing, &normed, out);
            }
        });
        let (step, input) = (run.operands.step, run.operands.inputs["input"]);
        let output = run.output.as_mut().expect("the op writes a value");
        let cache = run.cache.as_deref_mut().expect("the op uses the cache");
        for (row, token) in step.tokens.iter().enumerate() {
            let place = step.place(token.sequence, token.position as usize);
            cache.write(place, &output.row(row)[self.heads * head_width..], &input.row(row)[width..]);
        }
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let head_width = operands.cache().slot().key_width;
        let width = (self.heads + operands.cache().slot().kv_heads) * head_width;
        let gain = self.norm.map(|epsilon| (epsilon, operands.weights["gain"].row(0)));
        let mut output = Vec::new();
        for (row, token) in operands.step.tokens.iter().enumerate() {
            let rotation = Rotation::at(operands.weights["tables"], token, self.rotated);
            let (heads, values) = operands.inputs["input"].row(row).split_at(width);
            let first = output.len();
            for (index, head) in heads.chunks(head_width).enumerate() {
                let normed = gain.as_ref().map(|(epsilon, gain)| {
                    rms_norm::reference(head, &gain[index * head_width..][..head_width], *epsilon)
                });
                output.extend(rotation.rotate(normed.as_deref().unwrap_or(head), self.rotated, self.pairing));
            }
            let (keys, values) = (output[first + self.heads * head_width..].to_vec(), values.to_vec());
            let place = operands.step.place(token.sequence, token.position as usize);
            operands.cache().write(place, &keys, &values);
        }
        output
    }
}

/// Types of cache, pairings, heads of which a part is rotated, norms, tables for long sequences, several sequences, shards. What is in the cache
/// is seen by attention over it.
pub fn cases() -> Vec<Case> {
    let shape = |heads, kv_heads, head_width, rotated, pairing| Shape { heads, kv_heads, head_width, rotated, pairing };
    let shapes = [
        shape(3, 3, 8, 8, Pairing::Adjacent),
        shape(8, 2, 64, 64, Pairing::Halves),
        shape(4, 1, 80, 32, Pairing::Adjacent),
        shape(6, 3, 100, 48, Pairing::Halves),
        shape(2, 1, 256, 256, Pairing::Halves),
    ];
    let mut cases = Vec::new();
    for (index, shape) in shapes.into_iter().enumerate() {
        for kv_type in KvType::ALL {
            let is_normed = (index + kv_type as usize).is_multiple_of(2);
            cases.push(case(shape, kv_type, is_normed, 1, None));
            cases.push(case(shape, kv_type, !is_normed, 9, None));
        }
        // Room for the keys of one head.
        cases.push(case(shape, KvType::F32, true, 4, Some(shape.head_width as u64 * 4 * 192)));
    }
    cases
}

/// How many heads there are, and what they are like.
#[derive(Debug, Clone, Copy)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_width: usize,
    rotated: usize,
    pairing: Pairing,
}

/// Some tokens of each of three sequences after others, which were written before, and attention to all.
fn case(shape: Shape, kv_type: KvType, is_normed: bool, tokens: usize, max_shard: Option<u64>) -> Case {
    let Shape { heads, kv_heads, head_width, rotated, pairing } = shape;
    let normed = if is_normed { ", normalised" } else { "" };
    let shards = max_shard.map_or("", |_| ", in shards");
    let cache = kv_type.name();
    let name =
        format!("{pairing:?} {tokens}x{heads}/{kv_heads}x{head_width} rotating {rotated}, {cache}{normed}{shards}");
    let mut case = Case::new("heads", name, 0);
    let context = 31 + tokens;
    let long = |mut step: crate::step::Step| {
        step.tokens.iter_mut().for_each(|token| token.long = token.sequence == 1);
        step
    };
    let before = [(0, 20), (0, 3), (0, 31)];
    let after = before.map(|(_, count)| (count, tokens));
    case.steps = vec![long(sequences(&before, 1, context)), long(sequences(&after, 1, context))];
    (case.kv_type, case.max_shard) = (kv_type, max_shard);
    if kv_type != KvType::F32 {
        case.limit = HALF;
    }
    let frequencies = [10_000.0, 500.0].map(|base| rope::frequencies(base, rotated)).concat();
    let table = Weight::computed("rope tables", 2 * rotated, tables(&frequencies, context, 1.25));
    let mut weights = vec![("tables", case.graph.weight(table))];
    let width = (heads + kv_heads) * head_width;
    if is_normed {
        weights.push(("gain", case.random_weight(&[1], width)));
    }
    let input = case.graph.input("qkv", Rows::Tokens, width + kv_heads * head_width);
    let output = case.graph.value("rotated", Rows::Tokens, width);
    let slot = case.graph.cache(CacheSlot::plain(kv_heads, head_width));
    let op = Op::Heads(Heads { heads, norm: is_normed.then_some(1e-5), rotated, pairing });
    let all = case.graph.whole(input);
    case.graph.node(op, &[("input", all)], &weights, Some(slot), Some(output));
    let attended = case.graph.value("attended", Rows::Tokens, heads * head_width);
    let attention = Attention { heads, scale: 0.3, window: None, soft_cap: None };
    let queries = Slice { value: output, offset: 0, width: heads * head_width };
    case.graph.node(Op::Attention(attention), &[("queries", queries)], &[], Some(slot), Some(attended));
    case.output(attended);
    case
}
