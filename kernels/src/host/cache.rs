//! A cache slot in host memory, in pages. Keys lie in columns, so that a vector has the same element of 16 tokens' keys; values in rows.

use std::collections::TryReserveError;

use half::f16;

use crate::graph::{CacheSlot, CachedValues};
use crate::kv_cache::{BLOCK, KvType, LARGEST_HALF};
use crate::simd::{LANES, Lanes};
use crate::step::PAGE_TOKENS;

/// A cache slot in host memory.
#[derive(Debug)]
pub struct PagedCache {
    slot: CacheSlot,
    /// `[pages, kv_heads, key_width, PAGE_TOKENS]`.
    keys: Numbers,
    /// `[pages, kv_heads, PAGE_TOKENS, value_width]`; empty where values are the first elements of keys.
    values: Numbers,
}

/// Keys or values of all heads in all pages.
#[derive(Debug)]
enum Numbers {
    Floats(Vec<f32>),
    /// In little-endian order.
    Halves(Vec<[u8; 2]>),
    /// Signed bytes, and the half-precision scale of each 32 elements of a token's key or value.
    Blocks(Vec<i8>, Vec<u16>),
}

/// How a head's numbers lie in a page.
#[derive(Debug, Clone, Copy)]
struct Shape {
    width: usize,
    /// From an element to the next of the same token.
    element: usize,
    /// From a token to the next.
    token: usize,
}

impl Shape {
    fn keys(slot: &CacheSlot) -> Shape {
        Shape { width: slot.key_width, element: PAGE_TOKENS, token: 1 }
    }

    fn values(slot: &CacheSlot) -> Shape {
        Shape { width: slot.value_width, element: 1, token: slot.value_width }
    }

    /// Scales of a token.
    fn blocks(self) -> usize {
        self.width.div_ceil(BLOCK)
    }
}

impl PagedCache {
    /// Bytes of the keys and of the values of this many pages.
    pub fn bytes(slot: &CacheSlot, kv_type: KvType, pages: usize) -> [u64; 2] {
        let of = |shape: Shape| {
            let token_bytes = match kv_type {
                KvType::F32 => 4 * shape.width,
                KvType::F16 => 2 * shape.width,
                KvType::Q8 => shape.width + 2 * shape.blocks(),
            };
            (pages * PAGE_TOKENS * slot.kv_heads * token_bytes) as u64
        };
        match slot.values {
            CachedValues::Own => [of(Shape::keys(slot)), of(Shape::values(slot))],
            CachedValues::InKeys => [of(Shape::keys(slot)), 0],
        }
    }

    /// An empty cache of this many pages: all of it is NaN, or 0 where there is no NaN. An error where the system refuses the memory.
    pub fn new(slot: CacheSlot, kv_type: KvType, pages: usize) -> Result<PagedCache, TryReserveError> {
        let of = |shape: Shape, pages: usize| -> Result<Numbers, TryReserveError> {
            let tokens = pages * PAGE_TOKENS * slot.kv_heads;
            let numbers = tokens * shape.width;
            Ok(match kv_type {
                KvType::F32 => Numbers::Floats(filled(numbers, f32::NAN)?),
                KvType::F16 => Numbers::Halves(filled(numbers, f16::NAN.to_le_bytes())?),
                KvType::Q8 => {
                    Numbers::Blocks(filled(numbers, 0)?, filled(tokens * shape.blocks(), f16::NAN.to_bits())?)
                }
            })
        };
        let own = if slot.values == CachedValues::Own { pages } else { 0 };
        Ok(PagedCache { slot, keys: of(Shape::keys(&slot), pages)?, values: of(Shape::values(&slot), own)? })
    }

    /// The slot.
    pub fn slot(&self) -> &CacheSlot {
        &self.slot
    }

    /// Reads the keys of a head in a page: `[key_width][PAGE_TOKENS]`.
    #[inline(always)]
    pub fn read_keys<L: Lanes>(&self, lanes: L, page: usize, head: usize, keys: &mut [[f32; PAGE_TOKENS]]) {
        let shape = Shape::keys(&self.slot);
        self.keys.read(lanes, page * self.slot.kv_heads + head, shape, keys.as_flattened_mut());
    }

    /// Reads the values of a head in a page: `[PAGE_TOKENS][value_width]`. Those that are the first elements of keys are not here.
    #[inline(always)]
    pub fn read_values<L: Lanes>(&self, lanes: L, page: usize, head: usize, values: &mut [f32]) {
        let shape = Shape::values(&self.slot);
        self.values.read(lanes, page * self.slot.kv_heads + head, shape, values);
    }

    /// Writes the keys and values of all heads at a place (page, token in it), rounded as the cache stores them; `values` are empty where they
    /// are the first elements of keys.
    pub fn write(&mut self, (page, token): (usize, usize), keys: &[f32], values: &[f32]) {
        let slot = self.slot;
        for (numbers, shape, given) in
            [(&mut self.keys, Shape::keys(&slot), keys), (&mut self.values, Shape::values(&slot), values)]
        {
            for (head, given) in given.chunks(shape.width).enumerate() {
                numbers.write(page * slot.kv_heads + head, token, shape, given);
            }
        }
    }
}

impl Numbers {
    /// Reads a head's numbers in a page, in the order in which they lie.
    #[inline(always)]
    fn read<L: Lanes>(&self, lanes: L, index: usize, shape: Shape, read: &mut [f32]) {
        let range = index * PAGE_TOKENS * shape.width..(index + 1) * PAGE_TOKENS * shape.width;
        match self {
            Numbers::Floats(numbers) => read.copy_from_slice(&numbers[range]),
            Numbers::Halves(numbers) => {
                let (chunks, _) = numbers[range].as_flattened().as_chunks();
                for (read, halves) in read.as_chunks_mut::<LANES>().0.iter_mut().zip(chunks) {
                    lanes.store(lanes.halves(halves), read);
                }
            }
            Numbers::Blocks(bytes, scales) => {
                let blocks = shape.blocks();
                let scales = &scales[index * PAGE_TOKENS * blocks..][..PAGE_TOKENS * blocks];
                let scale = |token: usize, block: usize| f16::from_bits(scales[token * blocks + block]).to_f32();
                let bytes = &bytes[range];
                // A run of bytes has one scale, or as many as there are tokens.
                if shape.element == 1 {
                    let tokens = read.chunks_exact_mut(shape.width).zip(bytes.chunks_exact(shape.width));
                    for (token, (read, bytes)) in tokens.enumerate() {
                        for (block, (read, bytes)) in read.chunks_mut(BLOCK).zip(bytes.chunks(BLOCK)).enumerate() {
                            let scale = scale(token, block);
                            read.iter_mut().zip(bytes).for_each(|(read, byte)| *read = f32::from(*byte) * scale);
                        }
                    }
                } else {
                    let elements = read.chunks_mut(BLOCK * PAGE_TOKENS).zip(bytes.chunks(BLOCK * PAGE_TOKENS));
                    for (block, (read, bytes)) in elements.enumerate() {
                        let scales: [f32; PAGE_TOKENS] = std::array::from_fn(|token| scale(token, block));
                        let rows = read.as_chunks_mut::<PAGE_TOKENS>().0.iter_mut();
                        for (read, bytes) in rows.zip(bytes.as_chunks::<PAGE_TOKENS>().0) {
                            for token in 0..PAGE_TOKENS {
                                read[token] = f32::from(bytes[token]) * scales[token];
                            }
                        }
                    }
                }
            }
        }
    }

    /// Writes the numbers of a head's token.
    fn write(&mut self, index: usize, token: usize, shape: Shape, given: &[f32]) {
        let first = index * PAGE_TOKENS * shape.width + token * shape.token;
        match self {
            Numbers::Floats(numbers) => {
                given.iter().enumerate().for_each(|(at, number)| numbers[first + at * shape.element] = *number);
            }
            Numbers::Halves(numbers) => {
                for (at, number) in given.iter().enumerate() {
                    let number = number.clamp(-LARGEST_HALF, LARGEST_HALF);
                    numbers[first + at * shape.element] = f16::from_f32(number).to_le_bytes();
                }
            }
            Numbers::Blocks(bytes, scales) => {
                for (block, given) in given.chunks(BLOCK).enumerate() {
                    let mut rounded = [0f32; BLOCK];
                    let rounded = &mut rounded[..given.len()];
                    rounded.copy_from_slice(given);
                    let scale = KvType::round_block(rounded);
                    scales[(index * PAGE_TOKENS + token) * shape.blocks() + block] = scale.to_bits();
                    let inverse = if scale == f16::ZERO { 0.0 } else { 1.0 / scale.to_f32() };
                    for (at, number) in rounded.iter().enumerate() {
                        bytes[first + (block * BLOCK + at) * shape.element] = (number * inverse).round() as i8;
                    }
                }
            }
        }
    }
}

/// Memory full of a number, unless the system refuses it.
fn filled<T: Clone>(count: usize, number: T) -> Result<Vec<T>, TryReserveError> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(count)?;
    memory.resize(count, number);
    Ok(memory)
}
