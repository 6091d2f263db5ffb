//! What is chosen on a device, of all that it can do: the one place where a kernel's candidate is decided, and which rewrites apply.

use plywood_kernels::candidate::Candidate;
use plywood_kernels::fuse::{RULES, Rule};
use plywood_kernels::op::Op;

/// How choices are made on a device.
#[derive(Debug, Clone)]
pub struct Choices {
    /// The rewrites of a stage's nodes, in the order in which they are tried.
    pub rules: Vec<&'static dyn Rule>,
    /// Candidates that are taken wherever their op offers them; of several the first.
    pub preferred: Vec<Preference>,
}

/// A candidate that an op is to take.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Preference {
    /// The op, by its kernel's name.
    pub op: String,
    /// The candidate, as it is displayed; or its method alone, for the first with that.
    pub candidate: String,
}

impl Preference {
    /// That an op takes one of its candidates.
    pub fn of(op: &Op, candidate: &Candidate) -> Preference {
        Preference { op: op.kernel().name().into(), candidate: candidate.to_string() }
    }
}

impl Default for Choices {
    /// All rewrites, and every kernel's best guess.
    fn default() -> Choices {
        Choices { rules: RULES.to_vec(), preferred: Vec::new() }
    }
}

impl Choices {
    /// The candidate that an op takes, out of those that it offers, best guess first.
    ///
    /// Panics where it offers none.
    pub fn choose(&self, op: &str, mut candidates: Vec<Candidate>) -> Candidate {
        let is_preferred = |candidate: &Candidate| {
            let names = [candidate.to_string(), candidate.method().into()];
            let mut of_op = self.preferred.iter().filter(|preference| preference.op == op);
            of_op.any(|preference| names.contains(&preference.candidate))
        };
        let chosen = candidates.iter().position(is_preferred).unwrap_or(0);
        assert!(chosen < candidates.len(), "the op {op} offers no candidate");
        candidates.swap_remove(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preferred_candidate_is_taken_where_it_is_offered() {
        let offered = || [64, 16].map(|size| Candidate::new("rows").with("workgroup", size)).to_vec();
        let check = |preferred: &[(&str, &str)], chosen: &str| {
            let preference =
                |(op, candidate): &(&str, &str)| Preference { op: (*op).into(), candidate: (*candidate).into() };
            let choices = Choices { preferred: preferred.iter().map(preference).collect(), ..Choices::default() };
            assert_eq!(choices.choose("rms_norm", offered()).to_string(), chosen);
        };
        check(&[], "rows, workgroup 64");
        check(&[("rms_norm", "rows, workgroup 16")], "rows, workgroup 16");
        check(&[("matmul", "rows, workgroup 16")], "rows, workgroup 64");
        check(&[("rms_norm", "columns"), ("rms_norm", "rows")], "rows, workgroup 64");
        check(&[("rms_norm", "rows, workgroup 8")], "rows, workgroup 64");
    }
}
