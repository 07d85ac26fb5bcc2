//! Compilations for kinds of inputs: as many as there may be at first, and then one for as many calls of the compiled ones as
//! it costs, in the place of the one that was not used for longest. Beside them what was compiled for open extents, which
//! answers calls of any other kind (docs/decisions/0016).

use std::sync::Arc;

/// Most kinds that something is compiled for at a time; torch specialises ten times too before it falls back.
const MOST: usize = 12;

/// Calls of compiled kinds that earn one more compilation, when there are as many as there may be. A compilation costs about
/// what some hundred calls gain, so that inputs of ever new kinds cost at most about twice what the host takes.
const PRICE: u32 = 100;

/// The most that is saved up.
const SAVINGS: u32 = 4 * PRICE;

/// Most forms with open extents that are kept.
const MOST_OPEN: usize = 4;

/// What something was compiled for.
pub struct Earned<T> {
    /// Most recently used first.
    kinds: Vec<Arc<T>>,
    /// What was compiled for open extents, the last first.
    open: Vec<Arc<T>>,
    /// Calls of compiled kinds that no compilation has been paid with.
    earned: u32,
    opened: u64,
    passed: u64,
}

impl<T> Default for Earned<T> {
    fn default() -> Earned<T> {
        Earned { kinds: Vec::new(), open: Vec::new(), earned: 0, opened: 0, passed: 0 }
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

    /// What stands for calls of a kind that is not compiled and has not been earned, with open extents.
    pub fn find_open(&mut self, fits: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let found = self.open.iter().find(|form| fits(form)).cloned();
        self.opened += u64::from(found.is_some());
        found
    }

    /// A call that nothing stands for: the host runs it. Whether it is time to compile for open extents: at first, and each time
    /// that the number of such calls has doubled, since more of them show more of what differs.
    pub fn pass(&mut self) -> bool {
        self.passed += 1;
        self.passed.is_power_of_two()
    }

    /// Takes in what was compiled for open extents; the call that passed last is to be looked for again.
    pub fn keep_open(&mut self, form: Arc<T>) {
        self.open.insert(0, form);
        self.open.truncate(MOST_OPEN);
        self.passed -= 1;
    }

    /// What was compiled for open extents, the last first.
    pub fn open(&self) -> &[Arc<T>] {
        &self.open
    }

    /// How many calls it answered.
    pub fn opened(&self) -> u64 {
        self.opened
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

    #[test]
    fn open_extents_are_tried_when_calls_pass_and_when_these_have_doubled() {
        let mut earned: Earned<usize> = Earned::default();
        let tries: Vec<u64> = (1..=20).filter(|_| earned.pass()).collect();
        assert_eq!(tries, [1, 2, 4, 8, 16]);
        (0..=MOST_OPEN).for_each(|form| earned.keep_open(Arc::new(form)));
        assert_eq!(earned.find_open(|&form| form == MOST_OPEN).as_deref(), Some(&MOST_OPEN));
        assert!(earned.find_open(|&form| form == 0).is_none() && earned.open().len() == MOST_OPEN);
        assert_eq!((earned.opened(), earned.passed()), (1, 15));
    }
}
