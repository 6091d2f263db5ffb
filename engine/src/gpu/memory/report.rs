//! What platforms report of an adapter's memory, and what that means for a model. No device is asked here, so that tests report
//! what platforms were seen to.

use crate::devices::adapter::{Kind, Memory};

/// What a process may take of some memory, others' use of it taken off, and what it has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    pub bytes: u64,
    pub used: u64,
}

/// A heap of Vulkan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heap {
    pub bytes: u64,
    /// Where the driver has `VK_EXT_memory_budget`.
    pub budget: Option<Budget>,
}

/// What a platform reports of an adapter's memory.
#[cfg_attr(not(test), allow(dead_code, reason = "a platform has some of them, tests have all"))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Report {
    /// Vulkan's heaps, and the heap of each memory type that is the device's own, in the driver's order.
    Vulkan { heaps: Vec<Heap>, local: Vec<usize> },
    /// DXGI's description (the device's own memory, and what it may use of the system's), and its budgets: of the memory that
    /// the device prefers, and of what lies behind the bus.
    Dxgi { dedicated: u64, shared: u64, local: Option<Budget>, remote: Option<Budget> },
    /// Metal's recommendation for all that a process allocates, and what this one has.
    Metal { working_set: u64, allocated: u64 },
}

impl Report {
    /// The memory that buffers go to; `None` where there is none.
    pub fn memory(&self, kind: Kind) -> Option<Memory> {
        let (total, budget) = match self {
            Report::Vulkan { heaps, local } => {
                // wgpu puts buffers into the first memory type that is the device's own, and into no other: further heaps are a
                // window into the same memory, or one that it leaves alone.
                let heap = heaps.get(*local.first()?)?;
                (heap.bytes, heap.budget)
            }
            Report::Dxgi { dedicated, shared, local, .. } => {
                let shares = kind == Kind::Integrated;
                (if shares { dedicated.saturating_add(*shared) } else { *dedicated }, *local)
            }
            Report::Metal { working_set, allocated } => {
                (*working_set, Some(Budget { bytes: *working_set, used: *allocated }))
            }
        };
        // No process may have nothing: such a budget is not told. Drivers have reported one above the heap, and a use above it.
        let told = budget.filter(|budget| budget.bytes > 0);
        let free = told.map(|budget| budget.bytes.min(total).saturating_sub(budget.used));
        (total > 0).then_some(Memory { total, free })
    }

    /// Bytes that this process has taken, wherever they lie.
    #[cfg(test)]
    pub fn used(&self) -> Option<u64> {
        let budgets: Vec<Option<Budget>> = match self {
            Report::Vulkan { heaps, .. } => heaps.iter().map(|heap| heap.budget).collect(),
            Report::Dxgi { local, remote, .. } => vec![*local, *remote],
            Report::Metal { allocated, .. } => vec![Some(Budget { bytes: u64::MAX, used: *allocated })],
        };
        let used = budgets.into_iter().flatten().map(|budget| budget.used);
        used.reduce(u64::saturating_add)
    }
}

/// What an integrated GPU has, as a part of the system's memory: no more is free than the system has free. Where it has more
/// than the whole system, its memory was carved out of what the system sees, which then tells nothing of it.
pub(super) fn beside_system(told: Memory, system: Option<Memory>) -> Memory {
    match system {
        Some(Memory { total, free: Some(free) }) if told.total <= total => {
            Memory { free: Some(told.free.unwrap_or(told.total).min(free)), ..told }
        }
        _ => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    /// Sizes of heaps with their budgets and what is used, and the heaps of the device's own memory types.
    fn vulkan(heaps: &[(u64, Option<(u64, u64)>)], local: &[usize]) -> Report {
        let budget = |(bytes, used)| Budget { bytes, used };
        let heap = |(bytes, told): &(u64, Option<(u64, u64)>)| Heap { bytes: *bytes, budget: told.map(budget) };
        Report::Vulkan { heaps: heaps.iter().map(heap).collect(), local: local.to_vec() }
    }

    fn dxgi(dedicated: u64, shared: u64, local: Option<(u64, u64)>) -> Report {
        let local = local.map(|(bytes, used)| Budget { bytes, used });
        Report::Dxgi { dedicated, shared, local, remote: Some(Budget { bytes: 16 * GIB, used: MIB }) }
    }

    /// What a report says: all, what is free, and what is used.
    #[track_caller]
    fn check(report: &Report, kind: Kind, expected: Option<(u64, Option<u64>)>, used: Option<u64>) {
        assert_eq!(report.memory(kind), expected.map(|(total, free)| Memory { total, free }), "{report:?}");
        assert_eq!(report.used(), used, "{report:?}");
    }

    #[test]
    fn vulkan_cards() {
        use Kind::Discrete;
        // A card with others' 1.5 GiB and our 2.
        let told = vulkan(&[(24 * GIB, Some((45 * GIB / 2, 2 * GIB))), (32 * GIB, Some((30 * GIB, MIB)))], &[0]);
        check(&told, Discrete, Some((24 * GIB, Some(41 * GIB / 2))), Some(2 * GIB + MIB));
        // The same before the extension.
        check(&vulkan(&[(24 * GIB, None), (32 * GIB, None)], &[0]), Discrete, Some((24 * GIB, None)), None);
        // NVIDIA without a resizable BAR: a window of 246 MiB into the same memory.
        let window =
            [(8 * GIB, Some((7 * GIB, 0))), (16 * GIB, Some((16 * GIB, 0))), (246 * MIB, Some((240 * MIB, 0)))];
        check(&vulkan(&window, &[0, 2]), Discrete, Some((8 * GIB, Some(7 * GIB))), Some(0));
        // With one, some drivers list the card's memory twice.
        let twice = [(16 * GIB, Some((15 * GIB, GIB))), (16 * GIB, Some((15 * GIB, 0)))];
        check(&vulkan(&twice, &[0, 1]), Discrete, Some((16 * GIB, Some(14 * GIB))), Some(GIB));
        // The device's own types begin with the second heap.
        let after = [(16 * GIB, None), (12 * GIB, Some((11 * GIB, 0)))];
        check(&vulkan(&after, &[1, 1]), Discrete, Some((12 * GIB, Some(11 * GIB))), Some(0));
    }

    #[test]
    fn vulkan_integrated() {
        use Kind::Integrated;
        // An AMD APU on Windows: its memory, and 256 MiB of it that the CPU sees too.
        let apu = [(2 * GIB, Some((2 * GIB, 0))), (7 * GIB, Some((6 * GIB, 0))), (256 * MIB, Some((256 * MIB, 0)))];
        check(&vulkan(&apu, &[0, 2]), Integrated, Some((2 * GIB, Some(2 * GIB))), Some(0));
        // One whose own memory is those 256 MiB only.
        let small = [(15 * GIB, Some((14 * GIB, 0))), (256 * MIB, Some((256 * MIB, 0)))];
        check(&vulkan(&small, &[1]), Integrated, Some((256 * MIB, Some(256 * MIB))), Some(0));
        // One heap for all, as Intel's and most others'.
        check(&vulkan(&[(12 * GIB, None)], &[0, 0]), Integrated, Some((12 * GIB, None)), None);
    }

    #[test]
    fn what_cannot_be_true() {
        use Kind::Discrete;
        let one = |bytes, budget, used| vulkan(&[(bytes, Some((budget, used)))], &[0]);
        // A budget above the heap, a use above the budget, no budget, numbers that wrapped.
        check(&one(GIB, 2 * GIB, 0), Discrete, Some((GIB, Some(GIB))), Some(0));
        check(&one(4 * GIB, 2 * GIB, 3 * GIB), Discrete, Some((4 * GIB, Some(0))), Some(3 * GIB));
        check(&one(4 * GIB, 0, GIB), Discrete, Some((4 * GIB, None)), Some(GIB));
        check(&one(2 * GIB, 2 * GIB, u64::MAX - GIB), Discrete, Some((2 * GIB, Some(0))), Some(u64::MAX - GIB));
        check(&one(u64::MAX, u64::MAX, 0), Discrete, Some((u64::MAX, Some(u64::MAX))), Some(0));
        check(&one(u64::MAX, u64::MAX, u64::MAX), Discrete, Some((u64::MAX, Some(0))), Some(u64::MAX));
        let most = (u64::MAX, Some((u64::MAX, u64::MAX)));
        check(&vulkan(&[most, most], &[0, 1]), Discrete, Some((u64::MAX, Some(0))), Some(u64::MAX));
        // No heaps, a heap of nothing, none that is the device's own, a heap that is not there.
        check(&vulkan(&[], &[]), Discrete, None, None);
        check(&one(0, 0, 0), Discrete, None, Some(0));
        check(&vulkan(&[(GIB, None)], &[]), Discrete, None, None);
        check(&vulkan(&[(GIB, None)], &[7]), Discrete, None, None);
    }

    #[test]
    fn dxgi_adapters() {
        use Kind::{Discrete, Integrated};
        // A card has what is its own; an integrated GPU also what it may have of the system's.
        let card = dxgi(12 * GIB, 16 * GIB, Some((11 * GIB, GIB)));
        check(&card, Discrete, Some((12 * GIB, Some(10 * GIB))), Some(GIB + MIB));
        let integrated = dxgi(128 * MIB, 8 * GIB, Some((7 * GIB, GIB)));
        check(&integrated, Integrated, Some((8 * GIB + 128 * MIB, Some(6 * GIB))), Some(GIB + MIB));
        // Intel's budget has been above what there is.
        check(&dxgi(0, 8 * GIB, Some((9 * GIB, GIB))), Integrated, Some((8 * GIB, Some(7 * GIB))), Some(GIB + MIB));
        check(&dxgi(12 * GIB, 16 * GIB, None), Discrete, Some((12 * GIB, None)), Some(MIB));
        check(&dxgi(12 * GIB, 0, Some((0, 0))), Discrete, Some((12 * GIB, None)), Some(MIB));
        check(&dxgi(0, 0, Some((GIB, 0))), Discrete, None, Some(MIB));
        let most = Some((u64::MAX, u64::MAX));
        check(&dxgi(u64::MAX, u64::MAX, most), Integrated, Some((u64::MAX, Some(0))), Some(u64::MAX));
    }

    #[test]
    fn metal_devices() {
        let told = |working_set, allocated| Report::Metal { working_set, allocated };
        // An M2 of 16 GiB recommends two thirds.
        let m2 = told(11_453_251_584, GIB);
        check(&m2, Kind::Integrated, Some((11_453_251_584, Some(11_453_251_584 - GIB))), Some(GIB));
        check(&told(8 * GIB, 9 * GIB), Kind::Discrete, Some((8 * GIB, Some(0))), Some(9 * GIB));
        check(&told(u64::MAX, 0), Kind::Integrated, Some((u64::MAX, Some(u64::MAX))), Some(0));
        check(&told(0, GIB), Kind::Integrated, None, Some(GIB));
    }

    #[test]
    fn integrated_gpus_have_the_systems_memory() {
        let memory = |(total, free): (u64, Option<u64>)| Memory { total, free };
        let check = |told, system: Option<(u64, Option<u64>)>, free| {
            let beside = beside_system(memory(told), system.map(memory));
            assert_eq!(beside, Memory { total: told.0, free }, "{told:?} beside {system:?}");
        };
        let system = Some((16 * GIB, Some(6 * GIB)));
        // The lesser of what both have free.
        check((12 * GIB, Some(11 * GIB)), system, Some(6 * GIB));
        check((12 * GIB, Some(5 * GIB)), system, Some(5 * GIB));
        check((16 * GIB, Some(16 * GIB)), system, Some(6 * GIB));
        // Where the GPU's platform tells only the whole, the system tells what is free.
        check((12 * GIB, None), system, Some(6 * GIB));
        check((4 * GIB, None), system, Some(4 * GIB));
        // 96 GiB of 128 carved out: the system sees 32.
        check((96 * GIB, Some(90 * GIB)), Some((32 * GIB, Some(20 * GIB))), Some(90 * GIB));
        check((96 * GIB, None), Some((32 * GIB, Some(20 * GIB))), None);
        // A system that tells nothing, or not all.
        check((12 * GIB, Some(11 * GIB)), None, Some(11 * GIB));
        check((12 * GIB, None), Some((16 * GIB, None)), None);
        check((u64::MAX, Some(u64::MAX)), Some((u64::MAX, Some(u64::MAX))), Some(u64::MAX));
    }
}
