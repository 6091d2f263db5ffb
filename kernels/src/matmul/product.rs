//! The two kernels of products, shared by the ops that multiply with rows of a weight.

use crate::formats::UNIT;
use crate::op::{Binding, Count, Dispatch, Features, Grid, Shader, Shard, Site, Work, shared};

/// Rows that a team of the matrix-vector kernel computes at once.
const TEAM_ROWS: u32 = 2;

/// Rows of a tile where few are to be had, or little memory.
pub(crate) const SMALL_TILE: u32 = 32;

/// A product with the rows of a shard, as both kernels compute it.
pub(crate) struct Product<'a> {
    /// Where it is.
    pub site: &'a Site<'a>,
    /// The rows of the weight.
    pub shard: &'a Shard,
    /// Elements along k.
    pub width: u32,
    /// Results for each row of input.
    pub rows: u32,
    /// `operands`, `rows`, `places`, `finish` and what these need.
    pub modules: Vec<(&'static str, &'static str)>,
    /// The words of `Params`.
    pub params: Vec<u32>,
    /// What is bound behind the parameters, without the bias, which comes last.
    pub bindings: Vec<Binding>,
}

impl Product<'_> {
    /// The matrix-vector kernel, for so many rows of input at once.
    pub fn columns(self, columns: u32, rows: Count) -> Dispatch {
        let features = self.site.features;
        let workgroup = columns_workgroup(features);
        // As many teams as a workgroup surely has, each with its rows.
        let teams = features.subgroup.map_or(1, |(_, largest)| (workgroup / largest).max(1));
        let group_rows = teams * TEAM_ROWS;
        let constants =
            vec![("WORKGROUP", workgroup), ("COLUMNS", columns), ("GROUP_ROWS", group_rows), ("TEAM_ROWS", TEAM_ROWS)];
        let spread = Count::fixed(self.rows.div_ceil(group_rows));
        let work = Work::fixed(u64::from(group_rows) * u64::from(columns) * u64::from(self.width));
        let source = ("matmul_columns", include_str!("columns.wgsl"));
        self.dispatch(source, shared::reduce(features), constants, Grid { spread, rows }, work)
    }

    /// The kernel of tiles with sides of so many rows; see [`tile`].
    pub fn tiles(self, tile: u32, rows: Count) -> Dispatch {
        let module = if is_half(self.site.features, self.shard) {
            include_str!("tile_f16.wgsl")
        } else {
            include_str!("tile_f32.wgsl")
        };
        let spread = Count::fixed(self.rows.div_ceil(tile));
        let work = Work::fixed(u64::from(tile) * u64::from(tile) * u64::from(self.width));
        let source = ("matmul_tiles", include_str!("tiles.wgsl"));
        self.dispatch(source, ("tile", module), vec![("SIDE", tile / 4)], Grid { spread, rows }, work)
    }

    /// A dispatch with what both kernels import: the format, how rows of input end, and the bias.
    fn dispatch(
        mut self,
        (name, source): (&'static str, &'static str),
        module: (&'static str, &'static str),
        mut constants: Vec<(&'static str, u32)>,
        grid: Grid,
        work: Work,
    ) -> Dispatch {
        assert!(self.site.inputs[0].offset.is_multiple_of(4), "a matmul's input begins at a vec4");
        let whole_units = self.width.is_multiple_of(UNIT as u32);
        let input = if whole_units { include_str!("input_whole.wgsl") } else { include_str!("input_ragged.wgsl") };
        let bias = match self.site.weights.get(1) {
            Some(_) => include_str!("bias_vector.wgsl"),
            None => include_str!("bias_none.wgsl"),
        };
        let weight = ("weight", self.shard.format.wgsl);
        self.modules.extend([shared::UNIT, shared::GRID, weight, ("input", input), ("bias", bias), module]);
        constants.push(("BIAS_BINDING", self.bindings.len() as u32 + 1));
        self.bindings.extend(self.site.weights.get(1).map(|_| Binding::Shard { weight: 1, shard: 0 }));
        let shader = Shader { name, source, modules: self.modules, constants };
        Dispatch { shader, params: self.params, bindings: self.bindings, grid, work }
    }
}

/// Whether tiles hold a shard's elements as f16.
fn is_half(features: Features, shard: &Shard) -> bool {
    features.f16 && shard.format.f16_units
}

/// Rows of input, and of a shard, in a tile.
pub(crate) fn tile(features: Features, shard: &Shard) -> u32 {
    // Each of side × side invocations computes 4 × 4 results; a tile's rows are 9 quads apart to spread over banks.
    let half = is_half(features, shard);
    let bytes = |side: u32| side * 4 * 9 * if half { 16 + 8 } else { 16 + 16 } + side * 16;
    let large = !features.software && features.workgroup_invocations >= 256 && bytes(16) <= features.workgroup_bytes;
    if large { 64 } else { SMALL_TILE }
}

/// Two subgroups of the largest size where there are subgroups; else one tree of lanes.
fn columns_workgroup(features: Features) -> u32 {
    match features.subgroup {
        Some((_, largest)) => (2 * largest).clamp(8, 128).min(features.workgroup_invocations),
        None if features.software => 16,
        None => 64,
    }
}
