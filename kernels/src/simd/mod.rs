//! Vectors of the CPU, 16 lanes wide whatever the instruction set: what kernels of the host are written in, once.
//!
//! A kernel is a [`WithLanes`]; [`Isa::run`] compiles it for each instruction set, and runs the one that is chosen. A value of a type that is
//! [`Lanes`] proves that the CPU has the instructions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use std::fmt;

#[cfg(target_arch = "x86_64")]
use self::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use self::avx512::Avx512;
#[cfg(target_arch = "aarch64")]
use self::neon::Neon;
use self::portable::Portable;

/// Lanes of a vector: one for each row of a panel.
pub const LANES: usize = 16;

/// Vectors of 16 lanes in the registers of an instruction set.
///
/// Every method is inlined into the function that [`Isa::run`] compiles for the instruction set.
pub trait Lanes: Copy + Send + Sync + 'static {
    /// 16 single-precision numbers.
    type Floats: Copy;
    /// 16 signed integers of 32 bits.
    type Integers: Copy;
    /// 16 groups of 4 bytes.
    type Bytes: Copy;
    /// Sums of a few dot products of bytes, before [`Lanes::finish`].
    type Dots: Copy;

    /// What a code of [`Lanes::dot_offset`] stands for more than it should: that many times the sum of the activations is left over.
    const OFFSET: i32;
    /// Vectors of 16 lanes that the registers hold.
    const REGISTERS: usize;
    /// Whether two products of nibbles are faster than one of bytes, so that bytes are cut where they meet many rows.
    const CUTS_BYTES: bool;

    /// A number in all lanes.
    fn splat(self, number: f32) -> Self::Floats;
    /// 16 numbers.
    fn load(self, numbers: &[f32; LANES]) -> Self::Floats;
    /// Puts 16 numbers.
    fn store(self, floats: Self::Floats, numbers: &mut [f32; LANES]);
    /// 16 numbers in half precision, as they lie in little-endian order.
    fn halves(self, numbers: &[u8; 2 * LANES]) -> Self::Floats;
    /// 16 bfloat16 numbers, as they lie in little-endian order.
    fn bfloats(self, numbers: &[u8; 2 * LANES]) -> Self::Floats;
    /// `a * b`.
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, rounded once where the CPU can.
    fn fma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// `c - a * b`, rounded once where the CPU can.
    fn fnma(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// An integer in all lanes.
    fn splat_integer(self, number: i32) -> Self::Integers;
    /// 16 times each.
    fn times_16(self, integers: Self::Integers) -> Self::Integers;
    /// Integers as floats.
    fn to_floats(self, integers: Self::Integers) -> Self::Floats;
    /// The 4 bytes of each group as one integer, the first byte in the low bits.
    fn words(self, bytes: Self::Bytes) -> Self::Integers;
    /// Bits `shift..` of each word, of which `mask` keeps some.
    fn field(self, words: Self::Integers, shift: u32, mask: i32) -> Self::Integers;
    /// The byte at `8 * byte` of each word, as a signed number.
    fn signed_byte(self, words: Self::Integers, byte: u32) -> Self::Integers;
    /// `a | b`, lane by lane.
    fn or_words(self, a: Self::Integers, b: Self::Integers) -> Self::Integers;

    /// 64 bytes.
    fn bytes(self, bytes: &[u8; 4 * LANES]) -> Self::Bytes;
    /// Puts 64 bytes.
    fn store_bytes(self, bytes: Self::Bytes, place: &mut [u8; 4 * LANES]);
    /// Bits `shift..` of each byte, of which `mask` keeps some; `mask` keeps none of the bits that came from the byte above.
    fn bits(self, bytes: Self::Bytes, shift: u32, mask: u8) -> Self::Bytes;
    /// `bytes << 4`, of bytes below 16.
    fn shift_up(self, bytes: Self::Bytes) -> Self::Bytes;
    /// `a | b`.
    fn or(self, a: Self::Bytes, b: Self::Bytes) -> Self::Bytes;
    /// The entry of a table for each byte below 16.
    fn lookup(self, bytes: Self::Bytes, table: &[u8; 16]) -> Self::Bytes;

    /// No dot product yet.
    fn dots(self) -> Self::Dots;
    /// Adds to each lane the dot product of its 4 bytes with 4 activations, signed bytes from -127 to 127. Of codes up to 15 there may be 8 such
    /// sums before [`Lanes::finish`], of codes up to 31 4, up to 63 2, up to 127 1.
    fn dot(self, dots: Self::Dots, codes: Self::Bytes, activations: i32) -> Self::Dots;
    /// `integers` and the dot products.
    fn finish(self, integers: Self::Integers, dots: Self::Dots) -> Self::Integers;
    /// Adds to each lane the dot product of its 4 bytes, each less 128, with 4 activations; but for [`Lanes::OFFSET`].
    fn dot_offset(self, integers: Self::Integers, codes: Self::Bytes, activations: i32) -> Self::Integers;

    /// Has the cache line fetched that lies this many bytes after the first of some; nothing has to be there.
    fn prefetch(self, bytes: &[u8], ahead: usize);
}

/// A computation on [`Lanes`]. `run` must be `#[inline(always)]`, and hold no vectors in closures.
pub trait WithLanes {
    /// What comes out.
    type Output;

    /// Computes it.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// An instruction set that this CPU has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon<false>),
    #[cfg(target_arch = "aarch64")]
    NeonDots(Neon<true>),
}

impl Isa {
    /// Plain Rust, which the compiler makes vectors of as it can.
    pub const PORTABLE: Isa = Isa(Kind::Portable(Portable));

    /// The instruction sets that this CPU has, best first.
    pub fn all() -> Vec<Isa> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx512::detect().map(Kind::Avx512));
            all.extend(Avx2::detect().map(Kind::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        {
            all.extend(Neon::<true>::detect().map(Kind::NeonDots));
            all.extend(Neon::<false>::detect().map(Kind::Neon));
        }
        all.push(Kind::Portable(Portable));
        all.into_iter().map(Isa).collect()
    }

    /// The best that this CPU has.
    pub fn best() -> Isa {
        Isa::all()[0]
    }

    /// Its name: `avx512`, `avx2`, `neon+dotprod`, `neon`, `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDots(_) => "neon+dotprod",
        }
    }

    /// Runs what was compiled for it.
    pub fn run<W: WithLanes>(self, work: W) -> W::Output {
        match self.0 {
            Kind::Portable(lanes) => work.run(lanes),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(lanes) => lanes.compiled(work),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(lanes) => lanes.compiled(work),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(lanes) => lanes.compiled(work),
            #[cfg(target_arch = "aarch64")]
            Kind::NeonDots(lanes) => lanes.compiled(work),
        }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
