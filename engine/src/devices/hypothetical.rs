//! Devices that are not there, for planning: by the names of cards, or from a JSON file.

use plywood_kernels::device::Features;
use serde::Deserialize;

use crate::devices::adapter::{Adapter, Kind, Memory};
use crate::devices::candidate::{DeviceCandidate, LINK, SpeedFrom};
use crate::devices::cards::{self, CARDS, Card};
use crate::error::{Error, Result};
use crate::ledger::{parse_bytes, probable_unit};

/// Bytes, as a number or as a person writes them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Size {
    Number(f64),
    Text(String),
}

/// The least that is taken for a number of bytes where nobody says so: no device has less, and none is slower.
const LEAST: f64 = (1 << 20) as f64;

/// What a size is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Memory,
    Speed,
}

impl Quantity {
    /// The bytes, or those of a second, that a size of this quantity says; else what is wrong with it.
    fn bytes(self, size: &Size) -> std::result::Result<u64, String> {
        let text = match size {
            // A conversion of floats saturates.
            Size::Number(number) if *number >= LEAST || *number == 0.0 => return Ok(*number as u64),
            Size::Number(number) => &number.to_string(),
            Size::Text(text) => text,
        };
        let (amount, example) = match self {
            Quantity::Memory => (text.as_str(), "24GiB"),
            Quantity::Speed => (text.strip_suffix("/s").unwrap_or(text), "936GB/s"),
        };
        let meant = || match self {
            Quantity::Memory => probable_unit(amount),
            // Data sheets have GB/s.
            Quantity::Speed => probable_unit(amount).map(|_| format!("{}GB/s", amount.trim())),
        };
        parse_bytes(amount).ok_or_else(|| match meant() {
            Some(meant) => format!("{text} has no unit; write {meant:?} if that is meant"),
            None => format!("{text:?} is none; write such as {example:?}"),
        })
    }
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

/// Devices by the names of cards, such as `2x RTX 3090 + RTX 3060`: joined by `+`, commas or `and`, a number before or after a name.
///
/// Errors: a name that is no card's as a whole, so that no part of a text is passed over.
pub fn from_names(text: &str) -> Result<Vec<DeviceCandidate>> {
    let wrong = |reason: String| Error::Option { option: "hypothetical::from_names", reason };
    let mut devices = Vec::new();
    // Words are joined again by one space.
    let words: Vec<&str> =
        text.split_whitespace().map(|word| if word.eq_ignore_ascii_case("and") { "+" } else { word }).collect();
    for entry in words.join(" ").split([',', '+', '&']).map(str::trim) {
        let (count, name) = counted(entry);
        let number = count.parse().ok().filter(|count| (1..=64).contains(count));
        let number: usize = number.ok_or_else(|| wrong(format!("{count} is no number of cards")))?;
        let card = cards::told(name).ok_or_else(|| {
            let names: Vec<&str> = CARDS.iter().map(|card| card.name).collect();
            wrong(format!(
                "{name:?} is none of {}; write several as \"2x RTX 3090 + RTX 4070\", and describe others for hypothetical::from_json",
                names.join(", ")
            ))
        })?;
        for _ in 0..number {
            devices.push(of_card(card, devices.len()));
        }
    }
    Ok(devices)
}

/// The number of cards and their name: `2x NAME`, `2 NAME`, `NAME x2`; without a number it is one.
fn counted(entry: &str) -> (&str, &str) {
    const TIMES: [char; 4] = ['x', 'X', '×', '*'];
    let digits = |character: char| character.is_ascii_digit();
    let after = entry.trim_start_matches(digits);
    let count = &entry[..entry.len() - after.len()];
    if !count.is_empty() {
        match after.trim_start().strip_prefix(TIMES) {
            Some(name) => return (count, name.trim_start()),
            None if after.starts_with(' ') => return (count, after.trim_start()),
            None => {}
        }
    }
    let before = entry.trim_end_matches(digits);
    let count = &entry[before.len()..];
    // The x of `RTX 3090` belongs to a word.
    let is_apart = |name: &str| !name.ends_with(|character: char| character.is_ascii_alphabetic());
    match before.trim_end().strip_suffix(TIMES).filter(|name| !count.is_empty() && is_apart(name)) {
        Some(name) => (count, name.trim_end()),
        None => ("1", entry),
    }
}

/// Devices from the text of a JSON file: a list of objects with `name`, `memory`, `free`, `bandwidth`, `link` and `kind`, sizes as
/// `"24GiB"` and `"936GB/s"` or as numbers of bytes, of which only the name must be there if it is a known card's.
///
/// Errors: what is missing or misspelt, and sizes without a unit that are too small to be bytes.
pub fn from_json(text: &str) -> Result<Vec<DeviceCandidate>> {
    let wrong = |reason: String| Error::Option { option: "hypothetical::from_json", reason };
    let entries: Vec<Entry> = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let device = |(index, entry): (usize, Entry)| {
        let name = entry.name;
        let card = cards::told(&name);
        let size = |size: Option<Size>, quantity: Quantity, what: &str| {
            let bytes = size.map(|size| quantity.bytes(&size)).transpose();
            bytes.map_err(|reason| wrong(format!("{name}: {what}: {reason}")))
        };
        let missing = |what: &str| wrong(format!("{name}: its {what} is not said, and the name is no known card's"));
        let told = size(entry.memory, Quantity::Memory, "memory")?.or(card.map(|card| card.memory << 30));
        let memory = told.ok_or_else(|| missing("memory"))?;
        let free = size(entry.free, Quantity::Memory, "free")?.map(|free| free.min(memory));
        let told = size(entry.bandwidth, Quantity::Speed, "bandwidth")?.map(|bytes| bytes as f64);
        let bandwidth = told.or(card.map(|card| card.bandwidth)).ok_or_else(|| missing("bandwidth"))?;
        let link = size(entry.link, Quantity::Speed, "link")?.map_or(LINK, |bytes| bytes as f64);
        if bandwidth <= 0.0 || link <= 0.0 {
            return Err(wrong(format!("{name}: a bandwidth of 0 moves nothing")));
        }
        let kind = entry.kind.or(card.map(|card| card.kind)).unwrap_or(Kind::Discrete);
        Ok(imagine(&name, index, kind, Memory { total: memory, free }, bandwidth, link))
    };
    entries.into_iter().enumerate().map(device).collect()
}

fn of_card(card: &Card, index: usize) -> DeviceCandidate {
    imagine(card.name, index, card.kind, Memory { total: card.memory << 30, free: None }, card.bandwidth, LINK)
}

/// A device with the features and limits that current drivers have.
fn imagine(name: &str, index: usize, kind: Kind, memory: Memory, bandwidth: f64, link: f64) -> DeviceCandidate {
    let facts = Adapter {
        index,
        name: name.into(),
        backend: "",
        kind,
        driver: String::new(),
        memory: Some(memory),
        features: Features::CARD,
        matrix: false,
        max_binding: (4 << 30) - 4,
        max_buffer: 1 << 40,
        max_workgroups: 65_535,
        uniform_alignment: 256,
    };
    let mut device = DeviceCandidate::of(&facts);
    (device.speed.bandwidth, device.speed.link, device.speed_from) = (bandwidth, link, SpeedFrom::Told);
    device
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// Names with bytes for a model and bytes per second.
    fn told(devices: Result<Vec<DeviceCandidate>>) -> Result<Vec<(String, u64, f64)>, String> {
        let device = |device: DeviceCandidate| (device.facts.label(), device.memory, device.speed.bandwidth);
        devices.map(|devices| devices.into_iter().map(device).collect()).map_err(|error| error.to_string())
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
        let names = |text: &str| {
            told(from_names(text)).map(|devices| devices.into_iter().map(|device| device.0).collect::<Vec<_>>())
        };
        let pair =
            ["2x RTX 3090", "2 x RTX 3090", "2 × RTX 3090", "2×RTX 3090", "2 RTX 3090", "RTX 3090 x2", "RTX 3090 x 2"];
        let pairs =
            ["RTX 3090x2", "RTX 3090 and RTX 3090", "RTX 3090+RTX 3090", "RTX 3090 AND 1x RTX 3090", "rtx 3090 * 2"];
        for text in pair.into_iter().chain(pairs) {
            assert_eq!(names(text), Ok(vec!["RTX 3090".to_string(); 2]), "{text}");
        }
        let both = Ok(vec!["RTX 3090".to_string(), "RTX 3060 12GB".to_string()]);
        for text in [
            "RTX 3090 + RTX 3060 12GB",
            "RTX 3090, RTX 3060",
            "RTX 3090 & 1 RTX 3060 12GB",
            "1 RTX 3090\nand RTX 3060 x1",
        ] {
            assert_eq!(names(text), both, "{text}");
        }
        assert_eq!(names("RX 6800 XT x3"), Ok(vec!["RX 6800 XT".to_string(); 3]));
        let check = |text: &str, says: &str| {
            let error = told(from_names(text)).expect_err("there is no such card");
            assert!(error.contains(says), "{text}: {error}");
        };
        for text in
            ["RTX 3090 RTX 3090", "two RTX 3090", "2x RTX 3090 x2", "RTX 3090 or RTX 4090", "RTX 3090,", "RTX 3090 and"]
        {
            check(text, "is none of");
        }
        check("RTX 3090 + 3060", "\"3060\" is none of");
        check("RTX 3090 x0", "0 is no number");
        check("99999999999999999999999 RTX 3090", "99999999999999999999999 is no number");
        check("3x Voodoo 2", "\"Voodoo 2\" is none of RTX 3060");
        check("", "is none of");
        check("0x RTX 3090", "0 is no number");
        check("99999999999 x RTX 3090", "99999999999 is no number");
    }

    #[test]
    fn devices_from_a_file() {
        let text = r#"[{"name": "RTX 3090", "free": "22GiB"},
            {"name": "mine", "memory": 8589934592, "bandwidth": "500GB/s", "link": "4GB/s", "kind": "virtual"}]"#;
        let devices = from_json(text).expect("it is as it should be");
        assert_eq!((devices[0].memory, devices[1].memory), (22 * GIB - (256 << 20), 8 * GIB / 20 * 19));
        assert_eq!((devices[1].speed.bandwidth, devices[1].speed.link), (500e9, 4e9));
        let check = |text: &str, says: &str| {
            let error = told(from_json(text)).expect_err("it is wrong");
            assert!(error.contains(says), "{error}");
        };
        check("{}", "hypothetical::from_json");
        check(r#"[{"memory": 1}]"#, "name");
        check(r#"[{"name": "x"}]"#, "its memory is not said");
        check(r#"[{"name": "x", "memory": "1GiB"}]"#, "its bandwidth is not said");
        check(r#"[{"name": "RTX 3090 x2"}]"#, "its memory is not said");
        check(r#"[{"name": "x", "memory": "1GiB", "bandwidth": "1GB/s", "colour": 1}]"#, "colour");
        check(r#"[{"name": "x", "memory": 1000000, "bandwidth": [1]}]"#, "hypothetical::from_json");
        let sizes = |sizes: &str, says: &str| check(&format!(r#"[{{"name": "RTX 3090", {sizes}}}]"#), says);
        sizes(r#""memory": "much""#, r#"RTX 3090: memory: "much" is none; write such as "24GiB""#);
        sizes(r#""memory": "24GiB/s""#, r#""24GiB/s" is none"#);
        sizes(r#""bandwidth": 0"#, "moves nothing");
        sizes(r#""bandwidth": "300""#, r#"bandwidth: 300 has no unit; write "300GB/s""#);
        sizes(r#""bandwidth": "300/s""#, r#"300/s has no unit; write "300GB/s""#);
        sizes(r#""bandwidth": 936.2"#, r#"936.2 has no unit; write "936.2GB/s""#);
        sizes(r#""link": 16"#, r#"link: 16 has no unit; write "16GB/s""#);
        sizes(r#""memory": 24"#, r#"24 has no unit; write "24GiB""#);
        sizes(r#""memory": "24576""#, r#"24576 has no unit; write "24576MiB""#);
        sizes(r#""free": "8589934592""#, r#"free: 8589934592 has no unit; write "8589934592B""#);
        sizes(r#""memory": -1"#, r#""-1" is none"#);
    }
}
