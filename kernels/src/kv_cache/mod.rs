//! The KV cache: how its numbers are stored, and the op that writes them into pages.
//!
//! A slot's keys are `[pages, kv_heads, PAGE_TOKENS, key_width]`, and its values `[pages, kv_heads, PAGE_TOKENS, value_width]` unless
//! they are the first elements of the keys, so that one head's tokens of a page are contiguous. A head's numbers of a token are
//! whole words of the cache's type. The page table gives the page of each
//! stretch of a sequence.

use crate::candidate::Candidate;
use crate::dispatch::{
    Binding, Bound, Count, Extent, Grid, Launch, Lowered, NamedWgsl, Work, read, read_pages, read_tokens, write,
};
use crate::graph::{CacheSlot, CachedValues};
use crate::host::HostRun;
use crate::lowering::{DeviceCache, LoweringContext, Precision, View};
use crate::op::Kernel;
use crate::params;
use crate::reference::Operands;
use crate::step::PAGE_TOKENS;

const WORKGROUP: u32 = 64;

/// Numbers of a block with one scale.
pub(crate) const BLOCK: usize = 32;

pub(crate) const LARGEST_HALF: f32 = 65504.0;

/// How the numbers of a KV cache are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvType {
    /// Single precision.
    F32,
    /// Half precision; numbers beyond its range become its largest.
    F16,
    /// Blocks of 32 numbers along a head, the last perhaps of fewer: a scale in half precision, the largest magnitude over 127, and
    /// for each number the signed byte that is nearest in units of it (ggml's `block_q8_0`, but for a byte that lies between two: ggml
    /// takes the units before their rounding to f16).
    Q8,
}

impl KvType {
    /// Every type.
    pub const ALL: [KvType; 3] = [KvType::F32, KvType::F16, KvType::Q8];

    /// The type of a name that `--kv-type` takes.
    pub fn from_name(name: &str) -> Option<KvType> {
        KvType::ALL.into_iter().find(|kv_type| kv_type.name() == name)
    }

    /// The name that `--kv-type` takes.
    pub fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::Q8 => "q8_0",
        }
    }

    /// Quads that an invocation stores together: two blocks, whose scales share a word.
    fn unit_quads(self) -> usize {
        match self {
            KvType::F32 | KvType::F16 => 1,
            KvType::Q8 => 2 * BLOCK / 4,
        }
    }

    /// Shader words (`KvWord`) of a head's key or value of this many numbers, a multiple of 4.
    pub(crate) fn words(self, numbers: usize) -> usize {
        let quads = numbers / 4;
        match self {
            KvType::F32 | KvType::F16 => quads,
            KvType::Q8 => quads + quads.div_ceil(self.unit_quads()),
        }
    }

    /// Bytes of a head's key or value of this many numbers, a multiple of 4.
    pub fn head_bytes(self, numbers: usize) -> u64 {
        let word_bytes = match self {
            KvType::F32 => 16,
            KvType::F16 => 8,
            KvType::Q8 => 4,
        };
        self.words(numbers) as u64 * word_bytes
    }

    /// Bytes that a slot stores of each token.
    pub fn token_bytes(self, slot: &CacheSlot) -> u64 {
        let values = match slot.values {
            CachedValues::Own => self.head_bytes(slot.value_width),
            CachedValues::InKeys => 0,
        };
        slot.kv_heads as u64 * (self.head_bytes(slot.key_width) + values)
    }

    /// Makes the numbers of a head's key or value what comes back from the cache.
    pub fn round(self, numbers: &mut [f32]) {
        match self {
            KvType::F32 => {}
            KvType::F16 => {
                numbers.iter_mut().for_each(|number| *number = half(number.clamp(-LARGEST_HALF, LARGEST_HALF)))
            }
            KvType::Q8 => numbers.chunks_mut(BLOCK).for_each(|block| _ = KvType::round_block(block)),
        }
    }

    /// Rounds the numbers of a block of [`KvType::Q8`]; gives their scale. The bytes are exact: a quotient in float64 tells which is nearest.
    pub(crate) fn round_block(numbers: &mut [f32]) -> half::f16 {
        let largest = numbers.iter().fold(0f32, |largest, number| largest.max(number.abs()));
        let half = half::f16::from_f32((largest * (1.0 / 127.0)).min(LARGEST_HALF));
        let scale = half.to_f32();
        for number in numbers {
            let byte = if scale == 0.0 { 0.0 } else { (f64::from(*number) / f64::from(scale)).round() };
            *number = byte.clamp(-127.0, 127.0) as f32 * scale;
        }
        half
    }

    /// `alias KvWord`, `kv_QUADS`, `kv_WORDS`, `kv_encode` and `kv_decode`.
    pub(crate) fn module(self) -> NamedWgsl {
        let source = match self {
            KvType::F32 => include_str!("f32.wgsl"),
            KvType::F16 => include_str!("f16.wgsl"),
            KvType::Q8 => include_str!("q8_0.wgsl"),
        };
        ("kv", source)
    }

    /// What reads `keys` and `values`: [`KvType::module`], and `cached_key` and `cached_value`.
    pub(crate) fn reading(self) -> [NamedWgsl; 2] {
        let source = match self {
            KvType::F32 | KvType::F16 => include_str!("read_quads.wgsl"),
            KvType::Q8 => include_str!("read_blocks.wgsl"),
        };
        [self.module(), ("cached", source)]
    }
}

fn half(number: f32) -> f32 {
    half::f16::from_f32(number).to_f32()
}

/// `pages_place`: which key or value is that of a head at a position.
pub(crate) const PAGES: NamedWgsl = ("pages", include_str!("pages.wgsl"));

/// Keys, or values, that are put into memory of their own under the name of this module; the shader may add how it comes to them.
pub(crate) const PUT: &str = include_str!("put.wgsl");

/// The constants of [`PAGES`] and of [`PUT`] as `keys` and as `values`.
pub(crate) fn cached_constants(cache: &DeviceCache) -> Vec<(&'static str, u32)> {
    let [keys, values] = [cache.slot.key_width, cache.slot.value_width];
    let words = |width: usize| cache.kv_type.words(width) as u32;
    vec![
        ("PAGE_TOKENS", PAGE_TOKENS as u32),
        ("keys_QUADS", keys as u32 / 4),
        ("keys_WORDS", words(keys)),
        ("values_QUADS", values as u32 / 4),
        ("values_WORDS", words(values)),
    ]
}

/// The keys of a cache shard, as [`PUT`] writes them.
pub(crate) fn write_keys(shard: usize) -> Bound {
    write("keys_cached", "KvWord", "[pages, kv_heads, PAGE_TOKENS, keys_WORDS]", Binding::Keys(shard))
}

/// The values of a cache shard, as [`PUT`] writes them.
pub(crate) fn write_values(shard: usize) -> Bound {
    write("values_cached", "KvWord", "[pages, kv_heads, PAGE_TOKENS, values_WORDS]", Binding::Values(shard))
}

/// Inputs `keys` `[tokens, kv_heads * key_width]`, and `values` `[tokens, kv_heads * value_width]` where they are not in the keys; written
/// to the cache slot at each token's position.
#[derive(Debug, Clone)]
pub struct KvWrite;

impl Kernel for KvWrite {
    fn name(&self) -> &'static str {
        "kv_cache"
    }

    fn writes_cache(&self) -> bool {
        true
    }

    fn lower(&self, context: &LoweringContext, _: &Candidate) -> Lowered {
        let cache = context.cache();
        let (key_width, value_width) = (cache.slot.key_width as u32, cache.slot.value_width as u32);
        let keys = context.inputs["keys"];
        let values = context.inputs.get("values").copied().unwrap_or(keys);
        let own = concat!(include_str!("put.wgsl"), include_str!("own.wgsl"));
        let values_module = match cache.slot.values {
            CachedValues::Own => own,
            CachedValues::InKeys => include_str!("in_keys.wgsl"),
        };
        let unit_quads = cache.kv_type.unit_quads() as u32;
        let units = key_width.max(value_width).div_ceil(4 * unit_quads);
        let mut lowered = Lowered::default();
        let mut first_head = 0;
        for (shard, heads) in cache.shards.iter().enumerate() {
            let mut bindings = vec![
                read_tokens(),
                read_pages(),
                read("keys_given", "f32", "[tokens, kv_heads, 4 * keys_QUADS]", Binding::Input("keys")),
                write_keys(shard),
            ];
            if cache.slot.values == CachedValues::Own {
                bindings.extend([
                    read("values_given", "f32", "[tokens, kv_heads, 4 * values_QUADS]", Binding::Input("values")),
                    write_values(shard),
                ]);
            }
            lowered.push(Launch {
                shader: ("kv_write", include_str!("kv_write.wgsl")),
                modules: vec![cache.kv_type.module(), PAGES, ("keys", own), ("values", values_module)],
                constants: [cached_constants(cache), vec![("WORKGROUP", WORKGROUP)]].concat(),
                // Heads are those of the shard, and views begin with its first.
                params: params! {
                    kv_heads: *heads,
                    pages_per_sequence: cache.pages_per_sequence,
                    keys: View { offset: keys.offset + first_head * key_width, ..keys },
                    values: View { offset: values.offset + first_head * value_width, ..values },
                },
                bindings,
                grid: Grid {
                    spread: Count::fixed((heads * units).div_ceil(WORKGROUP)),
                    rows: Count::each(Extent::Rows(context.rows)),
                },
                work: Work::fixed(8 * u64::from(unit_quads * WORKGROUP)),
            });
            first_head += heads;
        }
        lowered
    }

    fn host_candidates(&self, _: Precision) -> Vec<Candidate> {
        vec![Candidate::new("pages")]
    }

    fn host(&self, run: &mut HostRun) {
        let cache = run.cache.as_deref_mut().expect("the op uses the cache");
        let inputs = &run.operands.inputs;
        for (row, token) in run.operands.step.tokens.iter().enumerate() {
            let values = inputs.get("values").map_or(&[][..], |values| values.row(row));
            let place = run.operands.step.place(token.sequence, token.position as usize);
            cache.write(place, inputs["keys"].row(row), values);
        }
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let step = operands.step;
        for (row, token) in step.tokens.iter().enumerate() {
            let keys = operands.inputs["keys"].row(row).to_vec();
            let values = operands.inputs.get("values").map_or_else(Vec::new, |values| values.row(row).to_vec());
            let place = step.place(token.sequence, token.position as usize);
            operands.cache().write(place, &keys, &values);
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::Q8_0;
    use crate::random::Random;

    #[test]
    fn heads_are_whole_words() {
        let check = |numbers, bytes| assert_eq!(KvType::ALL.map(|kv_type| kv_type.head_bytes(numbers)), bytes);
        check(4, [16, 8, 8]);
        check(8, [32, 16, 12]);
        check(64, [256, 128, 68]);
        check(80, [320, 160, 88]);
        check(128, [512, 256, 136]);
        check(576, [2304, 1152, 612]);
        let slot = CacheSlot { kv_heads: 3, key_width: 80, value_width: 64, values: CachedValues::Own };
        assert_eq!(KvType::Q8.token_bytes(&slot), 3 * (88 + 68));
        assert_eq!(KvType::Q8.token_bytes(&CacheSlot { values: CachedValues::InKeys, ..slot }), 3 * 88);
    }

    /// Blocks are those of ggml's format but for the bytes that lie between two units, which are as near.
    #[test]
    fn blocks_are_rounded_as_ggml_rounds_them() {
        let mut random = Random::new(3);
        let (mut differ, blocks) = (0, 2000);
        for block in 0..blocks {
            let magnitude = 10f32.powi(block % 9 - 2);
            let numbers: [f32; BLOCK] = std::array::from_fn(|_| random.signed() * magnitude);
            let (mut ours, mut theirs) = (numbers, [0.0; BLOCK]);
            KvType::Q8.round(&mut ours);
            Q8_0.decode_row(&Q8_0.encode_rows(&numbers), &mut theirs);
            differ += ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).count();
            let largest = numbers.iter().fold(0f32, |largest, number| largest.max(number.abs()));
            for (number, ours) in numbers.iter().zip(&ours) {
                // Half a unit, and what the largest loses where the scale was rounded down: 2^-11 of it, or 127 times 2^-25.
                let limit = largest * (0.5 / 127.0 + 1.0 / 2048.0) + 127.0 / 33_554_432.0;
                assert!((number - ours).abs() <= limit, "{number} became {ours}");
            }
        }
        println!("{differ} of {} numbers differ", blocks as usize * BLOCK);
        assert!(differ < blocks as usize * BLOCK / 50, "{differ} numbers differ");
    }

    #[test]
    fn what_blocks_cannot_hold_becomes_the_nearest() {
        let check = |numbers: &[f32], expected: &[f32]| {
            let mut numbers = numbers.to_vec();
            KvType::Q8.round(&mut numbers);
            assert_eq!(numbers, expected);
        };
        check(&[0.0; 36], &[0.0; 36]);
        check(&[1e-12, -1e-12, 0.0, 0.0], &[0.0; 4]);
        check(&[f32::MAX, f32::MIN, 65504.0, 0.0], &[127.0 * 65504.0, -127.0 * 65504.0, 65504.0, 0.0]);
        // A scale of 1: halves are rounded away from zero. The last number has a block of its own.
        let numbers = |last| [&[127.0, 0.5, -0.5, 1.49, -2.51][..], &[0.0; 27], &[last; 4]].concat();
        let expected = [&[127.0, 1.0, -1.0, 1.0, -3.0][..], &[0.0; 27], &[254.0; 4]].concat();
        check(&numbers(254.0), &expected);
    }
}
