//! Lanes in AVX2, with FMA and F16C: two registers of 8 lanes each.
#![allow(unsafe_code, reason = "intrinsics; an `Avx2` proves that the CPU has them")]

use std::arch::asm;
use std::arch::x86_64::*;

use super::{LANES, Lanes, WithLanes};

/// Proof that the CPU has AVX2, FMA and F16C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, where the CPU has them.
    pub fn detect() -> Option<Avx2> {
        let has =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        has.then_some(Avx2(()))
    }

    /// Runs what is compiled for AVX2.
    pub fn compiled<W: WithLanes>(self, work: W) -> W::Output {
        // SAFETY: `self` proves that the CPU has what the function is compiled for.
        unsafe { compiled(self, work) }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn compiled<W: WithLanes>(lanes: Avx2, work: W) -> W::Output {
    work.run(lanes)
}

/// A sum that is taken where it is written: the compiler would make a tree of a row's sums, or finish a row before the next begins, for which the
/// codes of a whole span would have to stay in registers. Not `pure`, so that it stays in its place among the others.
#[inline]
#[target_feature(enable = "avx2")]
fn in_order(sum: __m256i) -> __m256i {
    let mut sum = sum;
    // SAFETY: it does nothing.
    unsafe { asm!("/* {0} */", inlateout(ymm_reg) sum, options(nomem, nostack, preserves_flags)) };
    sum
}

/// Calls an intrinsic.
macro_rules! each_half {
    ($first:expr, $second:expr) => {
        // SAFETY: an `Avx2` proves that the CPU has the instructions; pointers come from references to arrays of the size that is read.
        unsafe { [$first, $second] }
    };
}

impl Lanes for Avx2 {
    type Floats = [__m256; 2];
    type Integers = [__m256i; 2];
    type Bytes = [__m256i; 2];
    /// Pairs of bytes' products, in 16 bits.
    type Dots = [__m256i; 2];

    const OFFSET: i32 = 0;
    const REGISTERS: usize = 8;
    const CUTS_BYTES: bool = true;

    #[inline(always)]
    fn splat(self, number: f32) -> [__m256; 2] {
        each_half!(_mm256_set1_ps(number), _mm256_set1_ps(number))
    }

    #[inline(always)]
    fn load(self, numbers: &[f32; LANES]) -> [__m256; 2] {
        let at = numbers.as_ptr();
        each_half!(_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8)))
    }

    #[inline(always)]
    fn store(self, floats: [__m256; 2], numbers: &mut [f32; LANES]) {
        let at = numbers.as_mut_ptr();
        each_half!(_mm256_storeu_ps(at, floats[0]), _mm256_storeu_ps(at.add(8), floats[1]));
    }

    #[inline(always)]
    fn halves(self, numbers: &[u8; 2 * LANES]) -> [__m256; 2] {
        let at: *const __m128i = numbers.as_ptr().cast();
        each_half!(_mm256_cvtph_ps(_mm_loadu_si128(at)), _mm256_cvtph_ps(_mm_loadu_si128(at.add(1))))
    }

    #[inline(always)]
    fn bfloats(self, numbers: &[u8; 2 * LANES]) -> [__m256; 2] {
        let at: *const __m128i = numbers.as_ptr().cast();
        each_half!(
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(at)))),
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(at.add(1)))))
        )
    }

    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        each_half!(_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1]))
    }

    #[inline(always)]
    fn fma(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        each_half!(_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1]))
    }

    #[inline(always)]
    fn fnma(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        each_half!(_mm256_fnmadd_ps(a[0], b[0], c[0]), _mm256_fnmadd_ps(a[1], b[1], c[1]))
    }

    #[inline(always)]
    fn splat_integer(self, number: i32) -> [__m256i; 2] {
        each_half!(_mm256_set1_epi32(number), _mm256_set1_epi32(number))
    }

    #[inline(always)]
    fn times_16(self, integers: [__m256i; 2]) -> [__m256i; 2] {
        each_half!(_mm256_slli_epi32::<4>(integers[0]), _mm256_slli_epi32::<4>(integers[1]))
    }

    #[inline(always)]
    fn to_floats(self, integers: [__m256i; 2]) -> [__m256; 2] {
        each_half!(_mm256_cvtepi32_ps(integers[0]), _mm256_cvtepi32_ps(integers[1]))
    }

    #[inline(always)]
    fn words(self, bytes: [__m256i; 2]) -> [__m256i; 2] {
        bytes
    }

    #[inline(always)]
    fn field(self, words: [__m256i; 2], shift: u32, mask: i32) -> [__m256i; 2] {
        let shift = shift as i32;
        each_half!(
            _mm256_and_si256(_mm256_srl_epi32(words[0], _mm_cvtsi32_si128(shift)), _mm256_set1_epi32(mask)),
            _mm256_and_si256(_mm256_srl_epi32(words[1], _mm_cvtsi32_si128(shift)), _mm256_set1_epi32(mask))
        )
    }

    #[inline(always)]
    fn signed_byte(self, words: [__m256i; 2], byte: u32) -> [__m256i; 2] {
        let up = 24 - 8 * byte as i32;
        each_half!(
            _mm256_srai_epi32::<24>(_mm256_sll_epi32(words[0], _mm_cvtsi32_si128(up))),
            _mm256_srai_epi32::<24>(_mm256_sll_epi32(words[1], _mm_cvtsi32_si128(up)))
        )
    }

    #[inline(always)]
    fn or_words(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        each_half!(_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1]))
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8; 4 * LANES]) -> [__m256i; 2] {
        let at: *const __m256i = bytes.as_ptr().cast();
        each_half!(_mm256_loadu_si256(at), _mm256_loadu_si256(at.add(1)))
    }

    #[inline(always)]
    fn store_bytes(self, bytes: [__m256i; 2], place: &mut [u8; 4 * LANES]) {
        let at: *mut __m256i = place.as_mut_ptr().cast();
        each_half!(_mm256_storeu_si256(at, bytes[0]), _mm256_storeu_si256(at.add(1), bytes[1]));
    }

    #[inline(always)]
    fn bits(self, bytes: [__m256i; 2], shift: u32, mask: u8) -> [__m256i; 2] {
        let shift = shift as i32;
        each_half!(
            _mm256_and_si256(_mm256_srl_epi16(bytes[0], _mm_cvtsi32_si128(shift)), _mm256_set1_epi8(mask as i8)),
            _mm256_and_si256(_mm256_srl_epi16(bytes[1], _mm_cvtsi32_si128(shift)), _mm256_set1_epi8(mask as i8))
        )
    }

    #[inline(always)]
    fn shift_up(self, bytes: [__m256i; 2]) -> [__m256i; 2] {
        each_half!(_mm256_slli_epi16::<4>(bytes[0]), _mm256_slli_epi16::<4>(bytes[1]))
    }

    #[inline(always)]
    fn or(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        self.or_words(a, b)
    }

    #[inline(always)]
    fn lookup(self, bytes: [__m256i; 2], table: &[u8; 16]) -> [__m256i; 2] {
        let at: *const __m128i = table.as_ptr().cast();
        each_half!(
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(at)), bytes[0]),
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(at)), bytes[1])
        )
    }

    #[inline(always)]
    fn dots(self) -> [__m256i; 2] {
        self.splat_integer(0)
    }

    #[inline(always)]
    fn dot(self, dots: [__m256i; 2], codes: [__m256i; 2], activations: i32) -> [__m256i; 2] {
        let activations = self.splat_integer(activations);
        each_half!(
            in_order(_mm256_add_epi16(dots[0], _mm256_maddubs_epi16(codes[0], activations[0]))),
            in_order(_mm256_add_epi16(dots[1], _mm256_maddubs_epi16(codes[1], activations[1])))
        )
    }

    #[inline(always)]
    fn finish(self, integers: [__m256i; 2], dots: [__m256i; 2]) -> [__m256i; 2] {
        each_half!(
            _mm256_add_epi32(integers[0], _mm256_madd_epi16(dots[0], _mm256_set1_epi16(1))),
            _mm256_add_epi32(integers[1], _mm256_madd_epi16(dots[1], _mm256_set1_epi16(1)))
        )
    }

    #[inline(always)]
    fn dot_offset(self, integers: [__m256i; 2], codes: [__m256i; 2], activations: i32) -> [__m256i; 2] {
        // |w| times a with the sign of w: a pair is at most 2 * 128 * 127, which 16 bits hold.
        let flipped = self.splat_integer(i32::from_ne_bytes([0x80; 4]));
        let activations = self.splat_integer(activations);
        let weights = each_half!(_mm256_xor_si256(codes[0], flipped[0]), _mm256_xor_si256(codes[1], flipped[1]));
        let signed =
            each_half!(_mm256_sign_epi8(activations[0], weights[0]), _mm256_sign_epi8(activations[1], weights[1]));
        let dots = each_half!(
            _mm256_maddubs_epi16(_mm256_abs_epi8(weights[0]), signed[0]),
            _mm256_maddubs_epi16(_mm256_abs_epi8(weights[1]), signed[1])
        );
        self.finish(integers, dots)
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8], ahead: usize) {
        // SAFETY: a prefetch of any address does nothing that the program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(ahead).cast()) }
    }
}
