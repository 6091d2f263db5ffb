//! What drivers say of their memory.

use super::{of, used};
use crate::adapters::Kind;
use crate::gpu::find;

#[test]
fn adapters_tell_their_memory() {
    for found in find() {
        let (facts, memory) = (&found.facts, of(&found.adapter, found.facts.kind));
        println!("{}: {memory:?}, used {:?}", facts.label(), used(&found.adapter));
        if facts.backend != "gl" || facts.kind == Kind::Software {
            let memory = memory.expect("the platform tells");
            assert!(memory.total > 0 && memory.free.is_none_or(|free| free <= memory.total), "{memory:?}");
        }
    }
}
