//! Codes of a few bits in bytes: how ggml's blocks pack them, and how device rows do.

/// A packing: `stride` bytes hold as many codes in their lowest bits, then the next in the bits above, until they are full.
#[derive(Debug, Clone, Copy)]
pub struct Packing {
    /// Bits of a code: 1, 2 or 4.
    pub bits: usize,
    /// Bytes until the next bits are used.
    pub stride: usize,
}

/// Nibbles of a device row: a `vec4<u32>` holds those of a block of 32 (`$nibbles` in codes.wgsl).
pub const NIBBLES: Packing = Packing { bits: 4, stride: 16 };

/// Pairs of bits of a device row: a word holds those of 16 elements (`$pairs` in codes.wgsl).
pub const PAIRS: Packing = Packing { bits: 2, stride: 4 };

/// Single bits of a device row: a word holds those of a block of 32 (`$bits` in codes.wgsl).
pub const BITS: Packing = Packing { bits: 1, stride: 4 };

// Always inline: loops over constant bits and strides are several times as fast, and loading a model repacks all of it.
impl Packing {
    /// The codes in some bytes, of which there are `CODES`.
    #[inline(always)]
    pub fn unpack<const CODES: usize>(self, bytes: &[u8]) -> [u8; CODES] {
        let mut codes = [0; CODES];
        let groups = codes.chunks_exact_mut(self.stride * 8 / self.bits);
        for (bytes, codes) in bytes.chunks_exact(self.stride).zip(groups) {
            for (place, codes) in codes.chunks_exact_mut(self.stride).enumerate() {
                for (byte, code) in bytes.iter().zip(codes) {
                    *code = byte >> (place * self.bits) & ((1 << self.bits) - 1);
                }
            }
        }
        codes
    }

    /// Packs codes into bytes; of each the lowest bits count.
    #[inline(always)]
    pub fn pack(self, codes: &[u8], bytes: &mut [u8]) {
        bytes.fill(0);
        let groups = codes.chunks_exact(self.stride * 8 / self.bits);
        for (bytes, codes) in bytes.chunks_exact_mut(self.stride).zip(groups) {
            for (place, codes) in codes.chunks_exact(self.stride).enumerate() {
                for (byte, code) in bytes.iter_mut().zip(codes) {
                    *byte |= (code & ((1 << self.bits) - 1)) << (place * self.bits);
                }
            }
        }
    }

    /// Packs the `CODES` codes of some bytes in another way.
    #[inline(always)]
    pub fn repack<const CODES: usize>(self, bytes: &[u8], packing: Packing, repacked: &mut [u8]) {
        packing.pack(&self.unpack::<CODES>(bytes), repacked);
    }
}
