//! Weights that say when they are read.

use std::collections::{BTreeMap, HashSet};
use std::sync::Condvar;
use std::thread::{self, ThreadId};

use plywood_models::TensorInfo;
use plywood_models::synthetic::Synthetic;

use super::*;
use crate::{Devices, Layers};

/// Long enough for any machine; only a test that fails waits so long.
const DEADLINE: Duration = Duration::from_secs(20);

/// What is done at a read of a tensor from an offset on, by the thread that reads.
struct Watched<'a> {
    weights: Synthetic,
    read: &'a (dyn Fn(usize, u64) -> plywood_models::Result<()> + Sync),
}

impl Weights for Watched<'_> {
    fn tensors(&self) -> &[TensorInfo] {
        self.weights.tensors()
    }

    fn read(&self, tensor: usize, offset: u64, buffer: &mut [u8]) -> plywood_models::Result<()> {
        (self.read)(tensor, offset)?;
        self.weights.read(tensor, offset, buffer)
    }
}

/// Loads a small model with half of its layers on each of two devices.
fn load_two(read: &(dyn Fn(usize, u64) -> plywood_models::Result<()> + Sync)) -> Result<Loaded> {
    let weights = Synthetic::named("tiny:f32").expect("a shape");
    let config = weights.config.clone();
    let weights = Watched { weights, read };
    let host = "host".to_string();
    let mut options =
        Options::default().devices(Devices::adapters([host.clone(), host])).layers(Layers::Split(vec![1, 1]));
    let hardware = Hardware::of(&options)?;
    load(ModelRef { weights: &weights, config: &config }, &mut options, &hardware)
}

/// Each device's thread waits at its first read until the other's has come.
#[test]
fn devices_are_loaded_at_the_same_time() {
    let (here, come) = (thread::current().id(), Condvar::new());
    let readers: Mutex<HashSet<ThreadId>> = Mutex::default();
    let read = |_, _| {
        // Vectors are read before, when the graph is built.
        if thread::current().id() != here {
            let mut met = readers.lock().expect("no reader panics");
            met.insert(thread::current().id());
            come.notify_all();
            let (_met, wait) = come.wait_timeout_while(met, DEADLINE, |met| met.len() < 2).expect("no reader panics");
            assert!(!wait.timed_out(), "the devices are loaded one after the other");
        }
        Ok(())
    };
    assert!(load_two(&read).is_ok_and(|loaded| loaded.works()));
}

/// Where one device's weights can't be read, the others end too, and the reason is told.
#[test]
fn the_reason_is_told() {
    let (here, readers) = (thread::current().id(), Mutex::new(Vec::new()));
    let read = |_, _| {
        let mine = thread::current().id();
        let mut readers = readers.lock().expect("no reader panics");
        if mine == here {
            return Ok(());
        }
        if !readers.contains(&mine) {
            readers.push(mine);
        }
        // The second that comes fails; the first is ended.
        match readers.first() == Some(&mine) {
            true => Ok(()),
            false => Err(plywood_models::Error::NotFinite { tensor: "damaged".into(), row: 3 }),
        }
    };
    let error = load_two(&read).map(|_| ()).expect_err("a tensor is damaged").to_string();
    assert!(error.contains("damaged"), "{error}");
}

/// However many layouts are tried first, nothing is read twice, in the planning or in the loading.
#[test]
fn everything_is_read_once() {
    let reads: Mutex<BTreeMap<(usize, u64), usize>> = Mutex::default();
    let read = |tensor, offset| {
        *reads.lock().expect("no reader panics").entry((tensor, offset)).or_default() += 1;
        Ok(())
    };
    let weights = Watched { weights: Synthetic::named("tiny:f32").expect("a shape"), read: &read };
    let config = weights.weights.config.clone();
    let mut options = Options::default().devices(Devices::adapters(["host"])).fit(true);
    let host = Hardware::of(&options).expect("there is a host").devices[0].facts.index;
    // 58 MiB of weights; they fit with fewer bits.
    options.memory = vec![(host, 40 << 20)];
    let hardware = Hardware::of(&options).expect("there is a host");
    let loaded = load(ModelRef { weights: &weights, config: &config }, &mut options, &hardware).expect("it fits");
    assert!(loaded.notes.iter().any(|note| note.contains("Options::quantize")), "{:?}", loaded.notes);
    let reads = reads.lock().expect("no reader panics");
    assert!(reads.len() > weights.tensors().len(), "large tensors are read in pieces");
    assert!(reads.values().all(|count| *count == 1), "tensors and offsets, and how often they were read: {reads:?}");
}
