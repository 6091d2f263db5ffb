//! Rows of a matrix of any format by token id.

use crate::candidate::Candidate;
use crate::cases::Case;
use crate::dispatch::{Binding, Count, Extent, Grid, Launch, Lowered, Work, read, read_tokens, write};
use crate::formats::{self, BLOCK32, Format};
use crate::graph::Rows;
use crate::host::HostRun;
use crate::lowering::{LoweringContext, Precision, Shard};
use crate::op::{Kernel, Op};
use crate::reference::Operands;
use crate::step::Token;
use crate::{params, shared};

const WORKGROUP: u32 = 64;

/// `weight` `[vocabulary, width]`; output `[tokens, width]`. Runs once per shard; the shard that has a row writes it.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// What each element is multiplied by.
    pub scale: f32,
}

impl Embedding {
    /// The rows as they are.
    pub const PLAIN: Embedding = Embedding { scale: 1.0 };
}

impl Kernel for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn takes_shards(&self) -> bool {
        true
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        let output = context.output();
        let blocks32 = output.width.div_ceil(BLOCK32 as u32);
        let mut lowered = Lowered::default();
        let launch = |(index, shard): (usize, &Shard)| Launch {
            shader: ("embedding", include_str!("embedding.wgsl")),
            modules: vec![shared::QUARTER, shared::CODES_FLOAT, ("weight", shard.format.wgsl)],
            constants: vec![("WORKGROUP", WORKGROUP)],
            // Strides are in vec4.
            params: params! {
                first_row: shard.first_row,
                rows: shard.rows,
                row_stride: shard.row_stride,
                blocks32: blocks32,
                scale: self.scale,
                output: output.quads(),
            },
            bindings: vec![
                read_tokens(),
                read(
                    "weight_words",
                    "vec4<u32>",
                    "[rows, row_stride]",
                    Binding::Shard { weight: "weight", shard: index },
                ),
                write("output", "vec4<f32>", "[tokens, output_stride]", Binding::Output),
            ],
            grid: Grid {
                spread: Count::fixed((blocks32 * 4).div_ceil(WORKGROUP)),
                rows: Count::each(Extent::Rows(context.rows)),
            },
            work: Work::fixed(u64::from(WORKGROUP) * BLOCK32 as u64 / 4),
        };
        context.weights["weight"].shards.iter().enumerate().map(launch).for_each(|launch| lowered.push(launch));
        lowered
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        let matrix = run.matrix.expect("the op has a matrix");
        run.each_row(matrix.columns, |operands, row, out| {
            matrix.decode_row(operands.step.tokens[row].id as usize, out);
            out.iter_mut().for_each(|number| *number *= self.scale);
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let row = |token: &Token| operands.weights["weight"].row(token.id as usize);
        let scaled = |number| (f64::from(self.scale) * f64::from(number)) as f32;
        operands.step.tokens.iter().flat_map(row).map(scaled).collect()
    }
}

/// Every format, in rows of its blocks; rows that no block of 32 divides; a matrix cut into shards.
pub fn cases() -> Vec<Case> {
    let case = |format: Format, width: usize, tokens: usize, max_shard: Option<u64>| {
        let width = width.next_multiple_of(format.block_elements);
        let shards = if max_shard.is_some() { " in shards" } else { "" };
        let mut case = Case::new("embedding", format!("{tokens}x{width}{shards}"), tokens);
        case.format = Some(format);
        case.max_shard = max_shard;
        case.steps[0]
            .tokens
            .iter_mut()
            .enumerate()
            .for_each(|(index, token)| token.id = (index as u32 * 37 + 99) % 100);
        let weight = case.random_weight(&[60, 40], width);
        let embedded = case.graph.value("embedded", Rows::Tokens, width);
        case.graph.node(
            Op::Embedding(Embedding { scale: if tokens == 1 { 1.0 } else { 11.3125 } }),
            &[],
            &[("weight", weight)],
            None,
            Some(embedded),
        );
        case.output(embedded);
        case
    };
    let mut cases = Vec::new();
    for format in formats::ALL {
        cases.push(case(format, 64, 1, None));
        cases.push(case(format, 288, 33, Some(8192)));
        if format.block_elements == 1 {
            cases.push(case(format, 33, 5, None));
            cases.push(case(format, 172, 13, None));
        }
    }
    cases
}
