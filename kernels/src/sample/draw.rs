//! The drawing of a token by chance, the same to the bit on every device: top-k, top-p, min-p and temperature in whole numbers.

use crate::candidate::Candidate;
use crate::cases::Case;
use crate::dispatch::{Binding, Count, Extent, Grid, Launch, Lowered, Work, read, write};
use crate::graph::Rows;
use crate::host::HostRun;
use crate::lowering::{LoweringContext, Precision};
use crate::op::{Kernel, Op};
use crate::params;
use crate::reference::Operands;
use crate::sample::{MAX_TOP_K, TopK};
use crate::step::Step;

/// How a token is drawn from the largest logits of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// What logits are divided by, above 0.
    pub temperature: f32,
    /// How many candidates are kept; 0 is all that there are.
    pub top_k: u32,
    /// Of these the smallest set of this much probability is kept; 1 is all.
    pub top_p: f32,
    /// Candidates of less than this much of the largest probability are dropped; 0 is none.
    pub min_p: f32,
    /// Equal seeds give equal random numbers.
    pub seed: u64,
    /// Which of the seed's random numbers is taken.
    pub number: u32,
}

/// Steps of an exponent to an octave.
const OCTAVE: f32 = 65536.0;

/// Of this share everything is kept.
const ALL: u32 = u32::MAX;

/// Takes the largest logit, the lowest id of equals.
pub const GREEDY: Draw = Draw { temperature: 1.0, top_k: 1, top_p: 1.0, min_p: 0.0, seed: 0, number: 0 };

/// What a draw computes with.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    /// From a difference of logits to steps of the exponent of 2.
    scale: f32,
    /// How many candidates are kept.
    kept: u32,
    /// The share of the probability of these that is kept, in units of 2^-32; or [`ALL`].
    share: u32,
    /// How far below the largest logit one is dropped.
    furthest: f32,
}

impl Draw {
    fn numbers(&self) -> Numbers {
        let share = (f64::from(self.top_p) * 2f64.powi(32)) as u32;
        Numbers {
            // Bounded, so that no product with it overflows.
            scale: (OCTAVE * std::f32::consts::LOG2_E / self.temperature).min(1e30),
            kept: if self.top_k == 0 { u32::MAX } else { self.top_k },
            share: if self.top_p < 1.0 { share.min(ALL - 1) } else { ALL },
            furthest: (-self.min_p.ln()).min(f32::MAX),
        }
    }

    /// As shaders read it: two `vec4<u32>`.
    pub fn words(&self) -> [u32; 8] {
        let Numbers { scale, kept, share, furthest } = self.numbers();
        let [seed, upper_seed] = halves(self.seed);
        [scale.to_bits(), kept, share, furthest.to_bits(), seed, upper_seed, self.number, 0]
    }

    /// Draws one of the candidates, which are ids and logits from the largest on; gives its id, `u32::MAX` where the largest is no number.
    pub fn choose(&self, candidates: impl Iterator<Item = (u32, f32)> + Clone) -> u32 {
        let Numbers { scale, kept, share, furthest } = self.numbers();
        let largest = match candidates.clone().next() {
            Some((_, largest)) if largest.is_finite() && largest > f32::MIN => largest,
            _ => return u32::MAX,
        };
        let candidates = candidates.take(kept as usize).map(|(id, logit)| (id, (largest - logit).min(f32::MAX)));
        let natural = OCTAVE * std::f32::consts::LOG2_E;
        let all: u64 = candidates.clone().map(|(_, distance)| u64::from(weight(distance, natural))).sum();
        let share = if share == ALL { all } else { high(all, share) };
        // The candidate that completes the share is the last.
        let in_share = candidates.scan(0, |sum, (id, distance)| {
            let is_in = *sum <= share;
            *sum += u64::from(weight(distance, natural));
            is_in.then_some((id, if distance <= furthest { weight(distance, scale) } else { 0 }))
        });
        let total = in_share.clone().map(|(_, weight)| u64::from(weight)).sum();
        let mut rest = high(total, random(self.seed, self.number));
        for (id, weight) in in_share {
            match rest.checked_sub(u64::from(weight)) {
                Some(left) => rest = left,
                None => return id,
            }
        }
        unreachable!("the rest was less than all weights together")
    }
}

/// `2^25 * 2^-x`, with `distance * scale` for x in units of 2^-16: off by 1 and 2^-14 of itself at most, since each
/// of four products is cut to 16 bits.
fn weight(distance: f32, scale: f32) -> u32 {
    let x = (distance * scale).min(2_097_151.0) as u32;
    let fraction = x & 0xffff;
    // 2^-x = 1 - x (a - x (b - x (c - x d))) to 3e-6.
    let inner = [449, 3491, 15696, 45422, 65536].into_iter().reduce(|sum, number| number - ((fraction * sum) >> 16));
    (inner.expect("it has terms") << 9) >> (x >> 16)
}

/// A share, in units of 2^-32, of a number.
fn high(number: u64, share: u32) -> u64 {
    ((u128::from(number) * u128::from(share)) >> 32) as u64
}

fn halves(number: u64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

/// The first 32 bits of a block of Threefry-2x32-20 (Salmon et al. 2011, <https://doi.org/10.1145/2063384.2063405>): random numbers that
/// can be had in any order.
fn random(seed: u64, number: u32) -> u32 {
    threefry(halves(seed), [number, 0])[0]
}

fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    const TURNS: [u32; 8] = [13, 15, 26, 6, 17, 29, 16, 24];
    let keys = [key[0], key[1], 0x1bd1_1bda ^ key[0] ^ key[1]];
    let [mut left, mut right] = [counter[0].wrapping_add(keys[0]), counter[1].wrapping_add(keys[1])];
    for round in 0..20 {
        left = left.wrapping_add(right);
        right = right.rotate_left(TURNS[round % 8]) ^ left;
        if round % 4 == 3 {
            let block = round / 4 + 1;
            left = left.wrapping_add(keys[block % 3]);
            right = right.wrapping_add(keys[(block + 1) % 3]).wrapping_add(block as u32);
        }
    }
    [left, right]
}

/// `candidates` `[rows, 2 * count]`, as [`TopK`] leaves them; output `[rows, 1]`: the id that the step's [`Draw`] of the row chooses
/// (`u32::MAX` where the largest logit is no number).
#[derive(Debug, Clone)]
pub struct Drawn {
    /// How many candidates there are.
    pub count: usize,
}

impl Drawn {
    fn choose(&self, operands: &Operands, row: usize) -> f32 {
        let (ids, logits) = operands.inputs["candidates"].row(row).split_at(self.count);
        let draw = operands.step.draws[row];
        f32::from_bits(draw.choose(ids.iter().map(|id| id.to_bits()).zip(logits.iter().copied())))
    }
}

impl Kernel for Drawn {
    fn name(&self) -> &'static str {
        "draw"
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        let mut lowered = Lowered::default();
        lowered.push(Launch {
            shader: ("draw", include_str!("draw.wgsl")),
            modules: vec![],
            constants: vec![("WORKGROUP", MAX_TOP_K as u32), ("COUNT", self.count as u32)],
            params: params! { candidates: context.inputs["candidates"], output: context.output() },
            bindings: vec![
                read("draws", "vec4<u32>", "[rows, 2]", Binding::Draws),
                read("candidates", "u32", "[rows, 2 * COUNT] of ids, then logits", Binding::Input("candidates")),
                write("output", "u32", "[rows, 1]", Binding::Output),
            ],
            grid: Grid { spread: Count::fixed(1), rows: Count::each(Extent::Rows(context.rows)) },
            work: Work::fixed(self.count as u64 * 32),
        });
        lowered
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("rows")]
    }

    fn host(&self, run: &mut HostRun) {
        run.each_row(self.count, |operands, row, out| out[0] = self.choose(operands, row));
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        (0..operands.rows).map(|row| self.choose(operands, row)).collect()
    }
}

/// Vocabularies below and above what top-k finds, equal logits, all of the settings, each row with its own.
pub fn cases() -> Vec<Case> {
    let case = |vocabulary: usize, rows: usize, magnitude: f32, grain: f32| {
        let count = vocabulary.min(MAX_TOP_K);
        let mut case = Case::new("sample", format!("draw of {rows}x{vocabulary} to {magnitude:e}"), rows);
        (case.magnitude, case.grain) = (magnitude, grain);
        let logits = case.graph.input("logits", Rows::Selected, vocabulary);
        let top_k = case.graph.index_value("top_k", Rows::Selected, 2 * count);
        let drawn = case.graph.index_value("drawn", Rows::Selected, 1);
        let inputs = [("logits", case.graph.whole(logits))];
        case.graph.node(Op::TopK(TopK { count }), &inputs, &[], None, Some(top_k));
        let inputs = [("candidates", case.graph.whole(top_k))];
        case.graph.node(Op::Drawn(Drawn { count }), &inputs, &[], None, Some(drawn));
        case.output(drawn);
        let settings = [
            GREEDY,
            Draw { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05, ..GREEDY },
            Draw { temperature: 1.0, top_k: 0, ..GREEDY },
            Draw { temperature: 1.0, top_k: 0, top_p: 0.5, ..GREEDY },
            Draw { temperature: 100.0, top_k: 0, min_p: 0.3, ..GREEDY },
            Draw { temperature: 1e6, top_k: 3, top_p: 0.0, ..GREEDY },
            Draw { temperature: 1e-6, top_k: 0, min_p: 1.0, ..GREEDY },
        ];
        let first = case.steps.remove(0);
        case.steps = (0..settings.len() as u32)
            .map(|step| {
                let seeded = |row: u32| {
                    let settings = settings[(step + row) as usize % settings.len()];
                    Draw { seed: 0x0123_4567_89ab_cdef * u64::from(step + 1), number: row + 1000 * step, ..settings }
                };
                Step { draws: (0..first.selected.len() as u32).map(seeded).collect(), ..first.clone() }
            })
            .collect();
        case
    };
    vec![case(5, 1, 1.0, 0.0), case(63, 2, 3.0, 0.5), case(1025, 3, 10.0, 0.25), case(128_256, 2, 20.0, 0.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of Random123 (`kat_vectors`, <https://github.com/DEShawResearch/random123>).
    #[test]
    fn threefry_gives_what_is_published() {
        for (key, counter, expected) in [
            ([0, 0], [0, 0], [0x6b20_0159, 0x99ba_4efe]),
            ([u32::MAX; 2], [u32::MAX; 2], [0x1cb9_96fc, 0xbb00_2be7]),
            ([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3], [0xc492_3a9c, 0x483d_f7a0]),
        ] {
            assert_eq!(threefry(key, counter), expected);
        }
    }

    #[test]
    fn weights_are_powers_of_two() {
        for step in 0..200_000 {
            let x = step as f32 * 1e-4;
            let exact = 2f64.powi(25) * (-f64::from(x)).exp2();
            let found = weight(x, OCTAVE);
            assert!((f64::from(found) - exact).abs() <= 1.0 + exact / 16384.0, "2^-{x}: {found} for {exact}");
        }
        assert_eq!(weight(0.0, OCTAVE), 1 << 25);
        assert_eq!(weight(f32::MAX, 1e30), 0);
    }

    #[test]
    fn what_is_no_number_is_not_drawn() {
        for candidates in [&[][..], &[(3, f32::NAN)], &[(3, f32::INFINITY), (4, 1.0)], &[(3, f32::MIN)]] {
            assert_eq!(GREEDY.choose(candidates.iter().copied()), u32::MAX, "{candidates:?}");
        }
        assert_eq!(GREEDY.choose([(3, 1.0), (4, f32::NEG_INFINITY)].into_iter()), 3);
    }
}
