//! Matrix products.

use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{TensorType, broadcast};
use crate::lower::{Steps, View};
use crate::samples::tensor;
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::cpu::gemm::{Activation, Gemm, MatrixGeometry};
use smallvec::{SmallVec, smallvec};

/// c = a b over the last two dimensions, leading ones broadcast.
fn lower_product(s: &mut Steps) -> Result<()> {
    let (a, b, c) = (s.input(0)?, s.input(1)?, s.output(0));
    push_product(s, &a, &b, &c);
    Ok(())
}

/// Adds the product of two views with equal numbers of leading dimensions or fewer.
fn push_product(s: &mut Steps, a: &View, b: &View, c: &View) {
    let rank = c.layout.rank();
    let batch = &c.layout.shape[..rank - 2];
    let operand = |v: &View| {
        let r = v.layout.rank();
        let strides = &v.layout.strides;
        let lead = v.layout.shape[..r - 2].iter().zip(strides);
        let mut steps: SmallVec<[isize; 6]> = smallvec![0; batch.len() - (r - 2)];
        steps.extend(lead.map(|(&n, &st)| if n == 1 { 0 } else { st }));
        MatrixGeometry { row_stride: strides[r - 2], col_stride: strides[r - 1], batch_strides: steps }
    };
    let (m, n) = (c.layout.shape[rank - 2], c.layout.shape[rank - 1]);
    let k = a.layout.shape[a.layout.rank() - 1];
    let gemm = Gemm {
        dtype: c.dtype,
        m,
        n,
        k,
        batch: batch.iter().copied().collect(),
        a: operand(a),
        b: operand(b),
        c: operand(c),
        accumulate: false,
        bias: false,
        activation: Activation::None,
    };
    s.gemm(gemm, a, b, c);
}

ops! {
    /// Batched matrix product: the last two dimensions multiply, leading ones broadcast. Operands have rank >= 2.
    MATMUL = "matmul(Tensor self, Tensor other) -> Tensor" {
        infer: |c| {
            let (a, b) = (c.tensor(0)?, c.tensor(1)?);
            if a.dtype != b.dtype {
                return Err(Error::dtype(format!("expected operands of one type, got {} and {}", a.dtype, b.dtype)));
            }
            let (ra, rb) = (a.rank(), b.rank());
            if ra < 2 || rb < 2 {
                return Err(Error::shape(format!("both operands need at least 2 dimensions, got {a} and {b}")));
            }
            if a.shape[ra - 1] != b.shape[rb - 2] {
                return Err(Error::shape(format!(
                    "{a} and {b} do not multiply: the last dimension of the first ({}) must equal the second to last of the second ({})",
                    a.shape[ra - 1], b.shape[rb - 2]
                )).at_dim(ra as isize - 1));
            }
            let mut shape = broadcast(&a.shape[..ra - 2], &b.shape[..rb - 2])?;
            shape.push(a.shape[ra - 2]);
            shape.push(b.shape[rb - 1]);
            Ok(smallvec![TensorType { dtype: a.dtype, shape }])
        },
        vjp: Vjp::Rule(Saves::FACTORS, |c| {
            let dy = c.dy()?;
            let mut out = Gradients::new();
            out.push(if c.needs(0) {
                Some(dy.matmul(&c.input(1)?.transpose(-2, -1)?)?.sum_to_size(&c.input_dims(0)?)?)
            } else { None });
            out.push(if c.needs(1) {
                Some(c.input(0)?.transpose(-2, -1)?.matmul(dy)?.sum_to_size(&c.input_dims(1)?)?)
            } else { None });
            Ok(out)
        }),
        effect: Effect::Pure,
        cost: cost::product,
        lower: Lower::Steps(lower_product),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 2.0);
            s.case([t(&[3, 4]), t(&[4, 5])]);
            s.case([t(&[2, 1, 3, 4]), t(&[5, 4, 2])]);
            s.case([t(&[3, 0]), t(&[0, 2])]);
        },
        errors: |e| {
            let t = |dims: &[usize]| tensor(DType::F32, dims, 0.0, 1.0);
            e.case(ErrorKind::Shape, [t(&[3, 4]), t(&[5, 2])]);
            e.case(ErrorKind::DType, [t(&[3, 4]), tensor(DType::F64, &[4, 2], 0.0, 1.0)]);
        },
    }
}

impl Tensor {
    /// Matrix product over the last two dimensions, leading ones broadcast.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        bind1(&MATMUL, &[Arg::Tensor(self), Arg::Tensor(other)])
    }
}
