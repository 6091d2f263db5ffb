//! The devices that a model may be laid out over, by the options, and the opening of a stage on one.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use plywood_kernels::Graph;

use crate::devices::adapter::{Adapter, Kind};
use crate::devices::candidate::DeviceCandidate;
use crate::devices::discover::Adapters;
use crate::devices::probe::Probe;
use crate::devices::select::{self, Alternative};
use crate::devices::speeds::Measured;
use crate::error::{Error, Result};
use crate::faults::Watch;
use crate::gpu::{GpuDevice, GpuStage, SharedDevice};
use crate::host::HostStage;
use crate::options::{Devices, Layers, Options};
use crate::placement::policy::PlacementPolicy;
use crate::stage::plan::StagePlan;
use crate::stage::{Stage, WeightReader};

/// What there is to lay a model out over.
pub(crate) struct Hardware {
    opener: Opener,
    /// The devices.
    pub devices: Vec<DeviceCandidate>,
    /// How layers find them.
    pub policy: PlacementPolicy,
    /// What else there would be.
    pub others: Vec<Alternative>,
    watch: Watch,
}

/// How devices are opened.
enum Opener {
    Adapters(Adapters),
    Shared(Vec<SharedDevice>),
    /// They are not there.
    Imagined,
}

impl Hardware {
    /// The machine's devices that the options name: those of the app, adapters by name, or all GPUs.
    pub fn of(options: &Options) -> Result<Hardware> {
        let Devices::Shared(shared) = &options.devices else {
            let adapters = options.found.as_ref().map_or_else(Adapters::find, |found| found.asked_again());
            return Hardware::over(adapters, options);
        };
        if shared.is_empty() {
            return Err(Error::Option { option: "Devices::Shared", reason: "it has no device".into() });
        }
        let device =
            |(index, shared): (usize, &SharedDevice)| Ok(DeviceCandidate::of(&Adapter { index, ..shared.facts()? }));
        let mut devices = shared.iter().enumerate().map(device).collect::<Result<Vec<DeviceCandidate>>>()?;
        select::limit_memory(&mut devices, options);
        let policy = select::policy(options, devices.len(), PlacementPolicy::InOrder)?;
        let opener = Opener::Shared(shared.clone());
        Ok(Hardware { opener, devices, policy, others: Vec::new(), watch: options.watch() })
    }

    /// Those among adapters that the options name.
    fn over(adapters: Adapters, options: &Options) -> Result<Hardware> {
        let (devices, policy, others) = select::select(&adapters, options)?;
        Ok(Hardware { opener: Opener::Adapters(adapters), devices, policy, others, watch: options.watch() })
    }

    /// What there is once one of the `used` devices failed: all but those that don't work any more, whose names it gives, and the
    /// options by the numbers that devices have now. Layers that were placed by hand are placed as usual where a device is missing.
    pub fn again(&self, used: &[usize], options: &Options) -> Result<(Hardware, Options, Vec<String>)> {
        match &self.opener {
            Opener::Adapters(before) => self.adapters_again(before, used, options),
            Opener::Shared(before) => self.shared_again(before, options),
            Opener::Imagined => Err(Error::Unloaded),
        }
    }

    fn adapters_again(
        &self,
        before: &Adapters,
        used: &[usize],
        options: &Options,
    ) -> Result<(Hardware, Options, Vec<String>)> {
        let mut adapters = Adapters::find();
        let mut now = matched(before.list(), adapters.list());
        let is_named = matches!(options.devices, Devices::Adapters(_));
        // What is named must be there; of what is not, only what was used.
        let named = self.devices.iter().map(|device| device.facts.index).filter(|_| is_named);
        let needed: BTreeSet<usize> = used.iter().copied().chain(named).collect();
        let (mut gone, mut broken) = (Vec::new(), Vec::new());
        for index in needed {
            if !now[index].is_some_and(|place| works(open(&adapters, &adapters.list()[place], &self.watch))) {
                gone.push(before.list()[index].label());
                broken.extend(now[index].take());
            }
        }
        adapters.remove(&broken);
        let place = |index: usize| {
            let place = (*now.get(index)?)?;
            Some(place - broken.iter().filter(|broken| **broken < place).count())
        };
        let mut renumbered = renumbered(options, place, gone.is_empty());
        if is_named {
            let left = self.devices.iter().filter_map(|device| place(device.facts.index));
            renumbered.devices = Devices::adapters(left.map(|index| index.to_string()));
        }
        Ok((Hardware::over(adapters, &renumbered)?, renumbered, gone))
    }

    fn shared_again(&self, before: &[SharedDevice], options: &Options) -> Result<(Hardware, Options, Vec<String>)> {
        let (mut shared, mut gone, mut now) = (Vec::new(), Vec::new(), Vec::new());
        for (device, shared_device) in self.devices.iter().zip(before) {
            if works(self.open(device)) {
                now.push(Some(shared.len()));
                shared.push(shared_device.clone());
            } else {
                now.push(None);
                gone.push(device.facts.label());
            }
        }
        if shared.is_empty() {
            let reason = format!("{} can't be used any more; give others with Model::recover_on", gone.join(", "));
            return Err(Error::Option { option: "Devices::Shared", reason });
        }
        let place = |index: usize| now.get(index).copied().flatten();
        let renumbered = renumbered(options, place, gone.is_empty()).devices(Devices::Shared(shared));
        Ok((Hardware::of(&renumbered)?, renumbered, gone))
    }

    /// Devices that are not there.
    pub fn imagined(mut devices: Vec<DeviceCandidate>, options: &Options) -> Result<Hardware> {
        if devices.is_empty() {
            return Err(Error::Option { option: "hypothetical::from_json", reason: "it names no device".into() });
        }
        select::limit_memory(&mut devices, options);
        let policy = select::policy(options, devices.len(), PlacementPolicy::Best)?;
        let mut others = Vec::new();
        let largest = devices.iter().filter(|device| device.is_gpu()).max_by_key(|device| device.memory);
        if let (PlacementPolicy::Best, Some(largest)) = (&policy, largest) {
            let mut more = devices.clone();
            for count in 1..=7 {
                let facts = Adapter { index: more.len(), ..largest.facts.clone() };
                more.push(DeviceCandidate { facts, ..largest.clone() });
                let what = format!("{count} more {}", largest.facts.name);
                others.push(Alternative {
                    what,
                    devices: more.clone(),
                    policy: PlacementPolicy::Best,
                    is_there: false,
                });
            }
        }
        Ok(Hardware { opener: Opener::Imagined, devices, policy, others, watch: Watch::default() })
    }

    /// Gives devices the speeds that were measured, or are measured now. Says whether one was found.
    pub fn measure(&self, devices: &mut [DeviceCandidate]) -> bool {
        let Opener::Adapters(adapters) = &self.opener else { return false };
        let mut measured = Measured::read();
        let mut found = false;
        for device in devices.iter_mut() {
            let known = measured.probe(&device.facts);
            // Failures that were ordered are for the model.
            let watch = Watch { faults: None, ..self.watch.clone() };
            let opened = || open(adapters, &device.facts, &watch).ok();
            let probe = || Some(Probe::of(&device.facts, opened()?.as_ref())).filter(Probe::is_sane);
            // Where it can't be measured, what is assumed stays.
            let Some(probe) = known.or_else(probe) else { continue };
            if known.is_none() {
                measured.remember(&device.facts, probe);
            }
            device.measured(&probe);
            found = true;
        }
        found
    }

    /// Opens a device's device; `None` for the host, which is always open.
    pub fn open(&self, device: &DeviceCandidate) -> Result<Option<Arc<GpuDevice>>> {
        match &self.opener {
            Opener::Adapters(adapters) => open(adapters, &device.facts, &self.watch),
            Opener::Shared(shared) => shared[device.facts.index].open(&self.watch).map(|device| Some(Arc::new(device))),
            Opener::Imagined => Err(Error::device(&device.facts.label(), "it is only planned for")),
        }
    }

    /// Opens a device's device and loads a plan onto it.
    pub fn load(
        &self,
        device: &DeviceCandidate,
        graph: &Arc<Graph>,
        plan: StagePlan,
        reader: &dyn WeightReader,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Box<dyn Stage>> {
        load_stage(self.open(device)?.as_ref(), graph, plan, reader, &self.watch, progress)
    }
}

/// Opens an adapter's device; `None` for the host.
pub(crate) fn open(adapters: &Adapters, facts: &Adapter, watch: &Watch) -> Result<Option<Arc<GpuDevice>>> {
    if facts.kind == Kind::Host {
        return Ok(None);
    }
    let (found, kept) = (&adapters.gpus[facts.index], adapters.kept.get(facts.index));
    GpuDevice::open(&found.adapter, facts, kept, watch).map(|device| Some(Arc::new(device)))
}

/// Whether a device opens and does what it is given.
fn works(device: Result<Option<Arc<GpuDevice>>>) -> bool {
    device.is_ok_and(|device| device.is_none_or(|device| device.works().is_ok()))
}

/// Where each adapter of a list is in a later one: at its number, or else with the first of its like that is no other's.
fn matched(before: &[Adapter], now: &[Adapter]) -> Vec<Option<usize>> {
    let same = |index: usize| now.get(index).is_some_and(|facts| facts.is_like(&before[index]));
    let mut places: Vec<Option<usize>> = (0..before.len()).map(|index| same(index).then_some(index)).collect();
    for (index, facts) in before.iter().enumerate() {
        if places[index].is_none() {
            let free = |place: &usize| now[*place].is_like(facts) && !places.contains(&Some(*place));
            places[index] = (0..now.len()).find(free);
        }
    }
    places
}

/// What options say of devices, by the numbers that these have now; layers by hand only where all are there.
fn renumbered(options: &Options, place: impl Fn(usize) -> Option<usize>, all: bool) -> Options {
    let memory: Vec<(usize, u64)> =
        options.memory.iter().filter_map(|(index, bytes)| Some((place(*index)?, *bytes))).collect();
    let now = |(index, range): &(usize, Range<usize>)| (place(*index).unwrap_or(*index), range.clone());
    let layers = match (&options.layers, &options.devices) {
        _ if !all => Layers::Fastest,
        // Those of named devices are counted among these.
        (Layers::Ranges(ranges), Devices::Best) => Layers::Ranges(ranges.iter().map(now).collect()),
        (layers, _) => layers.clone(),
    };
    options.for_devices(Devices::Best).memory(memory).layers(layers)
}

/// Loads a plan onto a device, or onto the host where there is none.
pub(crate) fn load_stage(
    device: Option<&Arc<GpuDevice>>,
    graph: &Arc<Graph>,
    plan: StagePlan,
    reader: &dyn WeightReader,
    watch: &Watch,
    progress: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Box<dyn Stage>> {
    let graph = Arc::clone(graph);
    Ok(match device {
        Some(device) => Box::new(GpuStage::load(Arc::clone(device), graph, plan, reader, progress)?),
        None => Box::new(HostStage::load(graph, plan, reader, watch, progress)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host;

    #[test]
    fn devices_that_are_kept_are_taken_over() {
        let adapters = Adapters::find().keeping_devices();
        for facts in adapters.list().iter().filter(|facts| facts.kind != Kind::Host) {
            let open = || open(&adapters, facts, &Watch::default()).expect("it opens").expect("it is not the host");
            let [first, second] = [(); 2].map(|()| open());
            let device = first.device.clone();
            assert_ne!(second.device, device, "two at once are two");
            drop(first);
            let again = open();
            assert_eq!(again.device, device, "what was left is taken over");
            device.destroy();
            drop(again);
            let another = open();
            assert_ne!(another.device, device, "what was lost is not");
            another.works().unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn adapters_are_found_again() {
        let listed = |names: &str| -> Vec<Adapter> {
            let adapter = |(index, name): (usize, char)| Adapter { index, name: name.into(), ..host::adapter() };
            names.chars().enumerate().map(adapter).collect()
        };
        let check = |before: &str, now: &str, expected: &[Option<usize>]| {
            assert_eq!(matched(&listed(before), &listed(now)), expected, "{before} is now {now}");
        };
        check("abh", "abh", &[Some(0), Some(1), Some(2)]);
        check("abh", "bah", &[Some(1), Some(0), Some(2)]);
        check("abh", "bh", &[None, Some(0), Some(1)]);
        check("abh", "xabh", &[Some(1), Some(2), Some(3)]);
        // Twins keep their numbers; of one that is left nobody knows which it is.
        check("aah", "aah", &[Some(0), Some(1), Some(2)]);
        check("aah", "ah", &[Some(0), None, Some(1)]);
        check("aaah", "baah", &[None, Some(1), Some(2), Some(3)]);
        check("ah", "h", &[None, Some(0)]);
        check("", "a", &[]);
    }

    #[test]
    fn options_follow_their_devices() {
        let now = [None, Some(2), Some(0)];
        let place = |index: usize| now.get(index).copied().flatten();
        let asked = || {
            Options::default()
                .memory(vec![(0, 5), (1, 6), (2, 7), (9, 8)])
                .layers(Layers::Ranges(vec![(1, 0..3), (2, 3..5)]))
        };
        let found = renumbered(&asked(), place, true);
        assert_eq!((found.memory, found.layers), (vec![(2, 6), (0, 7)], Layers::Ranges(vec![(2, 0..3), (0, 3..5)])));
        let named = asked().devices(Devices::adapters(["2", "1"]));
        assert_eq!(renumbered(&named, place, true).layers, named.layers);
        let found = renumbered(&asked(), place, false);
        assert!(found.layers == Layers::Fastest && found.memory.len() == 2);
    }
}
