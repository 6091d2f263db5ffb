//! The matrix that makes keys and values of latents (`kv_b_proj`, DeepSeek-V2, <https://arxiv.org/abs/2405.04434>, §2.1) as the two
//! tensors that GGUF files have for it: a matrix for each head, those of keys turned over, so that a query may meet the latent itself.

use std::collections::HashMap;
use std::ops::Range;

use plywood_kernels::Format;
use plywood_kernels::formats::F16;

use crate::error::{Error, Result};
use crate::json::Json;
use crate::names::{self, Role};
use crate::weights::{Conventions, Storage, TensorInfo};

/// The end of the names of such matrices.
const END: &str = "self_attn.kv_b_proj.weight";

/// How a head's rows of the matrix lie in a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrangement {
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
    arrangement: Arrangement,
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
            let (part, after) = rest.split_at_mut((matrix_bytes - first).min(rest.len()));
            let place = (head * self.period + self.rows.start) * row_bytes;
            match self.arrangement {
                Arrangement::Stored => read(&self.base, (place + first) as u64, part)?,
                Arrangement::Turned => {
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
            rest = after;
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
        for (role, arrangement, rows, to, shape) in [
            (Role::KeyUp, Arrangement::Turned, 0..plain, held, [heads, rank, plain]),
            (Role::ValueUp, Arrangement::Stored, plain..plain + value_width, format, [heads, value_width, rank]),
        ] {
            let name = format!("{layer}{}", names::in_layer(Conventions::HuggingFace, role));
            let bytes =
                shape.iter().fold(1, |all: usize, size| all.saturating_mul(*size)) / to.block_elements * to.block_bytes;
            let (shape, storage) = (shape.to_vec(), Storage::Format(to));
            split.push(TensorInfo { name: name.clone(), shape, storage, file: 0, offset: 0, bytes: bytes as u64 });
            let of = HeadRows {
                base: tensor.clone(),
                formats: (format, to),
                period: plain + value_width,
                rows,
                arrangement,
            };
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
mod tests;
