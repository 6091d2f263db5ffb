//! Every format against the Python package `gguf` (formats.py makes formats.txt): decoding and encoding, bit for bit.

use plywood_kernels::formats::{ALL, F32, Format, UNIT};

const FIXTURES: &str = include_str!("formats.txt");

/// A format with its blocks, the values they stand for, and the values they were made from.
fn fixtures() -> impl Iterator<Item = (Format, Vec<u8>, Vec<f32>, Vec<f32>)> {
    let bytes = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
    };
    let numbers = move |text: &str| {
        let bytes = bytes(text);
        let mut numbers = vec![0.0; bytes.len() / 4];
        F32.decode_row(&bytes, &mut numbers);
        numbers
    };
    FIXTURES.lines().map(move |line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let format = Format::from_name(fields[0]).expect("a format of this build");
        (format, bytes(fields[1]), numbers(fields[2]), numbers(fields[3]))
    })
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

#[test]
fn every_format_has_fixtures() {
    let missing: Vec<Format> =
        ALL.into_iter().filter(|format| fixtures().all(|(fixture, ..)| fixture != *format)).collect();
    assert!(missing.is_empty(), "{missing:?}: add them to formats.py");
}

#[test]
fn decoding_agrees_bit_for_bit() {
    for (format, blocks, values, _) in fixtures() {
        let mut decoded = vec![f32::NAN; values.len()];
        format.decode_row(&blocks, &mut decoded);
        assert_eq!(bits(&decoded), bits(&values), "{format}");
    }
}

#[test]
fn encoding_agrees_bit_for_bit() {
    for (format, blocks, _, source) in fixtures() {
        assert_eq!(format.encode_rows(&source), blocks, "{format} of {source:?}");
    }
}

#[test]
fn device_rows_are_whole_units_of_16_bytes() {
    for format in ALL {
        for elements in [1, 31, 32, 33, 64, 172, 4096].into_iter().filter(|n| n % format.block_elements == 0) {
            let device_row = (format.device_row_bytes)(elements);
            let file_row = format.file_row_bytes(elements).expect("blocks divide the row");
            assert!(device_row.is_multiple_of(16) && device_row >= file_row, "{format} {elements}");
            assert!(device_row <= format.file_row_bytes(elements.next_multiple_of(UNIT)).expect("units") + 16);
        }
        assert_eq!(format.file_row_bytes(format.block_elements + 1).is_none(), format.block_elements > 1);
    }
}
