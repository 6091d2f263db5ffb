//! The text part of models that see as well as read, told as if it were a model by itself: its settings, and names of its tensors.

use std::collections::HashSet;

use serde_json::Value;

use crate::architectures;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::weights::TensorInfo;

/// What names of tensors begin with as such models are published, and as transformers 5 writes them; and instead in a model of text alone.
const TEXT: [(&str, &str); 2] = [("language_model.", ""), ("model.language_model.", "model.")];

/// What names of tensors begin with that are for seeing alone: they are left out, for text does not need them.
const SIGHT: [&str; 4] =
    ["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."];

/// The settings and tensors of a model's text part, where it has others too; else what was given.
///
/// The settings are those of `text_config`, and what lies beside it: the ids of ends, how weights are quantised.
pub(crate) fn of(config: Json, tensors: Vec<TensorInfo>) -> Result<(Json, Vec<TensorInfo>)> {
    let class = config.value.pointer("/architectures/0").and_then(Value::as_str);
    let kind = config.value.pointer("/text_config/model_type").and_then(Value::as_str);
    let (Some(class), Some(kind)) = (class, kind) else { return Ok((config, tensors)) };
    let Some(class) = architectures::text_class(class, kind) else { return Ok((config, tensors)) };

    let mut text = config.clone();
    if let (Some(all), Some(Value::Object(own))) = (text.value.as_object_mut(), config.get("text_config")) {
        all.extend(own.clone());
        all.insert("architectures".into(), Value::from(vec![class]));
    }
    let (mut kept, mut names) = (Vec::new(), HashSet::new());
    for mut tensor in tensors {
        if SIGHT.iter().any(|begin| tensor.name.starts_with(begin)) {
            continue;
        }
        let alone = |(begin, instead): &(&str, &str)| Some(format!("{instead}{}", tensor.name.strip_prefix(begin)?));
        if let Some(name) = TEXT.iter().find_map(alone) {
            tensor.name = name;
        }
        if !names.insert(tensor.name.clone()) {
            return Err(Error::DuplicateTensor { file: config.file, tensor: tensor.name });
        }
        kept.push(tensor);
    }
    Ok((text, kept))
}
