//! Rotary position embedding (Su et al., <https://arxiv.org/abs/2104.09864>) of the heads of queries and keys.
//!
//! No shader computes a sine: their precision is a driver's own choice, and undefined for large
//! angles. A position is `256 * coarse + fine`; two small tables made in float64 hold the rotations of
//! both, and the angle-sum identities compose them.

use crate::candidate::Candidate;
use crate::cases::{Case, sequences};
use crate::dispatch::{
    Binding, Bound, Count, Extent, Grid, Launch, Lowered, NamedWgsl, Param, Work, read, read_tokens, write,
};
use crate::graph::{Rows, Slice, Weight};
use crate::host::HostRun;
use crate::lowering::{DeviceWeight, LoweringContext, Precision};
use crate::op::{Kernel, Op};
use crate::params;
use crate::reference::{HostWeight, Operands};
use crate::step::Token;

const WORKGROUP: u32 = 64;

/// Positions in the fine table.
pub const FINE_POSITIONS: usize = 256;

/// Which two elements of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Elements 2i and 2i+1, as in GGUF files of the Llama family.
    Adjacent,
    /// Elements i and i + rotated/2, as in Hugging Face files.
    Halves,
}

impl Pairing {
    /// The elements of a pair of a head of which the first `rotated` are rotated.
    fn elements(self, pair: usize, rotated: usize) -> (usize, usize) {
        match self {
            Pairing::Adjacent => (2 * pair, 2 * pair + 1),
            Pairing::Halves => (pair, pair + rotated / 2),
        }
    }

    /// `pairing_elements`: the elements of a pair.
    pub(crate) fn module(self) -> NamedWgsl {
        let source = match self {
            Pairing::Adjacent => include_str!("adjacent.wgsl"),
            Pairing::Halves => include_str!("halves.wgsl"),
        };
        ("pairing", source)
    }
}

/// `rotation_of`: how a pair is rotated at a position, by the tables of [`tables`].
pub(crate) const ROTATION: NamedWgsl = ("rotation", include_str!("rotation.wgsl"));

/// Rotates the first `rotated` elements of each head by its token's position; the others pass.
///
/// `input` `[tokens, heads * head_width]`; weight `tables`: the rows of [`tables`], with `rotated` columns, or with twice as many where tokens of
/// long sequences are rotated by the second half; output of the input's shape.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Heads in a row.
    pub heads: usize,
    /// Elements of a head.
    pub head_width: usize,
    /// Elements of a head that are rotated, an even number.
    pub rotated: usize,
    /// Which of them are rotated together.
    pub pairing: Pairing,
}

/// The rows of the weight of [`Rope`]: cosines and sines of positions `0..256`, then of `0, 256, 512 …`.
///
/// `inverse_frequencies` has one angle per position for each of `rotated / 2` pairs (where long sequences have a table of their own,
/// after these as many for it); a row is a cosine and a sine for each, times `magnitude` in the coarse rows (1 where the model does
/// not scale). The coarse rows reach to `context` positions.
pub fn tables(inverse_frequencies: &[f64], context: usize, magnitude: f64) -> Vec<f32> {
    let coarse = context.div_ceil(FINE_POSITIONS).max(1);
    let fine_rows = (0..FINE_POSITIONS).map(|position| (position, 1.0));
    let coarse_rows = (0..coarse).map(|row| (row * FINE_POSITIONS, magnitude));
    let row = |(position, magnitude): (usize, f64)| {
        let angles = inverse_frequencies.iter().map(move |frequency| frequency * position as f64);
        angles.flat_map(move |angle| [(angle.cos() * magnitude) as f32, (angle.sin() * magnitude) as f32])
    };
    fine_rows.chain(coarse_rows).flat_map(row).collect()
}

impl Kernel for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        // One invocation rotates one pair, or copies two elements that are not rotated.
        let pairs = (self.heads * self.head_width / 2) as u32;
        let mut params = params! {
            pairs: pairs,
            head_width: self.head_width as u32,
            input: context.inputs["input"],
            output: context.output(),
        };
        params.extend(rotation_params(context.weights["tables"], self.rotated));
        Lowered::one(Launch {
            shader: ("rope", include_str!("rope.wgsl")),
            modules: vec![self.pairing.module(), ROTATION],
            constants: vec![("WORKGROUP", WORKGROUP), ("FINE_POSITIONS", FINE_POSITIONS as u32)],
            params,
            bindings: vec![
                read_tokens(),
                read("input", "f32", "[tokens, heads, head_width]", Binding::Input("input")),
                read_tables("tables"),
                write("output", "f32", "[tokens, heads, head_width]", Binding::Output),
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
        run.each_row(8 * run.operands.inputs["input"].width, |operands, row, out| {
            let token = &operands.step.tokens[row];
            let pairs = Rotation::at(operands.weights["tables"], token, self.rotated).pairs(self.rotated);
            let heads = operands.inputs["input"].row(row).chunks(self.head_width);
            for (head, out) in heads.zip(out.chunks_mut(self.head_width)) {
                rotate_head(&pairs, self.pairing, head, out);
            }
        });
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let mut output = Vec::new();
        for (row, token) in operands.step.tokens.iter().enumerate() {
            let rotation = Rotation::at(operands.weights["tables"], token, self.rotated);
            for head in operands.inputs["input"].row(row).chunks(self.head_width) {
                output.extend(rotation.rotate(head, self.rotated, self.pairing));
            }
        }
        output
    }
}

/// The parameters of [`ROTATION`], among them how much of a head is rotated.
pub(crate) fn rotation_params(tables: &DeviceWeight, rotated: usize) -> Vec<(&'static str, Param)> {
    params! {
        rotated: rotated as u32,
        table_stride: tables.shards[0].row_stride * 4,
        long_offset: long_offset(tables, rotated),
    }
}

/// Elements of a row of the tables from the table for short sequences to that for long ones; 0 where there is one for all.
fn long_offset(tables: &DeviceWeight, rotated: usize) -> u32 {
    tables.columns - rotated as u32
}

/// The tables under the name that [`ROTATION`] reads, bound to the weight of this name.
pub(crate) fn read_tables(weight: &'static str) -> Bound {
    let shape = "[FINE_POSITIONS + coarse rows, tables, rotated / 2, (cos, sin)]";
    read("table", "f32", shape, Binding::Shard { weight, shard: 0 })
}

/// How the pairs of a head are rotated: a fine and a coarse row of the tables.
pub(crate) struct Rotation {
    fine: Vec<f32>,
    coarse: Vec<f32>,
}

impl Rotation {
    /// That of a token, of whose heads the first `rotated` elements are rotated.
    pub(crate) fn at(tables: &HostWeight, token: &Token, rotated: usize) -> Rotation {
        let position = token.position as usize;
        // Where there is one table, long sequences are rotated by it too.
        let table = if token.long { tables.columns - rotated } else { 0 };
        let row = |row: usize| tables.row(row).split_off(table);
        Rotation { fine: row(position % FINE_POSITIONS), coarse: row(FINE_POSITIONS + position / FINE_POSITIONS) }
    }

    /// The cosine and the sine of each pair of this many elements.
    pub(crate) fn pairs(&self, rotated: usize) -> Vec<(f32, f32)> {
        let pair = |(fine, coarse): (&[f32; 2], &[f32; 2])| {
            let ([fine_cos, fine_sin], [coarse_cos, coarse_sin]) = (fine.map(f64::from), coarse.map(f64::from));
            let (cos, sin) =
                (coarse_cos * fine_cos - coarse_sin * fine_sin, coarse_sin * fine_cos + coarse_cos * fine_sin);
            (cos as f32, sin as f32)
        };
        self.fine.as_chunks().0.iter().zip(self.coarse.as_chunks().0).take(rotated / 2).map(pair).collect()
    }

    /// One head, of whose elements the first `rotated` are rotated.
    pub(crate) fn rotate(&self, head: &[f32], rotated: usize, pairing: Pairing) -> Vec<f32> {
        let mut output = head.to_vec();
        for pair in 0..rotated / 2 {
            let (first, second) = pairing.elements(pair, rotated);
            let of_row = |row: &[f32]| (f64::from(row[2 * pair]), f64::from(row[2 * pair + 1]));
            let ((fine_cos, fine_sin), (coarse_cos, coarse_sin)) = (of_row(&self.fine), of_row(&self.coarse));
            let cos = coarse_cos * fine_cos - coarse_sin * fine_sin;
            let sin = coarse_sin * fine_cos + coarse_cos * fine_sin;
            let (x, y) = (f64::from(head[first]), f64::from(head[second]));
            output[first] = (x * cos - y * sin) as f32;
            output[second] = (x * sin + y * cos) as f32;
        }
        output
    }
}

/// Rotates a head by the cosine and the sine of each of its first pairs; copies the rest.
pub(crate) fn rotate_head(pairs: &[(f32, f32)], pairing: Pairing, head: &[f32], out: &mut [f32]) {
    out.copy_from_slice(head);
    for (pair, (cos, sin)) in pairs.iter().enumerate() {
        let (first, second) = pairing.elements(pair, 2 * pairs.len());
        let (x, y) = (head[first], head[second]);
        out[first] = x * cos - y * sin;
        out[second] = x * sin + y * cos;
    }
}

/// Both pairings, heads of which a part is rotated, positions up to 131,071, factors on the magnitude, and a table for long sequences.
pub fn cases() -> Vec<Case> {
    [one_table_cases(), two_table_cases()].concat()
}

/// RoPE's angles from a position to the next, for elements that are rotated.
pub(crate) fn frequencies(base: f64, rotated: usize) -> Vec<f64> {
    (0..rotated / 2).map(|pair| base.powf(-2.0 * pair as f64 / rotated as f64)).collect()
}

/// Short and long sequences in one step, by two tables and by one.
fn two_table_cases() -> Vec<Case> {
    let case = |(pairing, rotated, bases): (Pairing, usize, &[f64])| {
        let name = format!("{pairing:?} 3x16 rotating {rotated}, {} tables for short and long sequences", bases.len());
        let mut case = Case::new("rope", name, 0);
        case.steps = vec![sequences(&[(3, 2), (260, 5), (0, 1), (31, 3)], 1, 265)];
        case.steps[0].tokens.iter_mut().for_each(|token| token.long = token.sequence % 2 == 1);
        let frequencies: Vec<f64> = bases.iter().flat_map(|base| frequencies(*base, rotated)).collect();
        let table = Weight::computed("rope tables", bases.len() * rotated, tables(&frequencies, 265, 1.25));
        let table = case.graph.weight(table);
        let input = case.graph.input("queries", Rows::Tokens, 48);
        let output = case.graph.value("rotated", Rows::Tokens, 48);
        let op = Op::Rope(Rope { heads: 3, head_width: 16, rotated, pairing });
        let input = case.graph.whole(input);
        case.graph.node(op, &[("input", input)], &[("tables", table)], None, Some(output));
        case.output(output);
        case
    };
    [
        (Pairing::Adjacent, 16, &[10_000.0, 500.0][..]),
        (Pairing::Halves, 16, &[10_000.0, 500.0]),
        (Pairing::Halves, 12, &[10_000.0, 500.0]),
        (Pairing::Halves, 12, &[500.0]),
    ]
    .into_iter()
    .map(case)
    .collect()
}

fn one_table_cases() -> Vec<Case> {
    let case = |(pairing, heads, head_width, rotated, first): (Pairing, usize, usize, usize, u32)| {
        let name = format!("{pairing:?} {heads}x{head_width} rotating {rotated} from {first}");
        let mut case = Case::new("rope", name, 5);
        case.steps[0].tokens.iter_mut().for_each(|token| token.position += first);
        let table = tables(&frequencies(10_000.0, rotated), first as usize + 5, 1.25);
        let weight = case.graph.weight(Weight::computed("rope table", rotated, table));
        let width = heads * head_width;
        let both = case.graph.input("qkv", Rows::Tokens, width + head_width);
        let output = case.graph.value("rotated", Rows::Tokens, width);
        let op = Op::Rope(Rope { heads, head_width, rotated, pairing });
        let input = Slice { value: both, offset: 0, width };
        case.graph.node(op, &[("input", input)], &[("tables", weight)], None, Some(output));
        case.output(output);
        case
    };
    [
        (Pairing::Adjacent, 3, 8, 8, 0),
        (Pairing::Halves, 3, 8, 8, 254),
        (Pairing::Adjacent, 5, 64, 64, 131_067),
        (Pairing::Halves, 40, 128, 128, 8189),
        (Pairing::Adjacent, 2, 80, 32, 300),
        (Pairing::Halves, 2, 80, 32, 300),
    ]
    .into_iter()
    .map(case)
    .collect()
}
