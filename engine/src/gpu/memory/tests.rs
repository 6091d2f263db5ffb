//! What drivers say of their memory, and what a model takes of it: held against the ledger.

use plywood_kernels::graph::Output;

use super::{of, used};
use crate::devices::adapter::Kind;
use crate::faults::Watch;
use crate::gpu::shared::MEMORY_BLOCK;
use crate::gpu::{FoundAdapter, GpuDevice, STAGING_BYTES, SharedDevice, find};
use crate::session::Rows;
use crate::{Devices, Model, Options};

/// Blocks of wgpu that are partly used: of each kind of memory, one for small buffers, and one for its own.
const PARTLY_USED: u64 = 4 * MEMORY_BLOCK;

/// What a driver and the process may have besides buffers: pipelines, queues, the rest of the engine and other tests. It is the
/// largest block of wgpu's allocator by its defaults.
const BESIDES: u64 = 256 << 20;

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

/// What wgpu's allocator says.
struct Allocated {
    /// Our buffers, and their bytes.
    buffers: usize,
    bytes: u64,
    /// Bytes of the blocks that it has of the driver, for our buffers and its own.
    blocks: u64,
}

/// `None` where wgpu has no allocator: the driver makes each buffer by itself.
fn allocated(device: &wgpu::Device) -> Option<Allocated> {
    // What was submitted holds its staging buffers until it is done.
    device.poll(wgpu::PollType::wait_indefinitely()).expect("the device is there");
    let report = device.generate_allocator_report()?;
    let ours = report.allocations.iter().filter(|allocation| !allocation.name.starts_with("(wgpu internal)"));
    let sizes: Vec<u64> = ours.map(|allocation| allocation.size).collect();
    Some(Allocated { buffers: sizes.len(), bytes: sizes.iter().sum(), blocks: report.total_reserved_bytes })
}

/// Bytes of memory that this process has, in the system's memory.
fn resident() -> u64 {
    let own = sysinfo::get_current_pid().expect("the platform has processes");
    let mut system = sysinfo::System::new().expect("the system tells");
    system.refresh_processes(sysinfo::ProcessesToUpdate::Some(&[own]), false);
    system.process(own).map_or(0, |process| process.memory())
}

/// Loads a model, runs a token, and holds what is then allocated against the ledger.
fn check(found: &FoundAdapter, model: &str) {
    let what = format!("{model} on {}", found.facts.label());
    let opened = GpuDevice::open(&found.adapter, &found.facts, None, &Watch::default()).expect("the device opens");
    let (device, queue) = (opened.device.clone(), opened.queue().clone());
    if allocated(&device).is_none() {
        return println!("{what}: skipped, since wgpu does not tell what it allocates there");
    }
    let before = (used(&found.adapter), resident());
    let shared = vec![SharedDevice { adapter: found.adapter.clone(), device: device.clone(), queue }];
    let options = Options::default().devices(Devices::Shared(shared)).context(512);
    let open = if model == "demo" { Model::open(model, options) } else { Model::synthetic(model, options) };
    let model = open.unwrap_or_else(|error| panic!("{what}: {error}"));
    // The ring through which weights came is gone when they are there.
    let ledger = model.ledger().total() - STAGING_BYTES;
    // DX12 begins each buffer at such an address; drivers of Vulkan round to less than a page.
    let alignment = if found.facts.backend == "dx12" { 64 << 10 } else { 4096 };
    let compare = |when: &str| {
        let Allocated { buffers, bytes, blocks } = allocated(&device).expect("it had an allocator");
        println!("{what}, {when}: {ledger} in the ledger, {bytes} in {buffers} buffers, {blocks} in blocks");
        let rounded = ledger..=ledger + buffers as u64 * alignment;
        assert!(rounded.contains(&bytes), "{what}, {when}: the ledger has {ledger} bytes, and {bytes} are allocated");
        assert!(blocks <= bytes + PARTLY_USED, "{what}, {when}: the ledger has {ledger} bytes, and blocks {blocks}");
    };
    compare("loaded");
    let mut session = model.session().expect("a session is free");
    session.evaluate(&[1], Rows::Last, &[Output::Argmax]).expect("a token runs");
    compare("after a token");

    let after = (used(&found.adapter), resident());
    let software = found.facts.kind == Kind::Software;
    let near = |bytes: i64, whose: &str| {
        let same = bytes.abs_diff(ledger as i64) <= BESIDES;
        assert!(same, "{what}: the ledger has {ledger} bytes, and {whose} {bytes} more than before");
    };
    // A software driver's memory is the process's, as the system sees it.
    let own = after.1.wrapping_sub(before.1) as i64;
    if software {
        println!("{what}: {ledger} in the ledger, and the process has {own} more than before");
        near(own, "the process");
    }
    let (Some(used_before), Some(used_after)) = (before.0, after.0) else {
        return println!("{what}: the driver does not tell what is used");
    };
    let more = used_after.wrapping_sub(used_before) as i64;
    println!("{what}: {ledger} in the ledger, and the driver has {more} more than before");
    // Mesa's llvmpipe tells what the whole system uses: where that is not what this process does, others were at work.
    if software && more.abs_diff(own) > BESIDES / 2 {
        return println!("{what}: the driver's figure is not held against it, since others changed it meanwhile");
    }
    near(more, "the driver");
}

/// What is allocated is what the ledger says: as wgpu's allocator counts, and as the driver does.
#[test]
fn what_is_allocated_is_in_the_ledger() {
    let adapters = find();
    if adapters.is_empty() {
        println!("skipped: no adapter");
    }
    for found in adapters {
        // The large one first: Mesa's llvmpipe keeps what was given back, and uses it again.
        check(&found, "llama-1b:q8_0");
        check(&found, "demo");
    }
}
