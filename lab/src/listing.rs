//! The op table as text: for the terminal, and as the page `docs/ops.md`. What is said of an op is found by asking its
//! block (its inference for element types, its cost on its samples); there is no second list.

use runtime::DType;
use runtime::infer::{Infer, InferArg, TensorType, Types};
use runtime::samples::{SampleArg, Samples, TensorSample};
use runtime::table::{Cost, Effect, Lower, OpDef, Vjp, table};
use std::fmt::Write as _;

/// Columns of the terminal's listing.
const WIDTH: usize = 120;

/// Element types whose samples stand for those of every other type, in order of preference.
const BASES: &[DType] = &[DType::F32, DType::I64, DType::Bool];

type Case = Vec<SampleArg>;

fn samples(op: &OpDef, dtype: DType) -> Vec<Case> {
    let mut samples = Samples::new(dtype);
    (op.samples)(&mut samples);
    samples.cases
}

/// A sample's operands as inference sees them, with `from` replaced by `to`.
fn operands(case: &Case, from: DType, to: DType) -> Vec<InferArg<'_>> {
    let of = |t: &TensorSample| TensorType::new(if t.dtype == from { to } else { t.dtype }, &t.dims);
    let each = case.iter().map(|a| match a {
        SampleArg::Tensor(t) => InferArg::Tensor(of(t)),
        SampleArg::Tensors(list) => InferArg::Tensors(list.iter().map(of).collect()),
        SampleArg::Host(h) => InferArg::Host(h.as_arg()),
    });
    each.collect()
}

fn infer(op: &'static OpDef, args: &[InferArg]) -> Option<Types> {
    (op.infer)(&Infer { op, args }).ok()
}

/// The element types that inference accepts for some sample.
pub fn dtypes(op: &'static OpDef) -> Vec<DType> {
    let base = BASES.iter().map(|&b| (b, samples(op, b))).find(|(_, cases)| !cases.is_empty());
    let accepts = |dtype: DType| {
        let own = samples(op, dtype);
        let replaced = base.iter().flat_map(|(b, cases)| cases.iter().map(move |c| operands(c, *b, dtype)));
        own.iter().map(|c| operands(c, dtype, dtype)).chain(replaced).any(|args| infer(op, &args).is_some())
    };
    DType::ALL.into_iter().filter(|&d| accepts(d)).collect()
}

/// A set of element types in a word where there is one.
fn dtype_words(dtypes: &[DType]) -> String {
    let is = |wanted: &dyn Fn(DType) -> bool| {
        DType::ALL.iter().all(|d| dtypes.contains(d) == wanted(*d)) && !dtypes.is_empty()
    };
    if is(&|_| true) {
        "all".into()
    } else if is(&DType::is_float) {
        "floats".into()
    } else if is(&|d| d != DType::Bool) {
        "numbers".into()
    } else if is(&|d| !d.is_float()) {
        "bool and integers".into()
    } else if is(&DType::is_int) {
        "integers".into()
    } else {
        dtypes.iter().map(|d| d.name()).collect::<Vec<_>>().join(" ")
    }
}

fn gradient(op: &OpDef) -> String {
    match op.vjp {
        Vjp::Rule(..) => "rule".into(),
        Vjp::Zero => "zero".into(),
        Vjp::None(why) => format!("none: {why}"),
    }
}

fn lowering(op: &OpDef) -> &'static str {
    match (&op.lower, op.effect) {
        (_, Effect::Random) => "loop, random",
        (_, Effect::Read) => "reads a Variable",
        (_, Effect::Write) => "writes a Variable",
        (Lower::Map(_), Effect::Pure | Effect::View(_)) => "map",
        (Lower::Loop(_), Effect::Pure | Effect::View(_)) => "loop",
        (Lower::View(..), Effect::Pure | Effect::View(_)) => "view",
        (Lower::Steps(_), Effect::Pure | Effect::View(_)) => "steps",
    }
}

/// What one sample costs, beside the counts that costs are proportional to.
struct Work {
    cost: Cost,
    outputs: u64,
    first: u64,
    inner: u64,
    bytes: u64,
}

fn work(op: &'static OpDef) -> Vec<Work> {
    let elements = |t: &TensorType| t.numel().known().unwrap_or(0) as u64;
    let mut out = Vec::new();
    for &dtype in BASES {
        for case in samples(op, dtype) {
            let args = operands(&case, dtype, dtype);
            let Some(types) = infer(op, &args) else { continue };
            let infer = Infer { op, args: &args };
            let tensors: Vec<&TensorType> = infer.all_tensors().collect();
            let bytes = |t: &TensorType| elements(t) * t.dtype.size() as u64;
            out.push(Work {
                cost: (op.cost)(&infer, &types),
                outputs: types.iter().map(elements).sum(),
                first: tensors.first().map_or(0, |t| elements(t)),
                inner: tensors
                    .first()
                    .and_then(|t| t.shape.last().copied())
                    .map_or(1, |d| d.known().unwrap_or(0) as u64),
                bytes: tensors.iter().map(|t| bytes(t)).sum::<u64>() + types.iter().map(bytes).sum::<u64>(),
            });
        }
    }
    out
}

/// The number that every sample's operations are a multiple of, by this count.
fn factor(work: &[Work], count: impl Fn(&Work) -> u64) -> Option<u64> {
    let some = work.iter().find(|w| count(w) > 0)?;
    let factor = some.cost.flops / count(some);
    work.iter().all(|w| w.cost.flops == factor * count(w)).then_some(factor)
}

/// Floating-point operations and memory traffic, as a formula where all samples follow one.
pub fn cost(op: &'static OpDef) -> String {
    let work = work(op);
    let flops = if work.iter().all(|w| w.cost.flops == 0) {
        "no flops".to_string()
    } else if let Some(n) = factor(&work, |w| w.outputs) {
        format!("{n} flop{} per output", if n == 1 { "" } else { "s" })
    } else if let Some(n) = factor(&work, |w| w.first) {
        format!("{n} flop{} per input", if n == 1 { "" } else { "s" })
    } else if let Some(n) = factor(&work, |w| w.outputs * w.inner) {
        format!("{n} flops per output and inner element")
    } else {
        "flops by shape".to_string()
    };
    let bytes = if work.iter().all(|w| w.cost.bytes == 0) {
        "no traffic"
    } else if work.iter().all(|w| w.cost.bytes == w.bytes) {
        "every element once"
    } else {
        "traffic by shape"
    };
    format!("{flops}, {bytes}")
}

/// The contract as one paragraph.
fn contract(op: &OpDef) -> String {
    op.doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Words in lines of at most `WIDTH` columns, each after this many spaces.
fn wrapped(out: &mut String, indent: usize, text: &str) {
    let mut column = 0;
    for word in text.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            let _ = write!(out, "{:indent$}{word}", "");
            column = indent + width;
        } else {
            let _ = write!(out, " {word}");
            column += 1 + width;
        }
    }
    out.push('\n');
}

/// A paragraph for each op whose name contains `pattern`: signature, contract, and what its other facets say.
pub fn render(pattern: &str) -> String {
    let mut out = String::new();
    let mut count = 0;
    for &op in table().iter().filter(|op| op.name.contains(pattern)) {
        count += 1;
        wrapped(&mut out, 0, op.schema);
        wrapped(&mut out, 4, &contract(op));
        let facets =
            [dtype_words(&dtypes(op)), format!("gradient {}", gradient(op)), lowering(op).into(), cost(op)];
        wrapped(&mut out, 4, &facets.join("; "));
    }
    let _ = writeln!(out, "{count} ops");
    out
}

const INTRODUCTION: &str = "\
# Ops

Written by `trifold ops --markdown` from the op table (`runtime/src/table.rs`, `runtime/src/ops/`); a test compares.

- **types**: element types of the main operand that inference accepts. *floats* are f16, bf16, f32 and f64; *numbers*
  are all but bool.
- **gradient**: *rule* is tensor code made of ops of this table, so it can be differentiated again; *zero* means that
  the result is constant nearby or has no gradient by contract; *none* is an error that says why.
- **lowering**: *map* is one element-wise loop program, *loop* one loop program with reductions, scans or gathers,
  *steps* several kernels, *view* another layout of the same memory.
- **cost**: floating-point operations (a multiply-add counts 2) and bytes read and written, as estimates for fusing.

Out of scope: complex and quantised element types, sparse layouts, int8 and int16; the `out=` argument (in-place writes
go through the door's `mutate`); transfers between devices (`Tensor::to_device` is no op and has no gradient).
";

/// The table as the page `docs/ops.md`.
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_string();
    let _ = write!(out, "\n{} ops.\n\n", table().len());
    out.push_str("| op | types | gradient | lowering | cost | contract |\n|---|---|---|---|---|---|\n");
    for &op in table() {
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} |",
            op.schema.replace('|', "\\|"),
            dtype_words(&dtypes(op)),
            cell(&gradient(op)),
            lowering(op),
            cost(op),
            cell(&contract(op)),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::table::find;

    #[test]
    fn facets_are_found_by_asking() {
        let of = |name: &str| find(name).unwrap();
        assert_eq!(dtype_words(&dtypes(of("add"))), "all");
        assert_eq!(dtype_words(&dtypes(of("relu"))), "numbers");
        assert_eq!(cost(of("exp")), "10 flops per output, every element once");
        assert_eq!(cost(of("permute")), "no flops, no traffic");
        assert_eq!(cost(of("matmul")), "2 flops per output and inner element, every element once");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let text = render("");
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH || !l.trim().contains(' ')));
        assert!(table().iter().all(|op| text.contains(op.name)));
    }
}
