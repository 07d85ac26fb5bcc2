//! Assertions of staged programs: a node that looks at a truth when the graph runs, and ends the run where it does not hold.

use runtime::callable::{ArgGradients, Ask, Callable, Residuals};
use runtime::door::{self, Outputs};
use runtime::error::{Error, Origin, Result};
use runtime::infer::{TensorType, Types};
use runtime::tensor::Tensor;
use smallvec::smallvec;
use std::sync::Arc;

/// Lets a staged program end with `error` when it runs and `condition` (a bool of one element) does not hold. The node is
/// kept though nobody reads it, as a write is.
pub fn check(condition: &Tensor, error: Error) -> Result<()> {
    let origin = Origin::caller();
    let callable: Arc<dyn Callable> = Arc::new(Check { error });
    door::call(&callable, std::slice::from_ref(condition), origin).map(|_| ())
}

struct Check {
    error: Error,
}

impl Callable for Check {
    fn name(&self) -> &str {
        "check"
    }

    fn infer(&self, args: &[TensorType]) -> Result<Types> {
        Ok(args.iter().cloned().collect())
    }

    fn run(&self, args: &[Tensor]) -> Result<Outputs> {
        match args {
            [holds] if holds.item()?.to_bool() => Ok(smallvec![holds.clone()]),
            [_] => Err(self.error.clone()),
            _ => Err(Error::internal("a check of one truth")),
        }
    }

    fn run_with_residuals(&self, args: &[Tensor]) -> Result<(Outputs, Residuals)> {
        Ok((self.run(args)?, Residuals::new()))
    }

    fn vjp(
        self: Arc<Self>,
        _: &[Tensor],
        _: &[Tensor],
        _: &[Option<Tensor>],
        _: Ask,
    ) -> Result<ArgGradients> {
        Ok(smallvec![None])
    }
}
