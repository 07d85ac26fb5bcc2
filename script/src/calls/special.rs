//! torch's special functions, and what reads how a number is made.

use super::{Call, Entry, bind, one};
use runtime::error::{Error, Result};
use runtime::{Arg, DType, Tensor};

/// Calls that are one op: torch's name, the op, torch's parameters.
pub(super) const OPS: &[(&str, &str, &str)] = &[
    ("torch.lgamma", "lgamma", "input"),
    ("torch.digamma", "digamma", "input"),
    ("torch.polygamma", "polygamma", "#n !input"),
    ("torch.igamma", "igamma", "input !other"),
    ("torch.igammac", "igammac", "input !other"),
    ("torch.special.zeta", "zeta", "#input other"),
    ("torch.i0", "i0", "input"),
    ("torch.special.i0e", "i0e", "input"),
    ("torch.special.i1", "i1", "input"),
    ("torch.special.i1e", "i1e", "input"),
    ("torch.special.ndtr", "ndtr", "input"),
    ("torch.special.ndtri", "ndtri", "input"),
    ("torch.special.log_ndtr", "log_ndtr", "input"),
    ("torch.special.erfcx", "erfcx", "input"),
    ("torch.special.entr", "entr", "input"),
    ("torch.special.bessel_j0", "bessel_j0", "input"),
    ("torch.special.bessel_j1", "bessel_j1", "input"),
    ("torch.special.bessel_y0", "bessel_y0", "input"),
    ("torch.special.bessel_y1", "bessel_y1", "input"),
    ("torch.special.modified_bessel_i0", "i0", "input"),
    ("torch.special.modified_bessel_i1", "i1", "input"),
    ("torch.special.modified_bessel_k0", "modified_bessel_k0", "input"),
    ("torch.special.modified_bessel_k1", "modified_bessel_k1", "input"),
    ("torch.special.scaled_modified_bessel_k0", "scaled_modified_bessel_k0", "x"),
    ("torch.special.scaled_modified_bessel_k1", "scaled_modified_bessel_k1", "x"),
    ("torch.special.spherical_bessel_j0", "spherical_bessel_j0", "x"),
    ("torch.special.airy_ai", "airy_ai", "x"),
    ("torch.special.chebyshev_polynomial_t", "chebyshev_polynomial_t", "#x n"),
    ("torch.special.chebyshev_polynomial_u", "chebyshev_polynomial_u", "#x n"),
    ("torch.special.chebyshev_polynomial_v", "chebyshev_polynomial_v", "#x n"),
    ("torch.special.chebyshev_polynomial_w", "chebyshev_polynomial_w", "#x n"),
    ("torch.special.shifted_chebyshev_polynomial_t", "shifted_chebyshev_polynomial_t", "#x n"),
    ("torch.special.shifted_chebyshev_polynomial_u", "shifted_chebyshev_polynomial_u", "#x n"),
    ("torch.special.shifted_chebyshev_polynomial_v", "shifted_chebyshev_polynomial_v", "#x n"),
    ("torch.special.shifted_chebyshev_polynomial_w", "shifted_chebyshev_polynomial_w", "#x n"),
    ("torch.special.hermite_polynomial_h", "hermite_polynomial_h", "#x n"),
    ("torch.special.hermite_polynomial_he", "hermite_polynomial_he", "#x n"),
    ("torch.special.laguerre_polynomial_l", "laguerre_polynomial_l", "#x n"),
    ("torch.special.legendre_polynomial_p", "legendre_polynomial_p", "#x n"),
    ("torch.nextafter", "nextafter", "input !other"),
    ("torch.gcd", "gcd", "input !other"),
    ("torch.lcm", "lcm", "input !other"),
    ("torch.frexp", "frexp", "input"),
    ("torch.angle", "angle", "input"),
    ("torch.sgn", "sign", "input"),
];

/// Both operands in float64, whatever they are.
fn float_power(c: &Call) -> Result<Vec<Tensor>> {
    let wide = |name: &str| -> Result<Tensor> {
        match c.arg(name)? {
            Arg::Tensor(t) => t.to(DType::F64),
            number => match number.scalar() {
                Some(v) => Ok(Tensor::scalar(v.to_f64())),
                None => Err(Error::value(format!("{name} must be a tensor or a number, got {number:?}"))),
            },
        }
    };
    if c.optional("input").is_err() && c.optional("exponent").is_err() {
        return Err(Error::value("one of the operands must be a tensor").in_op("float_power"));
    }
    one(wide("input")?.pow(&wide("exponent")?))
}

/// A real tensor is its own real part, conjugate and so on.
fn itself(c: &Call) -> Result<Vec<Tensor>> {
    Ok(vec![c.tensor("input")?.clone()])
}

fn positive(c: &Call) -> Result<Vec<Tensor>> {
    match c.tensor("input")?.dtype() {
        DType::Bool => Err(Error::dtype("positive is not defined for bool tensors").in_op("positive")),
        _ => itself(c),
    }
}

pub(super) const FUNCTIONS: &[Entry] = &[
    ("torch.mvlgamma", "input p", |c| one(c.tensor("input")?.mvlgamma(c.int("p", 1)?))),
    ("torch.logcumsumexp", "input dim", |c| one(c.tensor("input")?.logcumsumexp(c.int("dim", 0)?))),
    // The method has the operands the other way round.
    ("torch.Tensor.polygamma", "self n", |c| bind("polygamma", &[c.arg("n")?, c.arg("self")?])),
    ("torch.float_power", "input exponent", float_power),
    ("torch.positive", "input", positive),
    ("torch.real", "input", itself),
    ("torch.isreal", "input", |c| one(c.tensor("input")?.ones_like(Some(DType::Bool)))),
    ("torch.conj", "input", itself),
    ("torch.conj_physical", "input", itself),
    ("torch.resolve_conj", "input", itself),
    ("torch.resolve_neg", "input", itself),
];
