//! Devices as a model is laid out on them: what memory they give, whose it is, and how fast they are.

use plywood_kernels::kv_cache::KvType;

use crate::devices::adapter::{Adapter, Kind, Memory};
use crate::devices::cards;
use crate::devices::probe::Probe;
use crate::host;
use crate::placement::device::{self, Device, Speed};

/// The pool of devices that compute in the system's memory.
const SYSTEM: usize = usize::MAX;

/// What a driver takes besides what is allocated: blocks that are partly used, pipelines, queues.
const RESERVE: u64 = 256 << 20;

/// What a GPU has where neither the platform nor a person tells: the size that most have.
const ASSUMED: u64 = 8 << 30;

/// Bytes per second between a GPU and the host, roughly half of PCIe 4.0 with 16 lanes.
pub(crate) const LINK: f64 = 12e9;

/// A device on which a model may be laid out.
#[derive(Debug, Clone)]
pub struct DeviceCandidate {
    /// What it can do; its number is its place among the adapters.
    pub facts: Adapter,
    /// Bytes that a model may take on it.
    pub memory: u64,
    /// Bytes that the platform has for it and whatever shares its memory.
    pub shared_memory: u64,
    /// Where the figure is from, for a person.
    pub memory_from: &'static str,
    /// Whether the figure is a guess.
    pub memory_assumed: bool,
    /// How fast it is.
    pub speed: Speed,
    /// Where its speed is from.
    pub speed_from: SpeedFrom,
}

/// Where a device's speed is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeedFrom {
    /// From its kind alone.
    Guess,
    /// From the data sheet of a card of its name.
    DataSheet,
    /// Measured.
    Measured,
    /// Said by a person.
    Told,
}

impl DeviceCandidate {
    /// A device with what the platform tells of it.
    pub fn of(facts: &Adapter) -> DeviceCandidate {
        let (memory, memory_from, memory_assumed) = usable(facts, host::adapter::system_memory);
        let data_sheet = cards::named(&facts.name).map(|card| card.bandwidth);
        let computes_on_cpu = facts.kind.computes_on_cpu();
        let guess = match facts.kind {
            Kind::Discrete => 400e9,
            Kind::Virtual => 200e9,
            Kind::Integrated => 60e9,
            Kind::Software | Kind::Host => 20e9,
        };
        let speed = Speed {
            bandwidth: data_sheet.unwrap_or(guess),
            products: None,
            link: LINK,
            // Two cores do about this many in our kernels, until it is measured.
            multiply_adds: if computes_on_cpu { 1e9 } else { f64::INFINITY },
        };
        let speed_from = if data_sheet.is_some() { SpeedFrom::DataSheet } else { SpeedFrom::Guess };
        DeviceCandidate {
            facts: facts.clone(),
            memory,
            shared_memory: memory,
            memory_from,
            memory_assumed,
            speed,
            speed_from,
        }
    }

    /// Takes what was measured: memory bounds the products of a GPU, arithmetic those on a CPU, whatever the bits of weights.
    pub(crate) fn measured(&mut self, probe: &Probe) {
        self.speed_from = SpeedFrom::Measured;
        self.speed.bandwidth = probe.copies.unwrap_or(self.speed.bandwidth);
        if self.is_gpu() {
            self.speed.products = probe.products;
        } else {
            self.speed.multiply_adds = probe.multiply_adds().unwrap_or(self.speed.multiply_adds);
        }
    }

    /// What its speed was taken from, for a person; `None` where a data sheet or a person told it.
    pub(crate) fn speed_note(&self) -> Option<String> {
        let (label, speed) = (self.facts.label(), &self.speed);
        let (bandwidth, billions) = (speed.bandwidth / 1e9, speed.multiply_adds / 1e9);
        let share = device::SHARE * 100.0;
        Some(match (self.speed_from, self.is_gpu(), speed.products) {
            (SpeedFrom::DataSheet | SpeedFrom::Told, ..) => return None,
            (SpeedFrom::Guess, true, _) => {
                format!("{label} is taken to move {bandwidth} GB/s, a guess by its kind: it was not measured")
            }
            (SpeedFrom::Guess, false, _) => {
                format!(
                    "{label} is taken to do {billions} billion multiply-adds a second, a guess: it was not measured"
                )
            }
            (SpeedFrom::Measured, true, Some(products)) => {
                format!("{label} reads weights at {:.1} GB/s, as measured", products / 1e9)
            }
            (SpeedFrom::Measured, true, None) => {
                format!(
                    "{label} copies {bandwidth:.1} GB/s, as measured, of which products are taken to reach {share}%"
                )
            }
            (SpeedFrom::Measured, false, _) => {
                format!("{label} does {billions:.2} billion multiply-adds a second, as measured")
            }
        })
    }

    /// Whose memory it has: devices with equal numbers share one.
    pub(crate) fn pool(&self) -> usize {
        match self.facts.kind {
            Kind::Software | Kind::Host | Kind::Integrated => SYSTEM,
            Kind::Discrete | Kind::Virtual => self.facts.index,
        }
    }

    /// Whether it is a GPU.
    pub(crate) fn is_gpu(&self) -> bool {
        !self.facts.kind.computes_on_cpu()
    }
}

/// Sites as placement sees them, the host as a last resort beside GPUs.
pub(crate) fn devices(devices: &[DeviceCandidate], kv_type: KvType) -> Vec<Device> {
    let has_gpu = devices.iter().any(DeviceCandidate::is_gpu);
    let device = |device: &DeviceCandidate| Device {
        name: device.facts.label(),
        memory: device.memory,
        pool: device.pool(),
        speed: device.speed,
        kv_type,
        last_resort: has_gpu && device.facts.kind == Kind::Host,
    };
    devices.iter().map(device).collect()
}

/// Bytes that a model may take on a device, where the figure is from, and whether it is a guess.
fn usable(facts: &Adapter, system: impl FnOnce() -> Option<Memory>) -> (u64, &'static str, bool) {
    let computes_on_cpu = facts.kind.computes_on_cpu();
    let unknown = (ASSUMED, "a guess: the platform does not tell (Options::memory does)", true);
    match (facts.memory, facts.kind) {
        (Some(Memory { free: Some(free), .. }), _) if computes_on_cpu => {
            (free, "the system's memory that is free", false)
        }
        (Some(Memory { free: Some(free), .. }), _) => {
            (free.saturating_sub(RESERVE), "what is free, less 256 MiB for the driver", false)
        }
        (Some(Memory { total, free: None }), Kind::Integrated | Kind::Software | Kind::Host) => {
            (total / 4 * 3, "three quarters of all, since the system needs the rest", false)
        }
        (Some(Memory { total, free: None }), _) => {
            (total / 20 * 19, "95% of all, since the driver and a display need the rest", false)
        }
        (None, Kind::Integrated) => match system() {
            Some(Memory { total, free }) => {
                let bytes = (total / 3 * 2).min(free.unwrap_or(u64::MAX));
                (bytes, "two thirds of the system's memory, or what is free of it: the platform does not tell", true)
            }
            None => unknown,
        },
        (None, _) if computes_on_cpu => (u64::MAX, "without a limit: the system does not tell its memory", true),
        (None, _) => unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn memory_is_what_the_platform_tells_or_a_share() {
        let system = Some(Memory { total: 30 * GIB, free: Some(20 * GIB) });
        let check = |kind: Kind, total: u64, free: Option<u64>, expected: u64, assumed: bool| {
            let memory = (total > 0).then_some(Memory { total, free });
            let facts = Adapter { kind, memory, ..host::adapter() };
            let (bytes, from, guess) = usable(&facts, || system);
            assert_eq!((bytes, guess), (expected, assumed), "{kind:?}: {from}");
        };
        check(Kind::Discrete, 24 * GIB, Some(23 * GIB), 23 * GIB - RESERVE, false);
        check(Kind::Discrete, 24 * GIB, Some(1), 0, false);
        check(Kind::Discrete, 20 * GIB, None, 19 * GIB, false);
        check(Kind::Integrated, 16 * GIB, None, 12 * GIB, false);
        check(Kind::Integrated, 16 * GIB, Some(6 * GIB), 6 * GIB - RESERVE, false);
        check(Kind::Integrated, 0, None, 20 * GIB, true);
        check(Kind::Discrete, 0, None, ASSUMED, true);
        check(Kind::Software, 30 * GIB, Some(20 * GIB), 20 * GIB, false);
        check(Kind::Host, 0, None, u64::MAX, true);
        check(Kind::Discrete, u64::MAX, Some(u64::MAX), u64::MAX - RESERVE, false);
    }

    #[test]
    fn what_is_measured_counts_by_kind() {
        // The probe's weights have 4.5 bits.
        let both = Probe { products: Some(90e9), copies: Some(200e9) };
        let check = |kind: Kind, probe: &Probe, expected: (f64, f64), says: [&str; 2]| {
            let mut device = DeviceCandidate::of(&Adapter { kind, name: "it".into(), ..host::adapter() });
            let guess = device.speed_note().unwrap_or_default();
            device.measured(probe);
            let found = (device.speed.reads(), device.speed.multiply_adds);
            assert_eq!((found, device.speed_from), (expected, SpeedFrom::Measured), "{kind:?}");
            let notes = [guess, device.speed_note().unwrap_or_default()];
            assert!(notes.iter().zip(says).all(|(note, says)| note.contains(says)), "{notes:?}");
        };
        let no_limit = f64::INFINITY;
        check(Kind::Integrated, &both, (90e9, no_limit), ["60 GB/s, a guess", "weights at 90.0 GB/s, as measured"]);
        let copies = Probe { products: None, ..both };
        check(Kind::Discrete, &copies, (120e9, no_limit), ["400 GB/s, a guess", "copies 200.0 GB/s, as measured"]);
        let products = Probe { products: Some(0.9e9), copies: None };
        check(Kind::Software, &products, (12e9, 1.6e9), ["do 1 billion", "does 1.60 billion"]);
        check(Kind::Host, &products, (12e9, 1.6e9), ["a guess", "as measured"]);
    }
}
