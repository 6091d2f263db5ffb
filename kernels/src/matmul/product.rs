//! The kernels of products, shared by the ops that multiply with rows of a weight.

use crate::candidate::Candidate;
use crate::device::{Features, IntegerDots};
use crate::dispatch::{Binding, Bound, Count, Grid, Launch, NamedWgsl, Param, Work, read, write};
use crate::formats::BLOCK32;
use crate::gated::Activation;
use crate::lowering::{Batch, DeviceWeight, LoweringContext, Precision, Shard};
use crate::{params, shared};

/// In how many steps an invocation of the matrix-vector kernel goes along a row, where a workgroup may be large enough.
const STEPS: u32 = 2;

/// The most invocations of its workgroups.
const MOST_INVOCATIONS: u32 = 256;

/// What input in 8 bits lies in: blocks of 32 in the order of the input's, three `vec4<u32>` each.
pub(super) const ROUNDED: &str = "[rows of input, blocks of 32, 3]";

/// Rows of a tile where there are few, or little memory.
pub(crate) const SMALL_TILE: u32 = 32;

/// Rows of a tile where there is room.
const LARGE_TILE: u32 = 64;

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
    /// The norm of the rows of input, where the product is to normalise them: what is added to their mean square. Only of few rows.
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

/// What a kernel imports for its input and the codes that meet it, and what it binds.
type InputWgsl = (Vec<NamedWgsl>, Bound);

/// The ways to compute a product in a batch, with tiles of at most this many rows.
pub(crate) fn candidates(context: &LoweringContext, batch: Batch, largest_tile: u32) -> Vec<Candidate> {
    match batch {
        Batch::Few(_) => {
            let candidate = |[workgroup, rows, parts]: [u32; 3]| {
                Candidate::new("matrix-vector").with("workgroup", workgroup).with("rows", rows).with("parts", parts)
            };
            matrix_vector_sizes(context.features, context.weights["weight"].columns).map(candidate).to_vec()
        }
        Batch::Many => {
            let floats = tiles(context, largest_tile);
            let integers = integer_tiles(context, largest_tile);
            match context.features.integer_dots {
                IntegerDots::Native => [integers, floats].concat(),
                IntegerDots::Emulated => [floats, integers].concat(),
                IntegerDots::Refused => floats,
            }
        }
    }
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
    let mut shards = context.weights["weight"].shards.iter();
    if context.precision == Precision::Exact || !shards.all(|shard| shard.format.byte_codes.is_some()) {
        return Vec::new();
    }
    // Of both sides twelve words: eight of codes, and what they are scaled by.
    let row_bytes = 2 * 12 * 4;
    let of_size = |tile| Candidate::new("integer tiles").with("rows", tile).that_rounds();
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
    /// The matrix-vector kernel, for this many rows of input at once.
    pub fn columns(mut self, columns: u32, rows: Count) -> Launch {
        let features = self.context.features;
        let [workgroup, weight_rows, parts] = ["workgroup", "rows", "parts"].map(|name| self.candidate.number(name));
        let constants = vec![("WORKGROUP", workgroup), ("COLUMNS", columns), ("ROWS", weight_rows), ("PARTS", parts)];
        let sums = match features.subgroup {
            Some((smallest, _)) if smallest >= workgroup => include_str!("sums_subgroup.wgsl"),
            Some(_) => include_str!("sums_subgroups.wgsl"),
            None => include_str!("sums_workgroup.wgsl"),
        };
        let norm = match self.norm {
            None => include_str!("norm_none.wgsl"),
            Some(epsilon) => {
                self.params.extend(params! { epsilon: epsilon });
                let numbers = Binding::Shard { weight: "gain", shard: 0 };
                self.bindings.push(read("gain", "vec4<f32>", "[width / 4]", numbers));
                include_str!("norm_inside.wgsl")
            }
        };
        let spread = Count::fixed(self.rows.div_ceil(weight_rows / self.finish.parts()));
        let work = Work::fixed(u64::from(weight_rows) * u64::from(columns) * u64::from(self.width));
        let source = ("matmul_columns", include_str!("columns.wgsl"));
        let modules = vec![shared::reduce(features), ("sums", sums), ("norm", norm)];
        let input = self.floats();
        self.launch(source, input, modules, constants, Grid { spread, rows }, work)
    }

    /// The kernel of tiles, whose sides have as many rows as the candidate says; of bytes where the candidate rounds.
    pub fn tiles(self, rows: Count) -> Launch {
        let tile = self.candidate.number("rows");
        let spread = Count::fixed(self.rows.div_ceil(tile / self.finish.parts()));
        let work = Work::fixed(u64::from(tile) * u64::from(tile) * u64::from(self.width));
        let (grid, constants) = (Grid { spread, rows }, vec![("SIDE", tile / 4)]);
        let results = ("results", include_str!("tile_results.wgsl"));
        if self.candidate.rounds() {
            let bound = read("activations", "vec4<u32>", ROUNDED, Binding::Input("input"));
            let scales = match self.shard().format.byte_codes {
                Some(16) => include_str!("scales_of_16.wgsl"),
                _ => include_str!("scales_of_32.wgsl"),
            };
            let source = ("matmul_tiles_integer", include_str!("tiles_integer.wgsl"));
            let input = (vec![shared::CODES_INTEGER], bound);
            return self.launch(source, input, vec![("scales", scales), results], constants, grid, work);
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
        let shape = "[rows of input, input_stride]";
        let bound = read("input", "vec4<f32>", shape, Binding::Input("input"));
        (vec![shared::CODES_FLOAT, ("input", input_module(self.width))], bound)
    }

    fn shard(&self) -> &Shard {
        &self.context.weights["weight"].shards[self.shard]
    }

    /// A launch with what all kernels import and bind: the format, and the bias.
    fn launch(
        self,
        shader: NamedWgsl,
        (input_modules, input): InputWgsl,
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
        modules.extend([shared::QUARTER, shared::GRID, weight, ("bias", bias)]);
        modules.extend([input_modules, own_modules].concat());
        let words = Binding::Shard { weight: "weight", shard: self.shard };
        let mut bindings = vec![
            read("weight_words", "vec4<u32>", "[rows, row_stride]", words),
            // Rows of input and output are allotted in whole tiles: those after the step's last are computed and not read.
            input,
            write("output", "f32", "[rows of input, output_stride]", Binding::Output),
        ];
        bindings.extend(self.bindings);
        let numbers = Binding::Shard { weight: "bias", shard: 0 };
        bindings.extend(has_bias.then(|| read("bias", "f32", "[rows of all shards]", numbers)));
        Launch { shader, modules, constants, params, bindings, grid, work }
    }
}

/// How rows of input of this many elements end.
pub(super) fn input_module(width: u32) -> &'static str {
    match width.is_multiple_of(BLOCK32 as u32) {
        true => include_str!("input_whole.wgsl"),
        false => include_str!("input_ragged.wgsl"),
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
