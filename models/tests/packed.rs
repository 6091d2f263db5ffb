//! Quantised Hugging Face directories: rows against float64 (quantised/make.py), and tensors that contradict each other.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use plywood_kernels::formats::{BF16, F16};
use plywood_models::{Checkpoint, Model, Result, Weights};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use common::check_message;

/// Elements are products and sums of two or three numbers in single precision.
const ROUNDING: f64 = 2.5e-7;

fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quantised");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut fixtures: Vec<PathBuf> = entries.filter(|path| path.join("config.json").exists()).collect();
    fixtures.sort();
    assert!(fixtures.len() > 20, "only {} fixtures were found", fixtures.len());
    fixtures
}

/// A row of a tensor, decoded, with its columns in the model's order.
fn row(weights: &dyn Weights, tensor: usize, row: usize) -> Result<Vec<f64>> {
    let info = &weights.tensors()[tensor];
    let format = info.format()?;
    let (columns, row_bytes) = (info.shape[1], format.file_row_bytes(info.shape[1]).unwrap());
    let mut bytes = vec![0; row_bytes];
    weights.read(tensor, (row * row_bytes) as u64, &mut bytes)?;
    let mut stored = vec![0.0; columns];
    format.decode_row(&bytes, &mut stored);
    let mut numbers = vec![f64::NAN; columns];
    for (place, number) in stored.into_iter().enumerate() {
        numbers[weights.order(tensor).map_or(place, |order| order[place] as usize)] = f64::from(number);
    }
    Ok(numbers)
}

#[test]
fn rows_are_those_of_float64() {
    for path in fixtures() {
        let model = Model::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let bytes = fs::read(path.join("expected.safetensors")).unwrap();
        let (mut tensors, mut worst) = (0, 0f64);
        for (name, expected) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let Some(tensor) = model.checkpoint.tensor(&name) else { continue };
            tensors += 1;
            let rows = model.checkpoint.tensors()[tensor].shape[0];
            let columns = expected.shape()[1];
            let numbers: Vec<f64> =
                expected.data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
            for (index, expected) in [0, 1, rows / 2, rows - 1].into_iter().zip(numbers.chunks(columns)) {
                let found = row(&model.checkpoint, tensor, index).unwrap();
                let largest = expected.iter().fold(0f64, |largest, number| largest.max(number.abs()));
                let off = expected.iter().zip(&found).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f64::max);
                assert!(off <= ROUNDING, "{}: row {index} of {name} is off by {off:.1e}", path.display());
                worst = worst.max(off);
            }
        }
        assert!(tensors >= 3, "{}: only {tensors} tensors were compared", path.display());
        model.graph(64).unwrap();
        let formats = model.checkpoint.tensors().iter().map(|tensor| tensor.storage.to_string());
        let formats: std::collections::BTreeSet<String> = formats.collect();
        println!("{}: {tensors} tensors, off by at most {worst:.1e}, {formats:?}", path.display());
    }
}

/// Rows in the middle, and pieces that begin and end within a row, are those of the whole.
#[test]
fn any_stretch_of_bytes_is_read() {
    for path in fixtures() {
        let checkpoint = Checkpoint::open(&path).unwrap();
        for (tensor, info) in checkpoint.tensors().iter().enumerate().filter(|(_, info)| info.shape.len() == 2) {
            let mut whole = vec![0; info.bytes as usize];
            checkpoint.read(tensor, 0, &mut whole).unwrap();
            for (first, length) in [(1, 70), (whole.len() / 3, whole.len() / 2), (whole.len() - 5, 5)] {
                let mut piece = vec![0; length];
                checkpoint.read(tensor, first as u64, &mut piece).unwrap();
                assert_eq!(piece, whole[first..first + length], "{}: {}", path.display(), info.name);
            }
            assert!(checkpoint.read(tensor, info.bytes, &mut [0]).is_err());
        }
    }
}

/// The experts of a directory that keeps them `[experts, in, out]`: as rows of outputs, whole and in pieces over several experts.
#[test]
fn experts_that_lie_transposed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families/gpt_oss_bf16");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let file = fs::read(folder.join("model.safetensors")).unwrap();
    for (name, stored) in SafeTensors::deserialize(&file).unwrap().tensors() {
        if !name.ends_with("_proj") {
            continue;
        }
        let [experts, inputs, outputs] = stored.shape()[..] else { panic!("{name} has three dimensions") };
        let tensor = checkpoint.tensor(&format!("{name}.weight")).unwrap();
        assert_eq!(checkpoint.tensors()[tensor].shape, [experts, outputs, inputs]);
        let numbers = stored.data().as_chunks::<2>().0;
        let places = (0..experts * outputs).flat_map(|row| {
            let (expert, output) = (row / outputs, row % outputs);
            (0..inputs).map(move |input| (expert * inputs + input) * outputs + output)
        });
        let expected: Vec<u8> = places.flat_map(|place| numbers[place]).collect();
        for (first, length) in
            [(0, expected.len()), (1, 70), (expected.len() / 3, expected.len() / 2), (expected.len() - 5, 5)]
        {
            let mut found = vec![0; length];
            checkpoint.read(tensor, first as u64, &mut found).unwrap();
            assert!(found == expected[first..first + length], "{name}: {length} bytes from {first}");
        }
    }
}

/// A stored tensor: what it is, its shape and its bytes.
#[derive(Clone)]
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// A tensor of the first layer.
const DOWN: &str = "model.layers.0.mlp.down_proj";

/// Changes one tensor of the down projection, opens the directory, and reads all its tensors; gives the projection's first row.
fn changed(fixture: &str, end: &str, change: impl FnOnce(&mut HashMap<String, Stored>, String)) -> Result<Vec<f64>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quantised").join(fixture);
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let stored =
        |view: &TensorView| Stored { dtype: view.dtype(), shape: view.shape().into(), bytes: view.data().into() };
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: HashMap<String, Stored> =
        tensors.tensors().iter().map(|(name, view)| (name.clone(), stored(view))).collect();
    let name = format!("{DOWN}{end}");
    assert!(tensors.contains_key(&name), "{fixture} has no {name}");
    change(&mut tensors, name);
    let directory = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json"] {
        fs::copy(folder.join(file), directory.path().join(file)).unwrap();
    }
    let views = tensors
        .iter()
        .map(|(name, tensor)| (name, TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).unwrap()));
    fs::write(directory.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    let model = Model::open(directory.path())?;
    model.graph(64)?;
    for (tensor, info) in model.checkpoint.tensors().iter().enumerate() {
        let mut bytes = vec![0; info.bytes as usize];
        model.checkpoint.read_checked(tensor, 0, &mut bytes)?;
    }
    let down = model.checkpoint.tensor(&format!("{DOWN}.weight")).expect("it is part of the model");
    row(&model.checkpoint, down, 0)
}

/// Sets a 32-bit integer of a tensor.
fn set(index: usize, value: i32) -> impl FnOnce(&mut HashMap<String, Stored>, String) {
    move |tensors, name| {
        let bytes = &mut tensors.get_mut(&name).unwrap().bytes;
        bytes[index * 4..][..4].copy_from_slice(&value.to_le_bytes());
    }
}

fn remove(tensors: &mut HashMap<String, Stored>, name: String) {
    tensors.remove(&name);
}

/// Halves the first dimension.
fn shorten(tensors: &mut HashMap<String, Stored>, name: String) {
    let tensor = tensors.get_mut(&name).unwrap();
    let rest = tensor.bytes.len() / tensor.shape[0] * (tensor.shape[0] / 2);
    tensor.shape[0] /= 2;
    tensor.bytes.truncate(rest);
}

/// Sets all bits of a number but its sign: NaN in every type.
fn spoil(tensors: &mut HashMap<String, Stored>, name: String) {
    let tensor = tensors.get_mut(&name).unwrap();
    let bytes = if tensor.dtype == Dtype::F32 { 4 } else { 2 };
    tensor.bytes[..bytes].fill(0xff);
    tensor.bytes[bytes - 1] = 0x7f;
}

/// Stores the same numbers in single precision.
fn widen(tensors: &mut HashMap<String, Stored>, name: String) {
    let tensor = tensors.get_mut(&name).unwrap();
    let format = if tensor.dtype == Dtype::F16 { F16 } else { BF16 };
    let mut numbers = vec![0.0; tensor.bytes.len() / 2];
    format.decode_row(&tensor.bytes, &mut numbers);
    tensor.dtype = Dtype::F32;
    tensor.bytes = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
}

/// Scales in single precision, also beside biases in another, give the same weights.
#[test]
fn wide_scales() {
    let fixtures = [
        ("awq_g64", ".scales"),
        ("gptq_asym_act_g32", ".scales"),
        ("ct_w4a16_asym_g64", ".weight_scale"),
        ("ct_w8a16_channel", ".weight_scale"),
        ("ct_int8_channel", ".weight_scale"),
        ("ct_fp8_channel", ".weight_scale"),
        ("mlx_q4_g64", ".scales"),
        ("mlx_q4_g64", ".biases"),
    ];
    for (fixture, end) in fixtures {
        let (plain, wide) = (changed(fixture, end, |_, _| {}).unwrap(), changed(fixture, end, widen).unwrap());
        let largest = plain.iter().fold(0f64, |largest, number| largest.max(number.abs()));
        let off = plain.iter().zip(&wide).map(|(a, b)| (a - b).abs() / largest).fold(0.0, f64::max);
        assert!(off <= ROUNDING, "{fixture}{end} is off by {off:.1e}");
    }
}

/// Declares another type of the same size.
fn retype(dtype: Dtype) -> impl FnOnce(&mut HashMap<String, Stored>, String) {
    move |tensors, name| tensors.get_mut(&name).unwrap().dtype = dtype
}

#[test]
fn contradictions_are_told() {
    let check = |fixture: &str, end: &str, change: &dyn Fn(&mut HashMap<String, Stored>, String), parts: &[&str]| {
        check_message(changed(fixture, end, |tensors, name| change(tensors, name)), parts);
    };
    let g_idx = "gptq_asym_act_g32";
    check(g_idx, ".g_idx", &|t, n| set(3, 5)(t, n), &["g_idx", "column 3", "group 5, of 5"]);
    check(g_idx, ".g_idx", &|t, n| set(3, -1)(t, n), &["g_idx", "column 3", "group -1"]);
    check(g_idx, ".g_idx", &|t, n| set(3, i32::MAX)(t, n), &["g_idx", "column 3"]);
    check(g_idx, ".g_idx", &|t, n| shorten(t, n), &["g_idx", "[80, 1]", "[160, 1]"]);
    check(g_idx, ".qzeros", &|t, n| remove(t, n), &["qzeros", "missing"]);
    check(g_idx, ".qzeros", &|t, n| shorten(t, n), &["qzeros", "shape"]);
    check(g_idx, ".scales", &|t, n| shorten(t, n), &[DOWN]);
    check(g_idx, ".qweight", &|t, n| shorten(t, n), &[DOWN]);
    check(g_idx, ".qweight", &|t, n| retype(Dtype::F32)(t, n), &["qweight", "F32"]);
    let plain = |t: &mut HashMap<String, Stored>, n: String| {
        t.insert(format!("{DOWN}.weight"), t[&n].clone());
    };
    check(g_idx, ".scales", &plain, &[DOWN, "twice"]);
    check("awq_g128", ".scales", &|t, n| shorten(t, n), &[DOWN]);
    check("awq_g128", ".qweight", &|t, n| shorten(t, n), &[DOWN]);
    check("awq_g128", ".scales", &|t, n| remove(t, n), &["scales", "missing"]);
    check("ct_w4a16_sym_g128", ".weight_shape", &|t, n| set(0, 0)(t, n), &[DOWN]);
    check("ct_w4a16_sym_g128", ".weight_shape", &|t, n| set(1, -1)(t, n), &[DOWN]);
    check("ct_w4a16_sym_g128", ".weight_shape", &|t, n| set(3, i32::MAX)(t, n), &[DOWN]);
    check("ct_w4a16_sym_g128", ".weight_scale", &|t, n| shorten(t, n), &[DOWN]);
    check("ct_fp8_channel", ".weight_scale", &|t, n| shorten(t, n), &[DOWN]);
    check("ct_fp8_channel", ".weight_scale", &|t, n| remove(t, n), &[DOWN, "missing"]);
    check("ct_fp8_channel", ".weight", &|t, n| t.get_mut(&n).unwrap().bytes[9] = 0xff, &[DOWN, "finite"]);
    check("fp8_block", ".weight_scale_inv", &|t, n| t.get_mut(&n).unwrap().shape = vec![3, 1], &[DOWN, "shape"]);
    check("bnb_nf4", ".weight.absmax", &|t, n| shorten(t, n), &["absmax", "shape"]);
    check("bnb_nf4", ".weight.quant_map", &|t, n| set(5, 0)(t, n), &["quant_map", "bitsandbytes"]);
    let state = ".weight.quant_state.bitsandbytes__nf4";
    check("bnb_nf4", state, &|t, n| t.get_mut(&n).unwrap().bytes[0] = b'x', &["quant_state", "JSON"]);
    check("bnb_nf4", ".weight", &|t, n| shorten(t, n), &[DOWN, "shape"]);
    check("mlx_q4_g64", ".biases", &|t, n| remove(t, n), &["biases", "missing"]);
    check("mlx_q4_g64", ".scales", &|t, n| shorten(t, n), &["scales", "shape"]);
}

#[test]
fn numbers_that_are_not_finite_are_told() {
    let fixtures = [
        ("awq_g128", ".scales"),
        ("gptq_8bit_channel", ".scales"),
        ("ct_w4a16_asym_g64", ".weight_scale"),
        ("ct_fp8_tensor", ".weight_scale"),
        ("fp8_block", ".weight_scale_inv"),
        ("bnb_nf4", ".weight.absmax"),
        ("bnb_nf4_double", ".weight.nested_absmax"),
        ("mlx_q4_g64", ".scales"),
        ("mlx_q8_g32", ".biases"),
    ];
    for (fixture, end) in fixtures {
        check_message(changed(fixture, end, spoil), &[DOWN, "row 0", "not finite"]);
    }
}

/// Settings that ask for what is not read.
#[test]
fn other_ways_are_refused() {
    let check = |fixture: &str, from: &str, to: &str, parts: &[&str]| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quantised").join(fixture);
        let directory = tempfile::tempdir().unwrap();
        for file in ["model.safetensors", "tokenizer.json"] {
            fs::copy(folder.join(file), directory.path().join(file)).unwrap();
        }
        let config = fs::read_to_string(folder.join("config.json")).unwrap();
        assert!(config.contains(from), "{fixture} has no {from}");
        fs::write(directory.path().join("config.json"), config.replace(from, to)).unwrap();
        check_message(Model::open(directory.path()).and_then(|model| model.graph(64)), parts);
    };
    check("awq_g128", "\"gemm\"", "\"gemv\"", &["gemv", "gemm"]);
    check("gptq_v2_asym_g64", "\"gptq_v2\"", "\"marlin\"", &["marlin", "gptq_v2"]);
    check("mlx_q4_g64", "\"bits\": 4", "\"bits\": 3", &["3 bits"]);
    check("mlx_q4_g64", "\"group_size\": 64", "\"group_size\": 0", &["groups of 0"]);
    check("fp8_block", "128,", "0,", &["weight_block_size"]);
    check("ct_fp8_channel", "\"compressed-tensors\"", "\"quip\"", &["quant_method", "quip", "awq"]);
}
