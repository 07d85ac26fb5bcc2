//! Reductions and scans in the canonical order: sixteen lanes, blocks of 4096 points.
//!
//! The state of `width` neighbouring outer points is one array of accumulators `[lane][outer point]`. A tile of values
//! `[point][outer point]` meets it element by element, sixteen points at a time, so a row (width 1, lanes in registers)
//! and a bundle of columns (width 64, say) run through the same source and give the same bits.

use super::Lane;
use crate::cpu::isa::Isa;
use crate::dtype::DType;
use crate::loops::{REDUCE_LANES, ReduceOp};
use std::marker::PhantomData;

/// A way to combine many values.
trait Fold {
    type In: Copy;
    type Acc: Copy;
    type Out: Copy;
    /// Whether an accumulator is one number, so that an array of them is a vector.
    const PLAIN: bool;
    const START: Self::Acc;
    /// The accumulator after one more value, which is inner point `k`.
    fn step(acc: Self::Acc, x: Self::In, k: i64) -> Self::Acc;
    /// Two accumulators as one.
    fn merge(a: Self::Acc, b: Self::Acc) -> Self::Acc;
    fn finish(acc: Self::Acc) -> Self::Out;
    /// As many steps as there are whole rounds of the lanes in `n` values: value `16 c + i` goes to lane i as inner
    /// point `first + 16 c + i`. For accumulators of several parts, which vector code wants apart.
    ///
    /// # Safety
    /// `values` is as an operand of a kernel; `step` is 16 or 0.
    #[inline(always)]
    unsafe fn rounds(
        lanes: &mut [Self::Acc; REDUCE_LANES],
        values: *const Self::In,
        step: usize,
        n: usize,
        first: i64,
    ) {
        for c in 0..n / REDUCE_LANES {
            // SAFETY: the caller's contract.
            let x = unsafe { (values.add(c * step) as *const [Self::In; REDUCE_LANES]).read_unaligned() };
            for i in 0..REDUCE_LANES {
                lanes[i] = Self::step(lanes[i], x[i], first + (c * REDUCE_LANES + i) as i64);
            }
        }
    }
}

/// The functions of one reduction for one lane type and level.
#[derive(Clone, Copy)]
pub(crate) struct Reducer {
    /// Bytes of one accumulator.
    pub(crate) size: usize,
    /// `(state, count)`: accumulators of no points.
    pub(crate) start: unsafe fn(*mut u8, usize),
    /// `(state, values, steps, n, width, first, line)`: adds `n` values, of which the first is inner point `first`, a
    /// multiple of 16. `steps` as in `Kernel`; where the width is more than 1, lines are `line` elements apart.
    pub(crate) add: unsafe fn(*mut u8, *const u8, usize, usize, usize, i64, isize),
    /// `(state, total, width, fresh)`: combines the lanes into the total, or begins the total, and restarts the lanes.
    pub(crate) fold: unsafe fn(*mut u8, *mut u8, usize, bool),
    /// `(total, other, width)`: combines a later total into an earlier one.
    pub(crate) merge: unsafe fn(*mut u8, *const u8, usize),
    /// `(total, destination, width)`: the results; sixteen equal ones where the width is 1.
    pub(crate) finish: unsafe fn(*const u8, *mut u8, usize),
    /// `(carry, destination, values, steps, n, width)`: a scan.
    pub(crate) scan: unsafe fn(*mut u8, *mut u8, *const u8, usize, usize, usize),
}

/// # Safety
/// `state` is valid for `count` accumulators.
unsafe fn start<F: Fold>(state: *mut u8, count: usize) {
    let state = state as *mut F::Acc;
    for i in 0..count {
        // SAFETY: the caller's contract.
        unsafe { state.add(i).write(F::START) };
    }
}

/// # Safety
/// `state` holds 16 * width accumulators; `values` as an operand of a kernel.
#[inline(always)]
unsafe fn add_body<F: Fold>(
    state: *mut u8,
    values: *const u8,
    steps: usize,
    n: usize,
    width: usize,
    first: i64,
    distance: isize,
) {
    let state = state as *mut F::Acc;
    let mut values = values as *const F::In;
    let step = (steps & 1) * REDUCE_LANES;
    // SAFETY: the caller's contract.
    unsafe {
        if width == 1 {
            let whole = n / REDUCE_LANES;
            let mut lanes = (state as *const [F::Acc; REDUCE_LANES]).read();
            F::rounds(&mut lanes, values, step, n, first);
            (state as *mut [F::Acc; REDUCE_LANES]).write(lanes);
            values = values.add(whole * step);
            let k = first + (whole * REDUCE_LANES) as i64;
            for i in 0..n % REDUCE_LANES {
                state.add(i).write(F::step(*state.add(i), *values.add(i), k + i as i64));
            }
            return;
        }
        // Lines of `width` outer points, each line at one inner point. Where results are written is kept from the
        // compiler: it would turn "the larger, or what was there" into masked stores, which are slow.
        let lines = n / width;
        let results = std::hint::black_box(state);
        for line in 0..lines {
            let acc = state.add(line % REDUCE_LANES * width);
            let to = results.add(line % REDUCE_LANES * width);
            let x = values.offset(if step == 0 { 0 } else { line as isize * distance });
            let k = first + line as i64;
            let mut w = 0;
            while F::PLAIN && w + REDUCE_LANES <= width {
                let mut some = (acc.add(w) as *const [F::Acc; REDUCE_LANES]).read();
                let from =
                    (x.add(if step == 0 { 0 } else { w }) as *const [F::In; REDUCE_LANES]).read_unaligned();
                for i in 0..REDUCE_LANES {
                    some[i] = F::step(some[i], from[i], k);
                }
                (to.add(w) as *mut [F::Acc; REDUCE_LANES]).write(some);
                w += REDUCE_LANES;
            }
            for w in w..width {
                let from = *x.add(if step == 0 { 0 } else { w });
                to.add(w).write(F::step(*acc.add(w), from, k));
            }
        }
    }
}

/// # Safety
/// As `Reducer::fold`.
#[inline(always)]
unsafe fn fold_body<F: Fold>(state: *mut u8, total: *mut u8, width: usize, fresh: bool) {
    let (lanes, total) = (state as *mut F::Acc, total as *mut F::Acc);
    // SAFETY: the caller's contract.
    unsafe {
        if width == 1 {
            let mut all = (lanes as *const [F::Acc; REDUCE_LANES]).read();
            for half in [8, 4, 2, 1] {
                for i in 0..half {
                    all[i] = F::merge(all[i], all[i + half]);
                }
            }
            total.write(if fresh { all[0] } else { F::merge(*total, all[0]) });
            (lanes as *mut [F::Acc; REDUCE_LANES]).write([F::START; REDUCE_LANES]);
            return;
        }
        let mut half = REDUCE_LANES / 2;
        while half > 0 {
            let distance = half * width;
            for i in 0..distance {
                lanes.add(i).write(F::merge(*lanes.add(i), *lanes.add(i + distance)));
            }
            half /= 2;
        }
        for w in 0..width {
            let block = *lanes.add(w);
            total.add(w).write(if fresh { block } else { F::merge(*total.add(w), block) });
        }
        start::<F>(state, REDUCE_LANES * width);
    }
}

/// # Safety
/// As `Reducer::merge`.
unsafe fn merge<F: Fold>(total: *mut u8, other: *const u8, width: usize) {
    let (total, other) = (total as *mut F::Acc, other as *const F::Acc);
    for w in 0..width {
        // SAFETY: the caller's contract.
        unsafe { total.add(w).write(F::merge(*total.add(w), *other.add(w))) };
    }
}

/// # Safety
/// As `Reducer::finish`.
unsafe fn finish<F: Fold>(total: *const u8, dst: *mut u8, width: usize) {
    let (total, dst) = (total as *const F::Acc, dst as *mut F::Out);
    // SAFETY: the caller's contract.
    unsafe {
        if width == 1 {
            let value = F::finish(*total);
            for i in 0..REDUCE_LANES {
                dst.add(i).write(value);
            }
        } else {
            for w in 0..width {
                dst.add(w).write(F::finish(*total.add(w)));
            }
        }
    }
}

/// # Safety
/// As `Reducer::scan`.
unsafe fn scan<F: Fold>(
    carry: *mut u8,
    dst: *mut u8,
    values: *const u8,
    steps: usize,
    n: usize,
    width: usize,
) {
    let (carry, dst, values) = (carry as *mut F::Acc, dst as *mut F::Out, values as *const F::In);
    let step = steps & 1;
    // SAFETY: the caller's contract.
    unsafe {
        if width == 1 {
            let mut acc = *carry;
            for i in 0..n {
                acc = F::step(acc, *values.add(i * step), 0);
                dst.add(i).write(F::finish(acc));
            }
            carry.write(acc);
            return;
        }
        for i in 0..n / width {
            for w in 0..width {
                let at = i * width + w;
                let acc = F::step(*carry.add(w), *values.add(at * step), 0);
                carry.add(w).write(acc);
                dst.add(at).write(F::finish(acc));
            }
        }
    }
}

macro_rules! levels {
    ($module:ident, #[$($feature:tt)*]) => {
        mod $module {
            use super::*;
            /// # Safety
            /// As `Reducer::add`, on a processor of this level.
            #[$($feature)*]
            pub(super) unsafe fn add<F: Fold>(
                s: *mut u8,
                v: *const u8,
                steps: usize,
                n: usize,
                width: usize,
                k: i64,
                line: isize,
            ) {
                // SAFETY: the caller's contract.
                unsafe { add_body::<F>(s, v, steps, n, width, k, line) }
            }
            /// # Safety
            /// As `Reducer::fold`, on a processor of this level.
            #[$($feature)*]
            pub(super) unsafe fn fold<F: Fold>(s: *mut u8, t: *mut u8, width: usize, fresh: bool) {
                // SAFETY: the caller's contract.
                unsafe { fold_body::<F>(s, t, width, fresh) }
            }
        }
    };
}

levels!(portable, #[inline]);
#[cfg(target_arch = "x86_64")]
levels!(avx2, #[target_feature(enable = "avx2,fma,f16c")]);
fn reducer_of<F: Fold>(isa: Isa) -> Reducer {
    let base = Reducer {
        size: size_of::<F::Acc>(),
        start: start::<F>,
        add: portable::add::<F>,
        fold: portable::fold::<F>,
        merge: merge::<F>,
        finish: finish::<F>,
        scan: scan::<F>,
    };
    match isa {
        Isa::Portable => base,
        // Sixteen lanes are two chains of dependent operations in AVX2 and one in AVX-512: there is nothing to gain.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => Reducer { add: avx2::add::<F>, fold: avx2::fold::<F>, ..base },
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 => base,
    }
}

/// A reduction whose accumulator is a value, like a sum: start, then combine.
macro_rules! plain {
    ($isa:expr, $t:ty, $start:expr, |$a:ident, $b:ident| $body:expr) => {{
        struct K;
        impl Fold for K {
            type In = $t;
            type Acc = $t;
            type Out = $t;
            const PLAIN: bool = true;
            const START: $t = $start;
            #[inline(always)]
            fn step($a: $t, $b: $t, _: i64) -> $t {
                $body
            }
            #[inline(always)]
            fn merge($a: $t, $b: $t) -> $t {
                $body
            }
            #[inline(always)]
            fn finish(acc: $t) -> $t {
                acc
            }
        }
        reducer_of::<K>($isa)
    }};
}

macro_rules! plain_integers {
    ($name:ident, $t:ident) => {
        fn $name(op: ReduceOp, isa: Isa) -> Option<Reducer> {
            Some(match op {
                ReduceOp::Sum => plain!(isa, $t, 0, |a, b| a.wrapping_add(b)),
                ReduceOp::Prod => plain!(isa, $t, 1, |a, b| a.wrapping_mul(b)),
                ReduceOp::Max => plain!(isa, $t, $t::MIN, |a, b| a.max(b)),
                ReduceOp::Min => plain!(isa, $t, $t::MAX, |a, b| a.min(b)),
                ReduceOp::ArgMax => reducer_of::<Extreme<$t, true>>(isa),
                ReduceOp::ArgMin => reducer_of::<Extreme<$t, false>>(isa),
                ReduceOp::Any | ReduceOp::All | ReduceOp::Moment2 => return None,
            })
        }
    };
}

macro_rules! plain_floats {
    ($name:ident, $t:ident) => {
        fn $name(op: ReduceOp, isa: Isa) -> Option<Reducer> {
            Some(match op {
                ReduceOp::Sum => plain!(isa, $t, 0.0, |a, b| a + b),
                ReduceOp::Prod => plain!(isa, $t, 1.0, |a, b| a * b),
                ReduceOp::Max => {
                    plain!(isa, $t, $t::NEG_INFINITY, |a, b| larger!(a, b))
                }
                ReduceOp::Min => {
                    plain!(isa, $t, $t::INFINITY, |a, b| smaller!(a, b))
                }
                ReduceOp::ArgMax => reducer_of::<Extreme<$t, true>>(isa),
                ReduceOp::ArgMin => reducer_of::<Extreme<$t, false>>(isa),
                ReduceOp::Moment2 => reducer_of::<Moments<$t>>(isa),
                ReduceOp::Any | ReduceOp::All => return None,
            })
        }
    };
}

plain_integers!(reduce_u8, u8);
plain_integers!(reduce_i32, i32);
plain_integers!(reduce_i64, i64);
plain_floats!(reduce_f32, f32);
plain_floats!(reduce_f64, f64);

/// The functions of a reduction over values of this type, where it is defined.
pub(crate) fn reducer(op: ReduceOp, dtype: DType, isa: Isa) -> Option<Reducer> {
    op.result(dtype)?;
    if dtype == DType::Bool {
        return match op {
            ReduceOp::Any | ReduceOp::Max => Some(plain!(isa, u8, 0, |a, b| a | b)),
            ReduceOp::All | ReduceOp::Min => Some(plain!(isa, u8, 1, |a, b| a & b)),
            ReduceOp::ArgMax | ReduceOp::ArgMin => reduce_u8(op, isa),
            ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Moment2 => None,
        };
    }
    match Lane::of(dtype) {
        Lane::U8 => reduce_u8(op, isa),
        Lane::I32 => reduce_i32(op, isa),
        Lane::I64 => reduce_i64(op, isa),
        Lane::F32 => reduce_f32(op, isa),
        Lane::F64 => reduce_f64(op, isa),
    }
}

/// A number that argmax and argmin can order: NaN is beyond everything on either side.
trait Ordered: Copy {
    const LEAST: Self;
    const GREATEST: Self;
    /// Whether `self` is strictly larger (`UP`) or smaller than the other, NaN being the extremum.
    fn beats<const UP: bool>(self, other: Self) -> bool;
    /// Whether neither beats the other.
    fn ties(self, other: Self) -> bool;
}

macro_rules! ordered {
    ($($t:ident, $least:expr, $greatest:expr, $nan:expr;)*) => {$(
        impl Ordered for $t {
            const LEAST: $t = $least;
            const GREATEST: $t = $greatest;
            #[inline(always)]
            fn beats<const UP: bool>(self, other: $t) -> bool {
                let nan: fn($t) -> bool = $nan;
                (if UP { self > other } else { self < other }) | (nan(self) & !nan(other))
            }
            #[inline(always)]
            fn ties(self, other: $t) -> bool {
                let nan: fn($t) -> bool = $nan;
                (self == other) | (nan(self) & nan(other))
            }
        }
    )*};
}

ordered! {
    u8, u8::MIN, u8::MAX, |_| false;
    i32, i32::MIN, i32::MAX, |_| false;
    i64, i64::MIN, i64::MAX, |_| false;
    f32, f32::NEG_INFINITY, f32::INFINITY, |v| v.is_nan();
    f64, f64::NEG_INFINITY, f64::INFINITY, |v| v.is_nan();
}

/// ArgMax and ArgMin: the value and where it first stood; `i64::MAX` for nowhere, so that any point beats no point.
struct Extreme<X, const UP: bool>(PhantomData<X>);

impl<X: Ordered, const UP: bool> Fold for Extreme<X, UP> {
    type In = X;
    type Acc = (X, i64);
    type Out = i64;
    const PLAIN: bool = false;
    const START: (X, i64) = (if UP { X::LEAST } else { X::GREATEST }, i64::MAX);

    #[inline(always)]
    fn step(acc: (X, i64), x: X, k: i64) -> (X, i64) {
        // Points come in ascending order, so a tie keeps the earlier one, except that any point beats none.
        let take = x.beats::<UP>(acc.0) | (acc.1 == i64::MAX);
        (if take { x } else { acc.0 }, if take { k } else { acc.1 })
    }

    /// Values and rounds apart; the round of a lane's extremum stands for its point.
    #[inline(always)]
    unsafe fn rounds(
        lanes: &mut [(X, i64); REDUCE_LANES],
        values: *const X,
        step: usize,
        n: usize,
        first: i64,
    ) {
        let whole = n / REDUCE_LANES;
        if whole == 0 {
            return;
        }
        // SAFETY: the caller's contract.
        let round = |c: usize| unsafe { (values.add(c * step) as *const [X; REDUCE_LANES]).read_unaligned() };
        // The first round meets lanes that may be empty.
        let x = round(0);
        for i in 0..REDUCE_LANES {
            lanes[i] = Self::step(lanes[i], x[i], first + i as i64);
        }
        let mut most = lanes.map(|lane| lane.0);
        let mut at = [0i32; REDUCE_LANES];
        for c in 1..whole {
            let x = round(c);
            for i in 0..REDUCE_LANES {
                let take = x[i].beats::<UP>(most[i]);
                most[i] = if take { x[i] } else { most[i] };
                at[i] = if take { c as i32 } else { at[i] };
            }
        }
        for i in 0..REDUCE_LANES {
            if at[i] > 0 {
                lanes[i] = (most[i], first + at[i] as i64 * REDUCE_LANES as i64 + i as i64);
            }
        }
    }

    #[inline(always)]
    fn merge(a: (X, i64), b: (X, i64)) -> (X, i64) {
        let take =
            (b.0.beats::<UP>(a.0) & (b.1 != i64::MAX)) | (b.0.ties(a.0) & (b.1 < a.1)) | (a.1 == i64::MAX);
        if take { b } else { a }
    }

    #[inline(always)]
    fn finish(acc: (X, i64)) -> i64 {
        if acc.1 == i64::MAX { 0 } else { acc.1 }
    }
}

/// Moment2: how many, their mean, and the sum of squared deviations from it.
struct Moments<X>(PhantomData<X>);

macro_rules! moments {
    ($($t:ident),*) => {$(
        impl Fold for Moments<$t> {
            type In = $t;
            type Acc = ($t, $t, $t);
            type Out = $t;
            const PLAIN: bool = false;
            const START: ($t, $t, $t) = (0.0, 0.0, 0.0);

            #[inline(always)]
            fn step((count, mean, m2): ($t, $t, $t), x: $t, _: i64) -> ($t, $t, $t) {
                let count = count + 1.0;
                let before = x - mean;
                let mean = mean + before * (1.0 / count);
                (count, mean, m2 + before * (x - mean))
            }

            /// Counts, means and squares apart, in memory that the compiler may not take apart: it finds the vectors in
            /// the stores. Lanes have equal counts as long as only whole rounds have come.
            #[inline(always)]
            unsafe fn rounds(
                lanes: &mut [($t, $t, $t); REDUCE_LANES],
                values: *const $t,
                step: usize,
                n: usize,
                _: i64,
            ) {
                let mut count = lanes[0].0;
                let mut state = (lanes.map(|lane| lane.1), lanes.map(|lane| lane.2));
                let state = std::hint::black_box(&mut state);
                for c in 0..n / REDUCE_LANES {
                    // SAFETY: the caller's contract.
                    let x = unsafe { (values.add(c * step) as *const [$t; REDUCE_LANES]).read_unaligned() };
                    count += 1.0;
                    // Not on the way from one mean to the next, as a division of every deviation would be.
                    let share = 1.0 / count;
                    let (mut mean, mut m2) = *state;
                    for i in 0..REDUCE_LANES {
                        let before = x[i] - mean[i];
                        mean[i] += before * share;
                        m2[i] += before * (x[i] - mean[i]);
                    }
                    *state = (mean, m2);
                }
                let (mean, m2) = *state;
                *lanes = std::array::from_fn(|i| (count, mean[i], m2[i]));
            }

            #[inline(always)]
            fn merge(a: ($t, $t, $t), b: ($t, $t, $t)) -> ($t, $t, $t) {
                if b.0 == 0.0 {
                    return a;
                }
                if a.0 == 0.0 {
                    return b;
                }
                let count = a.0 + b.0;
                let between = b.1 - a.1;
                (count, a.1 + between * (b.0 / count), a.2 + b.2 + between * between * (a.0 * b.0 / count))
            }

            #[inline(always)]
            fn finish(acc: ($t, $t, $t)) -> $t {
                acc.2
            }
        }
    )*};
}
moments!(f32, f64);
