//! The thread pool of the kernels: numbered parts, claimed one by one.
//!
//! Laws:
//! - A part is claimed before it runs, and the caller claims like everybody else. So a call never waits for a thread
//!   that is asleep: if nobody comes, the caller has done all the work when it looks up. (A pool with parts assigned
//!   beforehand waits for a halted core to wake: 64 us against 10 us for work of 2 x 10 us after a pause.)
//! - One pool at a time owns the cores. A `run` that finds them taken, from inside a part or from another thread, runs
//!   its parts in place: more runnable threads than cores only add waiting.
//! - Idle workers spin for `SPIN` and then sleep, because a spinning worker takes its core from other programs.
//! - A panic in a part reaches the caller after the other parts have ended; the pool stays usable.
//!
//! Which thread runs a part is chance, therefore no result may depend on it.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an idle thread looks for work before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// Whether some pool runs parts on more than one thread right now.
static CORES_TAKEN: AtomicBool = AtomicBool::new(false);

/// A fixed set of threads that run the parts of one call at a time.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

type Task = *const (dyn Fn(usize) + Sync);

struct Shared {
    /// The current call; written by the caller while `unclaimed` and `unfinished` are both 0, read after a claim.
    job: UnsafeCell<Job>,
    /// Parts that nobody has taken. Taking one off is the claim.
    unclaimed: AtomicUsize,
    /// Parts that have not ended.
    unfinished: AtomicUsize,
    /// The first panic of the current call.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Guards going to sleep; holds nothing.
    sleep: Mutex<()>,
    /// Workers that sleep or are about to.
    sleepers: AtomicUsize,
    work: Condvar,
    caller_sleeps: AtomicBool,
    done: Condvar,
    stop: AtomicBool,
}

struct Job {
    task: Task,
    parts: usize,
}

// SAFETY: `job` is the only field that is not Sync by itself; its accesses are ordered by `unclaimed` and
// `unfinished` as described there, and the task that it points to is Sync.
unsafe impl Sync for Shared {}
// SAFETY: the task may be called from any thread, and it is not used after the call that published it has returned.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads` threads, the caller counted; fewer if the system refuses to start them.
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            job: UnsafeCell::new(Job { task: &|_| {}, parts: 0 }),
            unclaimed: AtomicUsize::new(0),
            unfinished: AtomicUsize::new(0),
            panic: Mutex::new(None),
            sleep: Mutex::new(()),
            sleepers: AtomicUsize::new(0),
            work: Condvar::new(),
            caller_sleeps: AtomicBool::new(false),
            done: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let workers = (1..threads)
            .map_while(|i| {
                let shared = shared.clone();
                std::thread::Builder::new().name(format!("trifold-{i}")).spawn(move || shared.work()).ok()
            })
            .collect();
        Pool { shared, workers }
    }

    /// The number of threads that may run parts, the caller counted.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f` once for each of `0..parts`, possibly at the same time, and returns when all have ended.
    pub fn run(&self, parts: usize, f: &(dyn Fn(usize) + Sync)) {
        if parts <= 1 || self.workers.is_empty() || CORES_TAKEN.swap(true, Ordering::Acquire) {
            (0..parts).for_each(f);
            return;
        }
        let panic = self.shared.call(parts, f);
        CORES_TAKEN.store(false, Ordering::Release);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(self.shared.asleep());
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its parts, so joining cannot fail.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn asleep(&self) -> MutexGuard<'_, ()> {
        self.sleep.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The caller's side of `Pool::run`; nobody else calls it at the same time.
    fn call(&self, parts: usize, f: &(dyn Fn(usize) + Sync)) -> Option<Box<dyn Any + Send>> {
        // SAFETY: only the lifetime changes. The pointer is used between a claim and the end of the claimed part, and
        // this function does not return before every part has ended.
        let task = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), Task>(f) };
        // SAFETY: no part of the previous call is unclaimed or running, so nobody reads the job.
        unsafe { *self.job.get() = Job { task, parts } };
        self.unfinished.store(parts, Ordering::Relaxed);
        self.unclaimed.store(parts, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.asleep());
            if parts == 2 {
                self.work.notify_one();
            } else {
                self.work.notify_all();
            }
        }
        while self.claim_and_run() {}
        self.wait_for_the_others();
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn wait_for_the_others(&self) {
        if spin_until(|| self.unfinished.load(Ordering::Acquire) == 0) {
            return;
        }
        let mut guard = self.asleep();
        self.caller_sleeps.store(true, Ordering::SeqCst);
        while self.unfinished.load(Ordering::SeqCst) != 0 {
            guard = self.done.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_sleeps.store(false, Ordering::SeqCst);
    }

    /// Takes one part and runs it; `false` if there is none.
    fn claim_and_run(&self) -> bool {
        let mut left = self.unclaimed.load(Ordering::Relaxed);
        loop {
            if left == 0 {
                return false;
            }
            match self.unclaimed.compare_exchange_weak(left, left - 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => left = now,
            }
        }
        // SAFETY: the claim came after the job was published, and the job stays until the claimed part has ended.
        let Job { task, parts } = unsafe { &*self.job.get() };
        // SAFETY: as above, for what the task points to.
        let task = unsafe { &**task };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(parts - left))) {
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
        }
        if self.unfinished.fetch_sub(1, Ordering::SeqCst) == 1 && self.caller_sleeps.load(Ordering::SeqCst) {
            drop(self.asleep());
            self.done.notify_all();
        }
        true
    }

    /// A worker's life.
    fn work(&self) {
        let idle = || self.unclaimed.load(Ordering::Relaxed) == 0 && !self.stop.load(Ordering::Relaxed);
        loop {
            while self.claim_and_run() {}
            if spin_until(|| !idle()) {
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                continue;
            }
            let mut guard = self.asleep();
            self.sleepers.fetch_add(1, Ordering::SeqCst);
            while self.unclaimed.load(Ordering::SeqCst) == 0 && !self.stop.load(Ordering::SeqCst) {
                guard = self.work.wait(guard).unwrap_or_else(PoisonError::into_inner);
            }
            self.sleepers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Whether `ready` became true within `SPIN`.
fn spin_until(ready: impl Fn() -> bool) -> bool {
    // The clock is read only now and then, so that a change is seen within nanoseconds.
    for _ in 0..64 {
        if ready() {
            return true;
        }
        std::hint::spin_loop();
    }
    let start = Instant::now();
    while start.elapsed() < SPIN {
        for _ in 0..32 {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
    }
    ready()
}

static GLOBAL: AtomicPtr<Pool> = AtomicPtr::new(std::ptr::null_mut());

/// The pool that kernels use: `TRIFOLD_THREADS` threads, or one for each core that the process may use.
pub fn global() -> &'static Pool {
    let pool = GLOBAL.load(Ordering::Acquire);
    if pool.is_null() {
        return first_pool();
    }
    // SAFETY: pools that were stored here are leaked, so they live for ever.
    unsafe { &*pool }
}

/// Makes `global` a pool of `threads` threads (at least one) from now on.
pub fn set_threads(threads: usize) {
    publish(pool_of(threads.max(1)));
}

#[cold]
fn first_pool() -> &'static Pool {
    let wanted = std::env::var("TRIFOLD_THREADS").ok().and_then(|text| text.trim().parse::<usize>().ok());
    let threads = wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
    let pool = pool_of(threads.max(1));
    // Whoever was first wins: `set_threads` on another thread must not be undone.
    let stored = std::ptr::from_ref(pool).cast_mut();
    match GLOBAL.compare_exchange(std::ptr::null_mut(), stored, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => pool,
        // SAFETY: as in `global`.
        Err(earlier) => unsafe { &*earlier },
    }
}

fn publish(pool: &'static Pool) {
    GLOBAL.store(std::ptr::from_ref(pool).cast_mut(), Ordering::Release);
}

/// The one global pool of this size. Pools are kept for ever, because `global` hands out references without end; there
/// are as many as sizes were asked for, and those not in use sleep.
fn pool_of(threads: usize) -> &'static Pool {
    static POOLS: Mutex<Vec<(usize, &'static Pool)>> = Mutex::new(Vec::new());
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, pool)) = pools.iter().find(|(size, _)| *size == threads) {
        return pool;
    }
    let pool: &'static Pool = Box::leak(Box::new(Pool::new(threads)));
    pools.push((threads, pool));
    pool
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    fn count(pool: &Pool, parts: usize) {
        let hits: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
        pool.run(parts, &|i| {
            hits[i].fetch_add(1, Ordering::Relaxed);
        });
        assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn every_part_runs_once() {
        for threads in 1..5 {
            let pool = Pool::new(threads);
            assert_eq!(pool.threads(), threads);
            for parts in [0, 1, 2, 3, 7, 64, 1000] {
                count(&pool, parts);
            }
        }
    }

    #[test]
    fn many_tiny_calls() {
        let pool = Pool::new(3);
        let sum = AtomicU64::new(0);
        for round in 0..20_000u64 {
            pool.run(1 + (round % 5) as usize, &|i| {
                sum.fetch_add(i as u64 + 1, Ordering::Relaxed);
            });
        }
        let expected: u64 = (0..20_000u64).map(|r| (1..=1 + r % 5).sum::<u64>()).sum();
        assert_eq!(sum.load(Ordering::Relaxed), expected);
    }

    #[test]
    fn calls_after_a_pause_wake_sleepers() {
        let pool = Pool::new(2);
        for _ in 0..50 {
            std::thread::sleep(Duration::from_micros(300));
            count(&pool, 8);
        }
    }

    #[test]
    fn nested_calls_run_in_place() {
        let (outer, inner) = (Pool::new(2), Pool::new(2));
        let hits = AtomicUsize::new(0);
        outer.run(8, &|_| {
            let here = std::thread::current().id();
            outer.run(4, &|_| {
                assert_eq!(std::thread::current().id(), here);
                inner.run(4, &|_| {
                    assert_eq!(std::thread::current().id(), here);
                    hits.fetch_add(1, Ordering::Relaxed);
                });
            });
        });
        assert_eq!(hits.load(Ordering::Relaxed), 128);
    }

    #[test]
    fn several_callers_at_once() {
        let pool = Pool::new(3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|i| count(&pool, i % 9)));
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        let pool = Pool::new(2);
        for bad in 0..8 {
            let ended = AtomicUsize::new(0);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(8, &|i| {
                    if i == bad {
                        panic!("part {i}");
                    }
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            }));
            let payload = result.unwrap_err();
            assert_eq!(payload.downcast_ref::<String>().unwrap(), &format!("part {bad}"));
            count(&pool, 16);
        }
    }

    #[test]
    fn workers_take_parts() {
        let pool = Pool::new(2);
        let caller = std::thread::current().id();
        let deadline = Instant::now() + Duration::from_secs(20);
        let helped = AtomicBool::new(false);
        // Another test may own the cores for a moment, so one call is not enough.
        while !helped.load(Ordering::Relaxed) && Instant::now() < deadline {
            pool.run(2, &|_| {
                if std::thread::current().id() != caller {
                    helped.store(true, Ordering::Relaxed);
                }
                let start = Instant::now();
                while !helped.load(Ordering::Relaxed) && start.elapsed() < Duration::from_millis(2) {
                    std::hint::spin_loop();
                }
            });
        }
        assert!(helped.load(Ordering::Relaxed));
    }

    #[test]
    fn the_global_pool_changes_size() {
        set_threads(2);
        let two = global();
        assert_eq!(two.threads(), 2);
        set_threads(1);
        assert_eq!(global().threads(), 1);
        set_threads(2);
        assert!(std::ptr::eq(two, global()));
    }
}
