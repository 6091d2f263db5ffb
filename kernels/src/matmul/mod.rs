//! Product with a weight matrix of any format: `output[row][r] = scale * (Σ_k input[row][k] * weight[r][k] + bias[r])`, and a
//! residual; of a normalised input; of two halves of a matrix, one gating the other.
//!
//! Up to 8 rows of input are *columns* of a matrix-vector kernel that reads each weight once; more go
//! through tiles in workgroup memory. Both take floats or, rounded to 8 bits, bytes.

pub(crate) mod activations;
mod cases;
pub mod host;
mod product;

use crate::candidate::Candidate;
use crate::dispatch::{Binding, Count, Extent, Launch, Lowered, read};
use crate::gated::{self, Activation};
use crate::host::HostRun;
use crate::lowering::{Batch, LoweringContext, Precision, View};
use crate::op::Kernel;
use crate::params;
use crate::reference::Operands;
use crate::rms_norm::{self, RmsNorm};

pub use self::cases::{cases, large_cases};
pub(crate) use self::product::{Finish, Product, SMALL_TILE, candidates};

/// `input` `[rows, columns of the weight]`, and perhaps a `residual` of the output's shape; `weight`, and perhaps a `bias`
/// `[rows of the weight]` in F32; output `[rows, rows of the weight]`.
///
/// Where it normalises, there is a `gain` `[columns of the weight]` in F32. Where it gates, there is no residual, and the output has half as
/// many columns: those of the gate's half of the weight, activated, times those of the other half.
#[derive(Debug, Clone)]
pub struct MatMul {
    /// What product and bias are multiplied by.
    pub scale: f32,
    /// Each row of input is normalised first ([`RmsNorm`]), with this added to its mean square.
    pub norm: Option<f32>,
    /// The first half of the product gates the second ([`crate::gated`]).
    pub gate: Option<Activation>,
}

impl MatMul {
    /// The product as it is.
    pub const PLAIN: MatMul = MatMul { scale: 1.0, norm: None, gate: None };
}

impl Kernel for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn takes_shards(&self) -> bool {
        true
    }

    fn candidates(&self, context: &LoweringContext) -> Vec<Candidate> {
        let candidates = candidates(context, context.batch, u32::MAX);
        match (self.norm, context.batch) {
            (Some(_), Batch::Few(_)) => {
                // A workgroup of a GPU has time to spare for the squares while weights are on their way.
                let [place, other] = context.features.sizes([NormPlace::Inside, NormPlace::Before]);
                let guesses = candidates.iter().map(|own| if own.rounds() { own.clone() } else { place.with(own) });
                let other = candidates.iter().find(|own| !own.rounds()).map(|own| other.with(own));
                guesses.chain(other).collect()
            }
            _ => candidates,
        }
    }

    fn lower(&self, context: &LoweringContext, candidate: &Candidate) -> Lowered {
        let mut lowered = Lowered::default();
        match self.norm {
            Some(epsilon) if !NormPlace::is_inside(candidate) => {
                let normed = self.normalise(epsilon, context, &mut lowered);
                let product = MatMul { norm: None, ..*self };
                product.multiply(&normed.0, candidate, normed.1, &mut lowered);
            }
            _ => self.multiply(context, candidate, Binding::Input("input"), &mut lowered),
        }
        lowered
    }

    fn host_candidates(&self, precision: Precision) -> Vec<Candidate> {
        gated::host_candidates(self.gate, precision)
    }

    fn host(&self, run: &mut HostRun) {
        host::run(self, run);
    }

    fn reference(&self, operands: &mut Operands) -> Vec<f32> {
        let weight = operands.weights["weight"];
        let gain = self.norm.map(|epsilon| (epsilon, operands.weights["gain"].row(0)));
        let input_row = |row: usize| {
            let input = operands.inputs["input"].row(row);
            gain.as_ref().map_or(input.to_vec(), |(epsilon, gain)| rms_norm::reference(input, gain, *epsilon))
        };
        let input: Vec<Vec<f32>> = (0..operands.rows).map(input_row).collect();
        let biases = operands.weights.get("bias").map(|bias| bias.row(0));
        let mut products = vec![vec![0.0; weight.rows()]; operands.rows];
        let mut weight_row = vec![0.0; weight.columns];
        for column in 0..weight.rows() {
            weight.decode_row(column, &mut weight_row);
            let bias = biases.as_ref().map_or(0.0, |biases| f64::from(biases[column]));
            for (row, products) in products.iter_mut().enumerate() {
                let sum: f64 = input[row].iter().zip(&weight_row).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                let residual =
                    operands.inputs.get("residual").map_or(0.0, |residual| f64::from(residual.row(row)[column]));
                products[column] = f64::from(self.scale) * (sum + bias) + residual;
            }
        }
        products.iter().flat_map(|products| gated::reference_products(self.gate, products)).collect()
    }
}

/// Where rows of input are normalised.
#[derive(Debug, Clone, Copy)]
enum NormPlace {
    /// In the product: every workgroup sums the squares of what it reads anyway. Where input is rounded, its squares are summed there, and this is the
    /// only place.
    Inside,
    /// Before it.
    Before,
}

impl NormPlace {
    const NUMBER: &str = "norm inside";

    /// A candidate for the product, with this place.
    fn with(self, candidate: &Candidate) -> Candidate {
        candidate.clone().with(NormPlace::NUMBER, matches!(self, NormPlace::Inside).into())
    }

    fn is_inside(candidate: &Candidate) -> bool {
        candidate.rounds() || candidate.get(NormPlace::NUMBER) == Some(1)
    }
}

impl MatMul {
    /// Adds the norm of the input; gives what the product is to take as its context and its input.
    fn normalise<'a>(
        &self,
        epsilon: f32,
        context: &LoweringContext<'a>,
        lowered: &mut Lowered,
    ) -> (LoweringContext<'a>, Binding) {
        let input = context.inputs["input"];
        let (normed, view) = lowered.scratch_value(context, input.width);
        let of_norm = LoweringContext {
            inputs: [("input", input)].into_iter().collect(),
            weights: [("weight", context.weights["gain"])].into_iter().collect(),
            output: Some(view),
            ..context.clone()
        };
        let norm = RmsNorm { epsilon, groups: 1 };
        let candidate = &norm.candidates(&of_norm)[0];
        lowered.append(norm.lower(&of_norm, candidate), |binding| match binding {
            Binding::Output => normed,
            Binding::Shard { shard, .. } => Binding::Shard { weight: "gain", shard },
            other => other,
        });
        let mut product = context.clone();
        product.inputs["input"] = view;
        (product, normed)
    }

    /// Adds the product with every shard of the weight.
    fn multiply(&self, context: &LoweringContext, candidate: &Candidate, input: Binding, lowered: &mut Lowered) {
        let (context, input) = activations::of_candidate(candidate, context, input, lowered);
        gated::lower_products(self.gate, &context, lowered, |gate, context, output, lowered| {
            let op = MatMul { gate, ..*self };
            for shard in 0..context.weights["weight"].shards.len() {
                lowered.append(Lowered::one(op.launch(context, candidate, shard)), |binding| match binding {
                    Binding::Input("input") => input,
                    Binding::Output => output,
                    other => other,
                });
            }
        });
    }

    /// The product with one shard of the weight.
    fn launch(&self, context: &LoweringContext, candidate: &Candidate, index: usize) -> Launch {
        let shard = &context.weights["weight"].shards[index];
        let (input, output) = (context.inputs["input"], context.output());
        let from_first_row = |view: View| View { offset: view.offset + shard.first_row, ..view };
        let rows = if self.gate.is_some() { output.width } else { shard.rows };
        let mut params = params! {
            rows: rows,
            row_stride: shard.row_stride,
            // Elements along k.
            width: input.width,
            first_row: shard.first_row,
            scale: self.scale,
            input: input.quads(),
            output: from_first_row(output),
        };
        let mut bindings = Vec::new();
        let mut finish = self.gate.map_or(Finish::Plain, Finish::Gated);
        if let Some(residual) = context.inputs.get("residual") {
            params.extend(params! { residual: from_first_row(*residual) });
            let shape = "[rows of input, rows of all shards]";
            bindings.push(read("residual", "f32", shape, Binding::Input("residual")));
            finish = Finish::Residual;
        }
        let product = Product {
            context,
            candidate,
            shard: index,
            width: input.width,
            rows,
            norm: self.norm,
            finish,
            modules: vec![("row", include_str!("row_one.wgsl")), ("batch", include_str!("batch_one.wgsl"))],
            params,
            bindings,
        };
        match context.batch {
            Batch::Few(columns) => product.columns(columns, Count::fixed(1)),
            Batch::OneTile | Batch::Many => {
                product.tiles(Count::per(Extent::Rows(context.rows), candidate.number("rows")))
            }
        }
    }
}
