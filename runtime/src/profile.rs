//! The ledger's hooks: every nanosecond of a sampled step belongs to one bucket.
//!
//! Off (the default) a hook is one load and one branch. The lab turns it on for separate, sampled steps.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Where time goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum Bucket {
    /// The host program itself.
    Interpret,
    /// Choosing interpreters and kernels.
    Dispatch,
    /// Shape and dtype rules.
    Infer,
    /// Memory.
    Allocate,
    /// Tapes and tracers.
    Record,
    /// Cache keys and guards.
    Guard,
    /// Making plans.
    Plan,
    /// Handing kernels to the device.
    Launch,
    /// Kernels.
    Kernel,
    /// Waiting for a device.
    Wait,
}

impl Bucket {
    /// Every bucket, in report order.
    pub const ALL: [Bucket; 10] = [
        Bucket::Interpret,
        Bucket::Dispatch,
        Bucket::Infer,
        Bucket::Allocate,
        Bucket::Record,
        Bucket::Guard,
        Bucket::Plan,
        Bucket::Launch,
        Bucket::Kernel,
        Bucket::Wait,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Bucket::Interpret => "interpret",
            Bucket::Dispatch => "dispatch",
            Bucket::Infer => "infer",
            Bucket::Allocate => "allocate",
            Bucket::Record => "record",
            Bucket::Guard => "guard",
            Bucket::Plan => "plan",
            Bucket::Launch => "launch",
            Bucket::Kernel => "kernel",
            Bucket::Wait => "wait",
        }
    }
}

#[derive(Clone, Copy)]
struct Ledger {
    nanos: [u64; 10],
    current: Bucket,
    since: Instant,
}

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static LEDGER: Cell<Option<Ledger>> = const { Cell::new(None) };
}

/// Runs `f` with the ledger on; returns its result, the wall time and the time of each bucket, which add up to it.
pub fn sample<T>(f: impl FnOnce() -> T) -> (T, Duration, [(Bucket, Duration); 10]) {
    let start = Instant::now();
    LEDGER.set(Some(Ledger { nanos: [0; 10], current: Bucket::Interpret, since: start }));
    ON.set(true);
    let _off = Off;
    let result = f();
    switch(Bucket::Interpret);
    let nanos = LEDGER.get().map_or([0; 10], |l| l.nanos);
    (result, start.elapsed(), Bucket::ALL.map(|b| (b, Duration::from_nanos(nanos[b as usize]))))
}

/// Turns the ledger off when dropped, also on unwind.
struct Off;

impl Drop for Off {
    fn drop(&mut self) {
        ON.set(false);
        LEDGER.set(None);
    }
}

fn switch(to: Bucket) -> Bucket {
    let Some(mut ledger) = LEDGER.get() else { return to };
    let now = Instant::now();
    ledger.nanos[ledger.current as usize] += (now - ledger.since).as_nanos() as u64;
    let before = std::mem::replace(&mut ledger.current, to);
    ledger.since = now;
    LEDGER.set(Some(ledger));
    before
}

/// While it lives, time goes to its bucket; then to the one before.
pub struct Timed(Option<Bucket>);

/// Charges the time until the guard drops to `bucket`.
#[inline]
pub fn timed(bucket: Bucket) -> Timed {
    Timed(if ON.get() { Some(switch(bucket)) } else { None })
}

impl Drop for Timed {
    #[inline]
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            switch(before);
        }
    }
}
