//! Candidates: the ways in which a kernel can compute a node on a device.

use std::fmt;

/// The normalised mean squared error that activations in 8 bits may cost. A block of 32 is rounded to steps of `largest / 127`, an error of
/// `(largest / 127)^2 / 12` to a square. Of evenly spread numbers that is 1.5e-5 of their mean square, `largest^2 / 3`; where one number of
/// a block is far larger than the others it is `32 / 12 / 127^2` at most, 1.7e-4. A single sum may be smaller than its terms would have it by
/// chance, as no mean over many is: by a factor of 6 in its square here. A gate makes up to 4 times as much of it, since activations are nowhere
/// steeper than 1.13, and more where it bounds numbers to less than their error.
pub const ROUNDED: f64 = 1e-3;

/// One way to compute a node: a kernel's method and the numbers that it is made with. A kernel lists those that a device can
/// run, the engine chooses one, and the kernel lowers the node by it.
///
/// Candidates of a kernel are equal where their dispatches are. Displayed as `columns, workgroup 64, rows 2`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Candidate {
    method: &'static str,
    numbers: Vec<(&'static str, u32)>,
    rounds: bool,
}

impl Candidate {
    /// A method without numbers.
    pub fn new(method: &'static str) -> Candidate {
        Candidate { method, numbers: Vec::new(), rounds: false }
    }

    /// The same with one more number.
    pub fn with(mut self, name: &'static str, number: u32) -> Candidate {
        self.numbers.push((name, number));
        self
    }

    /// The same, which rounds activations to 8 bits.
    pub fn that_rounds(self) -> Candidate {
        Candidate { rounds: true, ..self }
    }

    /// Whether it rounds activations to 8 bits, which costs more than the limits of cases allow otherwise: see [`ROUNDED`].
    pub fn rounds(&self) -> bool {
        self.rounds
    }

    /// The kernel's name for what it does.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// A number by its name, if the candidate has it.
    pub fn get(&self, name: &str) -> Option<u32> {
        self.numbers.iter().find(|(own, _)| *own == name).map(|(_, number)| *number)
    }

    /// A number by its name.
    ///
    /// Panics where the candidate has no such number: only a kernel's own candidates are given to it.
    pub fn number(&self, name: &str) -> u32 {
        self.get(name).unwrap_or_else(|| panic!("the candidate `{self}` has no number `{name}`"))
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.method)?;
        self.numbers.iter().try_for_each(|(name, number)| write!(formatter, ", {name} {number}"))
    }
}
