//! Numbers that are products of extents, and how they are told from numbers that are not: graphs are recorded twice, with
//! other primes as the extents each time. A number is taken apart by the primes of its recording, and what comes out of both
//! recordings has to be the same. A number that depends on an extent in another way (a sum, a half, 1/n) comes out differently.

use kernels::{Dims, Scalar};
use runtime::error::{Error, Result};
use runtime::infer::TensorType;
use runtime::value::Host;
use smallvec::SmallVec;

/// Most extents that may be open at a time.
pub(crate) const SYMBOLS: usize = 6;

/// The extents that one recording has for the open ones.
pub(crate) type Primes = [usize; SYMBOLS];

/// Those of the first and of the second recording. No two primes of a recording differ by what the same two of the other do, so
/// that no sum of an extent and a constant is another extent in both.
pub(crate) const PRIMES: [Primes; 2] = [[211, 223, 227, 229, 233, 239], [307, 317, 331, 347, 353, 379]];

/// Extents that a call may have for an open one: 0 and 1 are kinds of their own, since 1 broadcasts.
pub(crate) const LEAST: usize = 2;

/// What the open extents are in one call.
pub(crate) type Bound = SmallVec<[usize; SYMBOLS]>;

/// A number times powers of open extents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    factor: i64,
    powers: [u8; SYMBOLS],
}

impl Extent {
    /// What a number of a recording with these primes stands for.
    pub(crate) fn of(number: i64, primes: &Primes) -> Extent {
        let mut extent = Extent { factor: number, powers: [0; SYMBOLS] };
        for (power, &prime) in extent.powers.iter_mut().zip(primes) {
            while extent.factor != 0 && extent.factor % prime as i64 == 0 {
                extent.factor /= prime as i64;
                *power += 1;
            }
        }
        extent
    }

    /// Whether it is the same in every call.
    pub(crate) fn is_fixed(&self) -> bool {
        self.within(0)
    }

    /// Which open extent it is, if it is one by itself.
    pub(crate) fn symbol(&self) -> Option<usize> {
        let which = self.powers.iter().position(|&power| power == 1)?;
        let alone = self.factor == 1 && self.powers.iter().map(|&power| u32::from(power)).sum::<u32>() == 1;
        alone.then_some(which)
    }

    /// Whether it is made of the first so many open extents alone.
    pub(crate) fn within(&self, count: usize) -> bool {
        self.powers[count..].iter().all(|&power| power == 0)
    }

    /// What it is in one call; `None` where that is too large.
    pub(crate) fn value(&self, bound: &[usize]) -> Option<i64> {
        let mut value = self.factor;
        for (&power, &extent) in self.powers.iter().zip(bound) {
            for _ in 0..power {
                value = value.checked_mul(extent as i64)?;
            }
        }
        Some(value)
    }
}

/// Extents of a tensor.
pub(crate) type Extents = SmallVec<[Extent; 4]>;

/// The extents of a recorded tensor.
pub(crate) fn extents_of(ty: &TensorType, primes: &Primes) -> Result<Extents> {
    Ok(ty.constant_dims()?.iter().map(|&n| Extent::of(n as i64, primes)).collect())
}

/// What they are in one call.
pub(crate) fn dims(extents: &[Extent], bound: &[usize]) -> Result<Dims> {
    let dim = |extent: &Extent| extent.value(bound).and_then(|n| usize::try_from(n).ok());
    extents.iter().map(|extent| dim(extent).ok_or_else(too_large)).collect()
}

/// A constant of the host that may depend on open extents.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum OpenHost {
    /// The same in every call.
    Fixed(Host),
    Int(Extent),
    Float(Extent),
    Ints(Extents),
}

impl OpenHost {
    /// What a constant of a recording with these primes stands for.
    pub(crate) fn of(host: &Host, primes: &Primes) -> OpenHost {
        /// Floats up to this one are exact as integers.
        const EXACT: f64 = 9e15;
        let open = |number: i64| Some(Extent::of(number, primes)).filter(|extent| !extent.is_fixed());
        let found = match host {
            Host::Scalar(Scalar::Int(n)) => open(*n).map(OpenHost::Int),
            Host::Scalar(Scalar::Float(f)) if f.fract() == 0.0 && f.abs() < EXACT => {
                open(*f as i64).map(OpenHost::Float)
            }
            Host::Ints(list) if list.iter().any(|&n| open(n).is_some()) => {
                Some(OpenHost::Ints(list.iter().map(|&n| Extent::of(n, primes)).collect()))
            }
            Host::Scalar(_) | Host::Ints(_) | Host::Str(_) | Host::DType(_) | Host::None => None,
        };
        found.unwrap_or_else(|| OpenHost::Fixed(host.clone()))
    }

    /// Whether it is the same in every call.
    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self, OpenHost::Fixed(_))
    }

    /// What it is in one call.
    pub(crate) fn value(&self, bound: &[usize]) -> Result<Host> {
        let value = |extent: &Extent| extent.value(bound).ok_or_else(too_large);
        Ok(match self {
            OpenHost::Fixed(host) => host.clone(),
            OpenHost::Int(extent) => Host::Scalar(Scalar::Int(value(extent)?)),
            OpenHost::Float(extent) => Host::Scalar(Scalar::Float(value(extent)? as f64)),
            OpenHost::Ints(list) => Host::Ints(list.iter().map(value).collect::<Result<_>>()?),
        })
    }
}

#[cold]
fn too_large() -> Error {
    Error::shape("an extent is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_come_out_of_both_recordings_alike() {
        let [a, b] = &PRIMES;
        let both = |f: &dyn Fn(&Primes) -> i64| (Extent::of(f(a), a), Extent::of(f(b), b));
        let product = |p: &Primes| (p[0] * p[2] * 12) as i64;
        let (first, second) = both(&product);
        assert_eq!(first, second);
        assert_eq!(first.value(&[5, 7, 2]), Some(120));
        assert!(first.symbol().is_none() && !first.is_fixed());
        assert_eq!(both(&|p| p[1] as i64).0.symbol(), Some(1));
        let others: [&dyn Fn(&Primes) -> i64; 5] = [
            &|p| p[0] as i64 + 1,
            &|p| (p[0] + p[1]) as i64,
            &|p| p[0] as i64 / 2,
            &|p| p[3] as i64 - 1,
            &|p| p[0] as i64 % 64,
        ];
        for (i, other) in others.into_iter().enumerate() {
            let (first, second) = both(other);
            assert_ne!(first, second, "{i}");
        }
    }

    #[test]
    fn no_extent_is_another_plus_a_constant_in_both_recordings() {
        let apart = |side: usize, i: usize, j: usize| PRIMES[side][j] as i64 - PRIMES[side][i] as i64;
        for (i, j) in (0..SYMBOLS).flat_map(|i| (0..SYMBOLS).map(move |j| (i, j))).filter(|(i, j)| i != j) {
            assert_ne!(apart(0, i, j), apart(1, i, j));
        }
    }

    #[test]
    fn numbers_of_the_host_follow_the_extents() {
        let now = |host: Host| OpenHost::of(&host, &PRIMES[0]).value(&[9]).unwrap();
        let ints = |list: &[i64]| Host::Ints(list.iter().copied().collect());
        assert_eq!(now(ints(&[211, -1, 4])), ints(&[9, -1, 4]));
        assert_eq!(now(Host::Scalar(Scalar::Float(422.0))), Host::Scalar(Scalar::Float(18.0)));
        assert_eq!(now(Host::Scalar(Scalar::Int(-211))), Host::Scalar(Scalar::Int(-9)));
        assert_eq!(now(Host::Scalar(Scalar::Float(105.5))), Host::Scalar(Scalar::Float(105.5)));
        let huge = OpenHost::of(&ints(&[211 * 211]), &PRIMES[0]);
        assert!(huge.value(&[1 << 40]).is_err() && !huge.is_fixed());
    }
}
