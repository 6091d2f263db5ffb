//! The matrix that makes keys and values of latents (`kv_b_proj`, DeepSeek-V2, <https://arxiv.org/abs/2405.04434>, §2.1) as the two
//! tensors that GGUF files have for it: a matrix for each head, those of keys turned over, so that a query may meet the latent itself.

use std::collections::HashMap;
use std::ops::Range;

use plywood_kernels::Format;
use plywood_kernels::formats::F16;

use crate::checkpoint::{Kind, Storage, TensorInfo};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::names::{self, Role};

/// The end of the names of such matrices.
const END: &str = "self_attn.kv_b_proj.weight";

/// How a head's rows of the matrix lie in a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// As they are, in their format.
    Stored,
    /// Turned over. Floats stay in their format; blocks go along what are no longer rows, so that their numbers are rounded to F16:
    /// half the memory of F32, and an error of 2^-12 of each number, where FP8's own steps are 2^-4.
    Turned,
}

/// A tensor of some of each head's rows of another tensor.
#[derive(Debug)]
pub(crate) struct HeadRows {
    base: TensorInfo,
    /// The format of the other tensor, and that of this one.
    formats: (Format, Format),
    /// Rows of a head there.
    period: usize,
    /// Those of them that are taken.
    rows: Range<usize>,
    lie: Lie,
}

impl HeadRows {
    /// Fills the buffer with the tensor's bytes from `offset` on; `read` does so for the other tensor.
    pub fn read(
        &self,
        offset: u64,
        buffer: &mut [u8],
        read: impl Fn(&TensorInfo, u64, &mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let (rows, columns) = (self.rows.len(), self.base.shape[1]);
        let (from, to) = self.formats;
        let row_bytes = columns / from.block_elements * from.block_bytes;
        let matrix_bytes = rows * columns / to.block_elements * to.block_bytes;
        let (mut at, mut rest) = (offset as usize, buffer);
        while !rest.is_empty() {
            let (head, first) = (at / matrix_bytes, at % matrix_bytes);
            let (part, behind) = rest.split_at_mut((matrix_bytes - first).min(rest.len()));
            let place = (head * self.period + self.rows.start) * row_bytes;
            match self.lie {
                Lie::Stored => read(&self.base, (place + first) as u64, part)?,
                Lie::Turned => {
                    let mut stored = vec![0; rows * row_bytes];
                    read(&self.base, place as u64, &mut stored)?;
                    let mut numbers = vec![0.0; rows * columns];
                    from.decode_row(&stored, &mut numbers);
                    let turned: Vec<f32> =
                        (0..columns).flat_map(|column| numbers[column..].iter().step_by(columns)).copied().collect();
                    part.copy_from_slice(&to.encode_rows(&turned)[first..first + part.len()]);
                }
            }
            at += part.len();
            rest = behind;
        }
        Ok(())
    }
}

/// The tensors of a directory with each such matrix as two, and how these are read, by name. A tensor of another shape than the
/// settings say stays as it is, as do all where the settings are not those of latent attention: the graph names what it lacks.
pub(crate) fn split(
    config: Option<&Json>,
    tensors: Vec<TensorInfo>,
    has_order: impl Fn(&str) -> bool,
) -> Result<(Vec<TensorInfo>, HashMap<String, HeadRows>)> {
    let mut of_heads = HashMap::new();
    let mut split = Vec::with_capacity(tensors.len());
    let sizes = config.map(sizes).transpose()?.flatten();
    for tensor in tensors {
        let found = tensor.name.strip_suffix(END).zip(sizes).zip(tensor.format().ok());
        let Some(((layer, sizes), format)) = found.filter(|((_, sizes), _)| tensor.shape == sizes.shape()) else {
            split.push(tensor);
            continue;
        };
        if has_order(&tensor.name) {
            return Err(Error::Packed {
                tensor: tensor.name,
                reason: "keys and values have an activation order".into(),
            });
        }
        let Sizes { heads, plain, value_width, rank } = sizes;
        let held = if format.is_float() { format } else { F16 };
        for (role, lie, rows, to, shape) in [
            (Role::KeyUp, Lie::Turned, 0..plain, held, [heads, rank, plain]),
            (Role::ValueUp, Lie::Stored, plain..plain + value_width, format, [heads, value_width, rank]),
        ] {
            let name = format!("{layer}{}", names::in_layer(Kind::HuggingFace, role));
            let bytes = shape.iter().product::<usize>() / to.block_elements * to.block_bytes;
            let (shape, storage) = (shape.to_vec(), Storage::Format(to));
            split.push(TensorInfo { name: name.clone(), shape, storage, file: 0, offset: 0, bytes: bytes as u64 });
            let of = HeadRows { base: tensor.clone(), formats: (format, to), period: plain + value_width, rows, lie };
            of_heads.insert(name, of);
        }
    }
    Ok((split, of_heads))
}

/// The sizes of such a matrix.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    heads: usize,
    /// Rows of a head that make keys.
    plain: usize,
    /// Rows of a head that make values.
    value_width: usize,
    /// Columns.
    rank: usize,
}

impl Sizes {
    fn shape(&self) -> [usize; 2] {
        [self.heads.saturating_mul(self.plain.saturating_add(self.value_width)), self.rank]
    }
}

/// The sizes by the settings, where these have them.
fn sizes(config: &Json) -> Result<Option<Sizes>> {
    let size = |key| Ok::<_, Error>(config.integer(key)?.and_then(|size| usize::try_from(size).ok()));
    let (heads, rank) = (size("num_attention_heads")?, size("kv_lora_rank")?);
    let (plain, value_width) = (size("qk_nope_head_dim")?, size("v_head_dim")?);
    Ok((|| Some(Sizes { heads: heads?, plain: plain?, value_width: value_width?, rank: rank? }))())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use plywood_kernels::formats::{BF16, Q8_0};

    use super::*;
    use crate::checkpoint::{Checkpoint, Weights};

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
                assert!(
                    bytes(&directory, role, layer) == bytes(&gguf, role, layer),
                    "{name}: {role:?} of layer {layer}"
                );
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
            assert_eq!(
                (tensors[0].shape.as_slice(), &tensors[0].storage),
                ([3, 64, 8].as_slice(), &Storage::Format(held))
            );
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
}
