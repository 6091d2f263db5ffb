//! Weights and caches cut into shards below the device's binding limit.

use plywood_kernels::Graph;
use plywood_kernels::graph::{CacheId, CachedValues, Weight};
use plywood_kernels::lowering::{DeviceCache, DeviceWeight, Shard};
use plywood_kernels::step::PAGE_TOKENS;

use super::buffers::allot;
use super::{Piece, PlannedCache, PlannedWeight, StagePlan};
use crate::error::Result;
use crate::ledger::Purpose;

impl StagePlan {
    /// Cuts a weight into shards: rows of one format, as many as a binding holds. Of a weight that must not be cut
    /// there is one, or an error.
    pub(super) fn plan_weight(&mut self, weight: &Weight, cut: bool) -> Result<PlannedWeight> {
        let mut planned = PlannedWeight {
            device: DeviceWeight { columns: weight.columns as u32, shards: Vec::new() },
            shards: Vec::new(),
        };
        let mut first_row = 0;
        let mut part = 0;
        while part < weight.parts.len() {
            let format = weight.device_format(&weight.parts[part]);
            let row_bytes = (format.device_row_bytes)(weight.columns) as u64;
            let max_shard = if cut { self.limits.max_shard } else { self.limits.max_binding };
            // A format's table lies before the first row of each shard.
            let table_bytes = format.table.len() as u64;
            let most_rows = (max_shard.saturating_sub(table_bytes) / row_bytes) as usize;
            if most_rows == 0 || (!cut && weight.rows() > most_rows) {
                let rows = if most_rows == 0 { 1 } else { weight.rows() as u64 };
                let bytes = table_bytes + row_bytes * rows;
                return Err(self.binding_error(&weight.name, bytes, "use another adapter"));
            }
            // Parts of one format that follow each other share shards.
            let run = weight.parts[part..].iter().take_while(|next| weight.device_format(next) == format).count();
            let mut pieces: Vec<Piece> =
                (part..part + run).map(|part| Piece { part, rows: 0..weight.parts[part].rows }).collect();
            pieces.reverse();
            while !pieces.is_empty() {
                let (mut shard, mut rows) = (Vec::new(), 0);
                while let Some(mut piece) = pieces.pop() {
                    let take = piece.rows.len().min(most_rows - rows);
                    let rest = piece.rows.start + take..piece.rows.end;
                    piece.rows.end = rest.start;
                    rows += take;
                    if take > 0 {
                        shard.push(Piece { part: piece.part, rows: piece.rows });
                    }
                    if !rest.is_empty() {
                        pieces.push(Piece { part: piece.part, rows: rest });
                        break;
                    }
                }
                let label = if planned.shards.is_empty() {
                    weight.name.clone()
                } else {
                    format!("{} +{first_row}", weight.name)
                };
                let bytes = table_bytes + row_bytes * rows as u64;
                let handle = allot(&mut self.buffers, label, bytes, Purpose::Weights);
                planned.shards.push((handle, shard));
                planned.device.shards.push(Shard {
                    format,
                    first_row,
                    rows: rows as u32,
                    row_stride: (row_bytes / 16) as u32,
                });
                first_row += rows as u32;
            }
            part += run;
        }
        Ok(planned)
    }

    /// Cuts a cache slot into shards: as many KV heads as a binding holds.
    pub(super) fn plan_cache(&mut self, graph: &Graph, cache: CacheId) -> Result<PlannedCache> {
        let slot = graph.caches[cache.0];
        let tokens = (self.steps.pages * PAGE_TOKENS) as u64;
        let head_bytes = |width: usize| tokens * self.steps.kv_type.head_bytes(width);
        let (key_bytes, value_bytes) = (head_bytes(slot.key_width), head_bytes(slot.value_width));
        let most_bytes = key_bytes.max(value_bytes);
        let most_heads = (self.limits.max_shard / most_bytes.max(1)) as usize;
        if most_heads == 0 {
            return Err(self.binding_error("the KV cache of one head", most_bytes, "use a smaller Options::context"));
        }
        let mut heads = Vec::new();
        while heads.iter().sum::<u32>() < slot.kv_heads as u32 {
            heads.push((slot.kv_heads - heads.iter().sum::<u32>() as usize).min(most_heads) as u32);
        }
        let mut shards = Vec::new();
        for heads in &heads {
            let mut allot = |what, head_bytes| {
                let label = format!("{what} of slot {} in {} heads", cache.0, heads);
                allot(&mut self.buffers, label, head_bytes * u64::from(*heads), Purpose::KvCache)
            };
            let keys = allot("keys", key_bytes);
            let values = match slot.values {
                CachedValues::Own => allot("values", value_bytes),
                CachedValues::InKeys => keys,
            };
            shards.push((keys, values));
        }
        let device = DeviceCache {
            slot,
            kv_type: self.steps.kv_type,
            shards: heads,
            context: self.steps.context as u32,
            pages_per_sequence: self.steps.pages_per_sequence() as u32,
        };
        Ok(PlannedCache { device, shards })
    }
}
