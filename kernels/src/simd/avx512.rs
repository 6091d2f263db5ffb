//! Lanes in AVX-512 with VNNI: one register of 16 lanes.
#![allow(unsafe_code, reason = "intrinsics; an `Avx512` proves that the CPU has them")]

use std::arch::x86_64::*;

use super::{LANES, Lanes, WithLanes};

/// Proof that the CPU has AVX-512 F, BW and VNNI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Avx512(());

impl Avx512 {
    /// The proof, where the CPU has them.
    pub fn detect() -> Option<Avx512> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni");
        has.then_some(Avx512(()))
    }

    /// Runs what is compiled for AVX-512.
    pub fn compiled<W: WithLanes>(self, work: W) -> W::Output {
        // SAFETY: `self` proves that the CPU has what the function is compiled for.
        unsafe { compiled(self, work) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn compiled<W: WithLanes>(lanes: Avx512, work: W) -> W::Output {
    work.run(lanes)
}

/// Calls intrinsics.
macro_rules! intrinsic {
    ($call:expr) => {
        // SAFETY: an `Avx512` proves that the CPU has the instructions; pointers come from references to arrays of the size that is read.
        unsafe { $call }
    };
}

impl Lanes for Avx512 {
    type Floats = __m512;
    type Integers = __m512i;
    type Bytes = __m512i;
    type Dots = __m512i;

    /// `vpdpbusd` takes codes as they are, without a sign.
    const OFFSET: i32 = 128;
    const REGISTERS: usize = 32;
    const CUTS_BYTES: bool = false;

    #[inline(always)]
    fn splat(self, number: f32) -> __m512 {
        intrinsic!(_mm512_set1_ps(number))
    }

    #[inline(always)]
    fn load(self, numbers: &[f32; LANES]) -> __m512 {
        intrinsic!(_mm512_loadu_ps(numbers.as_ptr()))
    }

    #[inline(always)]
    fn store(self, floats: __m512, numbers: &mut [f32; LANES]) {
        intrinsic!(_mm512_storeu_ps(numbers.as_mut_ptr(), floats));
    }

    #[inline(always)]
    fn halves(self, numbers: &[u8; 2 * LANES]) -> __m512 {
        intrinsic!(_mm512_cvtph_ps(_mm256_loadu_si256(numbers.as_ptr().cast())))
    }

    #[inline(always)]
    fn bfloats(self, numbers: &[u8; 2 * LANES]) -> __m512 {
        intrinsic!({
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(numbers.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        })
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsic!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn fnma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsic!(_mm512_fnmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn splat_integer(self, number: i32) -> __m512i {
        intrinsic!(_mm512_set1_epi32(number))
    }

    #[inline(always)]
    fn times_16(self, integers: __m512i) -> __m512i {
        intrinsic!(_mm512_slli_epi32::<4>(integers))
    }

    #[inline(always)]
    fn to_floats(self, integers: __m512i) -> __m512 {
        intrinsic!(_mm512_cvtepi32_ps(integers))
    }

    #[inline(always)]
    fn words(self, bytes: __m512i) -> __m512i {
        bytes
    }

    #[inline(always)]
    fn field(self, words: __m512i, shift: u32, mask: i32) -> __m512i {
        intrinsic!({
            let shifted = _mm512_srl_epi32(words, _mm_cvtsi32_si128(shift as i32));
            _mm512_and_si512(shifted, _mm512_set1_epi32(mask))
        })
    }

    #[inline(always)]
    fn signed_byte(self, words: __m512i, byte: u32) -> __m512i {
        let up = 24 - 8 * byte as i32;
        intrinsic!(_mm512_srai_epi32::<24>(_mm512_sll_epi32(words, _mm_cvtsi32_si128(up))))
    }

    #[inline(always)]
    fn or_words(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_or_si512(a, b))
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8; 4 * LANES]) -> __m512i {
        intrinsic!(_mm512_loadu_si512(bytes.as_ptr().cast()))
    }

    #[inline(always)]
    fn store_bytes(self, bytes: __m512i, place: &mut [u8; 4 * LANES]) {
        intrinsic!(_mm512_storeu_si512(place.as_mut_ptr().cast(), bytes));
    }

    #[inline(always)]
    fn bits(self, bytes: __m512i, shift: u32, mask: u8) -> __m512i {
        intrinsic!({
            let shifted = _mm512_srl_epi16(bytes, _mm_cvtsi32_si128(shift as i32));
            _mm512_and_si512(shifted, _mm512_set1_epi8(mask as i8))
        })
    }

    #[inline(always)]
    fn shift_up(self, bytes: __m512i) -> __m512i {
        intrinsic!(_mm512_slli_epi16::<4>(bytes))
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        self.or_words(a, b)
    }

    #[inline(always)]
    fn lookup(self, bytes: __m512i, table: &[u8; 16]) -> __m512i {
        intrinsic!(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), bytes))
    }

    #[inline(always)]
    fn dots(self) -> __m512i {
        self.splat_integer(0)
    }

    #[inline(always)]
    fn dot(self, dots: __m512i, codes: __m512i, activations: i32) -> __m512i {
        intrinsic!(_mm512_dpbusd_epi32(dots, codes, _mm512_set1_epi32(activations)))
    }

    #[inline(always)]
    fn finish(self, integers: __m512i, dots: __m512i) -> __m512i {
        intrinsic!(_mm512_add_epi32(integers, dots))
    }

    #[inline(always)]
    fn dot_offset(self, integers: __m512i, codes: __m512i, activations: i32) -> __m512i {
        self.dot(integers, codes, activations)
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8], ahead: usize) {
        // SAFETY: a prefetch of any address does nothing that the program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(ahead).cast()) }
    }
}
