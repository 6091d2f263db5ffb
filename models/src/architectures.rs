//! The table of model families: what this build runs, as data. A new family of the same parts is a new row.

use plywood_kernels::gated::Activation;
use plywood_kernels::rope::Pairing;

use crate::checkpoint::Kind;

/// A model family.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Its name in GGUF files (`general.architecture`), which begins its keys too.
    pub name: &'static str,
    /// Its name in Hugging Face files (`architectures` of `config.json`).
    pub class: &'static str,
    /// Which elements of a head turn together in GGUF files, whose q and k rows converters reorder.
    pub gguf_pairing: Pairing,
    /// The same in Hugging Face files.
    pub class_pairing: Pairing,
    /// What the feed-forward's gate goes through.
    pub activation: Activation,
}

/// Every family that this build runs.
pub static ALL: [Architecture; 1] = [Architecture {
    name: "llama",
    class: "LlamaForCausalLM",
    gguf_pairing: Pairing::Adjacent,
    class_pairing: Pairing::Halves,
    activation: Activation::Silu,
}];

impl Architecture {
    /// The family of a name as files of this kind have it.
    pub fn find(kind: Kind, name: &str) -> Option<&'static Architecture> {
        ALL.iter().find(|row| row.name_in(kind) == name)
    }

    /// Its name in files of a kind.
    pub fn name_in(&self, kind: Kind) -> &'static str {
        match kind {
            Kind::Gguf => self.name,
            Kind::HuggingFace => self.class,
        }
    }

    /// Which elements of a head turn together in files of a kind.
    pub fn pairing(&self, kind: Kind) -> Pairing {
        match kind {
            Kind::Gguf => self.gguf_pairing,
            Kind::HuggingFace => self.class_pairing,
        }
    }
}

/// The names of all families in files of a kind, for messages.
pub fn known(kind: Kind) -> String {
    ALL.iter().map(|row| row.name_in(kind)).collect::<Vec<_>>().join(", ")
}
