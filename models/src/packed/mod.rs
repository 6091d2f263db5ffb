//! Weights that quantised Hugging Face directories keep in several tensors: codes, scales, zero points. Each becomes one tensor
//! of a format of [`plywood_kernels::formats`], whose rows are assembled when they are read.
//!
//! What there is follows from the tensors: their names, types and shapes. `quantization_config` is asked only for what they
//! do not say. One file for each publisher's way.

mod awq;
mod bitsandbytes;
mod codes;
mod compressed_tensors;
mod fp8;
mod gptq;
mod heads;
mod ints;
mod matrix;
mod microscaling;
mod mlx;
mod transposed;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use plywood_kernels::Format;
use plywood_kernels::formats::{MICROSCALED, grouped};

use crate::architectures::Architecture;
use crate::checkpoint::{Kind, Storage, TensorInfo};
use crate::error::{Error, Result};
use crate::file::File;
use crate::json::Json;

use self::codes::Codes;
use self::heads::Heads;
use self::transposed::Transposed;

/// Keys of `config.json` under which publishers say how a model is quantised; MLX has its own beside the common one.
pub(crate) const KEYS: [&str; 3] = ["quantization_config", "compression_config", "quantization"];

/// What `quant_method` may be.
const METHODS: [&str; 6] = ["awq", "gptq", "compressed-tensors", "bitsandbytes", "fp8", "fbgemm_fp8"];

/// Refuses a directory that is quantised in a way that nobody here reads.
pub(crate) fn check_method(config: &Json) -> Result<()> {
    let refused = |key: &str, found: String, wanted: String| {
        Err(Error::Unsupported { file: config.file.clone(), key: key.into(), found, wanted })
    };
    for key in KEYS {
        let Some(section) = config.section(key)? else { continue };
        // gpt-oss names its format.
        let methods = [&METHODS[..], &[MICROSCALED.name]].concat();
        if let Some(method) = section.text("quant_method")?.filter(|method| !methods.contains(method)) {
            return refused("quant_method", method.into(), methods.join(", "));
        }
        // Rotations of activations.
        if let Some(found) = section.section("transform_config")?.filter(|found| found.value != serde_json::json!({})) {
            return refused("transform_config", found.value.to_string(), "{}".into());
        }
    }
    Ok(())
}

/// The bit of a byte's sign.
const SIGN: u8 = 0x80;

/// A weight that lies otherwise in its files than others do.
#[derive(Debug)]
pub(crate) enum Assembly {
    /// In codes and what they share, in several tensors.
    Coded(Coded),
    /// In one tensor, its matrices transposed.
    Transposed(Transposed),
}

impl Assembly {
    /// The order of its columns, if it is not the model's.
    pub fn order(&self) -> Option<&Arc<[u32]>> {
        match self {
            Assembly::Coded(coded) => coded.order.as_ref(),
            Assembly::Transposed(_) => None,
        }
    }

    /// Fills the buffer with the bytes of the assembled rows from `offset` on.
    pub fn read(&self, name: &str, files: &[File], offset: u64, buffer: &mut [u8]) -> Result<()> {
        let row_bytes = match self {
            Assembly::Coded(coded) => coded.columns / coded.format.block_elements * coded.format.block_bytes,
            Assembly::Transposed(transposed) => transposed.row_bytes(),
        };
        let (offset, end) = (offset as usize, offset as usize + buffer.len());
        let rows = offset / row_bytes..end.div_ceil(row_bytes);
        let first = offset - rows.start * row_bytes;
        let assembled = match self {
            Assembly::Coded(coded) => coded.read(name, files, rows)?,
            Assembly::Transposed(transposed) => transposed.read(files, rows)?,
        };
        buffer.copy_from_slice(&assembled[first..first + buffer.len()]);
        Ok(())
    }
}

/// A weight `[rows, columns]` out of several tensors.
#[derive(Debug)]
pub(crate) struct Coded {
    format: Format,
    columns: usize,
    codes: Codes,
    heads: Heads,
    /// For each column of the assembled rows, which one of the model's it is; `None` for the same.
    order: Option<Arc<[u32]>>,
}

impl Coded {
    /// The bytes of some rows.
    fn read(&self, name: &str, files: &[File], rows: Range<usize>) -> Result<Vec<u8>> {
        let row_bytes = self.columns / self.format.block_elements * self.format.block_bytes;
        let mut assembled = vec![0; rows.len() * row_bytes];
        let mut codes = self.codes.read(files, rows.clone(), self.columns)?;
        if self.codes.nan.is_some_and(|nan| codes.iter().any(|code| code & !SIGN == nan)) {
            return Err(Error::WrongNumbers { tensor: name.into(), wanted: "finite numbers" });
        }
        if let Some(order) = &self.order {
            let mut sorted = vec![0; self.columns];
            for row in codes.chunks_exact_mut(self.columns) {
                sorted.iter_mut().zip(order.iter()).for_each(|(code, column)| *code = row[*column as usize]);
                row.copy_from_slice(&sorted);
            }
        }
        let heads = self.heads.read(files, rows, self.columns, self.format.block_elements)?;
        let head_bytes = self.heads.bytes();
        let blocks = assembled.chunks_exact_mut(self.format.block_bytes);
        for ((block, head), codes) in
            blocks.zip(heads.chunks_exact(head_bytes)).zip(codes.chunks_exact(self.format.block_elements))
        {
            grouped::write_block(self.codes.bits, head, codes, block);
        }
        Ok(assembled)
    }
}

/// The tensors of a directory by name, from which those of packed weights are taken.
pub(crate) struct Table<'a> {
    files: &'a [File],
    tensors: BTreeMap<String, TensorInfo>,
    /// What says how the model is quantised: sections of `config.json`, in the order of [`KEYS`].
    sections: Vec<Json>,
    /// Rows and columns that share a scale of FP8, where `sections` say so.
    fp8_block: Option<(usize, usize)>,
}

impl Table<'_> {
    /// What says how the model is quantised, if anything does.
    fn section(&self) -> Option<&Json> {
        self.sections.first()
    }

    /// A string of that.
    fn text(&self, key: &str) -> Result<Option<&str>> {
        self.section().map(|section| section.text(key)).transpose().map(Option::flatten)
    }

    /// Takes the tensor of a weight with this end of its name, if it is there.
    fn take(&mut self, stem: &str, end: &str) -> Option<TensorInfo> {
        self.tensors.remove(&format!("{stem}{end}"))
    }

    /// Takes the tensor of a weight with this end of its name.
    fn required(&mut self, stem: &str, end: &str) -> Result<TensorInfo> {
        self.take(stem, end).ok_or_else(|| Error::MissingTensor { tensor: format!("{stem}{end}") })
    }
}

/// What is wrong with a packed weight.
fn wrong(tensor: &str, reason: impl Into<String>) -> Error {
    Error::Packed { tensor: tensor.into(), reason: reason.into() }
}

/// The format of the largest blocks that divide rows and groups of so many columns.
fn fitting(formats: impl IntoIterator<Item = Format>, columns: usize, group: usize) -> Option<Format> {
    let divides = |size: usize| group > 0 && columns.is_multiple_of(size) && group.is_multiple_of(size);
    let fits = formats.into_iter().filter(|format| divides(format.block_elements));
    fits.max_by_key(|format| format.block_elements)
}

/// A weight as one tensor, and how it is assembled.
type Assembled = (TensorInfo, Assembly);

fn assembled(stem: &str, rows: usize, coded: Coded) -> Result<Assembled> {
    let name = format!("{stem}.weight");
    let Coded { columns, format, .. } = coded;
    if rows == 0 || columns == 0 {
        return Err(wrong(&name, "it has no elements"));
    }
    coded.codes.check(rows, columns)?;
    coded.heads.check(rows, columns)?;
    let row_bytes = format.file_row_bytes(columns).ok_or_else(|| wrong(&name, "its groups do not divide its rows"))?;
    let bytes = (rows as u64).checked_mul(row_bytes as u64).ok_or_else(|| wrong(&name, "it is impossibly large"))?;
    let (shape, storage) = (vec![rows, columns], Storage::Format(format));
    Ok((TensorInfo { name, shape, storage, file: 0, offset: 0, bytes }, Assembly::Coded(coded)))
}

/// How a weight of a way is recognised, by the end of the name of one of its tensors and by that tensor, and assembled.
struct Way {
    end: &'static str,
    is: fn(&TensorInfo) -> bool,
    assemble: fn(&mut Table, stem: &str) -> Result<Assembled>,
}

const WAYS: [Way; 8] = [
    Way { end: ".qweight", is: |_| true, assemble: qweight },
    Way { end: ".weight_packed", is: |_| true, assemble: compressed_tensors::packed },
    Way { end: ".weight.quant_state.bitsandbytes__nf4", is: |_| true, assemble: bitsandbytes::nf4 },
    Way { end: ".weight.quant_state.bitsandbytes__fp4", is: |_| true, assemble: bitsandbytes::fp4 },
    Way { end: ".weight", is: |tensor| type_is(tensor, "U32"), assemble: mlx::assemble },
    Way { end: ".weight", is: |tensor| type_is(tensor, "I8"), assemble: compressed_tensors::bytes },
    Way { end: ".weight", is: |tensor| type_is(tensor, "F8_E4M3"), assemble: fp8::assemble },
    Way { end: "_blocks", is: |tensor| type_is(tensor, "U8"), assemble: microscaling::assemble },
];

fn type_is(tensor: &TensorInfo, name: &str) -> bool {
    matches!(&tensor.storage, Storage::Unsupported(found) if found == name)
}

/// AWQ and GPTQ have the same names. Old models have no settings; then GPTQ is what has as many words in a row as outputs.
fn qweight(table: &mut Table, stem: &str) -> Result<Assembled> {
    let columns = |end: &str| table.tensors.get(&format!("{stem}{end}")).and_then(|tensor| tensor.shape.last());
    let awq = match table.text("quant_method")? {
        Some(method) => method == "awq",
        None => columns(".qweight") != columns(".scales"),
    };
    if awq { awq::assemble(table, stem) } else { gptq::assemble(table, stem) }
}

/// The tensors of a directory with each packed weight as one, and how these are assembled, by name.
pub(crate) fn assemble(
    config: Option<&Json>,
    files: &[File],
    tensors: Vec<TensorInfo>,
) -> Result<(Vec<TensorInfo>, HashMap<String, Assembly>)> {
    let mut sections = Vec::new();
    for key in KEYS {
        sections.extend(config.map(|config| config.section(key)).transpose()?.flatten());
    }
    let tensors = tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    let fp8_block = fp8::block(&sections)?;
    let mut table = Table { files, tensors, sections, fp8_block };
    let mut assemblies = HashMap::new();
    for way in WAYS {
        let of_way = table.tensors.values().filter(|tensor| (way.is)(tensor));
        let stems: Vec<String> = of_way.filter_map(|tensor| Some(tensor.name.strip_suffix(way.end)?.into())).collect();
        for stem in stems {
            let assembled = (way.assemble)(&mut table, &stem)?;
            put(&mut table, &mut assemblies, assembled)?;
        }
    }
    let class = config.and_then(|config| config.value.pointer("/architectures/0")?.as_str());
    let family = class.and_then(|class| Architecture::find(Kind::HuggingFace, class));
    let ends = family.map_or(&[][..], |family| family.transposed);
    let is_transposed = |name: &&String| ends.iter().any(|end| name.ends_with(end));
    for name in table.tensors.keys().filter(is_transposed).cloned().collect::<Vec<_>>() {
        let (tensor, transposed) = transposed::assemble(&mut table, &name)?;
        put(&mut table, &mut assemblies, (tensor, Assembly::Transposed(transposed)))?;
    }
    Ok((table.tensors.into_values().collect(), assemblies))
}

/// Puts an assembled weight among the tensors.
fn put(table: &mut Table, assemblies: &mut HashMap<String, Assembly>, (tensor, assembly): Assembled) -> Result<()> {
    assemblies.insert(tensor.name.clone(), assembly);
    match table.tensors.insert(tensor.name.clone(), tensor) {
        Some(plain) => Err(wrong(&plain.name, "it is there twice, once in several tensors")),
        None => Ok(()),
    }
}
