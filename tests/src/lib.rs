//! What the tests share: where the data lies, which adapters there are, and how models are opened.
//!
//! Tests run on every adapter that there is: `VK_ICD_FILENAMES`, `WGPU_BACKEND` and the like decide which.

pub mod command;
mod data;
pub mod families;
pub mod turns;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use data::{data, skipped};
use plywood::devices::{Adapter, Adapters, Kind};
use plywood::gpu::wgpu;
use plywood::kernels::reference;
use plywood::{Devices, Model, Options, Request, Result, Sampling};
use serde_json::Value;

/// A file or folder of the stories260K model.
pub fn stories(file: &str) -> Option<PathBuf> {
    data(&format!("models/stories260k/{file}"))
}

/// A JSON file of results expected of the stories260K model.
pub fn expected(file: &str) -> Option<Value> {
    let path = stories(&format!("expected/{file}"))?;
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The token ids of a JSON list.
pub fn ids(list: &Value) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| id.try_into().ok()).expect("a list of ids");
    list.as_array().expect("a list").iter().map(id).collect()
}

/// The text of a JSON string.
pub fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// What a greedy generation is expected to give.
pub struct Story {
    /// The prompt.
    pub prompt: String,
    /// Its ids.
    pub prompt_ids: Vec<u32>,
    /// The ids that follow.
    pub ids: Vec<u32>,
    /// The text of all of them.
    pub text: String,
    /// The smallest distance of the two largest logits after any of them.
    pub smallest_gap: f64,
}

/// The expected stories of a JSON file of the stories260K model.
pub fn expected_stories(file: &str) -> Option<Vec<Story>> {
    Some(read_stories(&expected(file)?))
}

/// The expected stories of the demo model, which lie in the repository. Their texts begin after the prompt.
pub fn demo_stories() -> Vec<Story> {
    let text = include_str!("../../models/demo/expected.json");
    let mut stories = read_stories(&serde_json::from_str(text).expect("it is kept right"));
    stories.iter_mut().for_each(|story| story.text = story.prompt.clone() + &story.text);
    stories
}

fn read_stories(json: &Value) -> Vec<Story> {
    let story = |case: &Value| Story {
        prompt: text(&case["prompt"]).into(),
        prompt_ids: ids(&case["prompt_ids"]),
        ids: ids(&case["generated_ids"]),
        text: text(&case["text"]).into(),
        smallest_gap: case["smallest_gap"].as_f64().expect("a number"),
    };
    json["cases"].as_array().expect("a list of cases").iter().map(story).collect()
}

/// Adapters that no model uses now, and whose devices stay open, so that the tests of a binary compile a kernel once.
///
/// Two models have different ones: of what is done with an instance's GL adapter, one thing waits for the other.
pub fn found() -> Arc<Adapters> {
    static FOUND: Mutex<Vec<Arc<Adapters>>> = Mutex::new(Vec::new());
    let mut all = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let idle = all.iter().find(|found| Arc::strong_count(found) == 1).cloned();
    idle.unwrap_or_else(|| {
        all.push(Arc::new(Adapters::find().keeping_devices()));
        Arc::clone(&all[all.len() - 1])
    })
}

/// The adapters that there are, the host last.
pub fn adapters() -> Vec<Adapter> {
    found().asked_again().list().to_vec()
}

/// The adapters but the host.
pub fn gpus() -> Vec<Adapter> {
    let mut adapters = adapters();
    adapters.retain(|adapter| adapter.kind != Kind::Host);
    if adapters.is_empty() {
        skipped("there is no adapter but the host; install a driver such as Mesa's mesa-vulkan-drivers");
    }
    adapters
}

/// The adapters as an app finds them, with the instance that they are of.
pub fn app_adapters() -> (wgpu::Instance, Vec<wgpu::Adapter>) {
    let mut description = wgpu::InstanceDescriptor::new_without_display_handle();
    description.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(description.with_env());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    (instance, adapters)
}

/// Options that place a model on adapters; where it is placed by default, without any.
pub fn on(adapters: &[&Adapter]) -> Options {
    placed(adapters, Options::default())
}

/// Options that place a model on adapters, with float kernels and an f32 cache only.
pub fn exact(adapters: &[&Adapter]) -> Options {
    on(adapters).exact(true)
}

/// Options that place a model on the host.
pub fn on_host() -> Options {
    Options::default().devices(Devices::adapters(["host"])).found(found())
}

/// Options that place a model on adapters, else as they are.
pub fn placed(adapters: &[&Adapter], options: Options) -> Options {
    let devices = match adapters {
        [] => Devices::Best,
        named => Devices::adapters(named.iter().map(|adapter| adapter.index.to_string())),
    };
    options.devices(devices).found(found())
}

/// Names for messages: `llvmpipe (vulkan) + host`.
pub fn names(adapters: &[&Adapter]) -> String {
    adapters.iter().map(|adapter| adapter.label()).collect::<Vec<_>>().join(" + ")
}

/// A request for this many of the most probable tokens.
pub fn greedy(tokens: usize) -> Request {
    Request { max_tokens: tokens, ignore_eos: true, ..Request::from(Sampling::greedy()) }
}

/// Generates as many tokens as a story has, in a session of its own; gives the ids and the text.
pub fn tell(model: &Model, story: &Story) -> Result<(Vec<u32>, String)> {
    begin_to_tell(model, story, story.ids.len())
}

/// Generates this many tokens of a story.
fn begin_to_tell(model: &Model, story: &Story, tokens: usize) -> Result<(Vec<u32>, String)> {
    let mut session = model.session()?;
    let prompt_ids = session.encode(&story.prompt)?;
    assert_eq!(prompt_ids, story.prompt_ids, "the prompt {:?} has other ids", story.prompt);
    let mut generation = session.generate_tokens(&prompt_ids, greedy(tokens))?;
    let mut text = story.prompt.clone();
    for piece in generation.by_ref() {
        text.push_str(&piece?.text);
    }
    Ok((generation.tokens().to_vec(), text))
}

/// What is wrong with a story that a model tells; `None` if nothing.
pub fn wrong_story(model: &Model, story: &Story) -> Option<String> {
    wrong_beginning(model, story, story.ids.len())
}

/// What is wrong with the first tokens of a story that a model tells; `None` if nothing.
pub fn wrong_beginning(model: &Model, story: &Story, tokens: usize) -> Option<String> {
    let (ids, text) = match begin_to_tell(model, story, tokens) {
        Ok(told) => told,
        Err(error) => return Some(format!("{:?}: {error}", story.prompt)),
    };
    if ids != story.ids[..tokens] {
        let same = ids.iter().zip(&story.ids).take_while(|(a, b)| a == b).count();
        let (found, wanted) = (ids.get(same), story.ids.get(same));
        return Some(format!("{:?}: token {same} is {found:?} instead of {wanted:?}", story.prompt));
    }
    let is_right = if tokens == story.ids.len() { text == story.text } else { story.text.starts_with(&text) };
    (!is_right).then(|| format!("{:?}: the text is {text:?} instead of {:?}", story.prompt, story.text))
}

/// Normalised mean squared error; infinite where the shapes differ.
pub fn nmse(expected: &[f32], computed: &[f32]) -> f64 {
    if expected.len() == computed.len() { reference::nmse(expected, computed) } else { f64::INFINITY }
}

/// Fails with all that went wrong, if anything did.
pub fn none_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
