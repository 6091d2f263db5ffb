//! Products on the host: every thread takes panels of about equal bytes, and multiplies them with all rows of input.

use super::MatMul;
use crate::candidate::Candidate;
use crate::gated;
use crate::host::HostRun;
use crate::host::matrix::Input;
use crate::host::output::OutputRows;
use crate::lowering::Precision;
use crate::reference::Matrix;
use crate::rms_norm::Norm;
use crate::simd::LANES;

/// Activations in 8 bits, for formats whose codes are integers.
pub const INTEGER: &str = "integer";

/// Activations in single precision.
pub const FLOAT: &str = "float";

/// Parts for each thread where many rows make them long: one that began late then has less to do.
const MANY_PARTS: usize = 16;

/// Rows of input from which parts are many.
const MANY_ROWS: usize = 32;

/// The ways to multiply on the host, best guess first.
pub fn candidates(precision: Precision) -> Vec<Candidate> {
    let integer = (precision == Precision::Fast).then(|| Candidate::new(INTEGER).that_rounds());
    integer.into_iter().chain([Candidate::new(FLOAT)]).collect()
}

/// Parts into which the rows of a weight are cut.
pub fn parts(threads: usize, input_rows: usize) -> usize {
    if input_rows < MANY_ROWS { threads } else { threads * MANY_PARTS }
}

/// The product of a step. A norm before it and a gate after it have rows of their own: what joins them leaves the host out.
pub fn run(op: &MatMul, run: &mut HostRun) {
    let input = run.operands.inputs["input"];
    let normed = op.norm.map(|epsilon| normalised(run, epsilon));
    let input =
        normed.as_ref().map_or(input, |data| Matrix { data, stride: input.width, offset: 0, width: input.width });
    gated::run_products(op.gate, run, |run, into| multiply(op, run, input, into));
}

/// The rows of input, normalised.
fn normalised(run: &HostRun, epsilon: f32) -> Vec<f32> {
    let (input, gain) = (run.operands.inputs["input"], run.operands.weights["gain"].row(0));
    let mut normed = vec![0.0; run.operands.rows * input.width];
    for (row, out) in normed.chunks_mut(input.width).enumerate() {
        run.isa.run(Norm { input: input.row(row), weight: &gain, epsilon, out });
    }
    normed
}

/// The product with some input, into the output of the step or other rows.
fn multiply(op: &MatMul, run: &mut HostRun, input: Matrix, into: Option<&OutputRows>) {
    let matrix = run.matrix.expect("the op has a matrix");
    let rows = run.operands.rows;
    let is_integer = run.candidate.method() == INTEGER && matrix.takes_integers();
    if is_integer {
        run.scratch.input.quantise(run.isa, run.threads, rows, input.width, |row| input.row(row));
    }
    run.scratch.rows.clear();
    run.scratch.rows.extend(0..rows as u32);
    let given = if is_integer { Input::Quantised(&run.scratch.input, input) } else { Input::Floats(input) };
    let bias = run.operands.weights.get("bias").map(|bias| bias.row(0));
    let residual = run.operands.inputs.get("residual");
    let (isa, output, list) = (run.isa, into.unwrap_or(run.output()), &run.scratch.rows);
    let parts = parts(run.threads.count(), rows);
    run.threads.each(parts, &|part| {
        let range = matrix.cut(0..matrix.rows(), parts, part);
        matrix.multiply(isa, range, given, list, |first, row, products| {
            if bias.is_none() && residual.is_none() && op.scale == 1.0 {
                return output.put(row, first, products);
            }
            let columns = first..first + products.len();
            let mut out = [0f32; LANES];
            let out = &mut out[..products.len()];
            out.copy_from_slice(products);
            if let Some(bias) = &bias {
                out.iter_mut().zip(&bias[columns.clone()]).for_each(|(out, bias)| *out += bias);
            }
            if op.scale != 1.0 {
                out.iter_mut().for_each(|out| *out *= op.scale);
            }
            if let Some(residual) = residual {
                out.iter_mut().zip(&residual.row(row)[columns]).for_each(|(out, residual)| *out += residual);
            }
            output.put(row, first, out);
        });
    });
}
