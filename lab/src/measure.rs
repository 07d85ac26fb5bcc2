//! Interleaved timing: every mode runs once in each round, so that a drift of the machine meets all of them alike.

use crate::statistics::{Summary, summarize};
use runtime::{Result, alloc};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// One mode of one workload, ready to run.
pub trait Step {
    /// Runs one step and waits for it.
    fn step(&mut self) -> Result<()>;
}

impl<F: FnMut() -> Result<()>> Step for F {
    fn step(&mut self) -> Result<()> {
        self()
    }
}

/// What one step asks of allocators and devices.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub struct Counts {
    /// Kernels.
    pub launches: u64,
    /// Bytes that they read and wrote.
    pub bytes_moved: u64,
    /// Buffers handed out.
    pub allocations: u64,
    /// Most bytes alive at once, the workload's parameters and inputs included.
    pub peak_bytes: u64,
}

/// Counts one step.
pub fn count(step: &mut dyn Step) -> Result<Counts> {
    alloc::reset_peak();
    let before = alloc::stats();
    step.step()?;
    let after = alloc::stats();
    Ok(Counts {
        launches: after.launches - before.launches,
        bytes_moved: after.bytes_moved - before.bytes_moved,
        allocations: after.allocations - before.allocations,
        peak_bytes: after.peak_bytes.max(0) as u64,
    })
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Rounds, and so samples of each mode, at most.
    pub rounds: usize,
    /// A sample repeats the step until it has taken this long.
    pub sample: Duration,
    /// No round starts after this long (but five are made in any case).
    pub total: Duration,
}

/// Samples seconds per step of every mode, interleaved; the order rotates from round to round. Ends early when `stop` is
/// set.
pub fn sample(
    steps: &mut [&mut dyn Step],
    budget: Budget,
    stop: &AtomicBool,
) -> Result<Vec<Option<Summary>>> {
    let mut repeats = Vec::with_capacity(steps.len());
    for step in steps.iter_mut() {
        // Warm caches, then see how many repeats fill a sample.
        step.step()?;
        let start = Instant::now();
        step.step()?;
        let once = start.elapsed().max(Duration::from_nanos(50));
        repeats.push((budget.sample.as_secs_f64() / once.as_secs_f64()).ceil().clamp(1.0, 1e7) as u32);
    }
    let mut samples = vec![Vec::with_capacity(budget.rounds); steps.len()];
    let start = Instant::now();
    for round in 0..budget.rounds {
        if stop.load(Relaxed) || (round >= 5 && start.elapsed() > budget.total) {
            break;
        }
        for turn in 0..steps.len() {
            let at = (turn + round) % steps.len();
            let begin = Instant::now();
            for _ in 0..repeats[at] {
                steps[at].step()?;
            }
            samples[at].push(begin.elapsed().as_secs_f64() / repeats[at] as f64);
        }
    }
    Ok(samples.iter().map(|s| summarize(s)).collect())
}

/// Steps after which a mode has paid for its first call against eager: the least n with
/// first + (n - 1) t <= eager_first + (n - 1) eager_t. `None` means never.
pub fn break_even(first: f64, step: f64, eager_first: f64, eager_step: f64) -> Option<u64> {
    if first <= eager_first {
        return Some(1);
    }
    let gain = eager_step - step;
    if gain <= 0.0 {
        return None;
    }
    let n = 1.0 + ((first - eager_first) / gain).ceil();
    (n < 1e12).then_some(n as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn break_even_counts_steps() {
        assert_eq!(break_even(10.0, 1.0, 2.0, 2.0), Some(9));
        assert_eq!(break_even(10.0, 2.0, 2.0, 2.0), None);
        assert_eq!(break_even(1.0, 3.0, 2.0, 2.0), Some(1));
    }

    #[test]
    fn samples_are_taken_in_turn() {
        let log = std::cell::RefCell::new(Vec::new());
        let mut a = || {
            log.borrow_mut().push('a');
            std::thread::sleep(Duration::from_millis(2));
            Ok(())
        };
        let mut b = || {
            log.borrow_mut().push('b');
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        };
        let budget = Budget { rounds: 6, sample: Duration::ZERO, total: Duration::from_secs(5) };
        let out = sample(&mut [&mut a, &mut b], budget, &AtomicBool::new(false)).unwrap();
        assert!(out[0].unwrap().median > out[1].unwrap().median);
        assert_eq!(out[0].unwrap().samples, 6);
        let text: String = log.borrow().iter().collect();
        assert!(text.starts_with("aabb") && text[4..].starts_with("abbaab"), "{text}");
    }
}
