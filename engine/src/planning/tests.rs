//! Plans read what they need once, however many layouts are tried.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use plywood_kernels::kv_cache::KvType;
use plywood_models::TensorInfo;
use plywood_models::Weights;

use super::*;
use crate::devices::hypothetical;

/// Weights that count how often each of their tensors is read.
struct Counted {
    weights: Synthetic,
    reads: Mutex<BTreeMap<usize, usize>>,
}

impl Weights for Counted {
    fn tensors(&self) -> &[TensorInfo] {
        self.weights.tensors()
    }

    fn read(&self, tensor: usize, offset: u64, buffer: &mut [u8]) -> plywood_models::Result<()> {
        *self.reads.lock().unwrap_or_else(PoisonError::into_inner).entry(tensor).or_default() += 1;
        self.weights.read(tensor, offset, buffer)
    }
}

/// Plans a model for a card of this much memory; every vector must have been read once, and nothing else.
fn check(model: &str, memory: &str, options: Options, expected: impl Fn(&Plan) -> bool) {
    let weights = Synthetic::named(model).expect("a shape");
    let config = weights.config.clone();
    let counted = Counted { weights, reads: Mutex::default() };
    let card = format!(r#"[{{"name": "card", "memory": "{memory}", "bandwidth": "300GB/s"}}]"#);
    let devices = hypothetical::from_json(&card).expect("a device");
    let source = ModelRef { weights: &counted, config: &config };
    let plan = plan_source(source, &options, Some(devices)).expect("it is planned");
    assert!(expected(&plan), "{model} in {memory}: {plan:?}");
    let vectors = counted.tensors().iter().enumerate().filter(|(_, tensor)| tensor.shape.len() == 1);
    let once: BTreeMap<usize, usize> = vectors.map(|(index, _)| (index, 1)).collect();
    let reads = counted.reads.into_inner().expect("nobody panicked");
    assert_eq!(reads, once, "{model} in {memory}, tensors and how often they were read");
}

#[test]
fn vectors_are_read_once() {
    let asked = || Options::default().context(131_072).kv_type(KvType::F32);
    // Weights of 2.3 GiB, and for each token 64 KiB of cache.
    check("llama-1b:f16", "24GiB", asked().context(8192), |plan| plan.fits);
    check("llama-1b:f16", "4GiB", asked(), |plan| plan.advice.len() == 2);
    check("llama-1b:f16", "4GiB", asked().context(Context::Max), |plan| plan.fits && plan.context > 8192);
    check("llama-1b:f16", "4GiB", asked().fit(true), |plan| plan.fits);
    // No change is enough by itself.
    let together = |plan: &Plan| {
        plan.fits && plan.notes[0].contains("Options::quantize") && plan.notes[0].contains("Options::context")
    };
    check("llama-1b:f16", "2GiB", asked().fit(true), together);
    check("llama-1b:q4_k", "600MiB", asked(), |plan| !plan.fits);
}
