//! A real model's greedy text, id for id: every weight file, every adapter, every cut between two of them.

use std::time::Instant;

use plywood::adapters::Adapter;
use plywood::{Model, Options};
use plywood_tests::{adapters, exact, expected_stories, names, none_wrong, on, stories, wrong_story};

/// The model's layers.
const LAYERS: u32 = 5;

/// Opens a model and has it tell stories; gives what was wrong, with the placement.
fn check(file: &str, stories_file: &str, options: Options, take: usize, what: &str) -> Vec<String> {
    let (Some(path), Some(stories)) = (stories(file), expected_stories(stories_file)) else { return Vec::new() };
    let begin = Instant::now();
    let split = format!("{:?}", options.split);
    let place = format!("{file} on {what}, split {split}");
    let wrong: Vec<String> = match Model::open(path, options) {
        Err(error) => vec![format!("{place}: {error}")],
        Ok(model) => {
            let wrong = stories.iter().rev().take(take).filter_map(|story| wrong_story(&model, story));
            wrong.map(|wrong| format!("{place}: {wrong}")).collect()
        }
    };
    println!("{place}: {take} stories, {} wrong, {:.1} s", wrong.len(), begin.elapsed().as_secs_f64());
    wrong
}

/// All three stories from a file on every adapter.
fn check_everywhere(file: &str, stories: &str) {
    let adapters = adapters();
    let check = |adapter: &Adapter| check(file, stories, exact(&[adapter]), 3, &adapter.label());
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
        |adapter: &Adapter| check("stories260k-f32.gguf", "greedy_ids.json", on(&[adapter]), 3, &adapter.label());
    none_wrong(&adapters.iter().flat_map(check).collect::<Vec<_>>());
}

/// One story over two adapters, cut behind so many layers: the first may have none, or all.
fn check_cuts(first: &Adapter, second: &Adapter, cuts: impl IntoIterator<Item = u32>) -> Vec<String> {
    let pair = [first, second];
    let check = |cut: u32| {
        let options = Options { split: vec![cut, LAYERS - cut], ..exact(&pair) };
        check("stories260k-f32.gguf", "greedy_ids.json", options, 1, &names(&pair))
    };
    cuts.into_iter().flat_map(check).collect()
}

#[test]
fn one_adapter_twice_cut_everywhere() {
    let adapters = adapters();
    none_wrong(&adapters.iter().flat_map(|adapter| check_cuts(adapter, adapter, 0..=LAYERS)).collect::<Vec<_>>());
}

/// All cuts for the first two adapters, a cut in the middle for every other pair, in both orders.
#[test]
fn two_adapters() {
    let adapters = adapters();
    let mut wrong = Vec::new();
    for first in &adapters {
        for second in adapters.iter().filter(|second| second.index != first.index) {
            let cuts = if (first.index, second.index) == (0, 1) { 0..=LAYERS } else { 2..=2 };
            wrong.extend(check_cuts(first, second, cuts));
        }
    }
    none_wrong(&wrong);
}

/// A stage for every layer, over all adapters in turn.
#[test]
fn a_stage_for_every_layer() {
    let adapters = adapters();
    let stages: Vec<&Adapter> = adapters.iter().cycle().take(LAYERS as usize).collect();
    let options = Options { split: vec![1; stages.len()], ..exact(&stages) };
    none_wrong(&check("stories260k-f16.gguf", "greedy_ids.json", options, 3, &names(&stages)));
}
