//! A real model's greedy text, id for id: every weight file, every adapter, every cut over two, three and four of them.

use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use plywood::devices::{Adapter, Adapters};
use plywood::gpu::SharedDevice;
use plywood::gpu::wgpu;
use plywood::kernels::graph::Output;
use plywood::{Devices, Layers, Model, Options, Rows};
use plywood_tests::{
    Story, adapters, app_adapters, demo_stories, exact, expected_stories, names, none_wrong, on, skipped, stories,
    wrong_beginning, wrong_story,
};

/// The layers of either model.
const LAYERS: u32 = 5;

/// The places of the expected stories; the second is that of "Once upon a time".
const ALL: Range<usize> = 0..3;
const ONCE: Range<usize> = 1..2;

/// Opens a model and has it tell some of the stories; gives what was wrong, with the placement.
fn check(file: &str, stories_file: &str, options: Options, told: Range<usize>, what: &str) -> Vec<String> {
    let (Some(path), Some(stories)) = (stories(file), expected_stories(stories_file)) else { return Vec::new() };
    let begin = Instant::now();
    let place = format!("{file} on {what}, layers {:?}", options.layers);
    let wrong: Vec<String> = match Model::open(path, options) {
        Err(error) => vec![format!("{place}: {error}")],
        Ok(model) => {
            let wrong = stories[told.clone()].iter().filter_map(|story| wrong_story(&model, story));
            wrong.map(|wrong| format!("{place}: {wrong}")).collect()
        }
    };
    println!("{place}: stories {told:?}, {} wrong, {:.1} s", wrong.len(), begin.elapsed().as_secs_f64());
    wrong
}

/// All three stories from a file on every adapter.
fn check_everywhere(file: &str, stories: &str) {
    let adapters = adapters();
    let check = |adapter: &Adapter| check(file, stories, exact(&[adapter]), ALL, &adapter.label());
    none_wrong(&adapters.iter().flat_map(check).collect::<Vec<_>>());
}

#[test]
fn f32_file() {
    check_everywhere("stories260k-f32.gguf", "greedy_ids.json");
}

#[test]
fn f16_file() {
    check_everywhere("stories260k-f16.gguf", "greedy_ids.json");
}

#[test]
fn directory() {
    check_everywhere("hf", "greedy_ids.json");
}

/// Q8_0 beside F16. One of its gaps is only 0.0007, which float kernels keep.
#[test]
fn mixed_file() {
    check_everywhere("stories260k-mixed.gguf", "greedy_mixed_ids.json");
}

/// f16 storage where the device has it, and an f16 cache.
#[test]
fn f32_file_not_exact() {
    let adapters = adapters();
    let check =
        |adapter: &Adapter| check("stories260k-f32.gguf", "greedy_ids.json", on(&[adapter]), ALL, &adapter.label());
    none_wrong(&adapters.iter().flat_map(check).collect::<Vec<_>>());
}

/// Sets of adapters, each a stage in this order, over which both models are cut at every layer boundary.
const SETS: [&[&str]; 9] = [
    &["vulkan:llvmpipe", "vulkan:swiftshader"],
    &["vulkan:swiftshader", "vulkan:llvmpipe"],
    &["vulkan:llvmpipe", "gl:llvmpipe"],
    &["vulkan:llvmpipe", "vulkan:llvmpipe"],
    &["vulkan:llvmpipe", "vulkan:swiftshader", "gl:llvmpipe"],
    &["vulkan:llvmpipe", "vulkan:swiftshader", "host"],
    &["vulkan:llvmpipe", "gl:llvmpipe", "host"],
    &["vulkan:llvmpipe", "vulkan:llvmpipe", "host"],
    &["vulkan:llvmpipe", "vulkan:swiftshader", "gl:llvmpipe", "host"],
];

/// Tokens of the story that are told over every cut.
const CUT_TOKENS: usize = 48;

/// The gap of logits that may be rounded either way.
const GAP: f64 = 1e-3;

/// All ways to give layers to this many stages, each of which has one at least.
fn cuts(layers: u32, stages: usize) -> Vec<Vec<u32>> {
    if stages == 1 {
        return vec![vec![layers]];
    }
    let begun = |first: u32| {
        let rest = cuts(layers - first, stages - 1).into_iter();
        rest.map(move |rest| [vec![first], rest].concat()).collect::<Vec<_>>()
    };
    (1..=layers + 1 - stages as u32).flat_map(begun).collect()
}

#[test]
fn every_cut_is_tried() {
    assert_eq!(cuts(3, 2), [[1, 2], [2, 1]]);
    assert_eq!([2, 3, 4, 5].map(|stages| cuts(LAYERS, stages).len()), [4, 6, 4, 1]);
}

/// Has a model begin a story over a set of adapters, with this many layers on each; gives what was wrong.
///
/// The same ids or a first difference where two logits are nearer than [`GAP`] would do. Nowhere in these stories two are, so that the ids
/// must be the same.
fn check_split(path: &Path, story: &Story, set: &[&Adapter], split: Vec<u32>) -> Option<String> {
    assert!(story.smallest_gap >= GAP, "{:?} has a gap of {}", story.prompt, story.smallest_gap);
    let place = format!("{} on {}, split {split:?}", path.display(), names(set));
    let begin = Instant::now();
    let wrong = match Model::open(path, exact(set).layers(Layers::Split(split))) {
        Ok(model) => {
            assert_eq!(model.config().layers as u32, LAYERS);
            wrong_beginning(&model, story, CUT_TOKENS)
        }
        Err(error) => Some(error.to_string()),
    };
    println!("{place}: {:.1} s", begin.elapsed().as_secs_f64());
    wrong.map(|wrong| format!("{place}: {wrong}"))
}

/// Cuts a model everywhere over every set whose adapters are there.
fn check_sets(path: &Path, story: &Story) {
    let (adapters, mut wrong) = (Adapters::find(), Vec::new());
    for set in SETS {
        let Ok(chosen) = adapters.choose(&set.iter().map(|entry| entry.to_string()).collect::<Vec<_>>()) else {
            skipped(&format!("not all of {set:?} are there"));
            continue;
        };
        let stages = cuts(LAYERS, set.len()).into_iter();
        wrong.extend(stages.filter_map(|split| check_split(path, story, &chosen, split)));
    }
    none_wrong(&wrong);
}

#[test]
fn stories_cut_everywhere() {
    let (Some(path), Some(stories)) = (stories("stories260k-f32.gguf"), expected_stories("greedy_ids.json")) else {
        return;
    };
    check_sets(&path, &stories[ONCE.start]);
}

/// Needs no test data.
#[test]
fn demo_cut_everywhere() {
    check_sets(Path::new("demo"), &demo_stories()[ONCE.start]);
}

/// Any two adapters, whatever they are, in both orders and each with itself: cut in the middle, and with a first or a last stage that has no
/// layers.
#[test]
fn any_two_adapters() {
    let (Some(path), Some(stories)) = (stories("stories260k-f32.gguf"), expected_stories("greedy_ids.json")) else {
        return;
    };
    let (adapters, mut wrong) = (adapters(), Vec::new());
    for first in &adapters {
        for second in &adapters {
            for cut in [0, 2, LAYERS] {
                // Without layers it is the same whatever the other adapter is.
                if cut == 2 || second.index == first.index || second.index == first.index + 1 {
                    let split = vec![cut, LAYERS - cut];
                    wrong.extend(check_split(&path, &stories[ONCE.start], &[first, second], split));
                }
            }
        }
    }
    none_wrong(&wrong);
}

/// A stage for every layer, over all adapters in turn.
#[test]
fn a_stage_for_every_layer() {
    let adapters = adapters();
    let stages: Vec<&Adapter> = adapters.iter().cycle().take(LAYERS as usize).collect();
    let options = exact(&stages).layers(Layers::Split(vec![1; stages.len()]));
    none_wrong(&check("stories260k-f16.gguf", "greedy_ids.json", options, ALL, &names(&stages)));
}

/// The model in the binary, Q8_0 with heads of 32 and more, against transformers in float64. Needs no test data.
#[test]
fn demo() {
    let stories = demo_stories();
    let mut wrong = Vec::new();
    for adapter in adapters() {
        let begin = Instant::now();
        let model = Model::open("demo", exact(&[&adapter])).expect("the model opens");
        let told = stories.iter().filter_map(|story| wrong_story(&model, story));
        wrong.extend(told.map(|wrong| format!("{}: {wrong}", adapter.label())));
        println!("demo on {}: {} stories, {:.1} s", adapter.label(), stories.len(), begin.elapsed().as_secs_f64());
    }
    none_wrong(&wrong);
}

/// An app's own device, with what the engine asks for and with no more than wgpu promises anywhere.
#[test]
fn on_a_device_of_the_app() {
    let Some(stories) = expected_stories("greedy_ids.json") else { return };
    let path = plywood_tests::stories("stories260k-f32.gguf").expect("the data are there");
    for adapter in app_adapters().1 {
        let most = (plywood::gpu::required_features(&adapter), plywood::gpu::required_limits(&adapter));
        for (features, limits) in [most, (wgpu::Features::empty(), wgpu::Limits::default())] {
            let description = wgpu::DeviceDescriptor {
                label: Some("app"),
                required_features: features,
                required_limits: limits,
                ..Default::default()
            };
            let what = format!("{} with {features:?}", adapter.get_info().name);
            let opened = pollster::block_on(adapter.request_device(&description));
            let (device, queue) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
            let shared = vec![SharedDevice { adapter: adapter.clone(), device, queue }];
            let model = Model::open(&path, Options::default().devices(Devices::Shared(shared)).exact(true));
            let model = model.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(wrong_story(&model, &stories[1]), None, "{what}");
            println!("{what}: as expected");
        }
    }
}

/// A device that goes away is an error of every step from then on: no panic, no hang.
#[test]
fn a_device_that_goes_away() {
    let Some(path) = plywood_tests::stories("stories260k-f32.gguf") else { return };
    for adapter in app_adapters().1 {
        let what = adapter.get_info().name;
        let description = wgpu::DeviceDescriptor {
            required_limits: plywood::gpu::required_limits(&adapter),
            ..wgpu::DeviceDescriptor::default()
        };
        let opened = pollster::block_on(adapter.request_device(&description));
        let (device, queue) = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
        let shared = vec![SharedDevice { adapter, device: device.clone(), queue }];
        let model = Model::open(&path, Options::default().devices(Devices::Shared(shared))).expect("the model opens");
        let mut session = model.session().expect("a session is free");
        session.evaluate(&[1, 2, 3], Rows::Last, &[Output::Argmax]).expect("the device is there");
        device.destroy();
        for _ in 0..2 {
            let gone = session.evaluate(&[4], Rows::Last, &[Output::Argmax]).expect_err("the device is gone");
            println!("{what}: {gone}");
        }
    }
}
