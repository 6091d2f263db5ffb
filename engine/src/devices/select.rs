//! The devices that the options name, how layers find them, and what else there would be.

use crate::devices::adapter::{Adapter, Kind};
use crate::devices::candidate::DeviceCandidate;
use crate::devices::discover::{self, Adapters};
use crate::error::{Error, Result};
use crate::options::{Devices, Layers, Options};
use crate::placement::policy::PlacementPolicy;

/// Other devices that a model could be laid out over.
#[derive(Debug, Clone)]
pub(crate) struct Alternative {
    /// What a person does for it.
    pub what: String,
    /// The devices.
    pub devices: Vec<DeviceCandidate>,
    /// How layers find them.
    pub policy: PlacementPolicy,
    /// Whether `--fit` may take them: they are there.
    pub is_there: bool,
}

/// The adapters that a model goes over where none is named: all GPUs, else the best there is.
fn usual(list: &[Adapter]) -> Vec<&Adapter> {
    let gpus: Vec<&Adapter> = list.iter().filter(|adapter| !adapter.kind.computes_on_cpu()).collect();
    if gpus.is_empty() { discover::best(list).into_iter().collect() } else { gpus }
}

/// The devices that the options name, how layers find them, and what else there would be.
pub(super) fn select(
    adapters: &Adapters,
    options: &Options,
) -> Result<(Vec<DeviceCandidate>, PlacementPolicy, Vec<Alternative>)> {
    let list = adapters.list();
    let device = |adapter: &&Adapter| DeviceCandidate::of(adapter);
    for (index, _) in &options.memory {
        if *index >= list.len() {
            let reason = format!("there is no adapter {index}; Adapters::list has 0 to {}", list.len() - 1);
            return Err(Error::Option { option: "Options::memory", reason });
        }
    }
    let (chosen, usual): (Vec<&Adapter>, _) = match (&options.devices, &options.layers) {
        (Devices::Adapters(names), _) if names.is_empty() => {
            return Err(Error::Option { option: "Devices::Adapters", reason: "it names no adapter".into() });
        }
        (Devices::Adapters(names), _) => (adapters.choose(names)?, PlacementPolicy::InOrder),
        (_, Layers::Ranges(_)) => (list.iter().collect(), PlacementPolicy::Best),
        (_, Layers::Fastest) => (usual(list), PlacementPolicy::Best),
        (_, Layers::Split(_)) => (discover::best(list).into_iter().collect(), PlacementPolicy::Best),
    };
    let policy = policy(options, chosen.len(), usual.clone())?;
    let mut devices: Vec<DeviceCandidate> = chosen.iter().map(device).collect();
    limit_memory(&mut devices, options);

    let given: Vec<usize> = devices.iter().map(|device| device.facts.index).collect();
    // Layers by hand are for these adapters: for others they must be left out.
    let by_hand = match policy {
        PlacementPolicy::Split(_) => " without Layers::Split",
        PlacementPolicy::Layers(_) => " without Layers::Ranges",
        PlacementPolicy::Best | PlacementPolicy::InOrder => "",
    };
    let alternative = |indices: Vec<usize>| {
        let mut devices: Vec<DeviceCandidate> =
            indices.iter().map(|index| DeviceCandidate::of(&list[*index])).collect();
        limit_memory(&mut devices, options);
        let numbers: Vec<String> = indices.iter().map(|index| list[*index].entry()).collect();
        let what = format!("Options::devices = {}{by_hand}", numbers.join(","));
        Alternative { what, devices, policy: PlacementPolicy::InOrder, is_there: true }
    };
    let mut others = other_adapters(list, &given, usual == PlacementPolicy::InOrder);
    if !by_hand.is_empty() {
        others.insert(0, given);
    }
    Ok((devices, policy, others.into_iter().map(alternative).collect()))
}

/// Adapters that could be named instead of those given: one more after the other, the host last; then fewer where all that are given are
/// used, since one may be too small for any layer; then each other one alone.
pub(super) fn other_adapters(list: &[Adapter], given: &[usize], all_are_used: bool) -> Vec<Vec<usize>> {
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
pub(super) fn policy(options: &Options, count: usize, usual: PlacementPolicy) -> Result<PlacementPolicy> {
    Ok(match &options.layers {
        Layers::Split(shares) if shares.len() != count => {
            let reason = format!("it has {} shares and there are {count} Options::devices", shares.len());
            return Err(Error::Option { option: "Layers::Split", reason });
        }
        Layers::Split(shares) => PlacementPolicy::Split(shares.clone()),
        Layers::Ranges(ranges) => PlacementPolicy::Layers(ranges.clone()),
        Layers::Fastest => usual,
    })
}

/// Follows [`Options::memory`].
pub(super) fn limit_memory(devices: &mut [DeviceCandidate], options: &Options) {
    for (index, bytes) in &options.memory {
        for device in devices.iter_mut().filter(|device| device.facts.index == *index) {
            (device.memory, device.memory_from, device.memory_assumed) = (*bytes, "what Options::memory says", false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::adapter::Memory;
    use crate::host;

    const GIB: u64 = 1 << 30;

    /// A machine with adapters of these kinds, 8 GiB free on each, and the host after them.
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
        let check =
            |kinds: &[Kind], options: &Options, expected: &[usize], policy: PlacementPolicy, others: &[&str]| {
                let (devices, found, alternatives) = select(&machine(kinds), options).expect("they can be chosen");
                let indices: Vec<usize> = devices.iter().map(|device| device.facts.index).collect();
                let named = |other: &Alternative| other.what.strip_prefix("Options::devices = ").map(String::from);
                let whats: Vec<String> =
                    alternatives.iter().map(|other| named(other).expect("it names adapters")).collect();
                assert_eq!((indices.as_slice(), found), (expected, policy));
                assert_eq!(whats, others);
            };
        let named = |names: &[&str]| Options::default().devices(Devices::adapters(names.iter().copied()));
        let none = Options::default();
        // All GPUs, and never the host or a software adapter beside them by itself.
        check(
            &[Software, Discrete, Integrated],
            &none,
            &[1, 2],
            PlacementPolicy::Best,
            &["1,2,0", "1,2,0,host", "0", "host"],
        );
        // Where there is no GPU, the host.
        check(&[Software, Software], &none, &[2], PlacementPolicy::Best, &["host,0", "host,0,1", "0", "1"]);
        check(&[], &none, &[0], PlacementPolicy::Best, &[]);
        check(&[Discrete, Discrete], &named(&["1"]), &[1], PlacementPolicy::InOrder, &["1,0", "1,0,host", "0", "host"]);
        check(&[Discrete], &named(&["0", "0"]), &[0, 0], PlacementPolicy::InOrder, &["0,0,host", "0", "host"]);
        check(&[Discrete], &named(&["host", "0"]), &[1, 0], PlacementPolicy::InOrder, &["0", "host"]);
        let split = named(&["0", "host"]).layers(Layers::Split(vec![3, 1]));
        let without = ["0,host without Layers::Split", "host without Layers::Split", "0 without Layers::Split"];
        check(&[Discrete], &split, &[0, 1], PlacementPolicy::Split(vec![3, 1]), &without);
        let layers = Options::default().layers(Layers::Ranges(vec![(1, 0..4)]));
        let without = ["0,host without Layers::Ranges"];
        check(&[Discrete], &layers, &[0, 1], PlacementPolicy::Layers(vec![(1, 0..4)]), &without);
    }

    #[test]
    fn memory_that_a_person_gives_counts() {
        let options = Options::default().memory(vec![(1, 5 * GIB)]);
        let (devices, ..) = select(&machine(&[Kind::Discrete, Kind::Discrete]), &options).expect("they are there");
        let memory: Vec<u64> = devices.iter().map(|device| device.memory).collect();
        assert_eq!(memory, [8 * GIB - (256 << 20), 5 * GIB]);
        let options = Options::default().memory(vec![(3, 1)]);
        let error = select(&machine(&[Kind::Discrete]), &options).map(|_| ()).expect_err("there is no adapter 3");
        assert!(error.to_string().contains("no adapter 3"), "{error}");
    }

    #[test]
    fn a_split_must_name_every_adapter() {
        let options = Options::default().layers(Layers::Split(vec![1, 1]));
        assert!(select(&machine(&[Kind::Discrete, Kind::Discrete]), &options).is_err());
        let nothing = Options::default().devices(Devices::Adapters(Vec::new()));
        assert!(select(&machine(&[Kind::Discrete]), &nothing).is_err());
    }
}
