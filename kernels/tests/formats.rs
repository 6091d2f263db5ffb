//! Every format against the Python package `gguf` (formats.py makes formats.txt): decoding and encoding, bit for bit.

use std::fs;
use std::path::{Path, PathBuf};

use plywood_kernels::formats::{ALL, BLOCK32, F32, Format, GGUF};
use plywood_kernels::random::{Random, random_blocks};

const FIXTURES: &str = include_str!("formats.txt");

/// A format with its blocks, the values they stand for, and the values they were made from, if we make the same.
fn fixtures() -> impl Iterator<Item = (Format, Vec<u8>, Vec<f32>, Option<Vec<f32>>)> {
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
        (format, bytes(fields[1]), numbers(fields[2]), fields.get(3).map(|text| numbers(text)))
    })
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

#[test]
fn every_format_has_fixtures() {
    let missing: Vec<Format> =
        GGUF.into_iter().filter(|format| fixtures().all(|(fixture, ..)| fixture != *format)).collect();
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
        if let Some(source) = source {
            assert_eq!(format.encode_rows(&source), blocks, "{format} of {source:?}");
        }
    }
}

/// An encoder is held to `gguf`, bit for bit, or to the errors of llama.cpp's, where it searches (quantisers.rs).
#[test]
fn every_encoder_is_held_to_another() {
    for format in ALL {
        let bits = fixtures().any(|(fixture, .., source)| fixture == format && source.is_some());
        let errors = include_str!("quantisers.txt").lines().any(|line| line.split(' ').next() == Some(format.name));
        assert_eq!(bits || errors, format.encode.is_some(), "{format} is encoded here and in fixtures, or in neither");
    }
}

/// Where the table says that scales lie, one that is not finite spoils elements; elsewhere no bits do.
#[test]
fn only_scales_can_spoil_a_block() {
    for (format, blocks, ..) in fixtures() {
        let finite = |blocks: &[u8]| {
            let mut decoded = vec![0.0; blocks.len() / format.block_bytes * format.block_elements];
            format.decode_row(blocks, &mut decoded);
            decoded.iter().all(|element| element.is_finite())
        };
        for at in 0..format.block_bytes {
            let scale = format.scales.iter().find(|scale| scale.is_in(at));
            let numbers = if scale.is_some() { &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY][..] } else { &[0.0] };
            for number in numbers {
                let mut spoilt = blocks.clone();
                match scale {
                    Some(scale) => scale.set(&mut spoilt, *number),
                    None => spoilt[at] = 255,
                }
                // A power of two that is too large spoils a block only with large codes.
                assert!(finite(&spoilt) == scale.is_none() || format.name == "mxfp4", "{format}, byte {at}");
                assert_eq!(format.not_finite(&spoilt), scale.map(|_| 0), "{format}, byte {at}, {number}");
            }
        }
    }
}

/// What is done for a format follows from its layout, but in the table that says which tensors of a file have which; the types of the KV
/// cache have names of their own, one of them a format's.
/// (Floats are ordinary numbers too, and named as such.)
#[test]
fn formats_are_named_in_their_table_only() {
    let named = |path: &Path| -> Vec<String> {
        let text = fs::read_to_string(path).expect("a source file");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let words = code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'));
        let found = words.filter(|word| Format::from_name(word).is_some_and(|format| format.block_elements > 1));
        found.map(|word| format!("{} names {word}", path.display())).collect()
    };
    const EXEMPT: [&str; 3] = ["models/src/quantise/mixes.rs", "kernels/src/kv_cache/mod.rs", "tests.rs"];
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let mut folders: Vec<PathBuf> =
        ["kernels", "models", "engine", "cli"].map(|of| workspace.join(of).join("src")).into();
    let (mut files, mut wrong) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("kernels/src/formats") {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !EXEMPT.iter().any(|end| path.ends_with(end)) {
                files += 1;
                wrong.extend(named(&path));
            }
        }
    }
    assert!(files > 50, "only {files} source files were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn device_rows_are_whole_units_of_16_bytes() {
    for format in ALL {
        for elements in [1, 31, 32, 33, 64, 172, 256, 4096].into_iter().filter(|n| n % format.block_elements == 0) {
            let device_row = (format.device_row_bytes)(elements);
            let file_row = format.file_row_bytes(elements).expect("blocks divide the row");
            assert!(device_row.is_multiple_of(16) && device_row >= file_row.min(4 * elements), "{format} {elements}");
            // Each of at most 4 planes is padded, and Q3_K has 16 bytes for 14 of scales: the rest is as many bits as in a file.
            let blocks32 = format.file_row_bytes(elements.next_multiple_of(BLOCK32)).expect("blocks32");
            assert!(device_row <= blocks32 * 102 / 100 + 4 * 15, "{format} {elements}");
        }
        assert_eq!(format.file_row_bytes(format.block_elements + 1).is_none(), format.block_elements > 1);
    }
}

/// Rows are put together one after the other in the same memory: each writes all that another writes, and what pads it stays zero.
#[test]
fn a_row_leaves_nothing_of_the_row_before() {
    let mut random = Random::new(7);
    for format in ALL {
        for columns in [1, 3, 8].map(|blocks| blocks * format.block_elements) {
            let file = random_blocks(format, columns, 1.0, &mut random);
            let mut alone = vec![0; (format.device_row_bytes)(columns)];
            let mut after = alone.clone();
            format.repack_row(&vec![255; file.len()], &mut after);
            format.repack_row(&file, &mut after);
            format.repack_row(&file, &mut alone);
            assert_eq!(after, alone, "{format}, {columns} columns");
        }
    }
}
