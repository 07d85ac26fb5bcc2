//! Which vector instructions this processor has, asked once.
//!
//! Every kernel exists once for each level and is chosen through a table when a program is compiled, so a launch never
//! asks. `TRIFOLD_ISA=portable|avx2|avx512` lowers the level (it never raises it beyond what the processor has).

use std::sync::OnceLock;

/// A level of vector instructions; a higher one includes the lower ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Isa {
    /// What every processor of the architecture has.
    Portable,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ and VL besides AVX2.
    Avx512,
}

impl Isa {
    /// Every level, lowest first.
    pub const ALL: [Isa; 3] = [Isa::Portable, Isa::Avx2, Isa::Avx512];

    /// The name that `TRIFOLD_ISA` knows it by.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// The highest level that this processor has.
    pub fn highest() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            match (avx2, avx512) {
                (true, true) => Isa::Avx512,
                (true, false) => Isa::Avx2,
                _ => Isa::Portable,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Portable
    }

    /// The levels that this processor has, lowest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|&isa| isa <= Isa::highest())
    }
}

/// The level that programs are compiled for.
pub fn isa() -> Isa {
    static CHOSEN: OnceLock<Isa> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let wanted = std::env::var("TRIFOLD_ISA").ok();
        let wanted = Isa::ALL.into_iter().find(|i| wanted.as_deref() == Some(i.name()));
        wanted.map_or(Isa::highest(), |w| w.min(Isa::highest()))
    })
}

/// Whether machine code is made while programs are compiled: unless `TRIFOLD_NATIVE=off`.
pub fn native() -> bool {
    static CHOSEN: OnceLock<bool> = OnceLock::new();
    *CHOSEN.get_or_init(|| std::env::var("TRIFOLD_NATIVE").as_deref() != Ok("off"))
}

/// What a kernel body may assume about the processor; the marker that bodies are generic over.
pub trait Target: Copy {
    /// Whether `mul_add` is one instruction (elsewhere it is a slow library call).
    const FMA: bool;
    /// The level it stands for.
    const ISA: Isa;
}

/// Marker for `Isa::Portable`.
#[derive(Clone, Copy)]
pub struct Portable;
/// Marker for `Isa::Avx2`.
#[derive(Clone, Copy)]
pub struct Avx2;
/// Marker for `Isa::Avx512`.
#[derive(Clone, Copy)]
pub struct Avx512;

impl Target for Portable {
    const FMA: bool = false;
    const ISA: Isa = Isa::Portable;
}
impl Target for Avx2 {
    const FMA: bool = true;
    const ISA: Isa = Isa::Avx2;
}
impl Target for Avx512 {
    const FMA: bool = true;
    const ISA: Isa = Isa::Avx512;
}
