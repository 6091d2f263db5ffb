//! Plans: the cases that owners argue about, and that a plan and what is loaded are one.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use plywood::devices::hypothetical;
use plywood::devices::{Adapter, Kind};
use plywood::kernels::Format;
use plywood::kernels::kv_cache::KvType;
use plywood::ledger::LedgerStage;
use plywood::planning::{self, Plan};
use plywood::{Context, Devices, Error, Layers, Model, Options};
use plywood_tests::command::{finish, start};
use plywood_tests::{adapters, on, skipped};
use serde_json::{Value, json};

const GIB: f64 = 1_073_741_824.0;

/// A model over devices: what is asked, and what must come out.
struct Case {
    /// What owners call it.
    what: &'static str,
    model: &'static str,
    /// Names of cards, or JSON of devices.
    devices: &'static str,
    context: usize,
    kv_type: KvType,
    /// The stages' devices, and which layers they may begin with, from the least to the most; none where it does not fit.
    stages: &'static [(&'static str, usize, usize)],
    /// Parameters in all matrices and bits to each, for the bytes of weights.
    weights: (f64, f64),
    /// What advice must begin with, in order.
    advice: &'static [&'static str],
}

impl Case {
    const fn new(what: &'static str, model: &'static str, devices: &'static str, context: usize) -> Case {
        Case { what, model, devices, context, kv_type: KvType::F16, stages: &[], weights: (0.0, 0.0), advice: &[] }
    }
}

// Parameters are those of the shapes' matrices: vocabulary × width, twice where the output is not tied, and for each layer
// width × (2 queries + 2 keys) + 3 × width × feed-forward, by the experts where there are some.
// 70B: 2 × 128256 × 8192 + 80 × (8192 × (2 × 8192 + 2 × 1024) + 3 × 8192 × 28672) = 70.55e9.
const LLAMA_70B: f64 = 70.552e9;
// 8B: 2 × 128256 × 4096 + 32 × (4096 × (2 × 4096 + 2 × 1024) + 3 × 4096 × 14336) = 8.03e9.
const LLAMA_8B: f64 = 8.030e9;
// 7B: 2 × 32000 × 4096 + 32 × (4096 × 4 × 4096 + 3 × 4096 × 11008) = 6.738e9.
const LLAMA_7B: f64 = 6.738e9;
// 32B: 2 × 152064 × 5120 + 64 × (5120 × (2 × 5120 + 2 × 1024) + 3 × 5120 × 27648) = 32.76e9.
const QWEN_32B: f64 = 32.763e9;

const CASES: &[Case] = &[
    // 70.55e9 × 4.5 / 8 are 37.0 GiB, a cache of 80 × 2048 numbers of 2 bytes for 32768 tokens 10 GiB: 47 of 45.6; with 17 bytes
    // for 16 numbers 5.3.
    Case {
        advice: &[
            "Options::context = 2",
            "Options::kv_type = q8_0",
            "a file of the model in about IQ4_XS",
            "1 more RTX 3090",
        ],
        ..Case::new("70B in 4 bits with 32k on two 24 GB cards", "llama-70b:q4_k", "2x RTX 3090", 32_768)
    },
    Case {
        stages: &[("RTX 3090", 0, 0), ("RTX 3090", 38, 42)],
        weights: (LLAMA_70B, 4.5),
        ..Case::new("the same with 16k", "llama-70b:q4_k", "2x RTX 3090", 16_384)
    },
    // 37 GiB are more than a card whatever the context; 2 bits are 70.55e9 × 2.6 / 8 = 21.6 GiB, and no room for 10 GiB of cache.
    Case { advice: &["2 more RTX 3090"], ..Case::new("the same on one card", "llama-70b:q4_k", "RTX 3090", 32_768) },
    Case {
        stages: &[("RTX 3090", 0, 0)],
        weights: (LLAMA_8B, 4.5),
        ..Case::new("8B on 24 GB with a second card idle", "llama-8b:q4_k", "2x RTX 3090", 8192)
    },
    // 32.76e9 × 8.5 / 8 are 32.4 GiB.
    Case {
        stages: &[("RTX 3090", 0, 0), ("RTX 3090", 29, 35)],
        weights: (QWEN_32B, 8.5),
        ..Case::new("32B in Q8_0 on two cards", "qwen-32b:q8_0", "2x RTX 3090", 8192)
    },
    // 70.55e9 × 3.4375 / 8 are 28.2 GiB; the fast card is filled, and has the output matrix, which is read.
    Case {
        stages: &[("RTX 3060 12GB", 0, 0), ("RTX 3090", 15, 30)],
        weights: (LLAMA_70B, 3.4375),
        ..Case::new("70B in 3 bits on 24 + 12 GB", "llama-70b:q3_k", "RTX 3060, RTX 3090", 8192)
    },
    // Weights of 4.2 GiB and a cache of 32 × 2048 numbers of 2 bytes for 32768 tokens, 4 GiB, of 11.4.
    Case {
        stages: &[("RTX 3060 12GB", 0, 0)],
        weights: (LLAMA_8B, 4.5),
        ..Case::new("8B with 32k in f16 on 12 GB", "llama-8b:q4_k", "RTX 3060", 32_768)
    },
    // The cache in f32 is 8 GiB: 12.2 of 11.4.
    Case {
        kv_type: KvType::F32,
        advice: &[
            "Options::context = 2",
            "Options::kv_type = f16",
            "a file of the model in about",
            "1 more RTX 3060 12GB",
        ],
        ..Case::new("8B with 32k in f32 on 12 GB", "llama-8b:q4_k", "RTX 3060", 32_768)
    },
    // 6.738e9 × 16 / 8 are 12.55 GiB, a cache of 32 × 8192 numbers of 2 bytes for 4096 tokens 2 GiB, of 15.2.
    Case {
        stages: &[("RTX 4080", 0, 0)],
        weights: (LLAMA_7B, 16.0),
        ..Case::new("7B in f16 on 16 GB", "llama-7b:f16", "RTX 4080", 4096)
    },
    // The same on 12 GB: floats can be quantised while they load.
    Case {
        advice: &["Options::quantize = q8_0", "1 more RTX 4070"],
        ..Case::new("7B in f16 on 12 GB", "llama-7b:f16", "RTX 4070", 4096)
    },
    // 70.55e9 × 8.5 / 8 are 69.8 GiB of 144.
    Case {
        stages: &[("M2 Ultra 192GB", 0, 0)],
        weights: (LLAMA_70B, 8.5),
        ..Case::new("70B in Q8_0 in 192 GB of unified memory", "llama-70b:q8_0", "M2 Ultra 192GB", 32_768)
    },
    // 140.6e9 × 4.5 / 8 are 73.7 GiB of 45.6.
    Case {
        advice: &["a file of the model in about Q2_K", "2 more RTX 3090"],
        ..Case::new("Mixtral 8x22B in 4 bits on two 24 GB cards", "moe-141b:q4_k", "2x RTX 3090", 8192)
    },
    // The first card has 20 GiB for it: layers move to the second.
    Case {
        stages: &[("RTX 3090", 0, 0), ("RTX 3090", 34, 46)],
        weights: (LLAMA_70B, 4.5),
        ..Case::new(
            "a display on the first card",
            "llama-70b:q4_k",
            r#"[{"name": "RTX 3090", "free": "20.25GiB"}, {"name": "RTX 3090", "free": "23.5GiB"}]"#,
            8192,
        )
    },
    // The card alone has 22.8 GiB for 37: what is left runs on the CPU, since the list has a host.
    Case {
        stages: &[("host", 0, 0), ("RTX 3090", 32, 48)],
        weights: (LLAMA_70B, 4.5),
        ..Case::new(
            "70B in 4 bits on a card and the host",
            "llama-70b:q4_k",
            r#"[{"name": "RTX 3090"}, {"name": "host", "kind": "host", "memory": "64GiB", "bandwidth": "60GB/s"}]"#,
            4096,
        )
    },
];

fn planned(case: &Case) -> Plan {
    let devices = if case.devices.starts_with('[') { hypothetical::from_json } else { hypothetical::from_names };
    let options = Options::default().context(case.context).kv_type(case.kv_type);
    let devices = devices(case.devices).expect("the devices are known");
    planning::plan_synthetic(case.model, &options, Some(devices)).expect("the model is planned")
}

fn check(case: &Case) {
    let (what, plan) = (case.what, planned(case));
    println!("{what}: {}", serde_json::to_string(&plan).expect("it is JSON"));
    assert_eq!((plan.fits, plan.context), (!case.stages.is_empty(), case.context), "{what}: {:?}", plan.reason);
    assert_eq!(plan.stages.len(), case.stages.len(), "{what}");
    for (stage, (device, least, most)) in plan.stages.iter().zip(case.stages) {
        let (first, _) = stage.layers.expect("every stage has layers");
        assert_eq!(stage.adapter, *device, "{what}");
        assert!((*least..=*most).contains(&first), "{what}: a stage begins with layer {first}, not {least} to {most}");
        assert!(stage.available.is_some_and(|available| stage.bytes.total() <= available), "{what}: {stage:?}");
    }
    if plan.fits {
        let weights: u64 = plan.stages.iter().map(|stage| stage.bytes.weights).sum();
        let expected = case.weights.0 * case.weights.1 / 8.0;
        // Norms and tables of rotations besides, and rows padded to 16 bytes.
        let more = weights as f64 / expected - 1.0;
        assert!((0.0..0.02).contains(&more), "{what}: {:.2} GiB, not {:.2}", weights as f64 / GIB, expected / GIB);
        // No device reads its weights faster than its memory.
        let rate = plan.expected.expect("it fits").decode_tokens_per_s;
        assert!(rate > 0.01 && rate < 4800e9 / expected, "{what}: {rate} tokens/s");
    }
    let fits = plan.advice.len() == case.advice.len();
    let begins = plan.advice.iter().zip(case.advice).all(|(advice, begin)| advice.starts_with(begin));
    assert!(fits && begins, "{what}: {:?}, not {:?}", plan.advice, case.advice);
}

#[test]
fn the_cases_of_owners() {
    CASES.iter().for_each(check);
}

/// Every flag that is advised makes it fit, and `fit` takes the first; `max` finds the largest context.
#[test]
fn advice_works_when_it_is_followed() {
    let devices = || Some(hypothetical::from_names("RTX 3060").expect("a card"));
    let plan = |options: &Options| planning::plan_synthetic("llama-8b:f16", options, devices()).expect("it is planned");
    let asked = || Options::default().context(131_072).kv_type(KvType::F32);
    let without = plan(&asked());
    assert!(!without.fits);
    // 8 billion weights of 16 bits are 15 GiB of 11.4: no context would do, and quantised, 32 GiB of cache neither. Together they do: 7.9 GiB of
    // weights and 34 KiB of cache for a token, of which there are less than 55,000 in the rest.
    let together = "Options::context = 51968 and Options::kv_type = q8_0 and Options::quantize = q8_0";
    assert_eq!(without.advice, [together, "4 more RTX 3060 12GB"]);
    let quantize = Format::from_name("q8_0");
    let kv_type = KvType::from_name("q8_0").expect("a type");
    let followed = |context| Options::default().context(context).kv_type(kv_type).quantize(quantize);
    assert!(plan(&followed(51_968)).fits && !plan(&followed(51_968 + 256)).fits);
    let fitted = plan(&asked().fit(true));
    assert!(fitted.fits && fitted.notes[0].contains(together), "{:?}", fitted.notes);

    let asked = || asked().context(4096);
    let without = plan(&asked());
    assert_eq!(without.advice, ["Options::quantize = q8_0", "1 more RTX 3060 12GB"]);
    assert!(plan(&asked().quantize(quantize)).fits);
    let fitted = plan(&asked().fit(true));
    assert!(fitted.fits && fitted.notes[0].contains("Options::quantize = q8_0"), "{:?}", fitted.notes);

    let largest = plan(&asked().quantize(quantize).context(Context::Max));
    assert!(largest.fits && largest.context > 4096 && largest.context.is_multiple_of(256), "{}", largest.context);
    let more = asked().quantize(quantize).context(largest.context + 256);
    let advice = plan(&more).advice;
    assert_eq!(advice[0], format!("Options::context = {}", largest.context));
}

/// Options that keep a model in this many bytes on each of some adapters.
fn limited(adapters: &[Adapter], bytes: u64) -> Options {
    Options::default().memory(adapters.iter().map(|adapter| (adapter.index, bytes)).collect())
}

/// What `ply plan --json` says is what is loaded, byte for byte, in every manner of placing.
#[test]
fn a_plan_is_what_is_loaded() {
    let adapters = adapters();
    let entries = |adapters: &[&Adapter]| adapters.iter().map(|adapter| adapter.entry()).collect::<Vec<_>>().join(",");
    let all: Vec<&Adapter> = adapters.iter().collect();
    let twice = [&adapters[0], &adapters[0]];
    let ways = [
        format!("--adapters {}", adapters[0].entry()),
        format!("--adapters {}", entries(&twice)),
        format!("--adapters {}", entries(&all)),
        format!("--adapters {} --split 3,1", entries(&twice)),
        format!("--adapters {} --layers 1=0-1,0=2-4 --kv-type f32", entries(&twice)),
    ];
    for way in ways {
        let run = |command: &str| {
            let mut ply = std::process::Command::new(env!("CARGO_BIN_EXE_ply-tested"));
            ply.args([command, "demo", "--json"]).args(way.split(' '));
            if command == "generate" {
                ply.args(["-p", "x", "-n", "1"]);
            }
            let ended = finish(start(&mut ply, b"", Stdio::piped()), Duration::from_secs(120), |_, _| {});
            assert_eq!(ended.status, Some(0), "{way}: {}", ended.stderr);
            serde_json::from_str::<Value>(&ended.stdout).expect("one JSON object")
        };
        let facts = |stages: &Value| -> Vec<Value> {
            let stages = stages.as_array().expect("a list").iter();
            stages.map(|stage| json!([stage["adapter"], stage["layers"], stage["bytes"]])).collect()
        };
        let (plan, loaded) = (run("plan"), run("generate"));
        assert_eq!(plan["fits"], true, "{way}: {plan}");
        assert_eq!(facts(&plan["stages"]), facts(&loaded["placement"]), "{way}");
    }
}

/// A model that one adapter does not hold goes over several; where these do not either, the advice works as it stands.
#[test]
fn a_model_beyond_one_adapter() {
    let adapters: Vec<Adapter> = adapters().into_iter().filter(|adapter| adapter.kind != Kind::Host).collect();
    if adapters.len() < 2 {
        skipped("there is only one adapter");
        return;
    }
    let pair = [&adapters[0], &adapters[1]];
    // 17.8 MiB on one; staging of 12 MiB is on each.
    let together = limited(&adapters, 17 << 20).devices(on(&pair).devices);
    let model = Model::open("demo", together).expect("two hold it");
    let stages: &[LedgerStage] = &model.ledger().stages;
    assert_eq!(stages.len(), 2);
    assert!(
        stages.iter().all(|stage| stage.bytes.total() <= 17 << 20 && stage.available == Some(17 << 20)),
        "{stages:?}"
    );
    let session = model
        .session()
        .and_then(|mut session| session.evaluate(&[1, 2, 3], plywood::Rows::Last, &[plywood::Output::Argmax]));
    assert!(session.is_ok_and(|rows| rows[0].argmax.is_some()));

    // By hand it is held to the same limits.
    let split = limited(&adapters, 15 << 20).devices(on(&pair).devices).layers(Layers::Split(vec![1, 1]));
    let error = Model::open("demo", split).map(|_| ()).expect_err("15 MiB are too few").to_string();
    assert!(error.contains("has room for 15.0 MiB and would take"), "{error}");

    let alone = || limited(&adapters, 17 << 20).devices(on(&pair[..1]).devices);
    let Err(Error::DoesNotFit { reason, advice }) = Model::open("demo", alone()).map(|_| ()) else {
        panic!("17 MiB do not hold it");
    };
    println!("{reason}: {advice:?}");
    let named =
        advice.iter().find_map(|advice| advice.strip_prefix("Options::devices = ")).expect("another adapter helps");
    let followed = alone().devices(Devices::adapters(named.split(',')));
    assert_eq!(Model::open("demo", followed).expect("it was advised").ledger().stages.len(), 2);
    let fitted = Model::open("demo", alone().fit(true)).expect("it fits somehow");
    let flag = advice.iter().find(|advice| advice.starts_with("Options::")).expect("a flag helps");
    assert!(fitted.notes()[0].contains(flag.as_str()), "{:?}", fitted.notes());
}

/// The adapters that a model needs are measured once, and what is remembered decides how many layers each gets.
#[test]
fn speeds_are_measured_once() {
    let mut adapters = adapters();
    // Twins share what is remembered.
    adapters.dedup_by_key(|adapter| adapter.label());
    adapters.truncate(3);
    if adapters.len() < 2 {
        skipped("there is only the host");
        return;
    }
    let entries = adapters.iter().map(Adapter::entry).collect::<Vec<_>>().join(",");
    let cache = tempfile::tempdir().expect("a temporary folder");
    let plan = || {
        let mut ply = std::process::Command::new(env!("CARGO_BIN_EXE_ply-tested"));
        ply.args(["plan", "demo", "--json", "--adapters", &entries]);
        // Where programs keep what they can make anew, by system.
        ply.envs(["XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"].map(|name| (name, cache.path())));
        let ended = finish(start(&mut ply, b"", Stdio::piped()), Duration::from_secs(120), |_, _| {});
        assert_eq!(ended.status, Some(0), "{}", ended.stderr);
        let plan: Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
        println!("{:.2} s: {}", ended.time.as_secs_f64(), plan["notes"]);
        let notes = plan["notes"].as_array().expect("a list").iter();
        assert_eq!(notes.filter(|note| note.to_string().contains("as measured")).count(), adapters.len(), "{plan}");
        let layers = |stage: &Value| Some(stage["layers"][1].as_u64()? + 1 - stage["layers"][0].as_u64()?);
        plan["stages"].as_array().expect("a list").iter().filter_map(layers).collect::<Vec<u64>>()
    };
    let first = plan();
    let below = if cfg!(target_vendor = "apple") { "Library/Caches/plywood" } else { "plywood" };
    let file = cache.path().join(below).join("bandwidths.json");
    let read = || fs::read_to_string(&file).expect("it was written");
    let remembered = read();
    assert_eq!((plan(), read()), (first, remembered.clone()), "it was measured again");

    // The demo model has 5 layers; those that are slow get one each.
    for fast in 0..adapters.len() {
        let mut speeds: Value = serde_json::from_str(&remembered).expect("JSON");
        for (key, speed) in speeds.as_object_mut().expect("speeds by adapter") {
            let is_fast = key.starts_with(&adapters[fast].label());
            *speed = json!({ "products": if is_fast { 1e12 } else { 1e6 }, "copies": null });
        }
        fs::write(&file, speeds.to_string()).expect("it is written");
        let mut expected = vec![1; adapters.len()];
        expected[fast] = 6 - adapters.len() as u64;
        assert_eq!(plan(), expected, "{} is fast", adapters[fast].label());
    }
}
