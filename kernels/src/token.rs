//! Which instruction set runs: found at run time, overridable with `MOUE_ISA`.

use crate::simd::{Simd, portable::Portable};
use std::{env, fmt, sync::OnceLock};

#[cfg(target_arch = "x86_64")]
use crate::simd::avx2::Avx2;
#[cfg(target_arch = "aarch64")]
use crate::simd::neon::Neon;

/// A kernel body, generic over the instruction set. `run` must be `#[inline(always)]`, as must all that it
/// calls with `simd`, for the body to be compiled with the instructions of the wrapper it ends up in.
pub trait Kernel {
    /// What the body returns.
    type Output;
    /// The body.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

#[derive(Clone, Copy)]
enum Token {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

/// An instruction set that this CPU has.
#[derive(Clone, Copy)]
pub struct Isa(Token);

impl Isa {
    /// Every instruction set that this CPU has, the fastest first; `portable` is always the last.
    pub fn available() -> Vec<Isa> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        found.extend(Avx2::detect().map(|t| Isa(Token::Avx2(t))));
        #[cfg(target_arch = "aarch64")]
        found.extend(Neon::detect().map(|t| Isa(Token::Neon(t))));
        found.push(Isa(Token::Portable(Portable)));
        found
    }

    /// The instruction set by name.
    ///
    /// # Errors
    /// A message that lists what this CPU has.
    pub fn by_name(name: &str) -> Result<Isa, String> {
        let available = Isa::available();
        available.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
            let names: Vec<_> = available.iter().map(|isa| isa.name()).collect();
            format!("instruction set {name:?} is not available here; this CPU has: {}", names.join(", "))
        })
    }

    /// What `MOUE_ISA` names, or the fastest that this CPU has.
    ///
    /// # Errors
    /// As [`Isa::by_name`], when `MOUE_ISA` names something that is not here.
    pub fn from_env() -> Result<Isa, String> {
        match env::var("MOUE_ISA") {
            Ok(name) => Isa::by_name(name.trim()).map_err(|e| format!("MOUE_ISA: {e}")),
            Err(_) => Ok(Isa::fastest()),
        }
    }

    /// What tests go through: what `MOUE_ISA` names alone, or every instruction set that this CPU has.
    ///
    /// # Errors
    /// As [`Isa::from_env`].
    pub fn selected() -> Result<Vec<Isa>, String> {
        match env::var_os("MOUE_ISA") {
            Some(_) => Ok(vec![Isa::from_env()?]),
            None => Ok(Isa::available()),
        }
    }

    /// The fastest instruction set that this CPU has; asked once.
    pub fn fastest() -> Isa {
        static FASTEST: OnceLock<Isa> = OnceLock::new();
        *FASTEST.get_or_init(|| Isa::available()[0])
    }

    /// `avx2`, `neon` or `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Token::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => "neon",
        }
    }

    /// Runs a kernel body compiled for this instruction set.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Token::Portable(t) => kernel.run(t),
            // SAFETY: a token exists only on a CPU that has its instructions.
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(t) => unsafe { run_avx2(t, kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Token::Neon(t) => unsafe { run_neon(t, kernel) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(token: Avx2, kernel: K) -> K::Output {
    kernel.run(token)
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn run_neon<K: Kernel>(token: Neon, kernel: K) -> K::Output {
    kernel.run(token)
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
