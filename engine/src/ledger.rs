//! The ledger: every byte that a plan allocates, by stage and purpose, known before the first allocation.

use std::fmt;

use serde::Serialize;

/// What memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The model's weights.
    Weights,
    /// Keys and values of tokens seen.
    KvCache,
    /// Values between ops, and what changes from step to step.
    Activations,
    /// Buffers through which bytes go to and from the device.
    Staging,
}

/// Bytes by purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// The model's weights.
    pub weights: u64,
    /// Keys and values of tokens seen.
    pub kv_cache: u64,
    /// Values between ops, and what changes from step to step.
    pub activations: u64,
    /// Buffers through which bytes go to and from the device.
    pub staging: u64,
}

impl Bytes {
    /// Adds bytes of a purpose.
    pub fn add(&mut self, purpose: Purpose, bytes: u64) {
        let sum = match purpose {
            Purpose::Weights => &mut self.weights,
            Purpose::KvCache => &mut self.kv_cache,
            Purpose::Activations => &mut self.activations,
            Purpose::Staging => &mut self.staging,
        };
        *sum = sum.saturating_add(bytes);
    }

    /// Bytes of all purposes.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.kv_cache).saturating_add(self.activations).saturating_add(self.staging)
    }
}

/// What one stage allocates on its device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerStage {
    /// The device.
    pub adapter: String,
    /// Its layers, first and last; `None` where it has only the embedding or the output.
    pub layers: Option<(usize, usize)>,
    /// Bytes by purpose.
    pub bytes: Bytes,
    /// What a model may take of it; `None` where nobody tells and it was guessed.
    pub available: Option<u64>,
}

/// What a model allocates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Its stages in order.
    pub stages: Vec<LedgerStage>,
}

impl Ledger {
    /// Bytes of all stages.
    pub fn total(&self) -> u64 {
        self.stages.iter().map(|stage| stage.bytes.total()).sum()
    }
}

/// Bytes as a person writes them: `20GiB`, `500MB`, `1.5 GB`, `100B`. `None` for anything else, also for a number without a unit:
/// who writes 20 does not mean 20 bytes.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.trim().find(|character: char| !character.is_ascii_digit() && character != '.');
    let (number, unit) = text.trim().split_at(digits.unwrap_or(text.trim().len()));
    let factor = match unit.trim().to_lowercase().as_str() {
        "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        _ => return None,
    };
    // A whole number of bytes stays exact; a conversion of floats saturates.
    if factor == 1.0 { number.parse().ok() } else { number.parse::<f64>().ok().map(|number| (number * factor) as u64) }
}

/// What is probably meant by a number of bytes that has no unit: `20GiB` by `20`. `None` where it is no number.
pub fn probable_unit(text: &str) -> Option<String> {
    let text = text.trim();
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)?;
    // Memory is told in GiB by people and in MiB by tools.
    let unit = match number {
        ..1e3 => "GiB",
        ..1e6 => "MiB",
        _ => "B",
    };
    Some(format!("{text}{unit}"))
}

/// Bytes as a person reads them: `1.3 GiB`.
pub struct HumanBytes(pub u64);

impl fmt::Display for HumanBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(formatter, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(formatter, "{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read() {
        let check = |text: &str, bytes| assert_eq!(parse_bytes(text), bytes, "{text:?}");
        check("20GiB", Some(20 << 30));
        check(" 1.5 GB ", Some(1_500_000_000));
        check("500mb", Some(500_000_000));
        check("18446744073709551615B", Some(u64::MAX));
        check("20", None);
        check("1e9", None);
        check("99999999999999TiB", Some(u64::MAX));
        check("GiB", None);
        check("", None);
        check("-1GiB", None);
        check("1.2.3GB", None);
        check("1.5", None);
        check("1GiBs", None);
    }

    #[test]
    fn numbers_without_a_unit() {
        let check = |text: &str, meant: Option<&str>| assert_eq!(probable_unit(text).as_deref(), meant, "{text:?}");
        check(" 20 ", Some("20GiB"));
        check("0.5", Some("0.5GiB"));
        check("24576", Some("24576MiB"));
        check("21474836480", Some("21474836480B"));
        check("20GiB", None);
        check("-20", None);
        check("inf", None);
        check("", None);
    }

    #[test]
    fn bytes_read_well() {
        let check = |bytes, text: &str| assert_eq!(HumanBytes(bytes).to_string(), text);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1024, "1.0 KiB");
        check(1_395_864_371, "1.3 GiB");
        check(u64::MAX, "16777216.0 TiB");
    }
}
