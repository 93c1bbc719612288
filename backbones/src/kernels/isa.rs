//! Which instructions the kernels use: the machine's best, or what was asked for.
//!
//! The bits of a result belong to the instruction set: matrix products add up in another order on each.

use std::sync::{LazyLock, OnceLock};

use pulp::Arch;

/// Instruction sets that kernels exist for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// AVX-512 with the extensions of x86-64-v4.
    Avx512,
    /// AVX2 with fused multiply-add: x86-64-v3.
    Avx2,
    /// The vectors of 64-bit ARM.
    Neon,
    /// What every machine of the architecture has.
    Baseline,
}

static CHOSEN: OnceLock<InstructionSet> = OnceLock::new();

impl InstructionSet {
    /// Those that this machine has, best first.
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = pulp::x86::V4::try_new().map(|_| Self::Avx512);
            let avx2 = pulp::x86::V3::try_new().map(|_| Self::Avx2);
            avx512.into_iter().chain(avx2).chain([Self::Baseline]).collect()
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            vec![if cfg!(target_arch = "aarch64") { Self::Neon } else { Self::Baseline }]
        }
    }

    /// Name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Baseline => "baseline",
        }
    }

    /// What it consists of, as recorded with results.
    pub fn features(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512f+bw+cd+dq+vl",
            Self::Avx2 => "avx2+fma",
            Self::Neon | Self::Baseline => self.name(),
        }
    }
}

/// The instruction set of all kernels.
pub fn instruction_set() -> InstructionSet {
    *CHOSEN.get_or_init(|| InstructionSet::available()[0])
}

/// Pins the instruction set of this process; false if another one is in use already.
///
/// # Panics
/// If the machine does not have it, which the caller has to ask first: our bug.
pub fn use_instruction_set(set: InstructionSet) -> bool {
    assert!(InstructionSet::available().contains(&set), "{} on a machine without it", set.name());
    *CHOSEN.get_or_init(|| set) == set
}

/// The instruction set as `pulp` sees it.
pub(super) static ARCH: LazyLock<Arch> = LazyLock::new(|| match instruction_set() {
    #[cfg(target_arch = "x86_64")]
    InstructionSet::Avx512 => pulp::x86::V4::try_new().map_or(Arch::Scalar, Arch::V4),
    #[cfg(target_arch = "x86_64")]
    InstructionSet::Avx2 => pulp::x86::V3::try_new().map_or(Arch::Scalar, Arch::V3),
    #[cfg(target_arch = "x86_64")]
    _ => Arch::Scalar,
    #[cfg(not(target_arch = "x86_64"))]
    _ => Arch::new(),
});
