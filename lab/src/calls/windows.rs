//! torch's calls of sliding windows: convolution, pooling, interpolation, and normalisation over channels.

use super::{Call, Entry, one};
use runtime::error::Result;
use runtime::ops::Sliding;
use runtime::{Arg, Tensor};

/// A convolution over the last `n` dimensions.
fn convolution(c: &Call, n: usize, transposed: bool) -> Result<Vec<Tensor>> {
    let default = Sliding::default();
    let list = |name: &str, none: &[i64]| -> Result<Vec<i64>> {
        let found = c.ints(name)?;
        Ok(if found.is_empty() { none.to_vec() } else { found })
    };
    let padding = c.arg("padding")?;
    let (stride, dilation) = (list("stride", default.stride)?, list("dilation", default.dilation)?);
    let output_padding = list("output_padding", default.output_padding)?;
    let how = Sliding {
        stride: &stride,
        padding: if padding.is_none() { Arg::Int(0) } else { padding },
        dilation: &dilation,
        output_padding: &output_padding,
        groups: c.int("groups", 1)?,
    };
    let (x, weight, bias) = (c.tensor("input")?, c.tensor("weight")?, c.optional("bias")?);
    one(if transposed { x.conv_transpose(n, weight, bias, how) } else { x.conv(n, weight, bias, how) })
}

const CONV: &str = "input weight bias stride padding dilation groups";
const CONV_TRANSPOSE: &str = "input weight bias stride padding output_padding groups dilation";

pub(super) const FUNCTIONS: &[Entry] = &[
    ("torch.nn.functional.conv1d", CONV, |c| convolution(c, 1, false)),
    ("torch.nn.functional.conv2d", CONV, |c| convolution(c, 2, false)),
    ("torch.nn.functional.conv3d", CONV, |c| convolution(c, 3, false)),
    ("torch.conv1d", CONV, |c| convolution(c, 1, false)),
    ("torch.conv2d", CONV, |c| convolution(c, 2, false)),
    ("torch.conv3d", CONV, |c| convolution(c, 3, false)),
    ("torch.nn.functional.conv_transpose1d", CONV_TRANSPOSE, |c| convolution(c, 1, true)),
    ("torch.nn.functional.conv_transpose2d", CONV_TRANSPOSE, |c| convolution(c, 2, true)),
    ("torch.nn.functional.conv_transpose3d", CONV_TRANSPOSE, |c| convolution(c, 3, true)),
    ("torch.conv_transpose1d", CONV_TRANSPOSE, |c| convolution(c, 1, true)),
    ("torch.conv_transpose2d", CONV_TRANSPOSE, |c| convolution(c, 2, true)),
    ("torch.conv_transpose3d", CONV_TRANSPOSE, |c| convolution(c, 3, true)),
];
