//! Every op of the table in every mode: what is traced, taped or staged has the bits of what is eager, gradients included,
//! whatever the operands' layouts and extents; and what one mode refuses, every mode refuses.
//!
//! Graphs are compiled with bitwise passes only, so that no tolerance is needed.

use eager::prelude::Autograd;
use lab::execute::{Results, execute};
use lab::modes::Mode;
use runtime::samples::{Made, SampleArg, Samples, TensorSample, make};
use runtime::table::{Effect, OpDef, table};
use runtime::{Arg, DType, Origin, Result, Tensor, door};

/// How the tensors of a sample are varied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Variant {
    /// As they are.
    Plain,
    /// Dimensions laid out in opposite order.
    Turned,
    /// Every second element of a larger block, from its second on.
    Stepped,
    /// One element of the first dimension (of more than one) repeated without memory.
    Expanded,
    /// The first extent 0.
    EmptyFirst,
    /// The last extent 0.
    EmptyLast,
    /// Every extent 1.
    Ones,
    /// No dimensions.
    Scalars,
}

const LAYOUTS: &[Variant] = &[Variant::Plain, Variant::Turned, Variant::Stepped, Variant::Expanded];
const EXTENTS: &[Variant] = &[Variant::EmptyFirst, Variant::EmptyLast, Variant::Ones, Variant::Scalars];

impl Variant {
    /// The tensor that a sample becomes before it is made.
    fn sample(self, t: &TensorSample) -> TensorSample {
        let mut t = t.clone();
        match self {
            Variant::EmptyFirst => t.dims.first_mut().into_iter().for_each(|d| *d = 0),
            Variant::EmptyLast => t.dims.last_mut().into_iter().for_each(|d| *d = 0),
            Variant::Ones => t.dims.iter_mut().for_each(|d| *d = 1),
            Variant::Scalars => t.dims.clear(),
            Variant::Plain | Variant::Turned | Variant::Stepped | Variant::Expanded => {}
        }
        let n: usize = t.dims.iter().product();
        if let Some(elements) = &mut t.exact {
            elements.truncate(n);
        }
        t
    }

    /// The tensor with another layout.
    fn layout(self, t: &Tensor) -> Result<Tensor> {
        match self {
            Variant::Turned => {
                let order: Vec<i64> = (0..t.rank() as i64).rev().collect();
                t.permute(&order)?.copy()?.permute(&order)
            }
            Variant::Stepped => {
                let mut block = t.clone();
                for d in 0..t.rank() as i64 {
                    let twice = Tensor::stack(&[block.clone(), block], d + 1)?;
                    block = twice.flatten(d, d + 1)?;
                }
                for d in 0..t.rank() as i64 {
                    block = block.slice(d, Some(1), None, 2)?;
                }
                Ok(block)
            }
            Variant::Expanded => match t.shape().iter().position(|&n| n > 1) {
                Some(d) => t.slice(d as i64, Some(0), Some(1), 1)?.expand(t.shape()),
                None => Ok(t.clone()),
            },
            Variant::Plain | Variant::EmptyFirst | Variant::EmptyLast | Variant::Ones | Variant::Scalars => {
                Ok(t.clone())
            }
        }
    }

    fn made(self, case: &[SampleArg], seed: u64) -> Result<Vec<Made>> {
        let varied: Vec<SampleArg> = case
            .iter()
            .map(|a| match a {
                SampleArg::Tensor(t) => SampleArg::Tensor(self.sample(t)),
                SampleArg::Tensors(list) => SampleArg::Tensors(list.iter().map(|t| self.sample(t)).collect()),
                SampleArg::Host(h) => SampleArg::Host(h.clone()),
            })
            .collect();
        let made = make(&varied, seed)?.into_iter().map(|m| {
            Ok(match m {
                Made::Tensor(t) => Made::Tensor(self.layout(&t)?),
                Made::Tensors(list) => {
                    Made::Tensors(list.iter().map(|t| self.layout(t)).collect::<Result<_>>()?)
                }
                Made::Host(h) => Made::Host(h),
            })
        });
        made.collect()
    }
}

/// The op as a function of its tensors.
fn program(op: &'static OpDef, made: &[Made], tensors: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut next = tensors.iter().cloned();
    let mut take = |n: usize| next.by_ref().take(n).collect::<Vec<_>>();
    let held: Vec<Vec<Tensor>> = made.iter().map(|m| take(m.as_arg().tensors().len())).collect();
    let args: Vec<Arg> = made
        .iter()
        .zip(&held)
        .map(|(m, held)| match m {
            Made::Tensor(_) => Arg::Tensor(&held[0]),
            Made::Tensors(_) => Arg::Tensors(held),
            Made::Host(h) => h.as_arg(),
        })
        .collect();
    Ok(door::bind(op, &args, Origin::caller())?.into_iter().collect())
}

/// What can be compared of results: types and bits, or the kind of the error.
fn digest(results: &Result<Results>) -> String {
    let one = |t: &Tensor| match t.detach().and_then(|t| t.to_bytes()) {
        Ok(bytes) => format!("{} {bytes:02x?}", t.tensor_type()),
        Err(e) => format!("unreadable: {e}"),
    };
    match results {
        Ok((outputs, gradients)) => {
            let outputs: Vec<String> = outputs.iter().map(one).collect();
            // An absent gradient is a zero one.
            let zero = |t: &Tensor| {
                t.detach().and_then(|t| t.to_f64_vec()).is_ok_and(|v| v.iter().all(|&v| v == 0.0))
            };
            let gradients: Vec<Option<String>> =
                gradients.iter().map(|g| g.as_ref().filter(|t| !zero(t)).map(one)).collect();
            format!("{outputs:?} {gradients:?}")
        }
        Err(e) => format!("error of kind {}", e.kind().word()),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(160).collect()
}

/// One sample of one op in every mode; what differs from the first.
fn compare(op: &'static OpDef, case: &[SampleArg], variant: Variant, seed: u64, what: &str) -> Vec<String> {
    let Ok(made) = variant.made(case, seed) else { return Vec::new() };
    let tensors: Vec<Tensor> = made.iter().flat_map(|m| m.as_arg().tensors().to_vec()).collect();
    let run = |inputs: &[Tensor]| program(op, &made, inputs);
    let plain = run(&tensors);
    let cotangents: Vec<Option<Tensor>> = match &plain {
        Ok(outputs) => outputs
            .iter()
            .enumerate()
            .map(|(i, y)| {
                let drawn = TensorSample {
                    dtype: y.dtype(),
                    dims: y.layout().shape.clone(),
                    low: -1.0,
                    high: 1.0,
                    exact: None,
                    diagonal: 0.0,
                };
                y.dtype().is_float().then(|| drawn.make(77 + i as u64).expect("a float tensor"))
            })
            .collect(),
        Err(_) => Vec::new(),
    };
    let floats: Vec<usize> = (0..tensors.len()).filter(|&i| tensors[i].dtype().is_float()).collect();
    let wanted = if cotangents.iter().any(Option::is_some) { floats } else { Vec::new() };
    let mut first: Option<String> = None;
    let mut bad = Vec::new();
    for mode in Mode::of_functions() {
        let results = execute(mode, true, &run, &tensors, &cotangents, &wanted);
        if let Ok((outputs, _)) = &results
            && outputs.iter().any(|t| t.requires_grad() && t.dtype() == DType::Bool)
        {
            bad.push(format!("{what}: a bool requires grad in {}", mode.name));
        }
        let found = digest(&results);
        match &first {
            None => first = Some(found),
            Some(first) if *first == found => {}
            Some(first) => {
                let why = results.err().map_or(String::new(), |e| format!(" ({e})"));
                bad.push(format!(
                    "{what} in {}: {}{why}\n    eager: {}",
                    mode.name,
                    shortened(&found),
                    shortened(first)
                ));
            }
        }
    }
    bad
}

/// Every op x sample of these element types and variants.
fn all(dtypes: &[DType], variants: &[Variant]) {
    let (mut bad, mut checked) = (Vec::new(), 0);
    for op in table() {
        if matches!(op.effect, Effect::Read | Effect::Write) {
            continue;
        }
        for &dtype in dtypes {
            let mut samples = Samples::new(dtype);
            (op.samples)(&mut samples);
            for (i, case) in samples.cases.iter().enumerate() {
                for &variant in variants {
                    checked += 1;
                    let what = format!("{} {dtype} sample {i} {variant:?}", op.name);
                    bad.extend(compare(op, case, variant, 31 + i as u64, &what));
                }
            }
        }
    }
    println!("{checked} cases");
    assert!(bad.is_empty(), "{} of {checked} cases:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn layouts_in_every_mode() {
    all(&[DType::F32], LAYOUTS);
}

#[test]
fn extents_in_every_mode() {
    all(&[DType::F32], EXTENTS);
}

#[test]
fn floats_in_every_mode() {
    all(&[DType::F64, DType::F16, DType::BF16], &[Variant::Plain]);
}

#[test]
fn integers_in_every_mode() {
    all(&[DType::Bool, DType::U8, DType::I32], &[Variant::Plain]);
    all(&[DType::I64], &[Variant::Plain, Variant::Turned, Variant::EmptyFirst, Variant::Scalars]);
}
