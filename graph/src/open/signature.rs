//! What a graph with open extents takes: element types, and extents that are fixed, open, or products of open ones.

use super::extent::{Bound, Extent, Extents, LEAST, Primes, SYMBOLS, dims, extents_of};
use crate::ir::Graph;
use kernels::DType;
use runtime::error::{Error, Result};
use runtime::infer::TensorType;
use runtime::tensor::Tensor;
use std::borrow::Borrow;

/// The inputs of a graph with open extents.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Signature {
    inputs: Vec<(DType, Extents)>,
    /// Of each open extent an input and the dimension that has it.
    places: Vec<(usize, usize)>,
}

impl Signature {
    /// That of a graph recorded with these primes.
    pub(crate) fn of(graph: &Graph, primes: &Primes) -> Result<Signature> {
        let input = |&param| {
            let ty: &TensorType = graph.tensor_type(param)?;
            Ok((ty.dtype, extents_of(ty, primes)?))
        };
        let inputs: Vec<(DType, Extents)> = graph.params().iter().map(input).collect::<Result<_>>()?;
        let place = |symbol: usize| {
            let is = |extent: &Extent| extent.symbol() == Some(symbol);
            inputs.iter().enumerate().find_map(|(i, (_, dims))| Some((i, dims.iter().position(is)?)))
        };
        let places: Vec<_> = (0..SYMBOLS).map_while(place).collect();
        match inputs.iter().flat_map(|(_, dims)| dims).all(|extent| extent.within(places.len())) {
            true => Ok(Signature { inputs, places }),
            false => Err(Error::shape("an input's extent is a product of extents that no input has")),
        }
    }

    /// The open extents of a call with these arguments; `None` where they are not what the graph takes.
    pub(crate) fn bind<T: Borrow<Tensor>>(&self, args: &[T]) -> Option<Bound> {
        if args.len() != self.inputs.len() {
            return None;
        }
        let mut bound = Bound::new();
        for &(input, dim) in &self.places {
            bound.push(args[input].borrow().shape().get(dim).copied().filter(|&n| n >= LEAST)?);
        }
        let fits = |(arg, (dtype, extents)): (&T, &(DType, Extents))| {
            let arg: &Tensor = arg.borrow();
            arg.dtype() == *dtype
                && arg.rank() == extents.len()
                && extents.iter().zip(arg.shape()).all(|(e, &n)| e.value(&bound) == Some(n as i64))
        };
        args.iter().zip(&self.inputs).all(fits).then_some(bound)
    }

    /// The types of the inputs in a call.
    pub(crate) fn types(&self, bound: &[usize]) -> Result<Vec<TensorType>> {
        let ty = |(dtype, extents): &(DType, Extents)| Ok(TensorType::new(*dtype, &dims(extents, bound)?));
        self.inputs.iter().map(ty).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::extent::PRIMES;
    use super::*;

    #[test]
    fn calls_that_do_not_fit_are_not_bound() {
        let mut sketch = crate::testing::Sketch::new();
        let (x, y) = (sketch.argument(&[211, 223]), sketch.argument(&[211 * 223, 4]));
        let graph = sketch.finish(&[x, y], &[]);
        let signature = Signature::of(&graph, &PRIMES[0]).unwrap();
        let t = |dims: &[usize]| Tensor::zeros(dims, DType::F32, runtime::DeviceId::Cpu).unwrap();
        let bind = |x: &[usize], y: &[usize]| signature.bind(&[t(x), t(y)]);
        assert_eq!(bind(&[3, 5], &[15, 4]).unwrap().as_slice(), [3, 5]);
        assert!(bind(&[3, 5], &[16, 4]).is_none());
        assert!(bind(&[3, 5], &[15, 3]).is_none());
        assert!(bind(&[1, 5], &[5, 4]).is_none());
        assert!(bind(&[15], &[15, 4]).is_none());
        assert_eq!(signature.types(&[3, 5]).unwrap()[1], TensorType::new(DType::F32, &[15, 4]));
    }
}
