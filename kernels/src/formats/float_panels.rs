//! Floats in panels: 16 numbers of a column, then those of the next.

use super::panel::halves_at;
use crate::host::product::FloatPanel;
use crate::simd::{LANES, Lanes};

/// F32 in panels.
pub struct F32;

/// F16 in panels.
pub struct F16;

/// BF16 in panels.
pub struct Bf16;

impl FloatPanel for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    fn load<L: Lanes>(lanes: L, column: &[u8]) -> L::Floats {
        let mut numbers = [0f32; LANES];
        for (number, bytes) in numbers.iter_mut().zip(column.as_chunks().0) {
            *number = f32::from_le_bytes(*bytes);
        }
        lanes.load(&numbers)
    }
}

impl FloatPanel for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn load<L: Lanes>(lanes: L, column: &[u8]) -> L::Floats {
        halves_at(lanes, column, 0)
    }
}

impl FloatPanel for Bf16 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn load<L: Lanes>(lanes: L, column: &[u8]) -> L::Floats {
        lanes.bfloats(column[..2 * LANES].try_into().expect("32 bytes"))
    }
}
