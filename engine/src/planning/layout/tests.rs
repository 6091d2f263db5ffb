//! Layouts of synthetic models: estimates against plans, and layers that move.

use super::*;
use plywood_kernels::kv_cache::KvType;
use plywood_models::synthetic::Synthetic;

use crate::devices::tuning::Choices;

fn settings(context: usize) -> Settings {
    Settings {
        context,
        kv_type: KvType::F16,
        quantize: None,
        stored: None,
        exact: false,
        threads: None,
        choices: Choices::default(),
        sessions: 2,
        step_tokens: None,
        step_rows: 8,
        max_shard: None,
    }
}

/// Weights and cache are estimated to the byte, wherever a model is cut.
#[test]
fn estimates_are_what_plans_say() {
    let check = |model: &str| {
        let synthetic = Synthetic::named(model).expect("a shape");
        let settings = settings(256);
        let graph = graph(&Graphs::read(&synthetic, &synthetic.config).expect("graphs"), &settings);
        let candidates = crate::devices::hypothetical::from_names("2x RTX 3090").expect("a card");
        let steps = step_limits(&settings, candidates.iter());
        let (demand, devices) = (
            Demand::of(&graph, &steps, &limits(&candidates[0], &settings)),
            candidate::devices(&candidates, KvType::F16),
        );
        let layers = graph.layers();
        for cut in [0, 1, layers / 2, layers - 1, layers] {
            let ranges: Vec<Range<usize>> =
                [0..cut, cut..layers].into_iter().filter(|range| !range.is_empty()).collect();
            for stage in placement::nodes(&graph, &ranges) {
                let plan =
                    StagePlan::new(&graph, stage.nodes, limits(&candidates[0], &settings), steps).expect("a plan");
                let bytes = plan.bytes();
                let estimated = demand.bytes(&devices[0], stage.layers.clone());
                assert_eq!(estimated, bytes.weights + bytes.kv_cache, "{model}: layers {:?}", stage.layers);
            }
        }
    };
    check("tiny:q8_0");
    check("llama-1b:q4_k");
    check("moe-30b:q4_0");
}

/// Where plans take more than was estimated, layers move until they fit: with a slow device in the list, steps are thought to be
/// shorter than they are where it is not used.
#[test]
fn what_is_laid_out_fits() {
    let synthetic = Synthetic::named("llama-8b:q4_k").expect("a shape");
    let graphs = Graphs::read(&synthetic, &synthetic.config).expect("graphs");
    let (mut fitting, mut least) = (0, u64::MAX);
    for room in (1..7 << 4).map(|parts: u64| parts << 26) {
        let text = format!(
            r#"[{{"name": "a", "memory": "24GiB", "free": {room}, "bandwidth": "900GB/s"}},
                {{"name": "b", "memory": "24GiB", "free": "3GiB", "bandwidth": "500GB/s"}},
                {{"name": "slow", "memory": "1GiB", "bandwidth": "20GB/s", "kind": "integrated"}}]"#
        );
        let candidates = crate::devices::hypothetical::from_json(&text).expect("devices");
        match lay_out(&graphs, &settings(8192), &candidates, &PlacementPolicy::Best) {
            Ok(layout) => {
                (fitting, least) = (fitting + 1, least.min(room));
                for stage in &layout.ledger.stages {
                    assert!(stage.available.is_some_and(|room| stage.bytes.total() <= room), "{stage:?}");
                }
                let all: Vec<usize> = layout.stages.iter().flat_map(|stage| stage.nodes.layers.clone()).collect();
                assert!(all.into_iter().eq(0..32));
                // By hand the same stages fit too, and all layers on the second device do not.
                let layers = layout.stages.iter().map(|stage| (stage.device, stage.nodes.layers.clone())).collect();
                assert!(lay_out(&graphs, &settings(8192), &candidates, &PlacementPolicy::Layers(layers)).is_ok());
                let second = lay_out(&graphs, &settings(8192), &candidates, &PlacementPolicy::Split(vec![0, 1, 0]));
                let error = second.map(|_| ()).expect_err("it is too small").to_string();
                assert!(error.contains("b has room for 2.8 GiB and would take"), "{error}");
            }
            Err(Error::DoesNotFit { reason, .. }) => {
                assert!(reason.contains("GiB"), "{reason}");
                assert!(room < least, "with {room} it does not fit, and with {least} it does");
            }
            Err(error) => panic!("{error}"),
        }
    }
    // 4.2 GiB of weights and 2 of cache: with 2.5 of b's three and half a one on the slow one, from 3.7 GiB of a on.
    assert!((3 << 30..4 << 30).contains(&least), "{least}");
    assert!(fitting > 45, "{fitting}");
}

/// Devices in the system's memory have it once, whatever each is told to have: an integrated GPU whose heap is smaller or larger
/// than what the system has, a software driver, and the host. A card beside them has its own.
#[test]
fn the_systems_memory_counts_once() {
    let synthetic = Synthetic::named("llama-8b:q4_k").expect("a shape");
    let graphs = Graphs::read(&synthetic, &synthetic.config).expect("graphs");
    let device = |kind: &str, free: u64| {
        format!(r#"{{"name": "{kind}", "kind": "{kind}", "memory": "64GiB", "free": {free}, "bandwidth": "50GB/s"}}"#)
    };
    // The model takes 4.4 GiB on one device; the most that lies in one pool is counted, and whether it fits at all.
    let laid = |devices: &[(&str, u64)], policy: &PlacementPolicy| {
        let list: Vec<String> = devices.iter().map(|(kind, parts)| device(kind, parts << 28)).collect();
        let candidates = crate::devices::hypothetical::from_json(&format!("[{}]", list.join(", "))).expect("devices");
        let layout = lay_out(&graphs, &settings(512), &candidates, policy).ok()?;
        let in_pool = |pool: usize| {
            let stages = layout.stages.iter().zip(&layout.ledger.stages);
            let mine = stages.filter(|(stage, _)| candidates[stage.device].pool() == pool);
            mine.map(|(_, ledger)| ledger.bytes.total()).sum::<u64>()
        };
        for candidate in &candidates {
            let largest =
                candidates.iter().filter(|other| other.pool() == candidate.pool()).map(|other| other.memory).max();
            let taken = in_pool(candidate.pool());
            assert!(largest.is_some_and(|largest| taken <= largest), "{devices:?}: {taken} of {largest:?}");
        }
        Some(layout.stages.len())
    };
    let split = PlacementPolicy::Split(vec![1, 1]);
    for policy in [&PlacementPolicy::Best, &PlacementPolicy::InOrder, &split] {
        // In quarters of a GiB: two halves in one memory are no whole, and two in two are.
        assert_eq!(laid(&[("integrated", 16), ("host", 16)], policy), None, "{policy:?}");
        assert_eq!(laid(&[("integrated", 16), ("software", 16)], policy), None, "{policy:?}");
        assert!(laid(&[("discrete", 16), ("software", 16)], policy).is_some(), "{policy:?}");
        assert!(laid(&[("discrete", 16), ("integrated", 16)], policy).is_some(), "{policy:?}");
        // One of them has room for the whole: what the others have is a part of it.
        for pair in [
            [("integrated", 24), ("host", 8)],
            [("integrated", 8), ("host", 24)],
            [("software", 24), ("integrated", 24)],
        ] {
            laid(&pair, policy);
        }
    }
    assert_eq!(laid(&[("integrated", 24), ("host", 8)], &PlacementPolicy::Best), Some(1));
}
