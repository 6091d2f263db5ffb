//! Weights that quantised Hugging Face directories keep in several tensors: codes, scales, zero points. Each becomes one tensor
//! of a format of [`plywood_kernels::formats`], whose rows are assembled when they are read.
//!
//! What there is follows from the tensors: their names, types and shapes. `quantization_config` is asked only for what they
//! do not say. One file for each publisher's way.

mod assembly;
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
mod table;
mod transposed;

use std::collections::HashMap;

use plywood_kernels::formats::MICROSCALED;

use crate::architectures::Architecture;
use crate::error::{Error, Result};
use crate::file::File;
use crate::json::Json;
use crate::weights::{Conventions, Storage, TensorInfo};

use self::assembly::Assembled;
use self::table::{Table, wrong};

pub(crate) use self::assembly::Assembly;

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
    let family = class.and_then(|class| Architecture::find(Conventions::HuggingFace, class));
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
