//! Results whose shape depends on values: what is not zero, what a mask selects, what is distinct.
//!
//! The host reads a count through the door, so an interpreter that only records says why it cannot; then an op of that
//! static size does the work.

use super::rules::{f32s, int_or, ints};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Dim, TensorType, wrap_dim};
use crate::samples::{exact, host, tensor};
use crate::table::{Effect, Lower, Vjp, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::routines::Kind;
use smallvec::smallvec;

ops! {
    /// The coordinates of the first `size` elements that are not zero, in row-major order; where there are fewer, rows of
    /// `fill_value` follow.
    NONZERO_STATIC = "nonzero_static(Tensor self, *, int size, int fill_value=-1) -> Tensor" {
        infer: |c| {
            let (t, size) = (c.tensor(0)?, c.host(1)?.int()?);
            let size = usize::try_from(size)
                .map_err(|_| Error::value(format!("the number of rows must not be negative, got {size}")))?;
            let shape = smallvec![Dim::constant(size), Dim::constant(t.rank())];
            Ok(smallvec![TensorType { dtype: DType::I64, shape }])
        },
        vjp: Vjp::Zero,
        effect: Effect::Pure,
        cost: cost::per_input::<1>,
        lower: Lower::Steps(|s| {
            let (x, out) = (s.input(0)?, s.output(0));
            let mut extents = vec![out.layout.shape[0]];
            extents.extend(&x.layout.shape);
            let kind = Kind::Nonzero { fill: int_or(s.host(2)?, -1)? };
            s.routine(kind, x.dtype, 1, &extents, &[&x, &out])
        }),
        samples: |s| {
            let d = s.dtype;
            s.case([exact(d, &[2, 3], &[1i64, 0, 1, 0, 0, 1]), host(3i64)]);
            s.case([exact(d, &[4], &[0i64, 0, 1, 1]), host(4i64), host(7i64)]);
            s.case([tensor(d, &[2, 0], 0.0, 1.0), host(2i64)]);
        },
        errors: |e| e.case(ErrorKind::Value, [f32s(&[3]), host(-1i64)]),
    }
    /// The order of the rows of a matrix, compared by their first column, then the second, and so on.
    SORT_ROWS = "sort_rows(Tensor self) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            match t.rank() {
                2 => Ok(smallvec![TensorType { dtype: DType::I64, shape: smallvec![t.shape[0]] }]),
                _ => Err(Error::shape(format!("expected a matrix, got {t}"))),
            }
        },
        vjp: Vjp::Zero,
        effect: Effect::Pure,
        cost: cost::per_input::<8>,
        lower: Lower::Steps(|s| {
            let (x, out) = (s.input(0)?, s.output(0));
            let (rows, columns) = (x.layout.shape[0], x.layout.shape[1]);
            s.routine(Kind::SortRows, x.dtype, 1, &[rows, columns], &[&x, &out])
        }),
        samples: |s| {
            s.case([exact(s.dtype, &[4, 2], &[1i64, 0, 0, 1, 1, 0, 0, 0])]);
            s.case([tensor(s.dtype, &[5, 3], 0.0, 3.0)]);
        },
        errors: |e| e.case(ErrorKind::Shape, [f32s(&[3])]),
    }
}

/// What is distinct in a tensor.
pub struct Distinct {
    /// The distinct elements (or slices).
    pub values: Tensor,
    /// For each element its place among them.
    pub inverse: Tensor,
    /// How often each occurs.
    pub counts: Tensor,
}

impl Tensor {
    /// The coordinates of the elements that are not zero, one row for each. The host reads how many there are.
    #[track_caller]
    pub fn nonzero(&self) -> Result<Tensor> {
        let x = self.detach()?;
        let count = x.count_nonzero(&[])?.item()?.to_i64();
        x.nonzero_static(count, -1)
    }

    /// The coordinates of the first `size` elements that are not zero, then rows of `fill`.
    #[track_caller]
    pub fn nonzero_static(&self, size: i64, fill: i64) -> Result<Tensor> {
        bind1(&NONZERO_STATIC, &[Arg::Tensor(self), Arg::Int(size), Arg::Int(fill)])
    }

    /// The coordinates of the elements that are not zero, one tensor for each dimension; an element of rank 0 counts as one
    /// of a vector.
    #[track_caller]
    pub fn nonzero_tuple(&self) -> Result<Vec<Tensor>> {
        let x = if self.rank() == 0 { self.reshape(&[1])? } else { self.clone() };
        x.nonzero()?.unbind(1)
    }

    /// The elements where the mask is true, in one dimension; both broadcast. The host reads how many there are.
    #[track_caller]
    pub fn masked_select(&self, mask: &Tensor) -> Result<Tensor> {
        if mask.dtype() != DType::Bool {
            return Err(Error::dtype(format!("a mask must be bool, got {}", mask.dtype())));
        }
        let all = Tensor::broadcast_tensors(&[self.clone(), mask.clone()])?;
        let places = all[1].reshape(&[-1])?.nonzero()?.reshape(&[-1])?;
        all[0].reshape(&[-1])?.index_select(0, &places)
    }

    /// Where runs of equal rows begin, as a bool for each row of a matrix.
    fn run_starts(&self) -> Result<Tensor> {
        let n = self.shape()[0] as i64;
        let first = Tensor::ones(&[n.min(1) as usize], DType::Bool, self.device())?;
        if n < 2 {
            return Ok(first);
        }
        let differ = self.narrow(0, 1, n - 1)?.ne(&self.narrow(0, 0, n - 1)?)?.any(&[1], false)?;
        Tensor::cat(&[first, differ], 0)
    }

    /// Runs of equal rows of a matrix: the places of their first rows, the run of each row, and lengths.
    fn runs(&self) -> Result<(Tensor, Tensor, Tensor)> {
        let starts = self.run_starts()?;
        let first = starts.nonzero()?.reshape(&[-1])?;
        let runs = starts.to(DType::I64)?.cumsum(0)?.sub(1i64)?;
        let end = Tensor::full(&[1], self.shape()[0] as i64, DType::I64, self.device())?;
        let lengths = Tensor::cat(&[first.clone(), end], 0)?.diff(1, 0)?;
        Ok((first, runs, lengths))
    }

    /// This tensor as a matrix whose rows are the slices along `dim`, or all elements.
    fn rows_along(&self, dim: Option<i64>) -> Result<Tensor> {
        match dim {
            None => self.reshape(&[-1, 1]),
            Some(d) => {
                let n = self.size(d)? as i64;
                let rest = self.numel() as i64 / n.max(1);
                self.movedim(&[d], &[0])?.reshape(&[n, rest])
            }
        }
    }

    /// The distinct elements (slices along `dim`) in rising order, their places, and how often they occur. The host reads how
    /// many there are.
    #[track_caller]
    pub fn unique(&self, dim: Option<i64>) -> Result<Distinct> {
        let x = self.detach()?;
        if let Some(d) = dim {
            x.nothing_to_compare(d)?;
        }
        let rows = x.rows_along(dim)?;
        let order = match rows.shape()[1] {
            1 => rows.reshape(&[-1])?.sort(0, false)?.1,
            _ => bind1(&SORT_ROWS, &[Arg::Tensor(&rows)])?,
        };
        let (first, runs, counts) = rows.index_select(0, &order)?.runs()?;
        let inverse = order.zeros_like(None)?.scatter(0, &order, &runs)?;
        let picked = order.index_select(0, &first)?;
        match dim {
            None => {
                let values = rows.reshape(&[-1])?.index_select(0, &picked)?;
                Ok(Distinct { values, inverse: inverse.reshape(&ints(x.shape()))?, counts })
            }
            Some(d) => Ok(Distinct { values: x.index_select(d, &picked)?, inverse, counts }),
        }
    }

    /// The first element (slice along `dim`) of each run of equal ones, the run of each, and the lengths of the runs.
    #[track_caller]
    pub fn unique_consecutive(&self, dim: Option<i64>) -> Result<Distinct> {
        let x = self.detach()?;
        if let Some(d) = dim {
            x.nothing_to_compare(d)?;
        }
        let rows = x.rows_along(dim)?;
        let (first, runs, counts) = rows.runs()?;
        match dim {
            None => {
                let values = rows.reshape(&[-1])?.index_select(0, &first)?;
                Ok(Distinct { values, inverse: runs.reshape(&ints(x.shape()))?, counts })
            }
            Some(d) => Ok(Distinct { values: x.index_select(d, &first)?, inverse: runs, counts }),
        }
    }

    /// Slices without elements cannot be told apart (torch).
    fn nothing_to_compare(&self, dim: i64) -> Result<()> {
        let at = wrap_dim(dim, self.rank())?;
        let others = self.shape().iter().enumerate().any(|(i, &n)| i != at && n == 0);
        match others {
            true => {
                Err(Error::shape(format!("the slices of {self:?} along dimension {dim} have no elements")))
            }
            false => Ok(()),
        }
    }
}
