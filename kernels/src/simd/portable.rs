//! Lanes in plain Rust: what every CPU has, and what the others are held to.

use super::{LANES, Lanes};

/// Lanes as arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Portable;

/// Computes each lane.
#[inline(always)]
fn each<T>(lane: impl Fn(usize) -> T) -> [T; LANES] {
    std::array::from_fn(lane)
}

impl Lanes for Portable {
    type Floats = [f32; LANES];
    type Integers = [i32; LANES];
    type Bytes = [[u8; 4]; LANES];
    type Dots = [i32; LANES];

    const OFFSET: i32 = 0;
    const REGISTERS: usize = 8;
    const CUTS_BYTES: bool = false;

    #[inline(always)]
    fn splat(self, number: f32) -> [f32; LANES] {
        [number; LANES]
    }

    #[inline(always)]
    fn load(self, numbers: &[f32; LANES]) -> [f32; LANES] {
        *numbers
    }

    #[inline(always)]
    fn store(self, floats: [f32; LANES], numbers: &mut [f32; LANES]) {
        *numbers = floats;
    }

    #[inline(always)]
    fn halves(self, numbers: &[u8; 2 * LANES]) -> [f32; LANES] {
        each(|lane| half::f16::from_le_bytes([numbers[2 * lane], numbers[2 * lane + 1]]).to_f32())
    }

    #[inline(always)]
    fn bfloats(self, numbers: &[u8; 2 * LANES]) -> [f32; LANES] {
        each(|lane| f32::from_bits(u32::from_le_bytes([0, 0, numbers[2 * lane], numbers[2 * lane + 1]])))
    }

    #[inline(always)]
    fn mul(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        each(|lane| a[lane] * b[lane])
    }

    #[inline(always)]
    fn fma(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        each(|lane| a[lane] * b[lane] + c[lane])
    }

    #[inline(always)]
    fn fnma(self, a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        each(|lane| c[lane] - a[lane] * b[lane])
    }

    #[inline(always)]
    fn splat_integer(self, number: i32) -> [i32; LANES] {
        [number; LANES]
    }

    #[inline(always)]
    fn times_16(self, integers: [i32; LANES]) -> [i32; LANES] {
        each(|lane| integers[lane] << 4)
    }

    #[inline(always)]
    fn to_floats(self, integers: [i32; LANES]) -> [f32; LANES] {
        each(|lane| integers[lane] as f32)
    }

    #[inline(always)]
    fn words(self, bytes: [[u8; 4]; LANES]) -> [i32; LANES] {
        each(|lane| i32::from_le_bytes(bytes[lane]))
    }

    #[inline(always)]
    fn field(self, words: [i32; LANES], shift: u32, mask: i32) -> [i32; LANES] {
        each(|lane| ((words[lane] as u32) >> shift) as i32 & mask)
    }

    #[inline(always)]
    fn signed_byte(self, words: [i32; LANES], byte: u32) -> [i32; LANES] {
        each(|lane| i32::from((words[lane] >> (8 * byte)) as i8))
    }

    #[inline(always)]
    fn or_words(self, a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        each(|lane| a[lane] | b[lane])
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8; 4 * LANES]) -> [[u8; 4]; LANES] {
        each(|lane| [bytes[4 * lane], bytes[4 * lane + 1], bytes[4 * lane + 2], bytes[4 * lane + 3]])
    }

    #[inline(always)]
    fn store_bytes(self, bytes: [[u8; 4]; LANES], place: &mut [u8; 4 * LANES]) {
        place.copy_from_slice(bytes.as_flattened());
    }

    #[inline(always)]
    fn bits(self, bytes: [[u8; 4]; LANES], shift: u32, mask: u8) -> [[u8; 4]; LANES] {
        each(|lane| bytes[lane].map(|byte| byte >> shift & mask))
    }

    #[inline(always)]
    fn shift_up(self, bytes: [[u8; 4]; LANES]) -> [[u8; 4]; LANES] {
        each(|lane| bytes[lane].map(|byte| byte << 4))
    }

    #[inline(always)]
    fn or(self, a: [[u8; 4]; LANES], b: [[u8; 4]; LANES]) -> [[u8; 4]; LANES] {
        each(|lane| std::array::from_fn(|byte| a[lane][byte] | b[lane][byte]))
    }

    #[inline(always)]
    fn lookup(self, bytes: [[u8; 4]; LANES], table: &[u8; 16]) -> [[u8; 4]; LANES] {
        each(|lane| bytes[lane].map(|byte| table[usize::from(byte & 15)]))
    }

    #[inline(always)]
    fn dots(self) -> [i32; LANES] {
        [0; LANES]
    }

    #[inline(always)]
    fn dot(self, dots: [i32; LANES], codes: [[u8; 4]; LANES], activations: i32) -> [i32; LANES] {
        let activations = activations.to_le_bytes().map(|byte| i32::from(byte as i8));
        each(|lane| {
            let product = |byte: usize| i32::from(codes[lane][byte]) * activations[byte];
            dots[lane] + product(0) + product(1) + product(2) + product(3)
        })
    }

    #[inline(always)]
    fn finish(self, integers: [i32; LANES], dots: [i32; LANES]) -> [i32; LANES] {
        each(|lane| integers[lane] + dots[lane])
    }

    #[inline(always)]
    fn dot_offset(self, integers: [i32; LANES], codes: [[u8; 4]; LANES], activations: i32) -> [i32; LANES] {
        let activations = activations.to_le_bytes().map(|byte| i32::from(byte as i8));
        each(|lane| {
            let product = |byte: usize| (i32::from(codes[lane][byte]) - 128) * activations[byte];
            integers[lane] + product(0) + product(1) + product(2) + product(3)
        })
    }

    #[inline(always)]
    fn prefetch(self, _: &[u8], _: usize) {}
}
