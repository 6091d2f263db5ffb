//! Devices that are not there, for planning: by the names of cards, or from a JSON file.

use plywood_kernels::device::{Features, Processor};
use serde::Deserialize;

use crate::devices::adapter::{Adapter, Kind, Memory};
use crate::devices::candidate::{LINK, Site, SpeedFrom};
use crate::devices::cards::{self, CARDS, Card};
use crate::error::{Error, Result};
use crate::ledger::parse_bytes;

/// Bytes, as a number or as a person writes them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

/// A device in a file: what a card of the name has need not be said.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Its name.
    name: String,
    /// All of its memory.
    memory: Option<Size>,
    /// What is free of it.
    free: Option<Size>,
    /// Bytes per second of its memory.
    bandwidth: Option<Size>,
    /// Bytes per second between it and the host.
    link: Option<Size>,
    /// `discrete` where nothing else is said.
    kind: Option<Kind>,
}

/// Devices by their names, such as `2x RTX 3090, RTX 3060`.
pub fn from_names(text: &str) -> Result<Vec<Site>> {
    let wrong = |reason: String| Error::Option { option: "--as", reason };
    let mut sites = Vec::new();
    for entry in text.split(',').map(str::trim) {
        let counted = entry.split_once(['x', 'X', '×']);
        let counted = counted.and_then(|(count, name)| Some((count.trim().parse::<usize>().ok()?, name.trim())));
        let (count, name) = counted.unwrap_or((1, entry));
        if !(1..=64).contains(&count) {
            return Err(wrong(format!("{count} is no number of cards")));
        }
        let card = cards::named(name).ok_or_else(|| {
            let names: Vec<&str> = CARDS.iter().map(|card| card.name).collect();
            wrong(format!("{name:?} is none of {}; write others to a file for --devices", names.join(", ")))
        })?;
        for _ in 0..count {
            sites.push(of_card(card, sites.len()));
        }
    }
    Ok(sites)
}

/// Devices from the text of a JSON file: a list of objects with `name`, `memory`, `free`, `bandwidth`, `link` and `kind`, sizes as
/// numbers of bytes or as `"24GiB"`, of which only the name must be there if it is a known card's.
pub fn from_json(text: &str) -> Result<Vec<Site>> {
    let wrong = |reason: String| Error::Option { option: "--devices", reason };
    let entries: Vec<Entry> = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let site = |(index, entry): (usize, Entry)| {
        let name = entry.name;
        let card = cards::named(&name);
        let size = |size: Option<Size>, what: &str| match size {
            None => Ok(None),
            Some(Size::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Size::Text(text)) => match parse_bytes(text.trim_end_matches("/s")) {
                Some(bytes) => Ok(Some(bytes)),
                None => Err(wrong(format!("{name}: {text:?} is no {what}; write such as \"24GiB\" or \"936GB/s\""))),
            },
        };
        let missing = |what: &str| wrong(format!("{name}: its {what} is not said, and the name is no known card's"));
        let told = size(entry.memory, "memory")?.or(card.map(|card| card.memory << 30));
        let memory = told.ok_or_else(|| missing("memory"))?;
        let free = size(entry.free, "memory")?.map(|free| free.min(memory));
        let told = size(entry.bandwidth, "bandwidth")?.map(|bytes| bytes as f64).or(card.map(|card| card.bandwidth));
        let bandwidth = told.ok_or_else(|| missing("bandwidth"))?;
        let link = size(entry.link, "speed of a link")?.map_or(LINK, |bytes| bytes as f64);
        if bandwidth <= 0.0 || link <= 0.0 {
            return Err(wrong(format!("{name}: a bandwidth of 0 moves nothing")));
        }
        let kind = entry.kind.or(card.map(|card| card.kind)).unwrap_or(Kind::Discrete);
        Ok(imagine(&name, index, kind, Memory { total: memory, free }, bandwidth, link))
    };
    entries.into_iter().enumerate().map(site).collect()
}

fn of_card(card: &Card, index: usize) -> Site {
    imagine(card.name, index, card.kind, Memory { total: card.memory << 30, free: None }, card.bandwidth, LINK)
}

/// A device with the features and limits that current drivers have.
fn imagine(name: &str, index: usize, kind: Kind, memory: Memory, bandwidth: f64, link: f64) -> Site {
    let features = Features {
        subgroup: Some((32, 32)),
        f16: true,
        workgroup_bytes: 32 << 10,
        workgroup_invocations: 1024,
        processor: Processor::Gpu,
    };
    let facts = Adapter {
        index,
        name: name.into(),
        backend: "",
        kind,
        driver: String::new(),
        memory: Some(memory),
        features,
        matrix: false,
        max_binding: (4 << 30) - 4,
        max_buffer: 1 << 40,
        max_workgroups: 65_535,
        uniform_alignment: 256,
    };
    let mut site = Site::of(&facts);
    (site.speed.bandwidth, site.speed.link, site.speed_from) = (bandwidth, link, SpeedFrom::Told);
    site
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// Names with bytes for a model and bytes per second.
    fn told(sites: Result<Vec<Site>>) -> Result<Vec<(String, u64, f64)>, String> {
        let site = |site: Site| (site.facts.label(), site.memory, site.speed.bandwidth);
        sites.map(|sites| sites.into_iter().map(site).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn cards_by_name() {
        let card = |name: &str, memory, bandwidth| (name.to_string(), memory, bandwidth);
        // 95% of a card's memory, three quarters of what is shared.
        let rtx = card("RTX 3090", 24 * GIB / 20 * 19, 936e9);
        assert_eq!(told(from_names("2x RTX 3090")), Ok(vec![rtx.clone(), rtx.clone()]));
        assert_eq!(
            told(from_names("rtx3090, M2 Ultra 192GB")),
            Ok(vec![rtx, card("M2 Ultra 192GB", 144 * GIB, 800e9)])
        );
        let check = |text: &str, says: &str| {
            let error = told(from_names(text)).expect_err("there is no such card");
            assert!(error.contains(says), "{error}");
        };
        check("3x Voodoo 2", "\"Voodoo 2\" is none of RTX 3060");
        check("", "is none of");
        check("0x RTX 3090", "0 is no number");
        check("99999999999 x RTX 3090", "99999999999 is no number");
    }

    #[test]
    fn devices_from_a_file() {
        let text = r#"[{"name": "RTX 3090", "free": "22GiB"},
            {"name": "mine", "memory": 8589934592, "bandwidth": "500GB/s", "link": "4GB/s", "kind": "virtual"}]"#;
        let sites = from_json(text).expect("it is as it should be");
        assert_eq!((sites[0].memory, sites[1].memory), (22 * GIB - (256 << 20), 8 * GIB / 20 * 19));
        assert_eq!((sites[1].speed.bandwidth, sites[1].speed.link), (500e9, 4e9));
        let check = |text: &str, says: &str| {
            let error = told(from_json(text)).expect_err("it is wrong");
            assert!(error.contains(says), "{error}");
        };
        check("{}", "--devices");
        check(r#"[{"memory": 1}]"#, "name");
        check(r#"[{"name": "x"}]"#, "its memory is not said");
        check(r#"[{"name": "x", "memory": 1}]"#, "its bandwidth is not said");
        check(r#"[{"name": "x", "memory": "much", "bandwidth": 1}]"#, "\"much\" is no memory");
        check(r#"[{"name": "x", "memory": 1, "bandwidth": 0}]"#, "moves nothing");
        check(r#"[{"name": "x", "memory": 1, "bandwidth": 1, "colour": 1}]"#, "colour");
        check(r#"[{"name": "x", "memory": -1, "bandwidth": 1}]"#, "--devices");
    }
}
