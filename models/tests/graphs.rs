//! Graphs: right logits on the reference ops, and errors for tensors that do not fit.

mod common;

use std::path::Path;
use std::sync::Arc;

use plywood_kernels::Graph;
use plywood_kernels::device::Features;
use plywood_kernels::formats::{F16, Q4_0, Q8_0};
use plywood_kernels::fuse::{self, RULES, Rule};
use plywood_kernels::graph::{Output, Rows, Source, Values};
use plywood_kernels::kv_cache::KvType;
use plywood_kernels::reference::{HostWeight, Machine, host_weight, nmse};
use plywood_kernels::step::{PAGE_TOKENS, Step, Token};
use plywood_models::config::Scaling;
use plywood_models::synthetic::{SHAPES, Synthetic};
use plywood_models::tokenizer::EncodeOptions;
use plywood_models::{Config, Error, Model, Result, Storage, TensorInfo, Tokenizer, Weights, transformer};
use safetensors::SafeTensors;

use common::{InMemory, check_message, data};

/// All weights of a graph in host memory.
fn load(graph: &Graph, weights: &dyn Weights) -> Vec<HostWeight> {
    let read = |source: &Source| -> Result<Arc<Vec<u8>>> {
        match source {
            Source::Computed(numbers) => Ok(Arc::new(numbers.iter().flat_map(|number| number.to_le_bytes()).collect())),
            Source::Blocks(blocks) => Ok(blocks.clone()),
            Source::Tensor(index) => {
                let mut bytes = vec![0; weights.tensors()[*index].bytes as usize];
                weights.read(*index, 0, &mut bytes)?;
                Ok(bytes.into())
            }
        }
    };
    let all = graph.weights.iter().map(|weight| host_weight(weight, |part| read(&part.source)));
    all.collect::<Result<_>>().unwrap()
}

/// Checks the logits of the recorded sentence, computed by the reference ops.
fn check_logits(model: &str, limit: f64) {
    let (Some(path), Some(expected)) = (data(model), data("models/stories260k/expected/logits.safetensors")) else {
        return;
    };
    let expected = std::fs::read(expected).unwrap();
    let expected = SafeTensors::deserialize(&expected).unwrap();
    let logits = expected.tensor("logits").unwrap();
    let logits = logits.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>();
    let ids = expected.tensor("input_ids").unwrap();
    let ids = ids.data().as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as u32).collect::<Vec<u32>>();

    let model = Model::open(path).unwrap();
    let text = "Once upon a time, there was a little girl named Lily.";
    assert_eq!(model.tokenizer.encode(text, EncodeOptions { special: true, bos: true }).unwrap(), ids);
    let graph = model.graph(512).unwrap();
    let weights = load(&graph, &model.checkpoint);
    let error = nmse(&logits, &reference_logits(&graph, weights, &ids));
    assert!(error <= limit, "NMSE {error:e} of {}", model.checkpoint.path().display());
}

/// The logits of all tokens of a prompt, computed by the reference ops: `[tokens, vocabulary]`.
fn reference_logits(graph: &Graph, weights: Vec<HostWeight>, ids: &[u32]) -> Vec<f32> {
    let pages = ids.len().div_ceil(PAGE_TOKENS);
    let token = |(position, id): (usize, &u32)| Token { id: *id, position: position as u32, sequence: 0, long: false };
    let step = Step {
        tokens: ids.iter().enumerate().map(token).collect(),
        selected: (0..ids.len() as u32).collect(),
        pages: (0..pages as u32).collect(),
        pages_per_sequence: pages,
        ..Step::default()
    };
    let mut machine = Machine::new(graph, weights, KvType::F32, pages);
    let mut values = machine.step(&step, Values::default(), &[Output::Logits]);
    let output = graph.outputs.iter().find(|(want, _)| *want == Output::Logits).unwrap().1;
    values.remove(&output).unwrap()
}

/// A graph rewritten as a whole; its marks are no longer right.
fn rewritten(graph: &Graph, rules: &[&dyn Rule]) -> Graph {
    Graph { nodes: fuse::rewrite(graph, 0..graph.nodes.len(), Features::CARD, rules), ..graph.clone() }
}

/// Every family, rewritten by each rule alone and by all together, gives the logits of its plain graph.
#[test]
fn rewritten_graphs_give_the_same_logits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families");
    let folders = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
    let mut families: Vec<_> = folders.filter(|path| path.join("config.json").exists()).collect();
    families.sort();
    assert!(families.len() >= 26, "only {} families were found", families.len());
    for rules in RULES.iter().map(std::slice::from_ref).chain([RULES]) {
        let mut applied = 0;
        for family in &families {
            let model = Model::open(family).unwrap();
            let graph = model.graph(64).unwrap();
            let ids: Vec<u32> = (0..9).map(|index| (index * 7 + 3) % model.config.vocabulary as u32).collect();
            let weights = load(&graph, &model.checkpoint);
            let rewritten = rewritten(&graph, rules);
            applied += graph.nodes.len() - rewritten.nodes.len();
            let plain = reference_logits(&graph, weights.clone(), &ids);
            // What was rounded to f32 between two nodes is no longer.
            let error = nmse(&plain, &reference_logits(&rewritten, weights, &ids));
            assert!(error <= 1e-12, "{}: NMSE {error:.1e} by {rules:?}", family.display());
        }
        println!("{rules:?} took {applied} nodes out of {} families", families.len());
        assert!(applied > 0, "{rules:?} never applied");
    }
}

#[test]
fn logits_of_f32_gguf() {
    check_logits("models/stories260k/stories260k-f32.gguf", 1e-10);
}

#[test]
fn logits_of_f16_gguf() {
    // They were recorded for the weights in f32: what rounding those to f16 costs is 8.5e-8, here as anywhere.
    check_logits("models/stories260k/stories260k-f16.gguf", 1e-7);
}

#[test]
fn logits_of_directory() {
    check_logits("models/stories260k/hf", 1e-10);
}

#[test]
fn every_synthetic_shape_builds() {
    for shape in &SHAPES {
        let synthetic = Synthetic::new(shape, Q8_0);
        let graph = transformer::build(&synthetic, &synthetic.config, 8192).unwrap();
        assert_eq!(graph.layers(), shape.layers);
        assert_eq!(graph.caches.len(), shape.layers);
    }
    let bytes = |name: &str| Synthetic::named(name).unwrap().tensors().iter().map(|tensor| tensor.bytes).sum::<u64>();
    assert_eq!(bytes("llama-1b:q8_0") / 1_000_000, 1313);
    check_message(Synthetic::named("llama-1b"), &["llama-1b", "llama-70b", "q8_0"]);
    check_message(Synthetic::named("llama-1b:q9_9"), &["q4_0"]);
    check_message(Synthetic::named("tiny:q4_k"), &["tiny:q4_k", "288", "256"]);
}

#[test]
fn parts_may_differ_in_format() {
    let mut synthetic = Synthetic::new(&SHAPES[0], Q4_0);
    let other = Synthetic::new(&SHAPES[0], F16);
    let mut mixed = InMemory { tensors: synthetic.tensors().to_vec(), bytes: Vec::new() };
    let place = mixed.tensors.iter().position(|tensor| tensor.name == "blk.0.attn_v.weight").unwrap();
    mixed.tensors[place] = other.tensors()[place].clone();
    let graph = transformer::build(&mixed, &synthetic.config, 256).unwrap();
    let weight = graph.weights.iter().find(|weight| weight.name == "layers.0.attention.qkv").unwrap();
    let formats: Vec<&str> = weight.parts.iter().map(|part| part.format.name).collect();
    assert_eq!((formats.as_slice(), weight.rows()), (["q4_0", "q4_0", "f16"].as_slice(), 3 * 288));
    synthetic.config.tied = false;
    check_message(transformer::build(&mixed, &synthetic.config, 256), &["output.weight is missing"]);
}

#[test]
fn outputs_and_marks() {
    let synthetic = Synthetic::named("tiny:q8_0").unwrap();
    let graph = transformer::build(&synthetic, &synthetic.config, 256).unwrap();
    let requested: Vec<Output> = graph.outputs.iter().map(|(want, _)| *want).collect();
    assert_eq!(requested, [Output::Logits, Output::Argmax, Output::TopK, Output::Drawn, Output::LogSumExp]);
    for (want, value) in &graph.outputs {
        let value = &graph.values[value.0];
        let width = match want {
            Output::Logits => 32_000,
            Output::TopK => 128,
            Output::Argmax | Output::Drawn | Output::LogSumExp => 1,
        };
        assert_eq!((value.rows, value.width), (Rows::Selected, width));
    }
    // Embedding; 12 ops in a layer; selection, norm, output, and four ways to sample.
    assert_eq!((graph.nodes.len(), graph.marks[1] - graph.marks[0]), (1 + 6 * 12 + 7, 12));
    // Of a layer are left q|k|v, heads, attention, its output, gate|up and down; the last norm goes into the output matrix.
    assert_eq!(rewritten(&graph, RULES).nodes.len(), 1 + 6 * 6 + 6);
}

/// A model's table of tensors with one of them changed.
fn changed(name: &str, change: impl FnOnce(&mut InMemory, usize)) -> Result<Graph> {
    let synthetic = Synthetic::named("tiny:q8_0").unwrap();
    let mut weights = InMemory::default();
    for tensor in synthetic.tensors() {
        weights.add(&tensor.name, &[1]);
        weights.tensors.last_mut().unwrap().clone_from(tensor);
    }
    let place = weights.tensors.iter().position(|tensor| tensor.name == name).unwrap();
    change(&mut weights, place);
    transformer::build(&weights, &synthetic.config, 256)
}

#[test]
fn tensors_that_do_not_fit() {
    let name = "blk.3.attn_k.weight";
    check_message(
        changed(name, |weights, place| weights.tensors[place].shape = vec![287, 288]),
        &[name, "[287, 288]", "[288, 288]"],
    );
    check_message(changed(name, |weights, place| weights.tensors[place].name = "other".into()), &[name, "missing"]);
    check_message(
        changed(name, |weights, _| weights.add("blk.3.attn_k.bias", &[288])),
        &["blk.3.attn_k.bias", "llama"],
    );
    // Quantisers write biases of zeros.
    let zero_bias = |weights: &mut InMemory, _| {
        weights.add("blk.3.attn_k.bias", &[288]);
        weights.bytes.last_mut().unwrap().fill(0);
    };
    changed(name, zero_bias).unwrap();
    let unknown_bias = |weights: &mut InMemory, place| {
        zero_bias(weights, place);
        weights.tensors.last_mut().unwrap().storage = Storage::Unsupported("Q9".into());
    };
    check_message(changed(name, unknown_bias), &["blk.3.attn_k.bias", "llama"]);
    check_message(changed(name, |weights, _| weights.add("rope_freqs.weight", &[7])), &["rope_freqs.weight", "[24]"]);
    let zero = |weights: &mut InMemory, _| {
        weights.add("rope_freqs.weight", &[24]);
        weights.bytes.last_mut().unwrap()[..4].fill(0);
    };
    check_message(changed(name, zero), &["rope_freqs.weight", "above 0"]);
}

/// RoPE's table of a graph.
fn rope_table(config: &Config, weights: &dyn Weights) -> Vec<f32> {
    let graph = transformer::build(weights, config, 1024).unwrap();
    let weight = graph.weights.iter().find(|weight| weight.name == "rope").unwrap();
    match &weight.parts[0].source {
        Source::Computed(numbers) => numbers.to_vec(),
        Source::Blocks(_) | Source::Tensor(_) => panic!("rotations are computed"),
    }
}

#[test]
fn factors_of_a_file_equal_llama3_scaling() {
    let synthetic = Synthetic::named("tiny:q8_0").unwrap();
    let mut config = synthetic.config.clone();
    let plain = config.rope.inverse_frequencies();
    config.rope.scaling = Scaling::Llama3 { factor: 32.0, low: 1.0, high: 4.0, original: 8192.0 };
    let scaled = config.rope.inverse_frequencies();
    assert_eq!(scaled[0], plain[0]);
    assert_eq!(scaled[23], plain[23] / 32.0);
    let scaled_table = rope_table(&config, &synthetic);

    let factors = plain.iter().zip(&scaled).flat_map(|(plain, scaled)| ((plain / scaled) as f32).to_le_bytes());
    let mut weights = InMemory { tensors: synthetic.tensors().to_vec(), bytes: Vec::new() };
    weights.bytes.resize(weights.tensors.len(), Vec::new());
    weights.add("rope_freqs.weight", &[24]);
    *weights.bytes.last_mut().unwrap() = factors.collect();
    let error = nmse(&scaled_table, &rope_table(&synthetic.config, &weights));
    assert!(error < 1e-9, "{error:e}");
    // Another table than without any scaling.
    assert!(nmse(&scaled_table, &rope_table(&synthetic.config, &synthetic)) > 1e-3);
}

/// A fixture of the families.
fn family(path: &str) -> Model {
    Model::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families").join(path)).unwrap()
}

#[test]
fn a_context_beyond_the_original_has_two_tables() {
    for path in ["phi35", "phi35/model.gguf"] {
        let of = |context: usize| {
            let graph = family(path).graph(context).unwrap();
            let table = graph.weights.iter().find(|weight| weight.name == "rope").unwrap();
            (graph.long_above, table.columns)
        };
        assert_eq!((of(32), of(33)), ((None, 8), (Some(32), 16)));
    }
}

#[test]
fn wrong_factors_of_long_sequences_are_named() {
    let model = family("phi35/model.gguf");
    let changed = |change: &dyn Fn(&mut Vec<TensorInfo>)| {
        let mut weights = InMemory { tensors: model.checkpoint.tensors().to_vec(), bytes: Vec::new() };
        change(&mut weights.tensors);
        transformer::build(&weights, &model.config, 64)
    };
    let (short, long) = ("rope_factors_short.weight", "rope_factors_long.weight");
    // Tensors without bytes read as zeros.
    check_message(changed(&|_| {}), &[short, "above 0"]);
    check_message(changed(&|tensors| tensors.retain(|tensor| tensor.name != short)), &[short, "missing"]);
    let longer = |tensors: &mut Vec<TensorInfo>| {
        tensors.iter_mut().filter(|tensor| tensor.name == short).for_each(|tensor| tensor.shape = vec![8]);
    };
    check_message(changed(&longer), &[short, "[8]", "[4]"]);
    assert!(model.checkpoint.tensor(long).is_some());
}

/// A family's directory whose settings were changed.
fn changed_family(name: &str, change: impl FnOnce(&mut serde_json::Value)) -> tempfile::TempDir {
    let family = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/families").join(name);
    let directory = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(&family).unwrap().flatten() {
        std::fs::copy(file.path(), directory.path().join(file.file_name())).unwrap();
    }
    let mut settings = serde_json::from_slice(&std::fs::read(family.join("config.json")).unwrap()).unwrap();
    change(&mut settings);
    std::fs::write(directory.path().join("config.json"), settings.to_string()).unwrap();
    directory
}

/// DeepSeek-V3's files have a layer after the last, which predicts further tokens.
#[test]
fn layers_behind_the_last_are_left_alone() {
    let graph = |predicting: u64| {
        let directory = changed_family("deepseek_v3", |settings| {
            settings["num_hidden_layers"] = 1.into();
            settings["num_nextn_predict_layers"] = predicting.into();
        });
        Model::open(directory.path()).unwrap().graph(64)
    };
    assert_eq!(graph(1).unwrap().layers(), 1);
    check_message(graph(0), &["model.layers.1."]);
    assert_eq!(graph(u64::MAX).unwrap().layers(), 1);
}

#[test]
fn settings_that_do_not_fit() {
    let check = |key: &str, value: u64, parts: &[&str]| {
        let directory = changed_family("deepseek_v3", |settings| settings[key] = value.into());
        check_message(Model::open(directory.path()).and_then(|model| model.graph(64)), parts);
    };
    check("kv_lora_rank", 0, &["rank of keys and values", "0"]);
    check("kv_lora_rank", 22, &["rank of keys and values", "multiple of 4"]);
    check("kv_lora_rank", 1020, &["rank of keys and values with what is rotated", "1028", "1024"]);
    check("kv_lora_rank", 28, &["kv_a_proj_with_mqa", "[32, 48]", "[36, 48]"]);
    check("q_lora_rank", 30, &["rank of queries", "30"]);
    check("v_head_dim", u64::MAX, &["value head"]);
    check("v_head_dim", 16, &["kv_b_proj"]);
    check("qk_nope_head_dim", 14, &["head width", "22"]);
    check("qk_rope_head_dim", 6, &["head width", "22"]);
    let directory = changed_family("deepseek_v3", |settings| settings["rope_interleave"] = false.into());
    check_message(Model::open(directory.path()), &["rope_interleave"]);
    let directory = changed_family("gpt_oss", |settings| settings["swiglu_limit"] = 5.0.into());
    check_message(Model::open(directory.path()), &["swiglu_limit", "5", "7"]);
}

#[test]
fn embedding_shorter_than_the_vocabulary() {
    let Some(path) = data("models/stories260k/hf") else { return };
    let directory = tempfile::tempdir().unwrap();
    for name in ["model.safetensors", "tokenizer.json"] {
        std::fs::copy(path.join(name), directory.path().join(name)).unwrap();
    }
    let config = std::fs::read_to_string(path.join("config.json")).unwrap();
    let config = config.replace("\"vocab_size\": 512", "\"vocab_size\": 500");
    std::fs::write(directory.path().join("config.json"), config).unwrap();
    let error = Model::open(directory.path()).unwrap_err();
    assert!(matches!(error, Error::VocabularyTooShort { tokens: 512, rows: 500 }), "{error}");
    assert!(Tokenizer::of(&plywood_models::Checkpoint::open(directory.path()).unwrap()).is_ok());
}
