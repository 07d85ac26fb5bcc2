//! Routines: computations that no loop program expresses, because what they do next depends on what they found. Sorting
//! and choosing by order, and factorisations of matrices.
//!
//! A routine is a plain value: what it does, the element type, how many independent members its batch has, and the
//! extents of one. `operands` says what each pointer of a launch is; everything else that a device, a plan or a report
//! wants to know (bytes, who is written) follows from it. Operands are dense, members one after the other, and no
//! operand that is written overlaps another.
//!
//! Members run in parallel, each on one thread, so results do not depend on the number of threads. Factorisations are
//! computed in f64 and rounded once. The working memory of one member is the routine's own.

mod keys;
mod linear;
mod member;
mod order;
mod reduce;

use crate::cpu::threads::Pool;
use crate::dtype::DType;
use crate::shape::Dims;
use member::Member;
use smallvec::{SmallVec, smallvec};
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What a routine computes. In brackets: the extents; then the operands of one member, those after the arrow written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// `[n]: x[n] -> values[n], places[n]`. Stable; NaN is greater than every number.
    Sort {
        /// Greatest first.
        descending: bool,
    },
    /// `[n, k]: x[n] -> values[k], places[k]`. The k first elements in order.
    Choose {
        /// Greatest first.
        largest: bool,
    },
    /// `[n]: x[n] -> value, place`. The lower median; NaN if there is one and it is not skipped.
    Median {
        /// NaN do not count.
        skip_nan: bool,
    },
    /// `[n]: x[n] -> value, place`. The most frequent element (the smallest of several), and the last place that holds it.
    Mode,
    /// `[n, m]: sorted[n], values[m] -> places[m]`. Where each value would be inserted.
    Search {
        /// After equal elements rather than before them.
        right: bool,
    },
    /// `[rows, columns]: x[rows, columns] -> places[rows]`. The order of rows, first column first.
    SortRows,
    /// `[size, extents...]: x[extents...] -> coordinates[size, rank]`. The first `size` elements that are not zero, then fill.
    Nonzero {
        /// What stands where there are no more.
        fill: i64,
    },
    /// `[n, k]: x[n], places[k], source[k] -> out[n]`. The source reduced into what the places name.
    ScatterReduce {
        /// How.
        reduction: Reduction,
        /// What stands in a place that is named takes part.
        include_self: bool,
    },
    /// `[n]: A[n, n] -> factor[n, n], code`. A = L L^T (or U^T U); reads one triangle.
    Cholesky {
        /// U rather than L.
        upper: bool,
        /// A matrix that is not positive definite is an error rather than a code.
        check: bool,
    },
    /// `[n, k]: A[n, n], B[n, k] -> X[n, k]`. A X = B by substitution.
    Triangular {
        /// A is upper triangular.
        upper: bool,
        /// The diagonal of A counts as ones.
        unit: bool,
    },
    /// `[m, n]: A[m, n] -> LU[m, n], pivots[min(m, n)] (from 1), code`.
    Lu {
        /// Rows are exchanged.
        pivot: bool,
        /// A zero on U's diagonal is an error rather than a code.
        check: bool,
    },
    /// `[k, m]: pivots[k] -> rows[m]`. The order of rows that the exchanges lead to.
    Permutation,
    /// `[n, k]: A[n, n], B[n, k] -> X[n, k], LU[n, n], pivots[n], code`. A X = B.
    Solve {
        /// A singular matrix is an error rather than a code.
        check: bool,
    },
    /// `[n]: A[n, n] -> inverse[n, n], code`.
    Inverse {
        /// A singular matrix is an error rather than a code.
        check: bool,
    },
    /// `[m, n, k]: A[m, n] -> Q[m, k] (nothing without Q), R[k, n]`.
    Qr {
        /// Q is wanted.
        with_q: bool,
    },
    /// `[m, n]: A[m, n] -> reflections below R[m, n], factors[min(m, n)]`.
    Geqrf,
    /// `[m, n, k]: reflections[m, n], factors[k] -> the first n columns of their product[m, n]`.
    Householder,
    /// `[n]: A[n, n] -> eigenvalues[n] in rising order, eigenvectors[n, n] in columns`. Symmetric; reads one triangle.
    Eigh {
        /// The upper triangle.
        upper: bool,
    },
    /// `[m, n]: A[m, n] -> U, S[min(m, n)] in falling order, Vh; thin, or square where `full``.
    Svd {
        /// U and Vh are square.
        full: bool,
    },
    /// `[m, n]: A[m, n], atol[1], rtol[1] -> P[n, m]`. Singular values up to the tolerance count as zero.
    PseudoInverse,
    /// `[n]: A[n, n] -> exp(A)[n, n]`.
    Exponential,
}

/// How numbers become one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their product.
    Prod,
    /// Their mean; of integers rounded down.
    Mean,
    /// The largest; NaN if there is one.
    Max,
    /// The smallest; NaN if there is one.
    Min,
}

/// One operand of a launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operand {
    /// Element type.
    pub dtype: DType,
    /// Elements of one member of the batch.
    pub elements: usize,
    /// Whether it is written rather than read.
    pub writes: bool,
}

/// A named routine on dense batched operands.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Routine {
    /// What it computes.
    pub kind: Kind,
    /// Element type of the operands that are not places or codes.
    pub dtype: DType,
    /// Number of independent members.
    pub batch: usize,
    /// Extents of one member; their meaning is the kind's.
    pub extents: Dims,
}

/// Why a routine has no result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// The leading minor of this order is not positive.
    NotPositiveDefinite(usize),
    /// This diagonal element (from 1) of U is zero.
    Singular(usize),
    /// The matrix holds an infinity or a NaN.
    NotFinite,
    /// The iteration ended without a result.
    NoConvergence,
    /// A place that is not in [0, extent).
    OutOfRange(i64, usize),
}

/// A routine that failed in a member of its batch; the first one, whoever ran it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Failure {
    /// The member.
    pub member: usize,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::NotPositiveDefinite(order) => write!(
                f,
                "matrix {} of the batch is not positive definite: its leading minor of order {order} is not positive",
                self.member
            ),
            Reason::Singular(at) => {
                write!(f, "matrix {} of the batch is singular: U[{at}, {at}] is zero (from 1)", self.member)
            }
            Reason::NotFinite => write!(f, "matrix {} of the batch holds an infinity or a NaN", self.member),
            Reason::NoConvergence => write!(f, "matrix {} of the batch: no convergence", self.member),
            Reason::OutOfRange(place, extent) => {
                write!(f, "place {place} is out of range for a dimension of size {extent}")
            }
        }
    }
}

impl std::error::Error for Failure {}

fn reads(dtype: DType, elements: usize) -> Operand {
    Operand { dtype, elements, writes: false }
}

fn writes(dtype: DType, elements: usize) -> Operand {
    Operand { dtype, elements, writes: true }
}

impl Routine {
    /// The word by which reports name it.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Sort { .. } => "sort",
            Kind::Choose { .. } => "choose",
            Kind::Median { .. } => "median",
            Kind::Mode => "mode",
            Kind::Search { .. } => "search",
            Kind::SortRows => "sort_rows",
            Kind::Nonzero { .. } => "nonzero",
            Kind::ScatterReduce { .. } => "scatter_reduce",
            Kind::Cholesky { .. } => "cholesky",
            Kind::Triangular { .. } => "triangular",
            Kind::Lu { .. } => "lu",
            Kind::Permutation => "permutation",
            Kind::Solve { .. } => "solve",
            Kind::Inverse { .. } => "inverse",
            Kind::Qr { .. } => "qr",
            Kind::Geqrf => "geqrf",
            Kind::Householder => "householder",
            Kind::Eigh { .. } => "eigh",
            Kind::Svd { .. } => "svd",
            Kind::PseudoInverse => "pseudo_inverse",
            Kind::Exponential => "exponential",
        }
    }

    /// What each pointer of a launch is, for one member.
    pub fn operands(&self) -> SmallVec<[Operand; 4]> {
        let (d, n) = (self.dtype, |i: usize| self.extents.get(i).copied().unwrap_or(1));
        let places = |elements| writes(DType::I64, elements);
        let codes = |elements| writes(DType::I32, elements);
        let least = n(0).min(n(1));
        match self.kind {
            Kind::Sort { .. } => smallvec![reads(d, n(0)), writes(d, n(0)), places(n(0))],
            Kind::Choose { .. } => smallvec![reads(d, n(0)), writes(d, n(1)), places(n(1))],
            Kind::Median { .. } | Kind::Mode => smallvec![reads(d, n(0)), writes(d, 1), places(1)],
            Kind::Search { .. } => smallvec![reads(d, n(0)), reads(d, n(1)), places(n(1))],
            Kind::SortRows => smallvec![reads(d, n(0) * n(1)), places(n(0))],
            Kind::Nonzero { .. } => {
                let rest = &self.extents[1.min(self.extents.len())..];
                smallvec![reads(d, rest.iter().product()), places(n(0) * rest.len())]
            }
            Kind::ScatterReduce { .. } => {
                smallvec![reads(d, n(0)), reads(DType::I64, n(1)), reads(d, n(1)), writes(d, n(0))]
            }
            Kind::Cholesky { .. } | Kind::Inverse { .. } => {
                smallvec![reads(d, n(0) * n(0)), writes(d, n(0) * n(0)), codes(1)]
            }
            Kind::Triangular { .. } => {
                smallvec![reads(d, n(0) * n(0)), reads(d, n(0) * n(1)), writes(d, n(0) * n(1))]
            }
            Kind::Lu { .. } => {
                smallvec![reads(d, n(0) * n(1)), writes(d, n(0) * n(1)), codes(least), codes(1)]
            }
            Kind::Permutation => smallvec![reads(DType::I32, n(0)), places(n(1))],
            Kind::Solve { .. } => smallvec![
                reads(d, n(0) * n(0)),
                reads(d, n(0) * n(1)),
                writes(d, n(0) * n(1)),
                writes(d, n(0) * n(0)),
                codes(n(0)),
                codes(1)
            ],
            Kind::Qr { with_q } => {
                let q = if with_q { n(0) * n(2) } else { 0 };
                smallvec![reads(d, n(0) * n(1)), writes(d, q), writes(d, n(2) * n(1))]
            }
            Kind::Geqrf => smallvec![reads(d, n(0) * n(1)), writes(d, n(0) * n(1)), writes(d, least)],
            Kind::Householder => smallvec![reads(d, n(0) * n(1)), reads(d, n(2)), writes(d, n(0) * n(1))],
            Kind::Eigh { .. } => smallvec![reads(d, n(0) * n(0)), writes(d, n(0)), writes(d, n(0) * n(0))],
            Kind::Svd { full } => {
                let (u, v) = if full { (n(0), n(1)) } else { (least, least) };
                smallvec![reads(d, n(0) * n(1)), writes(d, n(0) * u), writes(d, least), writes(d, v * n(1))]
            }
            Kind::PseudoInverse => {
                smallvec![reads(d, n(0) * n(1)), reads(d, 1), reads(d, 1), writes(d, n(0) * n(1))]
            }
            Kind::Exponential => smallvec![reads(d, n(0) * n(0)), writes(d, n(0) * n(0))],
        }
    }

    /// Bytes read and written, every element once.
    pub fn bytes(&self) -> u64 {
        let one: usize = self.operands().iter().map(|o| o.elements * o.dtype.size()).sum();
        (one * self.batch) as u64
    }

    /// Runs it on the CPU.
    ///
    /// # Safety
    /// There is one pointer for each operand, to live memory of `batch` times its elements, aligned to its type; what is
    /// read is initialised, and what is written overlaps no other operand.
    pub unsafe fn run(&self, pointers: &[*mut u8], pool: &Pool) -> Result<(), Failure> {
        let operands = self.operands();
        assert_eq!(operands.len(), pointers.len(), "invariant: one pointer for each operand");
        let launch = member::Launch::new(pointers, &operands);
        let failed: Mutex<Option<Failure>> = Mutex::new(None);
        pool.run(self.batch, &|index| {
            // SAFETY: the caller's promise; the pool calls each member once.
            let mut member = unsafe { launch.member(index) };
            if let Err(reason) = self.one(&mut member) {
                let failure = Failure { member: index, reason };
                let mut first = failed.lock().unwrap_or_else(PoisonError::into_inner);
                *first = Some(first.map_or(failure, |f| f.min(failure)));
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn one(&self, member: &mut Member) -> Result<(), Reason> {
        let n = |i: usize| self.extents.get(i).copied().unwrap_or(1);
        match self.kind {
            Kind::Sort { descending } => order::sort(member, descending),
            Kind::Choose { largest } => order::choose(member, n(1), largest),
            Kind::Median { skip_nan } => order::median(member, skip_nan),
            Kind::Mode => order::mode(member),
            Kind::Search { right } => order::search(member, right),
            Kind::SortRows => order::sort_rows(member, n(0), n(1)),
            Kind::Nonzero { fill } => {
                order::nonzero(member, &self.extents[1.min(self.extents.len())..], fill)
            }
            Kind::ScatterReduce { reduction, include_self } => {
                return reduce::scatter(member, reduction, include_self);
            }
            Kind::Cholesky { upper, check } => return linear::cholesky(member, n(0), upper, check),
            Kind::Triangular { upper, unit } => linear::triangular(member, n(0), n(1), upper, unit),
            Kind::Lu { pivot, check } => return linear::lu(member, n(0), n(1), pivot, check),
            Kind::Permutation => linear::permutation(member, n(1)),
            Kind::Solve { check } => return linear::solve(member, n(0), n(1), check),
            Kind::Inverse { check } => return linear::inverse(member, n(0), check),
            Kind::Qr { with_q } => linear::qr(member, n(0), n(1), n(2), with_q),
            Kind::Geqrf => linear::geqrf(member, n(0), n(1)),
            Kind::Householder => linear::householder(member, n(0), n(1), n(2)),
            Kind::Eigh { upper } => return linear::eigh(member, n(0), upper),
            Kind::Svd { full } => return linear::svd(member, n(0), n(1), full),
            Kind::PseudoInverse => return linear::pseudo_inverse(member, n(0), n(1)),
            Kind::Exponential => linear::exponential(member, n(0)),
        }
        Ok(())
    }
}

impl fmt::Display for Routine {
    /// `sort[8 x 100]f32`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{} x {:?}]{}", self.name(), self.batch, self.extents.as_slice(), self.dtype)
    }
}
