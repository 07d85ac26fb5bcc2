//! Compilations for kinds of inputs: as many as there may be at first, and then one for as many calls of the compiled ones as
//! it costs, in the place of the one that was not used for longest (docs/decisions/0016).

use std::sync::Arc;

/// Most kinds that something is compiled for at a time; torch specialises ten times too before it falls back.
const MOST: usize = 12;

/// Calls of compiled kinds that earn one more compilation, when there are as many as there may be. A compilation costs about
/// what some hundred calls gain, so that inputs of ever new kinds cost at most about twice what the host takes.
const PRICE: u32 = 100;

/// The most that is saved up.
const SAVINGS: u32 = 4 * PRICE;

/// What something was compiled for.
pub struct Earned<T> {
    /// Most recently used first.
    kinds: Vec<Arc<T>>,
    /// Calls of compiled kinds that no compilation has been paid with.
    earned: u32,
    passed: u64,
}

impl<T> Default for Earned<T> {
    fn default() -> Earned<T> {
        Earned { kinds: Vec::new(), earned: 0, passed: 0 }
    }
}

impl<T> Earned<T> {
    /// The kind that a call is of, if it is compiled; the call earns.
    pub fn find(&mut self, fits: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let at = self.kinds.iter().position(|kind| fits(kind))?;
        self.kinds[..=at].rotate_right(1);
        self.earned = SAVINGS.min(self.earned + 1);
        Some(self.kinds[0].clone())
    }

    /// Whether there may be another compilation.
    pub fn pays(&self) -> bool {
        self.kinds.len() < MOST || self.earned >= PRICE
    }

    /// A call of a kind that is not compiled and has not been earned: the host runs it.
    pub fn pass(&mut self) {
        self.passed += 1;
    }

    /// How many calls the host ran.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Takes in a kind, the most recently used now.
    pub fn keep(&mut self, kind: Arc<T>) {
        if self.kinds.len() >= MOST {
            self.kinds.pop();
            self.earned = self.earned.saturating_sub(PRICE);
        }
        self.kinds.insert(0, kind);
    }

    /// What is compiled, most recently used first.
    pub fn kinds(&self) -> &[Arc<T>] {
        &self.kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_first_kinds_calls_of_the_old_ones_pay() {
        let mut earned = Earned::default();
        for kind in 0..MOST {
            assert!(earned.find(|&k| k == kind).is_none() && earned.pays());
            earned.keep(Arc::new(kind));
        }
        assert!(!earned.pays());
        (0..PRICE - 1).for_each(|_| drop(earned.find(|&k| k == 0)));
        assert!(!earned.pays());
        earned.find(|&k| k == 3);
        assert!(earned.pays());
        earned.keep(Arc::new(MOST));
        let kept: Vec<usize> = earned.kinds().iter().map(|k| **k).collect();
        assert_eq!(kept[..3], [MOST, 3, 0]);
        assert!(!kept.contains(&1) && kept.len() == MOST && !earned.pays());
    }
}
