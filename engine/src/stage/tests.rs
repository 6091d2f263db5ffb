//! Weights on their way from files to a device's memory.

use std::collections::HashMap;
use std::sync::Arc;

use plywood_kernels::device::{Features, Processor};
use plywood_kernels::formats::{ALL, F16, F32, Q8_0};
use plywood_kernels::lowering::Precision;
use plywood_kernels::matmul::MatMul;
use plywood_kernels::op::Op;
use plywood_kernels::random::{Random, random_blocks};

use super::*;
use crate::devices::tuning::Choices;
use crate::kernels::kv_cache::KvType;
use crate::stage::plan::{Limits, StepLimits};

const STEPS: StepLimits =
    StepLimits { tokens: 8, selected: 1, sequences: 1, context: 8, pages: 1, kv_type: KvType::F32 };

/// Tensors in memory.
struct Tensors(Vec<Vec<u8>>);

impl WeightReader for Tensors {
    fn read(&self, tensor: usize, offset: u64, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(&self.0[tensor][offset as usize..][..bytes.len()]);
        Ok(())
    }
}

/// A matrix of this many columns, stacked from tensors of this many rows in a format each, and the tensors.
fn matrix(columns: usize, parts: &[(Format, usize)]) -> (Arc<Graph>, Tensors) {
    let (mut graph, mut random) = (Graph::default(), Random::new(11));
    let blocks = |(format, rows): &(Format, usize)| random_blocks(*format, rows * columns, 1.0, &mut random);
    let tensors = Tensors(parts.iter().map(blocks).collect());
    let part = |(index, (format, rows)): (usize, &(Format, usize))| WeightPart {
        source: Source::Tensor(index),
        format: *format,
        rows: *rows,
    };
    let parts: Vec<WeightPart> = parts.iter().enumerate().map(part).collect();
    let rows = parts.iter().map(|part| part.rows).sum();
    let weight = graph.weight(Weight { name: "weight".into(), columns, parts, held: None });
    let input = graph.input("input", Rows::Tokens, columns);
    let product = graph.value("product", Rows::Tokens, rows);
    let inputs = [("input", graph.whole(input))];
    graph.node(Op::MatMul(MatMul::PLAIN), &inputs, &[("weight", weight)], None, Some(product));
    graph.outputs.push((Output::Logits, product));
    (Arc::new(graph), tensors)
}

/// Every row arrives where its shard has it, in stretches that fit a staging buffer, given by no more than a row at once where the
/// format is repacked.
#[test]
fn rows_go_straight_to_the_device() {
    let check = |columns: usize, parts: &[(Format, usize)], max_shard: u64| {
        let (graph, tensors) = matrix(columns, parts);
        let features = Features { processor: Processor::Cpu, ..Features::LEAST };
        let limits = Limits {
            device: "test".into(),
            features,
            precision: Precision::Fast,
            threads: None,
            choices: Choices::default(),
            max_binding: 1 << 30,
            max_shard,
            uniform_alignment: 256,
        };
        let plan = StagePlan::new(&graph, 0..1, limits, STEPS).expect("it can be planned");
        let mut buffers: HashMap<Handle, Vec<u8>> = HashMap::new();
        read_weights(&graph, &plan, &tensors, &mut |handle, offset, bytes, fill| {
            let buffer = buffers.entry(handle).or_default();
            assert!(bytes <= READ_BYTES && buffer.len() as u64 == offset, "{bytes} bytes at {offset}");
            fill(&mut |given| buffer.extend_from_slice(given));
            assert_eq!(buffer.len() as u64 - offset, bytes as u64);
            Ok(())
        })
        .expect("it is read");

        let file_rows = parts
            .iter()
            .zip(&tensors.0)
            .flat_map(|((format, rows), tensor)| tensor.chunks(tensor.len() / rows).map(move |row| (*format, row)));
        let mut file_rows = file_rows;
        let weight = plan.weights.values().next().expect("there is a weight");
        for (shard, (handle, _)) in weight.device.shards.iter().zip(&weight.shards) {
            let mut expected = shard.format.table.to_vec();
            for (format, row) in file_rows.by_ref().take(shard.rows as usize) {
                assert_eq!(format, shard.format);
                let mut device_row = vec![0; (format.device_row_bytes)(columns)];
                format.repack_row(row, &mut device_row);
                expected.extend(device_row);
            }
            assert!(buffers[handle] == expected, "{columns} columns of {parts:?} in shards of {max_shard}");
        }
        assert_eq!(file_rows.next(), None);
    };
    for format in ALL {
        let (columns, most) = (4 * format.block_elements, 1 << 20);
        check(columns, &[(format, 5)], most);
        check(columns, &[(format, 5), (F32, 2), (format, 3), (format, 4)], most);
        let table_and_rows = format.table.len() + 2 * (format.device_row_bytes)(columns);
        check(columns, &[(format, 5), (format, 2)], table_and_rows as u64);
    }
    // Rows that are padded, more rows than are read at once, and rows that are longer than that.
    check(33, &[(F16, 3)], 1 << 20);
    check(1024, &[(Q8_0, 9000)], 1 << 30);
    check(READ_BYTES / 4 + 64, &[(F32, 2)], 1 << 30);
    check(READ_BYTES, &[(Q8_0, 2)], 1 << 30);
}
