//! The two recordings of a graph with open extents.

use super::extent::{Bound, OpenHost, PRIMES, dims, extents_of};
use super::program::admit;
use super::signature::Signature;
use crate::ir::Graph;
use crate::specialize::specialize_with;
use kernels::Dims;
use runtime::error::{Error, Result};
use runtime::tensor::Tensor;
use std::borrow::Borrow;

/// What belongs to the first recording of a graph to make it one for all extents.
pub(crate) struct Twin {
    second: Graph,
    signature: Signature,
}

impl Twin {
    /// An error where the first recording, its numbers replaced by those of the second, is not the second.
    pub(crate) fn new(first: &Graph, second: Graph) -> Result<Twin> {
        admit(first, &PRIMES[0])?;
        let signature = Signature::of(first, &PRIMES[0])?;
        let twin = Twin { second, signature };
        match twin.at(first, &PRIMES[1])? == twin.second {
            true => Ok(twin),
            false => {
                let what = format!("{} depends on extents in other ways than by products", first.name);
                Err(Error::shape(what))
            }
        }
    }

    /// The second recording.
    pub(crate) fn second(&self) -> &Graph {
        &self.second
    }

    /// Whether a call with these arguments is one that the graph is for.
    pub(crate) fn takes<T: Borrow<Tensor>>(&self, args: &[T]) -> bool {
        self.signature.bind(args).is_some()
    }

    /// The graph for the extents of these arguments.
    pub(crate) fn exact(&self, first: &Graph, args: &[Tensor]) -> Result<Graph> {
        self.at(first, &self.bound(args)?)
    }

    /// The extents of a result of the graph for these arguments.
    pub(crate) fn result_dims(&self, first: &Graph, result: usize, args: &[Tensor]) -> Result<Dims> {
        let ty = first.tensor_type(first.results()[result])?;
        dims(&extents_of(ty, &PRIMES[0])?, &self.bound(args)?)
    }

    fn bound(&self, args: &[Tensor]) -> Result<Bound> {
        self.signature.bind(args).ok_or_else(|| Error::shape("arguments that the graph is not for"))
    }

    fn at(&self, first: &Graph, bound: &[usize]) -> Result<Graph> {
        let number = |host: &_| OpenHost::of(host, &PRIMES[0]).value(bound);
        specialize_with(first, &self.signature.types(bound)?, &number)
    }
}
