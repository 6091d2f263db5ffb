//! Lanes in NEON, which every 64-bit ARM has: four registers of 4 lanes each.
#![allow(unsafe_code, reason = "intrinsics; a `Neon` proves that the CPU has them")]

use std::arch::aarch64::*;
use std::arch::asm;

use super::{LANES, Lanes, WithLanes};

/// Registers of 16 lanes.
const PARTS: usize = LANES / 4;

/// Proof that the CPU has NEON, and with `DOTS` the products of bytes that ARMv8.2 added (`dotprod`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Neon<const DOTS: bool>(());

impl Neon<false> {
    /// The proof, where the CPU has it.
    pub fn detect() -> Option<Neon<false>> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }

    /// Runs what is compiled for NEON.
    pub fn compiled<W: WithLanes>(self, work: W) -> W::Output {
        // SAFETY: `self` proves that the CPU has what the function is compiled for.
        unsafe { compiled(self, work) }
    }
}

impl Neon<true> {
    /// The proof, where the CPU has it.
    pub fn detect() -> Option<Neon<true>> {
        let has_dots = std::arch::is_aarch64_feature_detected!("dotprod");
        Neon::<false>::detect().filter(|_| has_dots).map(|Neon(proof)| Neon(proof))
    }

    /// Runs what is compiled for NEON with products of bytes.
    pub fn compiled<W: WithLanes>(self, work: W) -> W::Output {
        // SAFETY: `self` proves that the CPU has what the function is compiled for.
        unsafe { compiled_with_dots(self, work) }
    }
}

#[target_feature(enable = "neon")]
fn compiled<W: WithLanes>(lanes: Neon<false>, work: W) -> W::Output {
    work.run(lanes)
}

#[target_feature(enable = "neon,dotprod")]
fn compiled_with_dots<W: WithLanes>(lanes: Neon<true>, work: W) -> W::Output {
    work.run(lanes)
}

/// Computes each register from its number.
macro_rules! each {
    ($part:ident, $call:expr) => {{
        // SAFETY: a `Neon` proves that the CPU has the instructions; pointers come from references to arrays of the size that is read.
        unsafe {
            [
                {
                    let $part = 0usize;
                    $call
                },
                {
                    let $part = 1usize;
                    $call
                },
                {
                    let $part = 2usize;
                    $call
                },
                {
                    let $part = 3usize;
                    $call
                },
            ]
        }
    }};
}

impl<const DOTS: bool> Neon<DOTS> {
    /// The sums of 4 products of signed bytes each, added to integers.
    #[inline(always)]
    fn add_products(self, integers: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        if DOTS {
            let mut sums = integers;
            // SAFETY: a `Neon<true>` proves that the CPU has the instruction, which touches no memory. (Rust's own name of it is not stable.)
            unsafe {
                asm!(
                    ".arch_extension dotprod",
                    "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
                    sums = inout(vreg) sums,
                    a = in(vreg) a,
                    b = in(vreg) b,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
            return sums;
        }
        // SAFETY: as above. A pair is at most 2 * 128 * 127, which 16 bits hold.
        unsafe {
            let low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
            let high = vmull_high_s8(a, b);
            vpadalq_s16(integers, vpaddq_s16(low, high))
        }
    }
}

impl<const DOTS: bool> Lanes for Neon<DOTS> {
    type Floats = [float32x4_t; PARTS];
    type Integers = [int32x4_t; PARTS];
    type Bytes = [uint8x16_t; PARTS];
    type Dots = [int32x4_t; PARTS];

    const OFFSET: i32 = 0;
    const REGISTERS: usize = 8;
    const CUTS_BYTES: bool = false;

    #[inline(always)]
    fn splat(self, number: f32) -> Self::Floats {
        each!(_part, vdupq_n_f32(number))
    }

    #[inline(always)]
    fn load(self, numbers: &[f32; LANES]) -> Self::Floats {
        each!(part, vld1q_f32(numbers.as_ptr().add(4 * part)))
    }

    #[inline(always)]
    fn store(self, floats: Self::Floats, numbers: &mut [f32; LANES]) {
        each!(part, vst1q_f32(numbers.as_mut_ptr().add(4 * part), floats[part]));
    }

    #[inline(always)]
    fn halves(self, numbers: &[u8; 2 * LANES]) -> Self::Floats {
        each!(part, {
            let words = vld1_u16(numbers.as_ptr().add(8 * part).cast());
            let floats: float32x4_t;
            // Every NEON converts them; Rust's own name of it is not stable.
            asm!(
                "fcvtl {floats:v}.4s, {words:v}.4h",
                floats = lateout(vreg) floats,
                words = in(vreg) words,
                options(pure, nomem, nostack, preserves_flags)
            );
            floats
        })
    }

    #[inline(always)]
    fn bfloats(self, numbers: &[u8; 2 * LANES]) -> Self::Floats {
        each!(part, {
            let words = vld1_u16(numbers.as_ptr().add(8 * part).cast());
            vreinterpretq_f32_u32(vshll_n_u16::<16>(words))
        })
    }

    #[inline(always)]
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats {
        each!(part, vmulq_f32(a[part], b[part]))
    }

    #[inline(always)]
    fn fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        each!(part, vfmaq_f32(c[part], a[part], b[part]))
    }

    #[inline(always)]
    fn fnma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        each!(part, vfmsq_f32(c[part], a[part], b[part]))
    }

    #[inline(always)]
    fn splat_integer(self, number: i32) -> Self::Integers {
        each!(_part, vdupq_n_s32(number))
    }

    #[inline(always)]
    fn times_16(self, integers: Self::Integers) -> Self::Integers {
        each!(part, vshlq_n_s32::<4>(integers[part]))
    }

    #[inline(always)]
    fn to_floats(self, integers: Self::Integers) -> Self::Floats {
        each!(part, vcvtq_f32_s32(integers[part]))
    }

    #[inline(always)]
    fn words(self, bytes: Self::Bytes) -> Self::Integers {
        each!(part, vreinterpretq_s32_u8(bytes[part]))
    }

    #[inline(always)]
    fn field(self, words: Self::Integers, shift: u32, mask: i32) -> Self::Integers {
        each!(part, {
            let shifted = vshlq_u32(vreinterpretq_u32_s32(words[part]), vdupq_n_s32(-(shift as i32)));
            vandq_s32(vreinterpretq_s32_u32(shifted), vdupq_n_s32(mask))
        })
    }

    #[inline(always)]
    fn signed_byte(self, words: Self::Integers, byte: u32) -> Self::Integers {
        each!(part, vshrq_n_s32::<24>(vshlq_s32(words[part], vdupq_n_s32(24 - 8 * byte as i32))))
    }

    #[inline(always)]
    fn or_words(self, a: Self::Integers, b: Self::Integers) -> Self::Integers {
        each!(part, vorrq_s32(a[part], b[part]))
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8; 4 * LANES]) -> Self::Bytes {
        each!(part, vld1q_u8(bytes.as_ptr().add(16 * part)))
    }

    #[inline(always)]
    fn store_bytes(self, bytes: Self::Bytes, place: &mut [u8; 4 * LANES]) {
        each!(part, vst1q_u8(place.as_mut_ptr().add(16 * part), bytes[part]));
    }

    #[inline(always)]
    fn bits(self, bytes: Self::Bytes, shift: u32, mask: u8) -> Self::Bytes {
        each!(part, vandq_u8(vshlq_u8(bytes[part], vdupq_n_s8(-(shift as i8))), vdupq_n_u8(mask)))
    }

    #[inline(always)]
    fn shift_up(self, bytes: Self::Bytes) -> Self::Bytes {
        each!(part, vshlq_n_u8::<4>(bytes[part]))
    }

    #[inline(always)]
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes {
        each!(part, vorrq_u8(a[part], b[part]))
    }

    #[inline(always)]
    fn lookup(self, bytes: Self::Bytes, table: &[u8; 16]) -> Self::Bytes {
        each!(part, vqtbl1q_u8(vld1q_u8(table.as_ptr()), bytes[part]))
    }

    #[inline(always)]
    fn dots(self) -> Self::Dots {
        self.splat_integer(0)
    }

    #[inline(always)]
    fn dot(self, dots: Self::Dots, codes: Self::Bytes, activations: i32) -> Self::Dots {
        each!(part, {
            let activations = vreinterpretq_s8_s32(vdupq_n_s32(activations));
            self.add_products(dots[part], vreinterpretq_s8_u8(codes[part]), activations)
        })
    }

    #[inline(always)]
    fn finish(self, integers: Self::Integers, dots: Self::Dots) -> Self::Integers {
        each!(part, vaddq_s32(integers[part], dots[part]))
    }

    #[inline(always)]
    fn dot_offset(self, integers: Self::Integers, codes: Self::Bytes, activations: i32) -> Self::Integers {
        each!(part, {
            let codes = vreinterpretq_s8_u8(veorq_u8(codes[part], vdupq_n_u8(0x80)));
            self.add_products(integers[part], codes, vreinterpretq_s8_s32(vdupq_n_s32(activations)))
        })
    }

    #[inline(always)]
    fn prefetch(self, _: &[u8], _: usize) {}
}
