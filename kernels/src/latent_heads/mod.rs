//! The heads of multi-head latent attention (DeepSeek-V2, <https://arxiv.org/abs/2405.04434>, §2.1), in the absorbed form: a query
//! that meets the latent itself, and a key that is the latent, each followed by elements that are rotated with the position.

use crate::candidate::Candidate;
use crate::cases::Case;
use crate::dispatch::{Binding, Count, Extent, Grid, Launch, Lowered, Work, read, read_tokens, write};
use crate::graph::{Rows, Slice, Weight};
use crate::host::HostRun;
use crate::lowering::{LoweringContext, Precision, View};
use crate::op::{Kernel, Op};
use crate::params;
use crate::reference::Operands;
use crate::rope::{FINE_POSITIONS, Pairing, ROTATION, Rotation, read_tables, rotate_head, rotation_params, tables};

const WORKGROUP: u32 = 64;

const INPUTS: [&str; 4] = ["queries", "turning_queries", "latent", "rotary_key"];

/// Inputs: `queries` that meet the latent `[tokens, heads * rank]`; `turning_queries`, of which the last `rotated` elements of each head
/// are rotated, `[tokens, heads * head_width]`; `latent` `[tokens, rank]`; `rotary_key`, what is rotated of the one key, `[tokens, rotated]`. Weight
/// `tables`: as of [`crate::rope::Rope`]. Output `[tokens, (heads + 1) * (rank + rotated)]`: the query heads, then the key, each with what is rotated after.
#[derive(Debug, Clone)]
pub struct LatentHeads {
    /// Query heads.
    pub heads: usize,
    /// Elements of a head that are rotated, an even number, as is the rank.
    pub rotated: usize,
    /// Which of them are rotated together.
    pub pairing: Pairing,
}

impl Kernel for LatentHeads {
    fn name(&self) -> &'static str {
        "latent_heads"
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        let [queries, turning_queries, latent, rotary_key] = INPUTS.map(|name| context.inputs[name]);
        let (heads, rotated, output) = (self.heads as u32, self.rotated as u32, context.output());
        let head_width = turning_queries.width / heads;
        let pairs = output.width / 2;
        let mut params = params! {
            query_heads: heads,
            rank: latent.width,
            // From a head's rotary elements to the next one's.
            head_stride: head_width,
            queries: queries,
            turning_queries: View { offset: turning_queries.offset + head_width - rotated, ..turning_queries },
            latent: latent,
            rotary_key: rotary_key,
            output: output,
        };
        params.extend(rotation_params(context.weights["tables"], self.rotated));
        Lowered::one(Launch {
            shader: ("latent_heads", include_str!("latent_heads.wgsl")),
            modules: vec![self.pairing.module(), ROTATION],
            constants: vec![("WORKGROUP", WORKGROUP), ("FINE_POSITIONS", FINE_POSITIONS as u32)],
            params,
            bindings: vec![
                read_tokens(),
                read("queries", "f32", "[tokens, query_heads, rank]", Binding::Input("queries")),
                read("turning_queries", "f32", "[tokens, query_heads, head_stride]", Binding::Input("turning_queries")),
                read("latent", "f32", "[tokens, rank]", Binding::Input("latent")),
                read("rotary_key", "f32", "[tokens, rotated]", Binding::Input("rotary_key")),
                read_tables("tables"),
                write("output", "f32", "[tokens, query_heads + 1, rank + rotated]", Binding::Output),
            ],
            grid: Grid {
                spread: Count::fixed(pairs.div_ceil(WORKGROUP)),
                rows: Count::each(Extent::Rows(context.rows)),
            },
            work: Work::fixed(4 * u64::from(WORKGROUP)),
        })
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        run.each_row(8 * run.output().width(), |operands, row, out| {
            let [queries, turning_queries, latent, rotary_key] = INPUTS.map(|name| operands.inputs[name].row(row));
            let rotation = Rotation::at(operands.weights["tables"], &operands.step.tokens[row], self.rotated);
            let pairs = rotation.pairs(self.rotated);
            let rotary = turning_queries.chunks(turning_queries.len() / self.heads);
            let heads = queries.chunks(latent.len()).zip(rotary.map(|head| &head[head.len() - self.rotated..]));
            let heads = heads.chain([(latent, rotary_key)]);
            for ((head, rotary), out) in heads.zip(out.chunks_mut(latent.len() + self.rotated)) {
                let (plain, rotated) = out.split_at_mut(latent.len());
                plain.copy_from_slice(head);
                rotate_head(&pairs, self.pairing, rotary, rotated);
            }
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let [queries, turning_queries, latent, rotary_key] = INPUTS.map(|name| operands.inputs[name]);
        let mut output = Vec::new();
        for (row, token) in operands.step.tokens.iter().enumerate() {
            let rotation = Rotation::at(operands.weights["tables"], token, self.rotated);
            let rotate = |head: &[f32]| rotation.rotate(&head[head.len() - self.rotated..], self.rotated, self.pairing);
            let rotary = turning_queries.row(row).chunks(turning_queries.width / self.heads);
            for (query, rotary) in queries.row(row).chunks(latent.width).zip(rotary) {
                output.extend_from_slice(query);
                output.extend(rotate(rotary));
            }
            output.extend_from_slice(latent.row(row));
            output.extend(rotate(rotary_key.row(row)));
        }
        output
    }
}

/// Both pairings, one head and many, heads that are rotated wholly and in part, far positions, and a step of many tokens.
pub fn cases() -> Vec<Case> {
    let case = |(pairing, heads, rank, head_width, rotated, tokens, first): (
        Pairing,
        usize,
        usize,
        usize,
        usize,
        usize,
        u32,
    )| {
        let name = format!("{pairing:?} {tokens}x{heads}x{head_width} rotary {rotated} by {rank} from {first}");
        let mut case = Case::new("latent_heads", name, tokens);
        case.steps[0].tokens.iter_mut().for_each(|token| token.position += first);
        let frequencies: Vec<f64> =
            (0..rotated / 2).map(|pair| 10000f64.powf(-2.0 * pair as f64 / rotated as f64)).collect();
        let table = tables(&frequencies, first as usize + tokens, 1.25);
        let weight = case.graph.weight(Weight::computed("rope table", rotated, table));
        let absorbed = case.graph.input("absorbed", Rows::Tokens, heads * rank);
        let (query_width, down) = (heads * head_width, rank + rotated);
        let projected = case.graph.input("projected", Rows::Tokens, query_width + down);
        let latent = case.graph.input("latent", Rows::Tokens, rank);
        let output = case.graph.value("heads", Rows::Tokens, (heads + 1) * down);
        let slice = |offset, width| Slice { value: projected, offset, width };
        let inputs = [
            ("queries", case.graph.whole(absorbed)),
            ("turning_queries", slice(0, query_width)),
            ("latent", case.graph.whole(latent)),
            ("rotary_key", slice(query_width + rank, rotated)),
        ];
        let op = Op::LatentHeads(LatentHeads { heads, rotated, pairing });
        case.graph.node(op, &inputs, &[("tables", weight)], None, Some(output));
        case.output(output);
        case
    };
    [
        (Pairing::Adjacent, 1, 6, 2, 2, 3, 0),
        (Pairing::Adjacent, 5, 24, 22, 6, 5, 254),
        (Pairing::Halves, 3, 26, 24, 8, 40, 300),
        (Pairing::Adjacent, 16, 512, 192, 64, 1, 131_000),
        (Pairing::Adjacent, 128, 512, 192, 64, 2, 8190),
    ]
    .into_iter()
    .map(case)
    .collect()
}
