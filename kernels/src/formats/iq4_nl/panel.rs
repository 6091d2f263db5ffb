//! IQ4_NL in panels, which lie as those of Q4_0 do.

use super::VALUES;
use crate::formats::panel::{Codes, Panel, Plane, offset_table};
use crate::formats::q4_0;
use crate::simd::{LANES, Lanes};

/// IQ4_NL in panels.
pub struct Iq4Nl;

/// What nibbles stand for, 128 more.
pub const TABLE: [u8; 16] = offset_table(VALUES);

impl Panel for Iq4Nl {
    const ELEMENTS: usize = q4_0::panel::Q4_0::ELEMENTS;
    const BYTES: usize = q4_0::panel::Q4_0::BYTES;
    const PLANES: &'static [Plane] = q4_0::panel::Q4_0::PLANES;
    const SPAN: usize = 32;
    const WAYS: usize = q4_0::panel::Q4_0::WAYS;
    const RUN: usize = q4_0::panel::Q4_0::RUN;
    const CODES: Codes = Codes::Offset;
    const ZERO: i32 = 128;

    #[inline(always)]
    fn scales<L: Lanes>(lanes: L, block: &[u8], scales: &mut [[f32; LANES]], minima: &mut [[f32; LANES]]) {
        q4_0::panel::Q4_0::scales(lanes, block, scales, minima);
    }

    #[inline(always)]
    fn codes<L: Lanes>(lanes: L, block: &[u8], group: usize, way: usize, quad: usize) -> L::Bytes {
        lanes.lookup(q4_0::panel::Q4_0::codes(lanes, block, group, way, quad), &TABLE)
    }
}
