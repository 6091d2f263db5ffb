//! What mixes choose, against what llama.cpp's quantiser chose for the same shapes (`models/tests/mixes.py`).

use plywood_kernels::formats::{F32, Q8_0};

use super::mixes::{ALL, Facts, Mix};
use super::source::{Content, Tensor};
use super::{Importance, Options, Override, choose};

const CHOSEN: &str = include_str!("../../tests/mixes.txt");

/// The shapes of `mixes.py`: layers, width, feed-forward, heads, heads of keys and values, experts, whether tied.
const SHAPES: [(&str, [usize; 6], bool); 6] = [
    ("stories260k", [5, 64, 172, 8, 4, 0], true),
    ("demo", [5, 256, 512, 8, 4, 0], true),
    ("grouped", [32, 256, 512, 8, 1, 0], false),
    ("alone", [16, 256, 512, 8, 8, 0], false),
    ("large", [80, 256, 256, 8, 1, 0], false),
    ("experts", [8, 256, 256, 8, 2, 8], false),
];

fn options(mix: &'static Mix) -> Options {
    Options { mix, pure: false, overrides: Vec::new(), importance: None::<Importance> }
}

/// The tensor of a role in a layer, as the shape has it.
fn tensor(shape: [usize; 6], role: &str, layer: usize) -> Tensor {
    let [_, width, inner, ..] = shape;
    let name = match role {
        "token_embd" | "output" => format!("{role}.weight"),
        _ => format!("blk.{layer}.{role}.weight"),
    };
    let columns = if role.starts_with("ffn_down") { inner } else { width };
    let shape = if role.ends_with("_exps") { vec![8, 32, columns] } else { vec![32, columns] };
    Tensor { name, shape, format: F32, content: Content::Stored(0) }
}

/// Checks a line: a shape, a mix, whether there is an importance matrix, and the types of each role's layers.
fn check(line: &str) -> Option<String> {
    let mut words = line.split(' ');
    let (shape, mix) = (words.next()?, Mix::find(words.next()?).expect("a mix of this build"));
    let (_, shape, tied) = SHAPES.into_iter().find(|row| row.0 == shape).expect("a shape of this test");
    let [layers, _, _, heads, kv_heads, experts] = shape;
    let weighted = words.next()? == "weighted";
    let facts = Facts { layers, group: heads / kv_heads, experts, tied, weighted };
    let options = options(mix);
    for word in words {
        let (role, runs) = word.split_once('=').expect("a role with types");
        let wanted = runs.split(',').flat_map(|run| {
            let (name, count) = run.split_once('*').expect("a type with a count");
            std::iter::repeat_n(name, count.parse().expect("a count"))
        });
        for (layer, wanted) in wanted.enumerate() {
            let found = choose(&facts, &options, &tensor(shape, role, layer)).0;
            if found.name != wanted {
                return Some(format!("{role} of layer {layer} is {found}, not {wanted}: {line:.40}"));
            }
        }
    }
    None
}

#[test]
fn mixes_are_those_of_llama_cpp() {
    let wrong: Vec<String> = CHOSEN.lines().filter_map(check).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CHOSEN.lines().count(), wrong.join("\n"));
}

#[test]
fn every_mix_was_compared() {
    let compared = |mix: &&Mix| !CHOSEN.lines().any(|line| line.split(' ').nth(1) == Some(mix.name()));
    let missing: Vec<&str> = ALL.iter().filter(compared).map(Mix::name).collect();
    // llama.cpp writes MXFP4 for experts only, and refuses NVFP4.
    assert_eq!(missing, ["mxfp4", "nvfp4"]);
}

/// Checks which of some names a pattern matches.
fn check_pattern(pattern: &str, matched: &[&str]) {
    const NAMES: [&str; 4] =
        ["token_embd.weight", "blk.1.attn_v.weight", "blk.11.attn_v.weight", "blk.1.ffn_up.weight"];
    let by_hand: Override = format!("{pattern}=q8_0").parse().expect("a pattern and a type");
    assert_eq!(by_hand.format, Q8_0);
    let found: Vec<&str> = NAMES.into_iter().filter(|name| by_hand.matches(name)).collect();
    assert_eq!(found, matched, "{pattern}");
}

#[test]
fn patterns_of_names() {
    check_pattern("attn_v", &["blk.1.attn_v.weight", "blk.11.attn_v.weight"]);
    check_pattern("blk.1.", &["blk.1.attn_v.weight", "blk.1.ffn_up.weight"]);
    check_pattern("blk.1*attn", &["blk.1.attn_v.weight", "blk.11.attn_v.weight"]);
    check_pattern("blk.*.ffn", &["blk.1.ffn_up.weight"]);
    check_pattern("Token", &[]);
}
