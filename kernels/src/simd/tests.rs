//! Every instruction set that this CPU has against plain Rust.

use super::*;
use crate::random::Random;

/// Something of every method, as numbers.
struct Everything<'a> {
    bytes: &'a [[u8; 64]; 3],
    numbers: &'a [[f32; LANES]; 3],
    activations: [i32; 8],
}

impl WithLanes for Everything<'_> {
    type Output = Vec<[f32; LANES]>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Vec<[f32; LANES]> {
        let mut found = Vec::new();
        let mut put = |floats: L::Floats| {
            let mut numbers = [0.0; LANES];
            lanes.store(floats, &mut numbers);
            found.push(numbers);
        };
        let [a, b, c] = [0, 1, 2].map(|index| lanes.load(&self.numbers[index]));
        put(lanes.mul(a, b));
        put(lanes.fma(a, b, c));
        put(lanes.fnma(a, b, c));
        put(lanes.splat(0.5));
        put(lanes.halves(self.bytes[0][..32].try_into().expect("32 bytes")));
        put(lanes.bfloats(self.bytes[0][..32].try_into().expect("32 bytes")));
        let bytes = lanes.bytes(&self.bytes[1]);
        let others = lanes.bytes(&self.bytes[2]);
        let nibbles = lanes.bits(bytes, 4, 15);
        let words = |bytes: L::Bytes| lanes.to_floats(lanes.words(bytes));
        // Words of few bits, since floats hold 24.
        let few = |words: L::Integers| lanes.to_floats(lanes.field(words, 3, 0x3f_ffff));
        put(few(lanes.words(bytes)));
        let mut stored = [0; 64];
        lanes.store_bytes(bytes, &mut stored);
        assert_eq!(stored, self.bytes[1]);
        for (shift, mask) in [(0, 15), (4, 15), (6, 3), (7, 1), (1, 1)] {
            put(few(lanes.words(lanes.bits(bytes, shift, mask))));
        }
        put(few(lanes.words(lanes.shift_up(nibbles))));
        put(few(lanes.words(lanes.or(nibbles, others))));
        put(few(lanes.or_words(lanes.words(bytes), lanes.words(others))));
        let table = [3, 1, 4, 1, 5, 9, 2, 6, 255, 3, 5, 8, 9, 7, 200, 128];
        put(few(lanes.words(lanes.lookup(nibbles, &table))));
        for byte in 0..4 {
            put(lanes.to_floats(lanes.signed_byte(lanes.words(bytes), byte)));
        }
        for (mask, chain) in [(15, 8), (31, 4), (63, 2), (127, 1)] {
            let codes = lanes.bits(bytes, 0, mask);
            let mut dots = lanes.dots();
            for index in 0..chain {
                dots = lanes.dot(dots, codes, self.activations[index]);
            }
            put(lanes.to_floats(lanes.finish(lanes.splat_integer(-77), dots)));
        }
        // What is left over is the same for all lanes.
        let activations = self.activations[0].to_le_bytes().iter().map(|byte| i32::from(*byte as i8)).sum::<i32>();
        let left = lanes.splat_integer(5 - L::OFFSET * activations);
        put(lanes.to_floats(lanes.dot_offset(left, bytes, self.activations[0])));
        _ = words;
        found
    }
}

#[test]
fn instruction_sets_agree() {
    let all = Isa::all();
    println!("{all:?}");
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut byte = || (random.signed() * 128.0).floor() as i32 as u8;
        let mut bytes: [[u8; 64]; 3] = std::array::from_fn(|_| std::array::from_fn(|_| byte()));
        if seed % 4 == 0 {
            // The ends of what bytes hold.
            bytes[1].iter_mut().for_each(|byte| *byte = [0, 255, 127, 128][usize::from(*byte % 4)]);
        }
        // No infinity and no NaN among half-precision numbers.
        bytes[0].chunks_exact_mut(2).for_each(|half| half[1] &= 0b1011_1011);
        let activation =
            |byte: u8| if seed % 4 == 0 { [127, -127][usize::from(byte % 2)] } else { (byte as i8).max(-127) };
        let activations = std::array::from_fn(|_| i32::from_le_bytes([(); 4].map(|()| activation(byte()) as u8)));
        let numbers = std::array::from_fn(|_| std::array::from_fn(|_| f32::from(byte() as i8) / 64.0));
        let run = |isa: Isa| isa.run(Everything { bytes: &bytes, numbers: &numbers, activations });
        let expected = run(Isa::PORTABLE);
        for isa in &all {
            assert_eq!(run(*isa), expected, "{isa:?}, seed {seed}");
        }
    }
}

/// The largest error of a function as a share of its result, in units of 2^-23.
fn error(function: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, (from, to): (f32, f32)) -> f64 {
    const STEPS: usize = 200_000;
    let inputs = (0..=STEPS).map(|step| from + (to - from) * (step as f32 / STEPS as f32));
    let errors = inputs.map(|x| {
        let exact = exact(f64::from(x));
        (f64::from(function(x)) - exact).abs() / exact.abs().max(1e-300) / f64::from(f32::EPSILON)
    });
    errors.fold(0.0, f64::max)
}

#[test]
fn functions_keep_to_their_bounds() {
    for range in [(-87.0, 88.0), (-1.0, 1.0)] {
        let found = error(math::exp, f64::exp, range);
        assert!(found <= 2.0, "exp in {range:?}: {found}");
    }
    for range in [(-20.0, 20.0), (-1.0, 1.0), (0.29, 0.31), (-1e-3, 1e-3), (1e3, 1e30)] {
        let found = error(math::tanh, f64::tanh, range);
        assert!(found <= 4.0, "tanh in {range:?}: {found}");
    }
}
