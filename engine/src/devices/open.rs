//! The devices that a model may be laid out over, by the options, and the opening of a stage on one.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use plywood_kernels::Graph;

use crate::devices::adapter::{self, Adapter, Adapters, Kind};
use crate::devices::candidate::Site;
use crate::devices::probe::Probe;
use crate::devices::speeds::Measured;
use crate::error::{Error, Result};
use crate::faults::Watch;
use crate::gpu::{GpuDevice, GpuStage, SharedDevice};
use crate::host::HostStage;
use crate::model::Options;
use crate::planning::fit::Alternative;
use crate::planning::layout::Manner;
use crate::stage::plan::StagePlan;
use crate::stage::{Stage, WeightReader};

/// What there is to lay a model out over.
pub(crate) struct Hardware {
    opener: Opener,
    /// The devices.
    pub sites: Vec<Site>,
    /// How layers find them.
    pub manner: Manner,
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
        if options.shared.is_empty() {
            return Hardware::over(Adapters::find(), options);
        }
        let site = |(index, shared): (usize, &SharedDevice)| Ok(Site::of(&Adapter { index, ..shared.facts()? }));
        let mut sites = options.shared.iter().enumerate().map(site).collect::<Result<Vec<Site>>>()?;
        limit_memory(&mut sites, options);
        let manner = manner(options, sites.len(), Manner::InOrder)?;
        let opener = Opener::Shared(options.shared.clone());
        Ok(Hardware { opener, sites, manner, others: Vec::new(), watch: Watch::of(options) })
    }

    /// Those among adapters that the options name.
    fn over(adapters: Adapters, options: &Options) -> Result<Hardware> {
        let (sites, manner, others) = select(&adapters, options)?;
        Ok(Hardware { opener: Opener::Adapters(adapters), sites, manner, others, watch: Watch::of(options) })
    }

    /// What there is once one of the `used` devices failed: all but those that don't work any more, whose names it gives, and the
    /// options by the numbers that devices have now. Layers that were placed by hand are placed as usual where a device is missing.
    pub fn again(&self, used: &[usize], options: &Options) -> Result<(Hardware, Options, Vec<String>)> {
        match &self.opener {
            Opener::Adapters(before) => self.adapters_again(before, used, options),
            _ => self.shared_again(options),
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
        // What is named must be there; of what is not, only what was used.
        let named = self.sites.iter().map(|site| site.facts.index).filter(|_| !options.adapters.is_empty());
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
        if !options.adapters.is_empty() {
            let left = self.sites.iter().filter_map(|site| place(site.facts.index));
            renumbered.adapters = left.map(|index| index.to_string()).collect();
        }
        Ok((Hardware::over(adapters, &renumbered)?, renumbered, gone))
    }

    fn shared_again(&self, options: &Options) -> Result<(Hardware, Options, Vec<String>)> {
        let (mut shared, mut gone, mut now) = (Vec::new(), Vec::new(), Vec::new());
        for (site, device) in self.sites.iter().zip(&options.shared) {
            if works(self.open(site)) {
                now.push(Some(shared.len()));
                shared.push(device.clone());
            } else {
                now.push(None);
                gone.push(site.facts.label());
            }
        }
        if shared.is_empty() {
            let reason = format!("{} can't be used any more; give others with Model::recover_on", gone.join(", "));
            return Err(Error::Option { option: "Options::shared", reason });
        }
        let place = |index: usize| now.get(index).copied().flatten();
        let renumbered = Options { shared, ..renumbered(options, place, gone.is_empty()) };
        Ok((Hardware::of(&renumbered)?, renumbered, gone))
    }

    /// Devices that are not there.
    pub fn imagined(mut sites: Vec<Site>, options: &Options) -> Result<Hardware> {
        if sites.is_empty() {
            return Err(Error::Option { option: "--devices", reason: "it names no device".into() });
        }
        limit_memory(&mut sites, options);
        let manner = manner(options, sites.len(), Manner::Best)?;
        let mut others = Vec::new();
        let largest = sites.iter().filter(|site| site.is_gpu()).max_by_key(|site| site.memory);
        if let (Manner::Best, Some(largest)) = (&manner, largest) {
            let mut more = sites.clone();
            for count in 1..=7 {
                let facts = Adapter { index: more.len(), ..largest.facts.clone() };
                more.push(Site { facts, ..largest.clone() });
                let what = format!("{count} more {}", largest.facts.name);
                others.push(Alternative { what, sites: more.clone(), manner: Manner::Best, is_there: false });
            }
        }
        Ok(Hardware { opener: Opener::Imagined, sites, manner, others, watch: Watch::default() })
    }

    /// Gives sites the speeds that were measured, or are measured now. Says whether one was found.
    pub fn measure(&self, sites: &mut [Site]) -> bool {
        let Opener::Adapters(adapters) = &self.opener else { return false };
        let mut measured = Measured::read();
        let mut found = false;
        for site in sites.iter_mut() {
            let known = measured.probe(&site.facts);
            // Failures that were ordered are for the model.
            let watch = Watch { faults: None, ..self.watch.clone() };
            let device = || open(adapters, &site.facts, &watch).ok();
            let probe = || Some(Probe::of(&site.facts, device()?.as_ref())).filter(Probe::is_sane);
            // Where it can't be measured, what is assumed stays.
            let Some(probe) = known.or_else(probe) else { continue };
            if known.is_none() {
                measured.remember(&site.facts, probe);
            }
            site.measured(&probe);
            found = true;
        }
        found
    }

    /// Opens a site's device; `None` for the host, which is always open.
    pub fn open(&self, site: &Site) -> Result<Option<Arc<GpuDevice>>> {
        match &self.opener {
            Opener::Adapters(adapters) => open(adapters, &site.facts, &self.watch),
            Opener::Shared(shared) => shared[site.facts.index].open(&self.watch).map(|device| Some(Arc::new(device))),
            Opener::Imagined => Err(Error::device(&site.facts.label(), "it is only planned for")),
        }
    }

    /// Opens a site's device and loads a plan onto it.
    pub fn load(
        &self,
        site: &Site,
        graph: &Arc<Graph>,
        plan: StagePlan,
        reader: &dyn WeightReader,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Box<dyn Stage>> {
        load_stage(self.open(site)?.as_ref(), graph, plan, reader, &self.watch, progress)
    }
}

/// Opens an adapter's device; `None` for the host.
pub(crate) fn open(adapters: &Adapters, facts: &Adapter, watch: &Watch) -> Result<Option<Arc<GpuDevice>>> {
    match facts.kind {
        Kind::Host => Ok(None),
        _ => GpuDevice::open(&adapters.gpus[facts.index].adapter, facts, watch).map(|device| Some(Arc::new(device))),
    }
}

/// The adapters that a model goes over where none is named: all GPUs, else the best there is.
fn usual(list: &[Adapter]) -> Vec<&Adapter> {
    let gpus: Vec<&Adapter> = list.iter().filter(|adapter| !adapter.kind.computes_on_cpu()).collect();
    if gpus.is_empty() { adapter::best(list).into_iter().collect() } else { gpus }
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
    let memory = options.memory.iter().filter_map(|(index, bytes)| Some((place(*index)?, *bytes))).collect();
    let mut found =
        Options { memory, deadline: options.deadline, faults: options.faults.clone(), ..Options::default() };
    if all {
        found.split.clone_from(&options.split);
        // Behind named devices they are counted among these.
        let by_number = options.adapters.is_empty() && options.shared.is_empty();
        let layers = options.layers.iter().map(|(index, range)| {
            let index = if by_number { place(*index).unwrap_or(*index) } else { *index };
            (index, range.clone())
        });
        found.layers = layers.collect();
    }
    found
}

/// The sites that the options name, how layers find them, and what else there would be.
fn select(adapters: &Adapters, options: &Options) -> Result<(Vec<Site>, Manner, Vec<Alternative>)> {
    let list = adapters.list();
    let site = |adapter: &&Adapter| Site::of(adapter);
    for (index, _) in &options.memory {
        if *index >= list.len() {
            let reason = format!("there is no adapter {index}; `ply adapters` lists 0 to {}", list.len() - 1);
            return Err(Error::Option { option: "--memory", reason });
        }
    }
    let chosen: Vec<&Adapter> = match options.adapters.is_empty() {
        false => adapters.choose(&options.adapters)?,
        true if !options.layers.is_empty() => list.iter().collect(),
        true if options.split.is_empty() => usual(list),
        true => adapter::best(list).into_iter().collect(),
    };
    let usual = if options.adapters.is_empty() { Manner::Best } else { Manner::InOrder };
    let manner = manner(options, chosen.len(), usual.clone())?;
    let mut sites: Vec<Site> = chosen.iter().map(site).collect();
    limit_memory(&mut sites, options);

    let given: Vec<usize> = sites.iter().map(|site| site.facts.index).collect();
    // Layers by hand are for these adapters: for others they must be left out.
    let by_hand = match manner {
        Manner::Split(_) => " without --split",
        Manner::Layers(_) => " without --layers",
        Manner::Best | Manner::InOrder => "",
    };
    let alternative = |indices: Vec<usize>| {
        let mut sites: Vec<Site> = indices.iter().map(|index| Site::of(&list[*index])).collect();
        limit_memory(&mut sites, options);
        let numbers: Vec<String> = indices.iter().map(|index| list[*index].entry()).collect();
        let what = format!("--adapters {}{by_hand}", numbers.join(","));
        Alternative { what, sites, manner: Manner::InOrder, is_there: true }
    };
    let mut others = other_adapters(list, &given, usual == Manner::InOrder);
    if !by_hand.is_empty() {
        others.insert(0, given);
    }
    Ok((sites, manner, others.into_iter().map(alternative).collect()))
}

/// Adapters that could be named instead of those given: one more after the other, the host last; then fewer where all that are given are
/// used, since one may be too small for any layer; then each other one alone.
fn other_adapters(list: &[Adapter], given: &[usize], all_are_used: bool) -> Vec<Vec<usize>> {
    let (host, rest): (Vec<&Adapter>, Vec<&Adapter>) = list.iter().partition(|adapter| adapter.kind == Kind::Host);
    let unused = rest.into_iter().chain(host).map(|adapter| adapter.index).filter(|index| !given.contains(index));
    let unused: Vec<usize> = unused.collect();
    let mut found: Vec<Vec<usize>> = (1..=unused.len()).map(|count| [given, &unused[..count]].concat()).collect();
    if all_are_used && given.len() > 1 {
        found.extend((0..given.len()).map(|left_out| [&given[..left_out], &given[left_out + 1..]].concat()));
    }
    found.extend(unused.into_iter().map(|index| vec![index]));
    found.dedup();
    found
}

/// How layers find their devices: as a person says, else as usual.
fn manner(options: &Options, count: usize, usual: Manner) -> Result<Manner> {
    if !options.split.is_empty() && !options.layers.is_empty() {
        let reason = "it can't be given together with --split".into();
        return Err(Error::Option { option: "--layers", reason });
    }
    if !options.split.is_empty() && options.split.len() != count {
        let reason = format!("it has {} shares and there are {count} --adapters", options.split.len());
        return Err(Error::Option { option: "--split", reason });
    }
    let layers: Vec<(usize, Range<usize>)> = options.layers.clone();
    Ok(match (options.split.is_empty(), layers.is_empty()) {
        (false, _) => Manner::Split(options.split.clone()),
        (_, false) => Manner::Layers(layers),
        _ => usual,
    })
}

/// Follows `--memory`.
fn limit_memory(sites: &mut [Site], options: &Options) {
    for (index, bytes) in &options.memory {
        for site in sites.iter_mut().filter(|site| site.facts.index == *index) {
            (site.memory, site.memory_from, site.memory_assumed) = (*bytes, "what --memory says", false);
        }
    }
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
    use crate::devices::adapter::Memory;
    use crate::host;

    const GIB: u64 = 1 << 30;

    /// A machine with adapters of these kinds, 8 GiB free on each, and the host behind them.
    fn machine(kinds: &[Kind]) -> Adapters {
        let memory = Some(Memory { total: 10 * GIB, free: Some(8 * GIB) });
        let adapter = |(index, kind): (usize, &Kind)| Adapter {
            index,
            name: format!("card {index}"),
            backend: "vulkan",
            kind: *kind,
            memory,
            ..host::adapter()
        };
        let mut list: Vec<Adapter> = kinds.iter().enumerate().map(adapter).collect();
        list.push(Adapter { index: kinds.len(), memory, ..host::adapter() });
        Adapters::listed(list)
    }

    #[test]
    fn what_options_name_is_what_a_model_is_laid_out_over() {
        use Kind::{Discrete, Integrated, Software};
        let check = |kinds: &[Kind], options: &Options, expected: &[usize], manner: Manner, others: &[&str]| {
            let (sites, found, alternatives) = select(&machine(kinds), options).expect("they can be chosen");
            let indices: Vec<usize> = sites.iter().map(|site| site.facts.index).collect();
            let named = |other: &Alternative| other.what.strip_prefix("--adapters ").map(String::from);
            let whats: Vec<String> =
                alternatives.iter().map(|other| named(other).expect("it names adapters")).collect();
            assert_eq!((indices.as_slice(), found), (expected, manner));
            assert_eq!(whats, others);
        };
        let named = |names: &[&str]| Options {
            adapters: names.iter().map(|name| name.to_string()).collect(),
            ..Options::default()
        };
        let none = Options::default();
        // All GPUs, and never the host or a software adapter beside them by itself.
        check(&[Software, Discrete, Integrated], &none, &[1, 2], Manner::Best, &["1,2,0", "1,2,0,host", "0", "host"]);
        check(&[Software, Software], &none, &[0], Manner::Best, &["0,1", "0,1,host", "1", "host"]);
        check(&[], &none, &[0], Manner::Best, &[]);
        check(&[Discrete, Discrete], &named(&["1"]), &[1], Manner::InOrder, &["1,0", "1,0,host", "0", "host"]);
        check(&[Discrete], &named(&["0", "0"]), &[0, 0], Manner::InOrder, &["0,0,host", "0", "host"]);
        check(&[Discrete], &named(&["host", "0"]), &[1, 0], Manner::InOrder, &["0", "host"]);
        let split = Options { split: vec![3, 1], ..named(&["0", "host"]) };
        let without = ["0,host without --split", "host without --split", "0 without --split"];
        check(&[Discrete], &split, &[0, 1], Manner::Split(vec![3, 1]), &without);
        let layers = Options { layers: vec![(1, 0..4)], ..Options::default() };
        let without = ["0,host without --layers"];
        check(&[Discrete], &layers, &[0, 1], Manner::Layers(vec![(1, 0..4)]), &without);
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
        let asked = || Options {
            memory: vec![(0, 5), (1, 6), (2, 7), (9, 8)],
            layers: vec![(1, 0..3), (2, 3..5)],
            split: vec![1, 2],
            ..Options::default()
        };
        let found = renumbered(&asked(), place, true);
        assert_eq!((found.memory, found.layers), (vec![(2, 6), (0, 7)], vec![(2, 0..3), (0, 3..5)]));
        let named = Options { adapters: vec!["2".into(), "1".into()], ..asked() };
        assert_eq!(renumbered(&named, place, true).layers, named.layers);
        let found = renumbered(&asked(), place, false);
        assert!(found.layers.is_empty() && found.split.is_empty() && found.memory.len() == 2);
    }

    #[test]
    fn memory_that_a_person_gives_counts() {
        let options = Options { memory: vec![(1, 5 * GIB)], ..Options::default() };
        let (sites, ..) = select(&machine(&[Kind::Discrete, Kind::Discrete]), &options).expect("they are there");
        let memory: Vec<u64> = sites.iter().map(|site| site.memory).collect();
        assert_eq!(memory, [8 * GIB - (256 << 20), 5 * GIB]);
        let options = Options { memory: vec![(3, 1)], ..Options::default() };
        let error = select(&machine(&[Kind::Discrete]), &options).map(|_| ()).expect_err("there is no adapter 3");
        assert!(error.to_string().contains("no adapter 3"), "{error}");
    }

    #[test]
    fn a_split_must_name_every_adapter() {
        let options = Options { split: vec![1, 1], ..Options::default() };
        assert!(select(&machine(&[Kind::Discrete, Kind::Discrete]), &options).is_err());
        let both =
            Options { adapters: vec!["0".into()], split: vec![1], layers: vec![(0, 0..1)], ..Options::default() };
        assert!(select(&machine(&[Kind::Discrete]), &both).is_err());
    }
}
