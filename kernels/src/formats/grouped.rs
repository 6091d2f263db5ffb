//! What the formats of Hugging Face directories share: blocks of `GROUP` elements, each a head of `HEAD` bytes with its
//! scale, then codes of `BITS` bits.
//!
//! Publishers pack codes, scales and zero points into tensors of their own, each in its way; `plywood-models` assembles rows of
//! these blocks out of them. A group is what shares a scale, cut where a block holds less of it.

use super::packing::NIBBLES;
use super::{BLOCK32, planes_row_bytes, repack_planes};

/// Bytes of a group's codes.
const fn code_bytes(bits: usize, group: usize) -> usize {
    bits * group / 8
}

/// Bytes of a block.
pub const fn block_bytes(bits: usize, group: usize, head: usize) -> usize {
    head + code_bytes(bits, group)
}

/// Bytes of a device row: codes; heads.
pub fn row_bytes<const BITS: usize, const GROUP: usize, const HEAD: usize>(elements: usize) -> usize {
    planes_row_bytes(elements / GROUP, &[code_bytes(BITS, GROUP), HEAD])
}

/// Cuts blocks into a plane of codes and one of heads.
pub fn repack<const BITS: usize, const GROUP: usize, const HEAD: usize>(row: &[u8], device_row: &mut [u8]) {
    let planes = [code_bytes(BITS, GROUP), HEAD];
    repack_planes(row, block_bytes(BITS, GROUP, HEAD), device_row, planes, |block, [codes, head]| {
        head.copy_from_slice(&block[..HEAD]);
        codes.copy_from_slice(&block[HEAD..]);
    });
}

/// Decodes blocks: `element` makes one of a head, as `read` takes it from its bytes, and a code.
#[inline(always)]
pub fn decode<const BITS: usize, const GROUP: usize, const HEAD: usize, T: Copy>(
    blocks: &[u8],
    elements: &mut [f32],
    read: impl Fn(&[u8]) -> T,
    element: impl Fn(T, u8) -> f32,
) {
    let blocks = blocks.chunks_exact(block_bytes(BITS, GROUP, HEAD));
    for (block, out) in blocks.zip(elements.chunks_exact_mut(GROUP)) {
        let (head, codes) = block.split_at(HEAD);
        let head = read(head);
        for (codes, out) in codes.chunks_exact(code_bytes(BITS, BLOCK32)).zip(out.chunks_exact_mut(BLOCK32)) {
            let block32: [u8; BLOCK32] =
                if BITS == 4 { NIBBLES.unpack(codes) } else { std::array::from_fn(|at| codes[at]) };
            block32.iter().zip(out).for_each(|(code, out)| *out = element(head, *code));
        }
    }
}

/// Writes one block: the bytes of its head, and its codes, one to a byte.
pub fn write_block(bits: usize, head: &[u8], codes: &[u8], block: &mut [u8]) {
    let (head_bytes, packed) = block.split_at_mut(head.len());
    head_bytes.copy_from_slice(head);
    if bits == 4 {
        for (codes, packed) in codes.chunks_exact(BLOCK32).zip(packed.chunks_exact_mut(code_bytes(4, BLOCK32))) {
            NIBBLES.pack(codes, packed);
        }
    } else {
        packed.copy_from_slice(codes);
    }
}
