//! Placement against brute force, and what holds for any model over any devices.

use std::collections::BTreeMap;

use plywood_kernels::kv_cache::KvType;
use proptest::prelude::*;

use super::*;
use crate::placement::demand::Cost;
use crate::placement::device::Speed;
use crate::placement::search::Stage;

const GB: u64 = 1_000_000_000;

/// A device of this many bytes, with its bandwidth in GB/s.
fn device(name: &str, memory: u64, bandwidth: f64) -> Device {
    Device {
        name: name.into(),
        memory,
        pool: 0,
        speed: Speed { bandwidth: bandwidth * 1e9, products: None, link: 12e9, multiply_adds: f64::INFINITY },
        kv_type: KvType::F16,
        last_resort: false,
    }
}

/// Devices with a memory of their own each.
fn devices(list: &[(&str, u64, f64)]) -> Vec<Device> {
    let own = |(pool, (name, memory, bandwidth)): (usize, &(&str, u64, f64))| Device {
        pool,
        ..device(name, *memory, *bandwidth)
    };
    list.iter().enumerate().map(own).collect()
}

fn cost(bytes: u64) -> Cost {
    Cost { weights: bytes, cache: [0; 3], read: bytes, multiply_adds: bytes, dispatches: 10 }
}

/// Layers of a GB each, and ends of as much.
fn demand(layers: usize) -> Demand {
    Demand {
        before: Cost { read: 0, ..cost(GB) },
        layers: vec![cost(GB); layers],
        after: cost(GB),
        tied: 0,
        stage: GB / 2,
        crossing: 16_384,
    }
}

/// The stages as names with their last layers.
fn told(devices: &[Device], stages: &[Stage]) -> Vec<(String, usize)> {
    stages.iter().map(|stage| (devices[stage.device].name.clone(), stage.layers.end)).collect()
}

#[test]
fn owners_cases() {
    let check = |demand: &Demand, list: &[Device], expected: &[(&str, usize)]| {
        let stages = place(demand, list).unwrap_or_default();
        let expected: Vec<(String, usize)> = expected.iter().map(|(name, end)| (name.to_string(), *end)).collect();
        assert_eq!(told(list, &stages), expected);
    };
    let cards = |list: &[(&str, u64, f64)]| devices(&list.iter().map(|(n, m, b)| (*n, m * GB, *b)).collect::<Vec<_>>());
    // One holds it: the fastest that does, and the others stay idle.
    check(&demand(10), &cards(&[("a", 24, 900.0), ("b", 24, 1000.0)]), &[("b", 10)]);
    check(&demand(10), &cards(&[("a", 24, 900.0), ("b", 12, 1000.0)]), &[("a", 10)]);
    // Two equal ones share equally: 0.5 + 1 GB of ends on either.
    check(&demand(20), &cards(&[("a", 16, 900.0), ("b", 16, 900.0)]), &[("a", 10), ("b", 20)]);
    // Of unequal ones the fast one is filled: 13 layers, the output, of which all is read, and what a stage takes are 14.5 GB.
    check(&demand(20), &cards(&[("slow", 16, 450.0), ("fast", 15, 900.0)]), &[("slow", 7), ("fast", 20)]);
    // A slow one with much memory gets what is left, not the whole, nor where two fast ones hold it.
    let large = ("large", 64, 100.0);
    check(&demand(20), &cards(&[large, ("fast", 15, 900.0)]), &[("large", 7), ("fast", 20)]);
    check(&demand(20), &cards(&[large, ("a", 15, 900.0), ("b", 15, 900.0)]), &[("a", 10), ("b", 20)]);
    // Where there is nothing else it is not slow.
    check(&demand(20), &cards(&[large]), &[("large", 20)]);
    check(&demand(20), &cards(&[("small", 8, 900.0), ("b", 8, 900.0)]), &[]);

    // A last resort takes part only where the others together do not hold it, even where it is the fastest.
    let mut list = cards(&[("host", 64, 2000.0), ("a", 11, 900.0), ("b", 13, 900.0)]);
    list[0].last_resort = true;
    check(&demand(20), &list, &[("b", 11), ("a", 20)]);
    list[0].speed.bandwidth = 20e9;
    check(&demand(40), &list, &[("host", 19), ("b", 31), ("a", 40)]);
    // Two devices over one memory hold no more than one.
    let mut list = cards(&[("a", 16, 900.0), ("b", 16, 900.0)]);
    list[1].pool = list[0].pool;
    check(&demand(20), &list, &[]);
}

/// What products reach counts, not what copies do: a device with much memory that was measured to be slow gets what is left.
#[test]
fn what_was_measured_decides() {
    let check = |products: Option<f64>, expected: &[(&str, usize)]| {
        let mut list = devices(&[("large", 64 * GB, 900.0), ("small", 15 * GB, 500.0)]);
        list[0].speed.products = products.map(|rate| rate * 1e9);
        let told_of = |stages: Vec<Stage>| told(&list, &stages);
        let expected: Vec<(String, usize)> = expected.iter().map(|(name, end)| (name.to_string(), *end)).collect();
        assert_eq!(place(&demand(20), &list).map(told_of), Ok(expected), "{products:?} GB/s");
    };
    check(None, &[("large", 20)]);
    check(Some(540.0), &[("large", 20)]);
    // A quarter of the small one's 300 GB/s and less is slow.
    check(Some(76.0), &[("large", 20)]);
    check(Some(60.0), &[("large", 7), ("small", 20)]);
    // In their order too: all but one layer go to the faster of two that have room for them.
    let mut list = devices(&[("a", 64 * GB, 900.0), ("b", 64 * GB, 900.0)]);
    list[0].speed.products = Some(30e9);
    let stages = in_order(&demand(20), &list).expect("there is room");
    assert_eq!(told(&list, &stages), [("a".to_string(), 1), ("b".to_string(), 20)]);
}

#[test]
fn a_tied_embedding_counts_on_both_ends() {
    let tied = Demand { tied: GB, ..demand(2) };
    // 2 layers, the embedding once and what a stage takes: 3.5 GB.
    assert_eq!(tied.bytes(&device("a", 0, 1.0), 0..2), 7 * GB / 2);
    assert!(place(&tied, &devices(&[("a", 7 * GB / 2, 1.0)])).is_ok());
    // One layer, one end and what a stage takes: 2.5 GB on each.
    assert_eq!(
        place(&tied, &devices(&[("a", 5 * GB / 2, 1.0), ("b", 5 * GB / 2, 1.0)])).map(|stages| stages.len()),
        Ok(2)
    );
    let none = place(&tied, &devices(&[("a", 5 * GB / 2, 1.0), ("b", 2 * GB, 1.0)]));
    assert_eq!(none, Err(NoPlace { needed: 7 * GB / 2, available: 9 * GB / 2 }));
}

#[test]
fn named_devices_are_all_used_in_their_order() {
    let list = devices(&[("slow", 64 * GB, 100.0), ("fast", 64 * GB, 900.0)]);
    let stages = in_order(&demand(10), &list).expect("there is room");
    assert_eq!(told(&list, &stages), [("slow".to_string(), 1), ("fast".to_string(), 10)]);
    // Fewer layers than devices.
    assert_eq!(in_order(&demand(1), &list).map(|stages| stages.len()), Ok(1));
    // The host is left out where it is not needed.
    let mut list = devices(&[("gpu", 12 * GB, 900.0), ("host", 64 * GB, 10.0)]);
    list[1].last_resort = true;
    assert_eq!(in_order(&demand(9), &list).map(|stages| stages.len()), Ok(1));
    let stages = in_order(&demand(20), &list).expect("the host holds the rest");
    assert_eq!(told(&list, &stages), [("gpu".to_string(), 10), ("host".to_string(), 20)]);
}

/// What a placement is measured by: last resorts, slow devices, all devices where there are none of these, picoseconds.
type Key = (usize, usize, usize, u64);

fn key(demand: &Demand, devices: &[Device], stages: &[Stage]) -> Key {
    let whole = |device: &Device| demand.time(device, 0..demand.layers.len());
    let fastest = devices.iter().filter(|device| !device.last_resort).map(whole).min().unwrap_or(0);
    let used = || stages.iter().map(|stage| &devices[stage.device]);
    let last = used().filter(|device| device.last_resort).count();
    let slow = used().filter(|device| !device.last_resort && whole(device) > 4 * fastest).count();
    let time = stages.iter().map(|stage| demand.time(&devices[stage.device], stage.layers.clone())).sum();
    (last, slow, if last + slow == 0 { stages.len() } else { 0 }, time)
}

/// The best of all ways to cut a model over devices in any order, tried one by one.
fn brute(demand: &Demand, devices: &[Device], stages: &mut Vec<Stage>, best: &mut Option<Key>) {
    let start = stages.last().map_or(0, |stage| stage.layers.end);
    if start == demand.layers.len() {
        let found = key(demand, devices, stages);
        *best = Some(best.map_or(found, |best| best.min(found)));
        return;
    }
    for device in 0..devices.len() {
        if stages.iter().any(|stage| devices[stage.device].pool == devices[device].pool) {
            continue;
        }
        for end in start + 1..=demand.layers.len() {
            if demand.bytes(&devices[device], start..end) <= devices[device].memory {
                stages.push(Stage { device, layers: start..end });
                brute(demand, devices, stages, best);
                stages.pop();
            }
        }
    }
}

prop_compose! {
    fn any_cost()(weights in 0u64..100, cache in 0u64..20, read in 0u64..=100, multiply_adds in 0u64..100) -> Cost {
        Cost { weights, cache: [4 * cache, 2 * cache, cache], read: read.min(weights) * 1_000_000, multiply_adds, dispatches: 1 }
    }
}

prop_compose! {
    fn any_demand()(
        before in any_cost(), layers in prop::collection::vec(any_cost(), 1..6), after in any_cost(),
        tied in 0u64..100, stage in 0u64..30, crossing in 0u64..100_000,
    ) -> Demand {
        let tied = tied.min(before.weights).min(after.weights);
        Demand { before, layers, after, tied, stage, crossing }
    }
}

prop_compose! {
    fn any_device()(
        name in "[a-c]", memory in 0u64..600, pool in 0usize..5, bandwidth in 1u32..20, last_resort in prop::bool::weighted(0.2),
        f32_cache in any::<bool>(),
    ) -> Device {
        let kv_type = if f32_cache { KvType::F32 } else { KvType::F16 };
        Device { pool, last_resort, kv_type, ..device(&name, memory, f64::from(bandwidth)) }
    }
}

proptest! {
    #[test]
    fn what_always_holds(
        demand in any_demand(), list in prop::collection::vec(any_device(), 1..5), more in 1u64..200, which in any::<prop::sample::Index>(),
        swaps in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 4),
    ) {
        let placed = place(&demand, &list);
        let mut best = None;
        brute(&demand, &list, &mut Vec::new(), &mut best);
        // Never more devices than needed, and never slower than can be; found wherever there is any.
        prop_assert_eq!(placed.as_ref().ok().map(|stages| key(&demand, &list, stages)), best);

        if let Ok(stages) = &placed {
            // Every layer once and in order, never over memory, and no device twice.
            let mut next = 0;
            for stage in stages {
                prop_assert_eq!(stage.layers.start, next);
                prop_assert!(!stage.layers.is_empty());
                next = stage.layers.end;
                let device = &list[stage.device];
                prop_assert!(demand.bytes(device, stage.layers.clone()) <= device.memory);
                prop_assert_eq!(stages.iter().filter(|other| list[other.device].pool == device.pool).count(), 1);
            }
            prop_assert_eq!(next, demand.layers.len());
        }

        // More memory never makes it worse.
        let mut larger = list.clone();
        larger[which.index(list.len())].memory += more;
        if let Ok(stages) = &placed {
            let grown = place(&demand, &larger).expect("what fitted still does");
            prop_assert!(key(&demand, &larger, &grown) <= key(&demand, &list, stages));
        }

        // The order in which devices are listed does not matter.
        let mut shuffled = list.clone();
        for (a, b) in swaps {
            shuffled.swap(a.index(list.len()), b.index(list.len()));
        }
        let values = |list: &[Device], placed: Result<Vec<Stage>, NoPlace>| {
            placed.map(|stages| stages.iter().map(|stage| (list[stage.device].name.clone(), stage.layers.clone())).collect::<Vec<_>>())
        };
        prop_assert_eq!(values(&shuffled, place(&demand, &shuffled)), values(&list, placed));
    }

    /// Sets of twins are looked at once: the others would be placed no better, and the first of them come first.
    #[test]
    fn twins_are_placed_as_well(demand in any_demand(), kinds in prop::collection::vec((any_device(), 1usize..4), 1..3)) {
        let all = kinds.iter().flat_map(|(device, count)| vec![device.clone(); *count]);
        let list: Vec<Device> = all.enumerate().map(|(pool, device)| Device { pool, ..device }).collect();
        let placed = place(&demand, &list);
        let mut best = None;
        brute(&demand, &list, &mut Vec::new(), &mut best);
        prop_assert_eq!(placed.as_ref().ok().map(|stages| key(&demand, &list, stages)), best);
        let mut used: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for stage in placed.iter().flatten() {
            used.entry(&list[stage.device].name).or_default().push(stage.device);
        }
        let of_one_kind = kinds.len() == 1 || kinds[0].0.name != kinds[1].0.name;
        prop_assert!(!of_one_kind || used.values().all(|devices| devices.windows(2).all(|pair| pair[0] + 1 == pair[1])));
    }

    #[test]
    fn the_given_order_is_kept(demand in any_demand(), list in prop::collection::vec(any_device(), 1..5)) {
        if let Ok(stages) = in_order(&demand, &list) {
            prop_assert!(stages.is_sorted_by_key(|stage| stage.device));
            let mut next = 0;
            for stage in &stages {
                prop_assert_eq!(stage.layers.start, next);
                next = stage.layers.end;
                prop_assert!(demand.bytes(&list[stage.device], stage.layers.clone()) <= list[stage.device].memory);
            }
            prop_assert_eq!(next, demand.layers.len());
        }
    }
}
