//! What a device can do, as far as kernels depend on it: facts, not choices.

use crate::simd::Isa;

/// What shaders on a device can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Features {
    /// The smallest and largest subgroup that a shader may run in; `None` without subgroup operations.
    pub subgroup: Option<(u32, u32)>,
    /// Whether shaders may hold f16.
    pub f16: bool,
    /// How it multiplies four bytes with four bytes and adds them up.
    pub integer_dots: IntegerDots,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// Invocations in a workgroup.
    pub workgroup_invocations: u32,
    /// What runs the shaders.
    pub processor: Processor,
}

/// How a device multiplies four bytes with four bytes and adds them up (WGSL's `dot4I8Packed`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntegerDots {
    /// Its shaders may not: what naga writes for it is refused.
    Refused,
    /// In several instructions.
    Emulated,
    /// In one.
    Native,
}

/// What runs shaders, as far as the best first guess at a kernel depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Processor {
    /// A graphics processor.
    Gpu,
    /// A CPU, through a software driver.
    Cpu,
    /// None: the host computes by kernels of its own, in an instruction set.
    Host(Isa),
}

impl Features {
    /// What every GPU can do that wgpu runs compute shaders on.
    pub const LEAST: Features = Features {
        subgroup: None,
        f16: false,
        integer_dots: IntegerDots::Emulated,
        workgroup_bytes: 16 << 10,
        workgroup_invocations: 256,
        processor: Processor::Gpu,
    };

    /// What graphics cards of today can do.
    pub const CARD: Features = Features {
        subgroup: Some((32, 32)),
        f16: true,
        integer_dots: IntegerDots::Native,
        workgroup_bytes: 32 << 10,
        workgroup_invocations: 1024,
        processor: Processor::Gpu,
    };

    /// Whether the host computes by kernels of its own.
    pub fn is_host(self) -> bool {
        matches!(self.processor, Processor::Host(_))
    }

    /// These features and ever fewer of them, so that kernels for lesser devices run on this one too; all features first.
    pub fn masks(self) -> Vec<Features> {
        if self.is_host() {
            return Isa::all().into_iter().map(|isa| Features { processor: Processor::Host(isa), ..self }).collect();
        }
        let mut masks = vec![self];
        if self.f16 {
            masks.push(Features { f16: false, ..self });
        }
        if self.subgroup.is_some() {
            let without: Vec<Features> = masks.iter().map(|mask| Features { subgroup: None, ..*mask }).collect();
            masks.extend(without);
        }
        masks
    }

    /// The name of a mask: `subgroup+f16`, `subgroup`, `f16`, `plain`; of the host its instruction set.
    pub fn mask(self) -> &'static str {
        if let Processor::Host(isa) = self.processor {
            return isa.name();
        }
        match (self.subgroup.is_some(), self.f16) {
            (true, true) => "subgroup+f16",
            (true, false) => "subgroup",
            (false, true) => "f16",
            (false, false) => "plain",
        }
    }

    /// Sizes of workgroups or tiles, or what else candidates vary by, best guess first. They are given from large to small: a GPU hides latency with many
    /// invocations, a CPU runs them one after another and pays for their barriers. Every device that is used allows 256 invocations.
    pub fn sizes<T, const N: usize>(self, large_to_small: [T; N]) -> [T; N] {
        let mut sizes = large_to_small;
        if self.processor == Processor::Cpu {
            sizes.reverse();
        }
        sizes
    }
}
