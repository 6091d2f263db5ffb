//! The kernels of products, shared by the ops that multiply with rows of a weight.

use super::activations;
use crate::candidate::Candidate;
use crate::device::{Features, IntegerDots};
use crate::dispatch::{Binding, Bound, Count, Grid, Launch, NamedWgsl, Param, Work, read, write};
use crate::formats::BLOCK32;
use crate::gated::Activation;
use crate::lowering::{Batch, DeviceWeight, LoweringContext, Precision, Shard};
use crate::step::ONE_TILE;
use crate::{params, shared};

/// In how many steps an invocation of the matrix-vector kernel goes along a row, where a workgroup may be large enough.
const STEPS: u32 = 2;

/// The most invocations of its workgroups.
const MOST_INVOCATIONS: u32 = 256;

/// The fewest rows of input that are rounded to 8 bits: with fewer, integer dot products save less than the rounding costs.
const FEWEST_ROUNDED: u32 = 4;

/// Rows of a tile where there are few, or little memory.
pub(crate) const SMALL_TILE: u32 = ONE_TILE as u32;

/// Rows of a tile where there is room.
const LARGE_TILE: u32 = 64;

/// Blocks of 32 that a tile of bytes takes along k at a time: what is on its way together hides how long each takes.
const TILE_BLOCKS: u32 = 2;

/// A product with the rows of a shard, as both kernels compute it.
pub(crate) struct Product<'a> {
    /// Where it is.
    pub context: &'a LoweringContext<'a>,
    /// How it is computed: one of [`candidates`].
    pub candidate: &'a Candidate,
    /// Which shard of `weight`.
    pub shard: usize,
    /// Elements along k.
    pub width: u32,
    /// Results for each row of input.
    pub rows: u32,
    /// The norm of the rows of input, where the product is to normalise them: what is added to their mean square. Of many rows only in bytes.
    pub norm: Option<f32>,
    /// What becomes of the products.
    pub finish: Finish,
    /// `row` and `batch`.
    pub modules: Vec<NamedWgsl>,
    /// What the modules are told.
    pub params: Vec<(&'static str, Param)>,
    /// What the modules bind besides weight, input, output and bias.
    pub bindings: Vec<Bound>,
}

/// What becomes of a row's products.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Finish {
    /// Each is a result.
    Plain,
    /// Each is added to a residual, whose place is in [`Product::params`], and its binding in [`Product::bindings`].
    Residual,
    /// Those of two parts of the weight, of `rows` each, meet: the first gates the second.
    Gated(Activation),
}

impl Finish {
    /// Rows of the weight that a result is made of.
    fn parts(self) -> u32 {
        match self {
            Finish::Plain | Finish::Residual => 1,
            Finish::Gated(_) => 2,
        }
    }

    /// `finish`, and what it needs.
    fn modules(self) -> Vec<NamedWgsl> {
        match self {
            Finish::Plain => vec![("finish", include_str!("finish_plain.wgsl"))],
            Finish::Residual => vec![("finish", include_str!("finish_residual.wgsl"))],
            Finish::Gated(activation) => vec![("finish", include_str!("finish_gated.wgsl")), activation.module()],
        }
    }
}

/// The modules, bindings and parameters of a kernel's input, and of the codes that meet it.
struct InputWgsl {
    modules: Vec<NamedWgsl>,
    bindings: Vec<Bound>,
    params: Vec<(&'static str, Param)>,
}

/// The ways to compute a product in a batch, with tiles of at most this many rows.
pub(crate) fn candidates(context: &LoweringContext, batch: Batch, largest_tile: u32) -> Vec<Candidate> {
    let (floats, integers) = match batch {
        Batch::Few(rows) => {
            let columns = |method| matrix_vector(context, method);
            let integers = if rows < FEWEST_ROUNDED { Vec::new() } else { columns("integer matrix-vector") };
            (columns("matrix-vector"), integers)
        }
        Batch::OneTile | Batch::Many => {
            let largest = if batch == Batch::OneTile { SMALL_TILE } else { largest_tile };
            (tiles(context, largest), integer_tiles(context, largest))
        }
    };
    if !can_round(context) {
        return floats;
    }
    let integers = integers.into_iter().map(Candidate::that_rounds).collect();
    match context.features.integer_dots {
        IntegerDots::Native => [integers, floats].concat(),
        IntegerDots::Emulated => [floats, integers].concat(),
        IntegerDots::Refused => floats,
    }
}

/// Whether a product may take its input in 8 bits.
fn can_round(context: &LoweringContext) -> bool {
    let mut shards = context.weights["weight"].shards.iter();
    context.precision == Precision::Fast && shards.all(|shard| shard.format.byte_codes.is_some())
}

/// The matrix-vector kernels.
fn matrix_vector(context: &LoweringContext, method: &'static str) -> Vec<Candidate> {
    let candidate = |[workgroup, rows, parts]: [u32; 3]| {
        Candidate::new(method).with("workgroup", workgroup).with("rows", rows).with("parts", parts)
    };
    matrix_vector_sizes(context.features, context.weights["weight"].columns).map(candidate).to_vec()
}

/// The kernels of tiles of floats.
fn tiles(context: &LoweringContext, largest: u32) -> Vec<Candidate> {
    let weight = context.weights["weight"];
    let of_bits = |bits: u32| {
        // A tile's rows are 9 quads apart to spread over banks.
        let widest = weight.shards.iter().map(|shard| storage_bits(shard, bits)).max().unwrap_or(bits);
        let row_bytes = 9 * (16 + widest / 2) + 8;
        tile_sizes(context.features, largest, row_bytes)
            .map(move |tile| Candidate::new("tiles").with("rows", tile).with("bits", bits))
    };
    weight_bits(context, weight).into_iter().flat_map(of_bits).collect()
}

/// The kernels of tiles of bytes.
fn integer_tiles(context: &LoweringContext, largest: u32) -> Vec<Candidate> {
    // Of both sides twelve words for each block: eight of codes, and what they are scaled by.
    let row_bytes = 2 * 12 * 4 * TILE_BLOCKS;
    let of_size = |tile| Candidate::new("integer tiles").with("rows", tile);
    tile_sizes(context.features, largest, row_bytes).map(of_size).collect()
}

/// Rows of the sides of tiles that a device has room for, of which a row of both sides takes this many bytes; best guess first.
fn tile_sizes(features: Features, largest: u32, row_bytes: u32) -> impl Iterator<Item = u32> {
    let fits = move |tile: &u32| {
        // Each of side × side invocations computes 4 × 4 results.
        let side = tile / 4;
        let has_room = side * side <= features.workgroup_invocations && tile * row_bytes <= features.workgroup_bytes;
        *tile <= largest && (*tile <= SMALL_TILE || has_room)
    };
    features.sizes([LARGE_TILE, SMALL_TILE]).into_iter().filter(fits)
}

impl Product<'_> {
    /// The matrix-vector kernel, for this many rows of input at once; of bytes where the candidate rounds.
    pub fn columns(self, columns: u32, rows: Count) -> Launch {
        let features = self.context.features;
        let [workgroup, weight_rows, parts] = ["workgroup", "rows", "parts"].map(|name| self.candidate.number(name));
        let constants = vec![("WORKGROUP", workgroup), ("COLUMNS", columns), ("ROWS", weight_rows), ("PARTS", parts)];
        let sums = match features.subgroup {
            Some((smallest, _)) if smallest >= workgroup => include_str!("sums_subgroup.wgsl"),
            Some(_) => include_str!("sums_subgroups.wgsl"),
            None => include_str!("sums_workgroup.wgsl"),
        };
        let spread = Count::fixed(self.rows.div_ceil(weight_rows / self.finish.parts()));
        let work = Work::fixed(u64::from(weight_rows) * u64::from(columns) * u64::from(self.width));
        let (name, column, input) = match self.candidate.rounds() {
            true => ("matmul_columns_integer", include_str!("column_bytes.wgsl"), self.bytes()),
            false => ("matmul_columns", include_str!("column_floats.wgsl"), self.floats()),
        };
        let modules = vec![shared::reduce(features), ("sums", sums), self.norm_module(), ("column", column)];
        self.launch((name, include_str!("columns.wgsl")), input, modules, constants, Grid { spread, rows }, work)
    }

    /// The kernel of tiles, whose sides have as many rows as the candidate says; of bytes where the candidate rounds.
    pub fn tiles(self, rows: Count) -> Launch {
        let tile = self.candidate.number("rows");
        let spread = Count::fixed(self.rows.div_ceil(tile / self.finish.parts()));
        let work = Work::fixed(u64::from(tile) * u64::from(tile) * u64::from(self.width));
        let (grid, mut constants) = (Grid { spread, rows }, vec![("SIDE", tile / 4)]);
        let results = ("results", include_str!("tile_results.wgsl"));
        if self.candidate.rounds() {
            constants.push(("BLOCKS", TILE_BLOCKS));
            let source = ("matmul_tiles_integer", include_str!("tiles_integer.wgsl"));
            let (input, modules) = (self.bytes(), vec![self.norm_module(), results]);
            return self.launch(source, input, modules, constants, grid, work);
        }
        let module = match storage_bits(self.shard(), self.candidate.number("bits")) {
            16 => include_str!("tile_f16.wgsl"),
            _ => include_str!("tile_f32.wgsl"),
        };
        let (source, input) = (("matmul_tiles", include_str!("tiles.wgsl")), self.floats());
        self.launch(source, input, vec![("tile", module), results], constants, grid, work)
    }

    /// Input in single precision, and codes as numbers.
    fn floats(&self) -> InputWgsl {
        let input = read("input", "vec4<f32>", "[rows of input, input_stride]", Binding::Input("input"));
        let (gain_module, gain) = activations::gain(self.norm.is_some());
        InputWgsl {
            modules: vec![shared::CODES_FLOAT, activations::input_module(self.width), gain_module],
            bindings: [input].into_iter().chain(gain).collect(),
            params: Vec::new(),
        }
    }

    /// Input in bytes, as are codes.
    fn bytes(&self) -> InputWgsl {
        let input = read("activations", "vec4<u32>", activations::ROUNDED, Binding::Input("input"));
        let (rounded, params) = activations::rounded_module(self.context);
        let scales = match self.shard().format.byte_codes {
            Some(16) => include_str!("scales_of_16.wgsl"),
            _ => include_str!("scales_of_32.wgsl"),
        };
        InputWgsl { modules: vec![shared::CODES_INTEGER, rounded, ("scales", scales)], bindings: vec![input], params }
    }

    /// `norm`: what is left of it at the end of the products.
    fn norm_module(&self) -> NamedWgsl {
        let source = match self.norm {
            None => include_str!("norm_none.wgsl"),
            Some(_) => include_str!("norm_inside.wgsl"),
        };
        ("norm", source)
    }

    fn shard(&self) -> &Shard {
        &self.context.weights["weight"].shards[self.shard]
    }

    /// A launch with what all kernels import and bind: the format, and the bias.
    fn launch(
        self,
        shader: NamedWgsl,
        input: InputWgsl,
        own_modules: Vec<NamedWgsl>,
        constants: Vec<(&'static str, u32)>,
        grid: Grid,
        work: Work,
    ) -> Launch {
        let has_bias = self.context.weights.has("bias");
        let bias = if has_bias { include_str!("bias_vector.wgsl") } else { include_str!("bias_none.wgsl") };
        let weight = ("weight", self.shard().format.wgsl);
        let (mut modules, mut params) = ([self.modules, self.finish.modules()].concat(), self.params);
        if let Finish::Gated(activation) = self.finish {
            params.extend(params! { limit: activation.limit() });
        }
        params.extend(input.params);
        params.extend(self.norm.map(|epsilon| ("epsilon", Param::from(epsilon))));
        modules.extend([shared::QUARTER, shared::GRID, weight, ("bias", bias)]);
        modules.extend([input.modules, own_modules].concat());
        let words = Binding::Shard { weight: "weight", shard: self.shard };
        let mut bindings = vec![read("weight_words", "vec4<u32>", "[rows, row_stride]", words)];
        bindings.extend(input.bindings);
        // Rows of input and output are allotted in whole tiles: those after the step's last are computed and not read.
        bindings.push(write("output", "f32", "[rows of input, output_stride]", Binding::Output));
        bindings.extend(self.bindings);
        let numbers = Binding::Shard { weight: "bias", shard: 0 };
        bindings.extend(has_bias.then(|| read("bias", "f32", "[rows of all shards]", numbers)));
        Launch { shader, modules, constants, params, bindings, grid, work }
    }
}

/// Bits in which tiles may hold a weight's elements, best guess first.
fn weight_bits(context: &LoweringContext, weight: &DeviceWeight) -> Vec<u32> {
    let allowed = context.features.f16 && context.precision == Precision::Fast;
    let half = allowed && weight.shards.iter().any(|shard| shard.format.exact_in_f16);
    if half { vec![16, 32] } else { vec![32] }
}

/// Bits in which tiles hold a shard's elements where 16 or 32 may do.
fn storage_bits(shard: &Shard, bits: u32) -> u32 {
    if shard.format.exact_in_f16 { bits } else { 32 }
}

/// Invocations of a workgroup of the matrix-vector kernel, rows of the weight that it computes together, and quarters of a block of 32 that an
/// invocation takes at a time; best guess first. On a GPU neighbours read neighbouring words, and a workgroup is so large that an invocation goes along a
/// row in few steps: what is on its way at the same time hides how long each takes. A CPU goes along the quarters of a block one by one.
fn matrix_vector_sizes(features: Features, width: u32) -> [[u32; 3]; 2] {
    let [large, small] = match features.subgroup {
        Some((_, largest)) => {
            let quarters = width.div_ceil(BLOCK32 as u32) * 4;
            let invocations = (quarters / STEPS).next_power_of_two().max(largest).min(MOST_INVOCATIONS);
            [invocations.min(features.workgroup_invocations), largest]
        }
        None => [64, 16],
    };
    features.sizes([[large, 4, 1], [small, 4, 4]])
}
