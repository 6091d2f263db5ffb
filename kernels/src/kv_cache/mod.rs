//! The KV cache: how its numbers are stored, and the op that writes them into pages.
//!
//! A slot's keys are `[pages, kv_heads, PAGE_TOKENS, key_width]`, and its values `[pages, kv_heads, PAGE_TOKENS, value_width]` unless
//! they are the first elements of the keys, so that one head's tokens of a page are contiguous. The page table gives the page of each
//! stretch of a sequence.

use crate::graph::CachedValues;
use crate::op::{Binding, Count, Dispatch, Extent, Grid, Kernel, Lowered, Shader, Site, Work};
use crate::reference::Operands;
use crate::step::PAGE_TOKENS;

const WORKGROUP: u32 = 64;

/// How the numbers of a KV cache are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvType {
    /// Single precision.
    F32,
    /// Half precision; numbers beyond its range become its largest.
    F16,
}

impl KvType {
    /// Every type.
    pub const ALL: [KvType; 2] = [KvType::F32, KvType::F16];

    /// The name that `--kv-type` takes.
    pub fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
        }
    }

    /// Bytes of so many numbers.
    pub fn bytes(self, numbers: u64) -> u64 {
        match self {
            KvType::F32 => numbers * 4,
            KvType::F16 => numbers * 2,
        }
    }

    /// A number as it comes back from the cache.
    pub fn round(self, value: f32) -> f32 {
        match self {
            KvType::F32 => value,
            KvType::F16 => half::f16::from_f32(value.clamp(-65504.0, 65504.0)).to_f32(),
        }
    }

    /// `alias KvQuad`, `kv_encode` and `kv_decode`.
    pub fn module(self) -> (&'static str, &'static str) {
        let source = match self {
            KvType::F32 => include_str!("f32.wgsl"),
            KvType::F16 => include_str!("f16.wgsl"),
        };
        ("kv", source)
    }
}

/// `pages_place`: which key or value is that of a head at a position.
pub(crate) const PAGES: (&str, &str) = ("pages", include_str!("pages.wgsl"));

/// Inputs keys `[tokens, kv_heads * key_width]`, and values `[tokens, kv_heads * value_width]` where they are not in the keys; written
/// to the cache slot at each token's position.
#[derive(Debug, Clone)]
pub struct KvWrite;

impl Kernel for KvWrite {
    fn name(&self) -> &'static str {
        "kv_cache"
    }

    fn lower(&self, site: &Site) -> Lowered {
        let cache = site.cache();
        let (key_width, value_width) = (cache.slot.key_width as u32, cache.slot.value_width as u32);
        let keys = site.inputs[0];
        let values = site.inputs.get(1).copied().unwrap_or(keys);
        let module = match cache.slot.values {
            CachedValues::Own => include_str!("values_own.wgsl"),
            CachedValues::InKeys => include_str!("values_in_keys.wgsl"),
        };
        let mut lowered = Lowered::default();
        let mut first_head = 0;
        for (shard, heads) in cache.shards.iter().enumerate() {
            let quads = heads * key_width.max(value_width) / 4;
            let mut bindings = vec![Binding::Tokens, Binding::Pages, Binding::Input(0), Binding::Keys(shard)];
            if cache.slot.values == CachedValues::Own {
                bindings.extend([Binding::Input(1), Binding::Values(shard)]);
            }
            lowered.dispatches.push(Dispatch {
                shader: Shader {
                    name: "kv_write",
                    source: include_str!("kv_write.wgsl"),
                    modules: vec![cache.kv_type.module(), PAGES, ("values", module)],
                    constants: vec![
                        ("WORKGROUP", WORKGROUP),
                        ("PAGE_TOKENS", PAGE_TOKENS as u32),
                        ("KEY_QUADS", key_width / 4),
                        ("VALUE_QUADS", value_width / 4),
                    ],
                },
                params: vec![
                    *heads,
                    cache.pages_per_sequence,
                    keys.offset + first_head * key_width,
                    keys.stride,
                    values.offset + first_head * value_width,
                    values.stride,
                ],
                bindings,
                grid: Grid {
                    spread: Count::fixed(quads.div_ceil(WORKGROUP)),
                    rows: Count::each(Extent::Rows(site.rows)),
                },
                work: Work::fixed(8 * u64::from(WORKGROUP)),
            });
            first_head += heads;
        }
        lowered
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let step = operands.step;
        for (row, token) in step.tokens.iter().enumerate() {
            let keys = operands.inputs[0].row(row).to_vec();
            let values = operands.inputs.get(1).map_or_else(Vec::new, |values| values.row(row).to_vec());
            let place = step.place(token.sequence, token.position as usize);
            operands.cache().write(place, &keys, &values);
        }
        Vec::new()
    }
}
