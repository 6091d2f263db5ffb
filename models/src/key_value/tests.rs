//! Directories' keys and values against those of GGUFs, in floats and in blocks.

use std::path::Path;

use plywood_kernels::formats::{BF16, Q8_0};

use super::*;
use crate::checkpoint::Checkpoint;
use crate::weights::Weights;

const ROLES: [Role; 2] = [Role::KeyUp, Role::ValueUp];

fn bytes(checkpoint: &Checkpoint, role: Role, layer: usize) -> (Vec<usize>, Vec<u8>) {
    let index = checkpoint.tensor(&names::name(checkpoint.kind(), role, layer)).expect("it is there");
    let info = &checkpoint.tensors()[index];
    let mut bytes = vec![0; info.bytes as usize];
    checkpoint.read(index, 0, &mut bytes).expect("it is read");
    // The same in pieces that fit nothing.
    let mut pieces = vec![0; bytes.len()];
    for (piece, part) in pieces.chunks_mut(101).enumerate() {
        checkpoint.read(index, 101 * piece as u64, part).expect("it is read");
    }
    assert!(pieces == bytes, "{}", info.name);
    (info.shape.clone(), bytes)
}

#[test]
fn directories_have_what_their_ggufs_have() {
    for name in ["deepseek_v2_lite", "deepseek_v2", "deepseek_v3"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families").join(name);
        let directory = Checkpoint::open(&folder).expect("a directory");
        let gguf = Checkpoint::open(folder.join("model.gguf")).expect("a file");
        for (role, layer) in ROLES.into_iter().flat_map(|role| [(role, 0), (role, 1)]) {
            assert!(bytes(&directory, role, layer) == bytes(&gguf, role, layer), "{name}: {role:?} of layer {layer}");
        }
    }
}

fn config() -> Json {
    let sizes = serde_json::json!({
        "num_attention_heads": 3, "kv_lora_rank": 64, "qk_nope_head_dim": 8, "v_head_dim": 5
    });
    Json { file: "config.json".into(), value: sizes }
}

fn tensor(format: Format, rows: usize) -> TensorInfo {
    let bytes = (rows * 64 / format.block_elements * format.block_bytes) as u64;
    let (name, storage) = ("model.layers.7.self_attn.kv_b_proj.weight".into(), Storage::Format(format));
    TensorInfo { name, shape: vec![rows, 64], storage, file: 0, offset: 0, bytes }
}

/// Rows of blocks that go to values stay bit by bit, those that go to keys become F16.
#[test]
fn blocks_are_decoded_where_they_turn() {
    for (format, held) in [(Q8_0, F16), (BF16, BF16)] {
        let numbers: Vec<f32> = (0..39 * 64).map(|index| (index as f32 * 0.37).sin()).collect();
        let stored = format.encode_rows(&numbers);
        let mut decoded = vec![0.0; numbers.len()];
        format.decode_row(&stored, &mut decoded);
        let (tensors, rows) = split(Some(&config()), vec![tensor(format, 39)], |_| false).expect("it is split");
        let read = |info: &TensorInfo| {
            let mut bytes = vec![0; info.bytes as usize];
            let from = |_: &TensorInfo, offset: u64, part: &mut [u8]| {
                part.copy_from_slice(&stored[offset as usize..][..part.len()]);
                Ok(())
            };
            rows[&info.name].read(0, &mut bytes, from).expect("it is read");
            bytes
        };
        let row = |head: usize, row: usize| (head * 13 + row) * 64;
        let keys: Vec<f32> = (0..3)
            .flat_map(|head| (0..64).flat_map(move |column| (0..8).map(move |plain| row(head, plain) + column)))
            .map(|at| decoded[at])
            .collect();
        assert_eq!((tensors[0].shape.as_slice(), &tensors[0].storage), ([3, 64, 8].as_slice(), &Storage::Format(held)));
        assert!(read(&tensors[0]) == held.encode_rows(&keys), "{format}");
        let size = |elements: usize| elements / format.block_elements * format.block_bytes;
        let values: Vec<u8> =
            (0..3).flat_map(|head| &stored[size(row(head, 8))..size(row(head, 13))]).copied().collect();
        assert_eq!(
            (tensors[1].shape.as_slice(), &tensors[1].storage),
            ([3, 5, 64].as_slice(), &Storage::Format(format))
        );
        assert!(read(&tensors[1]) == values, "{format}");
    }
}

#[test]
fn what_does_not_fit_is_left_or_refused() {
    let (left, rows) = split(Some(&config()), vec![tensor(BF16, 38)], |_| false).expect("it is left");
    assert_eq!((left.len(), left[0].shape.as_slice(), rows.len()), (1, [38, 64].as_slice(), 0));
    let (left, _) = split(None, vec![tensor(BF16, 39)], |_| false).expect("it is left");
    assert_eq!(left.len(), 1);
    let refused = split(Some(&config()), vec![tensor(BF16, 39)], |_| true).map(|_| ());
    assert!(refused.is_err_and(|error| error.to_string().contains("activation order")));
}
