//! The demo model that is built into the program.
#![cfg(feature = "demo")]

use plywood_models::tokenizer::EncodeOptions;
use plywood_models::{Model, Weights};

#[test]
fn demo_opens() {
    let model = Model::open("demo").unwrap();
    assert!(model.config.width.is_multiple_of(256) && model.config.feed_forward.is_multiple_of(256));
    assert!(model.config.head_width >= 32);
    assert!(model.checkpoint.files()[0].length() <= 4 << 20);
    assert_eq!(model.graph(model.config.context).unwrap().layers(), model.config.layers);
    let text = "It is a truth universally acknowledged";
    let ids = model.tokenizer.encode(text, EncodeOptions { special: false, bos: true }).unwrap();
    assert_eq!(model.tokenizer.decode(&ids), text);
    let last = model.checkpoint.tensors().len() - 1;
    let mut bytes = vec![0; model.checkpoint.tensors()[last].bytes as usize];
    model.checkpoint.read(last, 0, &mut bytes).unwrap();
}
