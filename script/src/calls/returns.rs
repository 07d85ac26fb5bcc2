//! What calls return besides one tensor: tuples with torch's names, lists, host bools.

use crate::tree::Returns;
use crate::types::Type;

/// What is known of an argument when the types of a program are found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Known {
    /// It is left out, or is `None`.
    Absent,
    /// The literal `True`.
    True,
    /// A host number.
    Number,
    /// Anything else.
    Given,
}

/// When a line applies.
#[derive(Clone, Copy)]
enum When {
    Always,
    /// This parameter is a host number.
    Number(&'static str),
    /// This parameter is `True`.
    True(&'static str),
}

const PAIR: &[&str] = &["values", "indices"];

/// Calls that return tuples: the name, when, the names of the parts (`_` where torch has none).
const TUPLES: &[(&str, When, &[&str])] = &[
    ("torch.max", When::Number("dim"), PAIR),
    ("torch.min", When::Number("dim"), PAIR),
    ("torch.median", When::Number("dim"), PAIR),
    ("torch.nanmedian", When::Number("dim"), PAIR),
    ("torch.mode", When::Always, PAIR),
    ("torch.kthvalue", When::Always, PAIR),
    ("torch.topk", When::Always, PAIR),
    ("torch.sort", When::Always, PAIR),
    ("torch.cummax", When::Always, PAIR),
    ("torch.cummin", When::Always, PAIR),
    ("torch.aminmax", When::Always, &["min", "max"]),
    ("torch.linalg.qr", When::Always, &["Q", "R"]),
    ("torch.qr", When::Always, &["Q", "R"]),
    ("torch.geqrf", When::Always, &["a", "tau"]),
    ("torch.linalg.slogdet", When::Always, &["sign", "logabsdet"]),
    ("torch.slogdet", When::Always, &["sign", "logabsdet"]),
    ("torch.linalg.eigh", When::Always, &["eigenvalues", "eigenvectors"]),
    ("torch.linalg.svd", When::Always, &["U", "S", "Vh"]),
    ("torch.svd", When::Always, &["U", "S", "V"]),
    ("torch.linalg.lu", When::Always, &["P", "L", "U"]),
    ("torch.lu_unpack", When::Always, &["P", "L", "U"]),
    ("torch.linalg.lu_factor", When::Always, &["LU", "pivots"]),
    ("torch.linalg.lu_factor_ex", When::Always, &["LU", "pivots", "info"]),
    ("torch.lu", When::True("get_infos"), &["_0", "_1", "_2"]),
    ("torch.lu", When::Always, &["_0", "_1"]),
    ("torch.linalg.cholesky_ex", When::Always, &["L", "info"]),
    ("torch.linalg.inv_ex", When::Always, &["inverse", "info"]),
    ("torch.linalg.solve_ex", When::Always, &["result", "info"]),
    ("torch.linalg.lstsq", When::Always, &["solution", "residuals", "rank", "singular_values"]),
    ("torch.triangular_solve", When::Always, &["solution", "cloned_coefficient"]),
    ("torch.frexp", When::Always, &["mantissa", "exponent"]),
    ("torch.histogram", When::Always, &["hist", "bin_edges"]),
    ("torch.var_mean", When::Always, &["_0", "_1"]),
    ("torch.std_mean", When::Always, &["_0", "_1"]),
    ("torch.native_layer_norm", When::Always, &["_0", "_1", "_2"]),
    ("torch.native_batch_norm", When::Always, &["_0", "_1", "_2"]),
    ("torch.native_group_norm", When::Always, &["_0", "_1", "_2"]),
    ("torch.max_pool1d_with_indices", When::Always, &["_0", "_1"]),
    ("torch.adaptive_max_pool1d", When::Always, &["_0", "_1"]),
    ("torch.nn.functional.max_pool1d", When::True("return_indices"), &["_0", "_1"]),
    ("torch.nn.functional.max_pool2d", When::True("return_indices"), &["_0", "_1"]),
    ("torch.nn.functional.max_pool3d", When::True("return_indices"), &["_0", "_1"]),
    ("torch.nn.functional.adaptive_max_pool1d", When::True("return_indices"), &["_0", "_1"]),
    ("torch.nn.functional.adaptive_max_pool2d", When::True("return_indices"), &["_0", "_1"]),
    ("torch.nn.functional.adaptive_max_pool3d", When::True("return_indices"), &["_0", "_1"]),
    ("torch.nn.functional.fractional_max_pool2d", When::True("return_indices"), &["_0", "_1"]),
    ("torch.nn.functional.fractional_max_pool3d", When::True("return_indices"), &["_0", "_1"]),
];

/// Calls that return a tensor and another one or `None`.
const MAYBE: &[&str] = &["torch.nn.functional.multi_head_attention_forward"];

/// Calls that return lists of tensors.
const LISTS: &[(&str, When)] = &[
    ("torch.split", When::Always),
    ("torch.split_with_sizes", When::Always),
    ("torch.chunk", When::Always),
    ("torch.unbind", When::Always),
    ("torch.tensor_split", When::Always),
    ("torch.hsplit", When::Always),
    ("torch.vsplit", When::Always),
    ("torch.dsplit", When::Always),
    ("torch.meshgrid", When::Always),
    ("torch.broadcast_tensors", When::Always),
    ("torch.gradient", When::Always),
    ("torch.nonzero", When::True("as_tuple")),
    ("torch.histogramdd", When::Always),
];

/// Calls that return a host bool.
const BOOLS: &[&str] =
    &["torch.equal", "torch.allclose", "torch.is_floating_point", "torch.is_nonzero", "torch.is_same_size"];

fn applies(when: When, known: &dyn Fn(&str) -> Known) -> bool {
    match when {
        When::Always => true,
        When::Number(parameter) => known(parameter) == Known::Number,
        When::True(parameter) => known(parameter) == Known::True,
    }
}

/// What a call returns, given what is known of its arguments by the names of its parameters.
pub fn returns(call: &str, known: &dyn Fn(&str) -> Known) -> (Returns, Type) {
    let function;
    let call = match call.strip_prefix("torch.Tensor.") {
        Some(method) => {
            function = format!("torch.{method}");
            &function
        }
        None => call,
    };
    let tuple = |names: &'static [&'static str]| {
        let parts = vec![Type::Tensor; names.len()];
        let named = !names[0].starts_with('_');
        let ty = if named { Type::Named(names, parts.into()) } else { Type::tuple(parts) };
        (Returns::Tuple, ty)
    };
    if let Some((.., names)) = TUPLES.iter().find(|(name, when, _)| *name == call && applies(*when, known)) {
        return tuple(names);
    }
    if MAYBE.contains(&call) {
        let parts = vec![Type::Tensor, Type::optional(Type::Tensor)];
        return (Returns::TupleOf(parts.len()), Type::tuple(parts));
    }
    if matches!(call, "torch.unique" | "torch.unique_consecutive") {
        let more = ["return_inverse", "return_counts"].iter().filter(|p| known(p) == Known::True).count();
        if more > 0 {
            return tuple(&["_0", "_1", "_2"][..=more]);
        }
    }
    if LISTS.iter().any(|(name, when)| *name == call && applies(*when, known)) {
        return (Returns::List, Type::list(Type::Tensor));
    }
    if call == "torch.where" && known("input") == Known::Absent {
        return (Returns::List, Type::list(Type::Tensor));
    }
    if BOOLS.contains(&call) {
        return (Returns::Bool, Type::Bool);
    }
    (Returns::Tensor, Type::Tensor)
}

/// Every name that has a line here.
pub fn names() -> impl Iterator<Item = &'static str> {
    let tuples = TUPLES.iter().map(|(name, ..)| *name);
    tuples.chain(LISTS.iter().map(|(name, _)| *name)).chain(BOOLS.iter().chain(MAYBE).copied())
}
