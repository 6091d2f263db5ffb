//! Encoders that search: their squared errors against those of llama.cpp's quantiser (quantisers.py makes quantisers.txt).

use std::fs;
use std::path::Path;

use plywood_kernels::formats::{ALL, Format};

const FIXTURES: &str = include_str!("quantisers.txt");
const ROWS: usize = 32;
const COLUMNS: usize = 512;

/// SplitMix64 of the numbers 1, 2, 3, ...
fn uniform() -> impl Iterator<Item = u64> {
    (1..).map(|number: u64| {
        let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    })
}

/// Nearly Gaussian numbers: each the sum of twelve integers of 16 bits, which single precision holds exactly.
fn gaussian(count: usize) -> Vec<f32> {
    let mut integers = uniform().map(|bits| (bits >> 48) as i32);
    let mut sum = || integers.by_ref().take(12).sum::<i32>();
    (0..count).map(|_| (sum() - 6 * 65535) as f32 / 65536.0).collect()
}

/// The first rows of a tensor of the demo's master.
fn tensor(name: &str) -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo/master/model.safetensors");
    let file = fs::read(path).expect("the demo's master");
    let (length, after) = file.split_first_chunk().expect("a length");
    let (header, data) = after.split_at(u64::from_le_bytes(*length) as usize);
    let header = std::str::from_utf8(header).expect("a header");
    let (_, facts) = header.split_once(&format!("\"{name}\"")).expect("the tensor");
    let (_, offsets) = facts.split_once("\"data_offsets\":[").expect("its place");
    let (start, _) = offsets.split_once(',').expect("its start");
    let data = &data[start.parse().expect("a number")..];
    let number = |bytes: &[u8]| f32::from_bits(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16);
    data.chunks_exact(2).take(ROWS * COLUMNS).map(number).collect()
}

fn data(name: &str) -> Vec<f32> {
    let gaussian = || gaussian(ROWS * COLUMNS).into_iter();
    match name {
        "gaussian" => gaussian().collect(),
        "small" => gaussian().map(|number| number * 2f32.powi(-8)).collect(),
        "tiny" => gaussian().map(|number| number * 2f32.powi(-17)).collect(),
        "heavy" => gaussian().map(|number| number * number * number).collect(),
        "positive" => gaussian().map(|number| number * number).collect(),
        name => tensor(name),
    }
}

/// The formats that encoders search in, with an importance at least.
fn searched() -> impl Iterator<Item = Format> {
    let written = |format: &Format| FIXTURES.lines().any(|line| line.split(' ').next() == Some(format.name));
    ALL.into_iter().filter(written)
}

/// Encoded and decoded again.
fn quantised(format: Format, rows: &[f32], importance: Option<&[f32]>) -> Vec<f32> {
    let mut blocks = vec![0; format.file_row_bytes(COLUMNS).expect("whole blocks")];
    let mut decoded = vec![f32::NAN; rows.len()];
    for (row, decoded) in rows.chunks_exact(COLUMNS).zip(decoded.chunks_exact_mut(COLUMNS)) {
        format.encode_row(row, importance, &mut blocks);
        format.decode_row(&blocks, decoded);
    }
    decoded
}

/// The sum of squared errors, each weighted by its column's importance.
fn error(rows: &[f32], decoded: &[f32], importance: Option<&[f32]>) -> f64 {
    let error = |(index, (value, decoded)): (usize, (&f32, &f32))| {
        let weight = importance.map_or(1.0, |importance| f64::from(importance[index % COLUMNS]));
        weight * (f64::from(*value) - f64::from(*decoded)).powi(2)
    };
    rows.iter().zip(decoded).enumerate().map(error).sum()
}

/// Ours are below, for we search for what is measured here, while llama.cpp counts errors of large elements more. Without an
/// importance Q4_0 to Q8_0 are the same.
#[test]
fn errors_are_those_of_llama_cpp_at_most() {
    let importance: Vec<f32> = gaussian(COLUMNS).iter().map(|number| number * number + 0.015_625).collect();
    let mut wrong = Vec::new();
    for line in FIXTURES.lines() {
        let [format, name, plain, weighted] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (format, rows) = (Format::from_name(format).expect("a format of this build"), data(name));
        for (kind, importance, theirs) in [("plain", None, plain), ("weighted", Some(&importance[..]), weighted)] {
            let ours = error(&rows, &quantised(format, &rows, importance), importance);
            let ratio = ours / theirs.parse::<f64>().expect("a number");
            println!("{format} {name} {kind} {ratio:.4}");
            if ratio.is_nan() || ratio > 1.02 {
                wrong.push(format!("{format} of {name}, {kind}: {ratio:.4} times"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A row of a few numbers again and again.
fn repeated(numbers: &[f32]) -> Vec<f32> {
    numbers.iter().copied().cycle().take(COLUMNS).collect()
}

/// Whatever the numbers and their importance, encoding ends, and what it writes is finite.
#[test]
fn all_that_is_written_is_finite() {
    let most = f32::MAX;
    let numbers: [&[f32]; 15] = [
        &[0.0],
        &[-0.0, 0.0],
        &[1.0],
        &[-1.0],
        &[1e-38, -1e-39, 1e-45],
        &[6e-8, -6e-8, 3e-8],
        &[1e30, -1e30],
        &[most, -most, 1.0],
        &[most],
        &[-65504.0, 65504.0, 3e8],
        &[f32::NAN],
        &[f32::INFINITY, f32::NEG_INFINITY],
        &[1.0, f32::NAN, -2.0, f32::INFINITY, 0.5, f32::NEG_INFINITY, 1e-30],
        &[1e6, 1e6 + 1.0, 1e6 - 1.0],
        &[1e-6, 1e9, -1e-6, 3.0],
    ];
    let importances: [&[f32]; 8] = [
        &[0.0],
        &[1.0, 0.0],
        &[1e-45],
        &[most],
        &[most, 1e-45, 0.0],
        &[f32::NAN],
        &[f32::INFINITY, -1.0],
        &[-1.0, 2.0],
    ];
    for format in searched() {
        for numbers in numbers.into_iter().map(repeated).chain([data("heavy")[..COLUMNS].to_vec()]) {
            for importance in [None].into_iter().chain(importances.into_iter().map(Some)) {
                let decoded = quantised(format, &numbers, importance.map(repeated).as_deref());
                assert!(
                    decoded.iter().all(|number| number.is_finite()),
                    "{format} of {:?}, importance {importance:?}",
                    &numbers[..8]
                );
            }
        }
    }
}

/// What is larger than any element of a block becomes large, whatever its square is.
#[test]
fn numbers_beyond_keep_their_signs() {
    let numbers = repeated(&[1e30, -f32::MAX]);
    for format in searched() {
        for importance in [None, Some(repeated(&[1.0, 2.0]))] {
            let decoded = quantised(format, &numbers, importance.as_deref());
            let large = |(number, decoded): (&f32, &f32)| decoded * number.signum() >= 65504.0;
            assert!(numbers.iter().zip(&decoded).all(large), "{format}: {:?}", &decoded[..2]);
        }
    }
}

/// Rows that every format holds nearly, and zeros, which it holds; what is not finite counts as 0.
#[test]
fn what_a_format_holds_is_kept() {
    let steps: Vec<f32> = (0..32).map(|step| (step % 4) as f32 - 2.0).collect();
    for (numbers, importance) in [
        (&[0.0][..], None),
        (&[0.0], Some([0.0, 0.0])),
        (&[1.0], None),
        (&[-0.3], Some([0.0, 1.0])),
        (&[0.0, 3.0], None),
        (&[0.0, 3.0], Some([0.0, 1.0])),
        (&[-1.0, 0.0], Some([1e9, 1.0])),
        (&steps, None),
        (&steps, Some([1e-30, 2e-30])),
        (&[1.0, f32::NAN, f32::INFINITY, 1.0], None),
        (&[-1.0, f32::NAN, f32::NEG_INFINITY, -1.0], Some([1.0, 2.0])),
    ] {
        let numbers = repeated(numbers);
        let importance = importance.map(|two| repeated(&two));
        for format in searched() {
            let decoded = quantised(format, &numbers, importance.as_deref());
            let numbers: Vec<f32> = numbers.iter().map(|n| if n.is_finite() { *n } else { 0.0 }).collect();
            let error = error(&numbers, &decoded, None);
            let squares = numbers.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>();
            assert!(error <= 1e-3 * squares, "{format} of {:?}: {error} of {squares}", &numbers[..4]);
        }
    }
}

/// Importance that is 0 everywhere, or the same everywhere, tells nothing; and only its proportions count.
#[test]
fn only_proportions_of_importance_count() {
    let rows = data("gaussian");
    let importance: Vec<f32> = gaussian(COLUMNS).iter().map(|number| number * number).collect();
    let powers = |factor: f32| -> Vec<f32> { importance.iter().map(|number| number * factor).collect() };
    for format in searched() {
        let with = |importance: &[f32]| quantised(format, &rows, Some(importance));
        let none = with(&[0.0; COLUMNS]);
        assert_eq!(none, with(&[f32::NAN; COLUMNS]), "{format}: an importance that is no number");
        assert_eq!(none, with(&[7.0; COLUMNS]), "{format}: all the same");
        assert_eq!(with(&importance), with(&powers(2f32.powi(60))), "{format}: large");
        assert_eq!(with(&importance), with(&powers(2f32.powi(-60))), "{format}: small");
        assert!(
            error(&rows, &with(&importance), Some(&importance)) < error(&rows, &none, Some(&importance)),
            "{format}: importance does not help"
        );
    }
}

/// What was decoded is encoded to nearly itself: not always, for factors that were lost by chance are not found again.
#[test]
fn encoding_again_changes_little() {
    let same = [1.0; COLUMNS];
    for name in ["gaussian", "heavy", "model.embed_tokens.weight"] {
        let rows = data(name);
        for format in searched() {
            let once = quantised(format, &rows, Some(&same));
            let again = quantised(format, &once, Some(&same));
            let share = error(&once, &again, None) / error(&rows, &once, None);
            println!("{format} {name} again {share:.2e}");
            assert!(share <= 0.1, "{format} of {name}: {share}");
        }
    }
}
