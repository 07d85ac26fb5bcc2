//! Inputs made of a first set: other values, drawn from the first's own so that what was a class, a mask or a probability
//! stays one, and other shapes.

use crate::program::{Entry, Generated, Template};
use runtime::{DType, Result, Tensor};
use std::collections::BTreeSet;
use std::fmt;

/// What one set of inputs is.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Its number; 0 are the first inputs themselves.
    pub number: usize,
    /// What numbers are drawn with.
    pub seed: u64,
    /// What floats are multiplied by.
    pub factor: f64,
    /// The extents of each tensor.
    pub shapes: Vec<Vec<usize>>,
    /// What is other in the shapes; empty where nothing is.
    pub resized: String,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.number, self.resized.is_empty()) {
            (0, _) => write!(f, "the first inputs")?,
            (_, true) => write!(f, "values drawn anew, times {} (seed {})", self.factor, self.seed)?,
            (_, false) => {
                write!(f, "{}, values times {} (seed {})", self.resized, self.factor, self.seed)?;
            }
        }
        Ok(())
    }
}

/// What floats are multiplied by, in turn: other signs for branches, other sizes for loops that wait for a bound.
const FACTORS: [f64; 8] = [-1.0, 1.0, 0.25, 4.0, -0.5, 2.0, -2.0, 0.5];

/// `tries` sets of other values in the shapes of the first inputs.
pub fn values(first: &Generated, seed: u64, tries: usize) -> Vec<Variant> {
    let shapes: Vec<Vec<usize>> = first.tensors.iter().map(|t| t.shape().to_vec()).collect();
    let variant = |number: usize| Variant {
        number,
        seed: seed.wrapping_add(number as u64),
        factor: FACTORS[(number + FACTORS.len() - 1) % FACTORS.len()],
        shapes: shapes.clone(),
        resized: String::new(),
    };
    (0..=tries).map(variant).collect()
}

/// Names of the tensors in the arguments: `x`, `ys[1]`.
pub fn names(entry: &Entry, first: &Generated) -> Vec<String> {
    fn walk(template: &Template, name: &str, out: &mut [String]) {
        match template {
            Template::Tensor(at) => out[*at] = name.to_string(),
            Template::List(parts) | Template::Tuple(parts) => {
                parts.iter().enumerate().for_each(|(i, t)| walk(t, &format!("{name}[{i}]"), out));
            }
            Template::Dict(entries) => {
                entries.iter().enumerate().for_each(|(i, (_, t))| walk(t, &format!("{name}[{i}]"), out));
            }
            Template::Number(_) | Template::Str(_) | Template::None | Template::DType(_) => {}
        }
    }
    let mut out = vec![String::new(); first.tensors.len()];
    for (parameter, template) in entry.parameters().iter().zip(&first.templates) {
        walk(template, &parameter.name, &mut out);
    }
    out
}

/// Other shapes: every extent of the first inputs, wherever it occurs, one larger and halved; then each place alone, which
/// finds extents that are equal by chance. The program says which of them it takes.
pub fn shapes(names: &[String], first: &Generated, seed: u64, from: usize) -> Vec<Variant> {
    let own: Vec<Vec<usize>> = first.tensors.iter().map(|t| t.shape().to_vec()).collect();
    let extents: BTreeSet<usize> = own.iter().flatten().copied().collect();
    let places: Vec<(usize, usize)> =
        own.iter().enumerate().flat_map(|(t, dims)| (0..dims.len()).map(move |d| (t, d))).collect();
    let mut out: Vec<Variant> = Vec::new();
    let mut add = |chosen: &[(usize, usize)], extent: usize, other: usize| {
        let mut shapes = own.clone();
        chosen.iter().for_each(|&(t, d)| shapes[t][d] = other);
        if other == extent || out.iter().any(|v| v.shapes == shapes) {
            return;
        }
        let shown: Vec<String> = chosen.iter().map(|&(t, d)| format!("dim {d} of {}", names[t])).collect();
        let number = from + out.len();
        out.push(Variant {
            number,
            seed: seed.wrapping_add(number as u64),
            factor: 1.0,
            shapes,
            resized: format!("{} is {other} instead of {extent}", shown.join(", ")),
        });
    };
    for &extent in &extents {
        let chosen: Vec<_> = places.iter().copied().filter(|&(t, d)| own[t][d] == extent).collect();
        add(&chosen, extent, extent + 1);
        add(&chosen, extent, extent.div_ceil(2));
    }
    for &(t, d) in &places {
        add(&[(t, d)], own[t][d], own[t][d] + 1);
    }
    out
}

/// The tensors of a variant.
pub fn make(first: &Generated, variant: &Variant) -> Result<Vec<Tensor>> {
    let mut state = variant.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    let mut draw = |below: usize| {
        // splitmix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below.max(1) as u64) as usize
    };
    let each = first.tensors.iter().zip(&variant.shapes).map(|(t, shape)| {
        if variant.number == 0 {
            return t.copy();
        }
        let own = t.to_scalars()?;
        let count: usize = shape.iter().product();
        if own.is_empty() {
            return Tensor::zeros(shape, t.dtype(), t.device());
        }
        let drawn: Vec<_> = (0..count).map(|_| own[draw(own.len())]).collect();
        match t.dtype() {
            dtype if dtype.is_float() => {
                let all: Vec<f64> = drawn.iter().map(|v| v.to_f64() * variant.factor).collect();
                Tensor::from_slice(&all, shape)?.to(dtype)
            }
            DType::Bool => {
                let all: Vec<bool> = drawn.iter().map(|v| v.to_bool()).collect();
                Tensor::from_slice(&all, shape)
            }
            dtype => {
                let all: Vec<i64> = drawn.iter().map(|v| v.to_i64()).collect();
                Tensor::from_slice(&all, shape)?.to(dtype)
            }
        }
    });
    each.collect()
}
