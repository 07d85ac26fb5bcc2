//! Methods that write their result over the tensor they are called on: which torch has, and which of them are refused here.

/// Methods whose name with an underscore behind it is torch's in-place method: the elements become the result's.
const WRITING: &str = "abs absolute acos acosh add addbmm addcdiv addcmul addmm addmv addr arccos arccosh arcsin arcsinh arctan \
    arctan2 arctanh asin asinh atan atan2 atanh baddbmm bitwise_and bitwise_left_shift bitwise_not \
    bitwise_or bitwise_right_shift bitwise_xor ceil clamp clamp_max clamp_min clip conj_physical copysign \
    cos cosh cumprod cumsum deg2rad digamma div divide eq erf erfc erfinv exp exp2 expm1 fill fill_diagonal \
    fix float_power floor floor_divide fmod frac gcd ge greater greater_equal gt heaviside hypot i0 igamma \
    igammac index_add index_copy index_fill index_put index_reduce lcm ldexp le lerp less less_equal lgamma \
    log log10 log1p log2 logical_and logical_not logical_or logical_xor logit lt masked_fill masked_scatter \
    mul multiply mvlgamma nan_to_num ne neg negative nextafter not_equal polygamma pow put rad2deg \
    reciprocal relu remainder renorm round rsqrt scatter scatter_add scatter_reduce sgn sigmoid sign sin \
    sinc sinh sqrt square sub subtract tan tanh tril triu true_divide trunc xlogy";

/// Methods whose in-place form changes a tensor's extents instead of its elements.
const RESHAPING: &str = "as_strided resize resize_as set squeeze swapaxes swapdims t transpose unsqueeze";

/// The method whose result `name` writes over its tensor.
pub(crate) fn written(name: &str) -> Option<&str> {
    name.strip_suffix('_').filter(|base| WRITING.split(' ').any(|name| name == *base))
}

/// The method that gives what `name` would make of its tensor, extents and all.
pub(crate) fn reshaped(name: &str) -> Option<&str> {
    name.strip_suffix('_').filter(|base| RESHAPING.split(' ').any(|name| name == *base))
}
