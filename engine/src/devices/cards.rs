//! Common cards and machines with what their data sheets say: memory and its bandwidth.

use crate::devices::adapter::Kind;

/// A card, or a machine whose GPU shares the system's memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Card {
    /// Its name, as people write it.
    pub name: &'static str,
    /// Its memory in GiB; that of the whole machine where it is shared.
    pub memory: u64,
    /// Bytes per second of that memory.
    pub bandwidth: f64,
    /// Whether it is a card of its own or shares the system's memory, of which a model may take three quarters.
    pub kind: Kind,
}

const fn card(name: &'static str, memory: u64, gigabytes_per_second: u32) -> Card {
    Card { name, memory, bandwidth: gigabytes_per_second as f64 * 1e9, kind: Kind::Discrete }
}

const fn unified(name: &'static str, memory: u64, gigabytes_per_second: u32) -> Card {
    Card { kind: Kind::Integrated, ..card(name, memory, gigabytes_per_second) }
}

/// The cards. Where one name has several sizes, the size is part of the name.
pub static CARDS: &[Card] = &[
    card("RTX 3060 12GB", 12, 360),
    card("RTX 3090", 24, 936),
    card("RTX 4060 Ti 16GB", 16, 288),
    card("RTX 4070", 12, 504),
    card("RTX 4080", 16, 717),
    card("RTX 4090", 24, 1008),
    card("RTX 5080", 16, 960),
    card("RTX 5090", 32, 1792),
    card("RX 6800 XT", 16, 512),
    card("RX 7800 XT", 16, 624),
    card("RX 7900 XTX", 24, 960),
    card("RX 7900 XT", 20, 800),
    card("RX 9070 XT", 16, 640),
    card("Arc A770", 16, 560),
    card("Arc B580", 12, 456),
    card("H100", 80, 3350),
    card("H200", 141, 4800),
    unified("M1 Pro 16GB", 16, 200),
    unified("M1 Pro 32GB", 32, 200),
    unified("M1 Max 32GB", 32, 400),
    unified("M1 Max 64GB", 64, 400),
    unified("M1 Ultra 64GB", 64, 800),
    unified("M1 Ultra 128GB", 128, 800),
    unified("M2 Pro 16GB", 16, 200),
    unified("M2 Pro 32GB", 32, 200),
    unified("M2 Max 32GB", 32, 400),
    unified("M2 Max 64GB", 64, 400),
    unified("M2 Max 96GB", 96, 400),
    unified("M2 Ultra 64GB", 64, 800),
    unified("M2 Ultra 128GB", 128, 800),
    unified("M2 Ultra 192GB", 192, 800),
    unified("M3 Pro 18GB", 18, 150),
    unified("M3 Pro 36GB", 36, 150),
    unified("M3 Max 64GB", 64, 400),
    unified("M3 Max 128GB", 128, 400),
    unified("M3 Ultra 96GB", 96, 819),
    unified("M3 Ultra 256GB", 256, 819),
    unified("M3 Ultra 512GB", 512, 819),
    unified("M4 Pro 24GB", 24, 273),
    unified("M4 Pro 48GB", 48, 273),
    unified("M4 Pro 64GB", 64, 273),
    unified("M4 Max 64GB", 64, 546),
    unified("M4 Max 128GB", 128, 546),
    unified("Strix Halo 128GB", 128, 256),
];

/// A name without what may be left out: case, spaces, makers.
fn bare(name: &str) -> String {
    let name = name.to_lowercase();
    name.chars().filter(|character| character.is_ascii_alphanumeric()).collect()
}

/// The card of this name, or the one that a driver's name means; the longest name that fits it.
pub fn named(name: &str) -> Option<&'static Card> {
    let wanted = bare(name);
    let exact = CARDS.iter().find(|card| bare(card.name) == wanted);
    let starts =
        || CARDS.iter().find(|card| !wanted.is_empty() && bare(card.name).strip_prefix(&wanted) == Some("12gb"));
    let contains = || {
        let fits = CARDS.iter().filter(|card| card.kind == Kind::Discrete && is_in(&bare(card.name), &wanted));
        fits.max_by_key(|card| card.name.len())
    };
    exact.or_else(starts).or_else(contains)
}

/// What people write beside a card's name that makes it no other card.
const MAKERS: [&str; 8] = ["nvidia", "geforce", "amd", "radeon", "intel", "apple", "graphics", "gpu"];

/// What drivers write beside a card's name that makes it no other card.
const BUSES: [&str; 6] = ["hbm3", "hbm3e", "pcie", "sxm", "sxm5", "sse2"];

/// The card that a person names, if all of the text is its name, with its maker or the size of its memory perhaps.
pub fn told(text: &str) -> Option<&'static Card> {
    // Drivers add what they are in parentheses.
    let outside = text.split('(').map(|part| part.split_once(')').map_or(part, |(_, after)| after));
    let text = outside.collect::<Vec<_>>().join(" ").to_lowercase();
    let words = text.split(|character: char| !character.is_ascii_alphanumeric());
    let wanted: String = words.filter(|word| !MAKERS.contains(word) && !BUSES.contains(word)).collect();
    let wanted = wanted.replace("gib", "gb");
    let is_meant = |card: &&Card| {
        let own = bare(card.name);
        own == wanted || own.strip_suffix("12gb") == Some(&wanted) || format!("{own}{}gb", card.memory) == wanted
    };
    CARDS.iter().find(is_meant)
}

/// Whether a card's bare name is in a driver's, and is not the beginning of another card's (a 4070 in a 4070 Ti).
fn is_in(card: &str, driver: &str) -> bool {
    driver.match_indices(card).any(|(place, _)| {
        let after = &driver[place + card.len()..];
        !["ti", "super", "xt", "laptop", "mobile", "d", "m"].iter().any(|other| after.starts_with(other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_known_by_the_names_that_drivers_give() {
        let check =
            |driver: &str, card: Option<&str>| assert_eq!(named(driver).map(|card| card.name), card, "{driver}");
        check("RTX 3090", Some("RTX 3090"));
        check("rtx3090", Some("RTX 3090"));
        check("NVIDIA GeForce RTX 4090", Some("RTX 4090"));
        check("NVIDIA GeForce RTX 4070 Ti", None);
        check("NVIDIA GeForce RTX 4090 Laptop GPU", None);
        check("AMD Radeon RX 7900 XTX (RADV NAVI31)", Some("RX 7900 XTX"));
        check("AMD Radeon RX 7900 XT (RADV NAVI31)", Some("RX 7900 XT"));
        check("NVIDIA H100 80GB HBM3", Some("H100"));
        check("RTX 3060", Some("RTX 3060 12GB"));
        check("M2 Ultra 192GB", Some("M2 Ultra 192GB"));
        check("llvmpipe (LLVM 15.0.6, 256 bits)", None);
        check("", None);
    }

    #[test]
    fn cards_are_told_by_their_whole_names() {
        let check = |text: &str, card: Option<&str>| assert_eq!(told(text).map(|card| card.name), card, "{text}");
        check("rtx3090", Some("RTX 3090"));
        check("RTX 3090 24 GB", Some("RTX 3090"));
        check("RTX 4070 12GB", Some("RTX 4070"));
        check("RTX 3060", Some("RTX 3060 12GB"));
        check("Apple M2 Ultra (192 GiB)", None);
        check("Apple M2 Ultra 192 GiB", Some("M2 Ultra 192GB"));
        check("NVIDIA GeForce RTX 3090", Some("RTX 3090"));
        check("NVIDIA GeForce RTX 3090/PCIe/SSE2", Some("RTX 3090"));
        check("NVIDIA H100 80GB HBM3", Some("H100"));
        check("AMD Radeon RX 7900 XTX (RADV NAVI31)", Some("RX 7900 XTX"));
        check("Intel(R) Arc(TM) A770 Graphics (DG2)", Some("Arc A770"));
        for other in
            ["RTX 3090 Ti", "RTX 4090 48GB", "RTX 3090 RTX 3090", "RTX 3090 x2", "my RTX 3090", "3090", "RTX", "", "("]
        {
            check(other, None);
        }
        CARDS.iter().for_each(|card| check(card.name, Some(card.name)));
    }
}
