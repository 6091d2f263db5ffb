//! `rope(rms_norm(heads))` and the writing of keys and values become one op: three dispatches, or two, are one.

use super::{DeviceNodes, Replacement, Rule};
use crate::graph::{CachedValues, Node, Slice};
use crate::heads::Heads;
use crate::op::Op;

/// The rule.
#[derive(Debug)]
pub struct HeadsAtOnce;

impl Rule for HeadsAtOnce {
    fn name(&self) -> &'static str {
        "heads"
    }

    fn replacement(&self, part: &DeviceNodes, index: usize) -> Option<Replacement> {
        let first = part.nodes.get(index)?;
        let norm = match &first.op {
            Op::RmsNorm(norm) => Some((norm, first)),
            _ => None,
        };
        let replaced = if norm.is_some() { 3 } else { 2 };
        let [rotation, cached] = part.nodes.get(index + replaced - 2..index + replaced)? else { return None };
        let (Op::Rope(rope), Op::KvWrite(_), Some(output), Some(cache)) =
            (&rotation.op, &cached.op, rotation.output, cached.cache)
        else {
            return None;
        };
        let slot = part.graph.caches[cache.0];
        let width = |heads: usize| heads * rope.head_width;
        if rope.heads <= slot.kv_heads || slot.values != CachedValues::Own {
            return None;
        }
        let (heads, of_kv) = (rope.heads - slot.kv_heads, width(slot.kv_heads));

        // Queries, keys and values lie side by side, and what is rotated is that or its norm.
        let rotated = rotation.inputs["input"];
        let given = norm.map_or(rotated, |(_, node)| node.inputs["input"]);
        let whole_norm = norm.is_none_or(|(norm, node)| {
            let value = node.output.expect("a norm writes a value");
            norm.groups == rope.heads && rotated == part.graph.whole(value) && part.is_read_once(value)
        });
        let keys = Slice { value: output, offset: width(heads), width: of_kv };
        let values = Slice { offset: given.offset + given.width, width: of_kv, ..given };
        let are_heads = slot.key_width == rope.head_width && slot.value_width == rope.head_width;
        let groups = heads.is_multiple_of(slot.kv_heads);
        if !whole_norm || !are_heads || !groups || cached.inputs["keys"] != keys || cached.inputs["values"] != values {
            return None;
        }
        let op = Op::Heads(Heads {
            heads,
            norm: norm.map(|(norm, _)| norm.epsilon),
            rotated: rope.rotated,
            pairing: rope.pairing,
        });
        let mut weights = rotation.weights.clone();
        if let Some((_, node)) = norm {
            weights.push("gain", node.weights["weight"]);
        }
        let inputs = [("input", Slice { width: given.width + of_kv, ..given })].into_iter().collect();
        let node = Node { op, inputs, weights, cache: Some(cache), output: Some(output) };
        Some(Replacement { replaced, nodes: vec![node] })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::attention::Attention;
    use crate::cases::Case;
    use crate::fuse::testing::{GPU, HOST, check};
    use crate::fuse::{RULES, rewrite};
    use crate::graph::{CacheSlot, Rows, Weight, needed};
    use crate::kv_cache::KvWrite;
    use crate::rms_norm::RmsNorm;
    use crate::rope::{Pairing, Rope, frequencies, tables};

    const WIDTH: usize = 16;

    /// Four heads of queries over two of keys and values; values that begin as many columns after the keys.
    fn case(is_normed: bool, groups: usize, gap: usize) -> Case {
        let mut case = Case::new("fuse", "heads".into(), 3);
        let qkv = case.graph.input("qkv", Rows::Tokens, 8 * WIDTH + gap);
        let mut given = Slice { value: qkv, offset: 0, width: 6 * WIDTH };
        if is_normed {
            let gain = case.random_weight(&[1], 6 * WIDTH);
            let normed = case.graph.value("normed", Rows::Tokens, 6 * WIDTH);
            let op = Op::RmsNorm(RmsNorm { epsilon: 1e-5, groups });
            case.graph.node(op, &[("input", given)], &[("weight", gain)], None, Some(normed));
            given = case.graph.whole(normed);
        }
        let table = Weight::computed("tables", WIDTH, tables(&frequencies(10_000.0, WIDTH), 8, 1.0));
        let table = case.graph.weight(table);
        let rotated = case.graph.value("rotated", Rows::Tokens, 6 * WIDTH);
        let rope = Op::Rope(Rope { heads: 6, head_width: WIDTH, rotated: WIDTH, pairing: Pairing::Halves });
        case.graph.node(rope, &[("input", given)], &[("tables", table)], None, Some(rotated));
        let slot = case.graph.cache(CacheSlot::plain(2, WIDTH));
        let keys = Slice { value: rotated, offset: 4 * WIDTH, width: 2 * WIDTH };
        let values = Slice { value: qkv, offset: 6 * WIDTH + gap, width: 2 * WIDTH };
        case.graph.node(Op::KvWrite(KvWrite), &[("keys", keys), ("values", values)], &[], Some(slot), None);
        let attended = case.graph.value("attended", Rows::Tokens, 4 * WIDTH);
        let attention = Attention { heads: 4, scale: 0.25, window: None, soft_cap: None };
        let queries = Slice { value: rotated, offset: 0, width: 4 * WIDTH };
        case.graph.node(Op::Attention(attention), &[("queries", queries)], &[], Some(slot), Some(attended));
        case.output(attended);
        case
    }

    /// A step of which nothing is asked still writes the cache.
    #[test]
    fn heads_are_cached_though_nobody_attends() {
        let nodes = rewrite(&case(false, 6, 0).graph, 0..3, GPU, RULES);
        assert_eq!(needed(&nodes, &mut HashSet::new()), [0]);
    }

    #[test]
    fn heads_are_normalised_rotated_and_cached_at_once() {
        for device in [GPU, HOST] {
            check(&case(false, 6, 0), device, 2);
            check(&case(true, 6, 0), device, 2);
            // Where the norm is another, the rest goes on alone, but its values lie elsewhere.
            check(&case(true, 1, 0), device, 4);
            check(&case(false, 6, 16), device, 3);
        }
    }
}
