//! The face of torch-style autograd: methods that the prelude gives to `Tensor`.

use crate::backward::{self, BackwardOptions};
use crate::engine::history;
use crate::hooks::HookHandle;
use crate::node::{Edge, Leaf, slot_for};
use runtime::Tensor;
use runtime::door::{self, NoGrad};
use runtime::error::{Error, Origin, Result};
use std::sync::Arc;

/// Stops recording on this thread until the guard drops, in any order with other guards of its kind; torch's `no_grad`.
pub fn no_grad() -> NoGrad {
    door::no_grad()
}

/// Records again inside of a `no_grad` scope until the guard drops; torch's `enable_grad`.
pub fn enable_grad() -> NoGrad {
    door::enable_grad()
}

/// Gradients of tensors, as in torch.
pub trait Autograd: Sized {
    /// Whether gradients flow to this tensor.
    fn requires_grad(&self) -> bool;
    /// Makes a leaf require its gradient, or not; returns the same tensor.
    fn requires_grad_(&self, requires_grad: bool) -> Result<Tensor>;
    /// Whether it was not computed from tensors that require gradients.
    fn is_leaf(&self) -> bool;
    /// The gradient accumulated so far; `None` before the first `backward`, and on tensors that neither are leaves nor
    /// retain it.
    fn grad(&self) -> Option<Tensor>;
    /// Replaces the accumulated gradient of a leaf.
    fn set_grad(&self, grad: Option<&Tensor>) -> Result<()>;
    /// Forgets the accumulated gradient (torch's `grad = None`).
    fn zero_grad(&self);
    /// Lets a tensor that is not a leaf keep its gradient in `grad`.
    fn retain_grad(&self) -> Result<()>;
    /// Name of the operation that made it, if gradients flow through that.
    fn grad_fn(&self) -> Option<String>;
    /// Adds the gradient of this one-element tensor to every leaf that it was computed from.
    #[track_caller]
    fn backward(&self) -> Result<()> {
        self.backward_with(BackwardOptions::default())
    }
    /// `backward` with a gradient, a graph that stays, gradients that can be differentiated again, or chosen inputs.
    #[track_caller]
    fn backward_with(&self, options: BackwardOptions) -> Result<()>;
    /// Calls `hook` with each gradient of this tensor; what it returns takes the gradient's place.
    fn register_hook(
        &self,
        hook: impl Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
    ) -> Result<HookHandle>;
    /// Calls `hook` with this leaf each time that `backward` has added to its `.grad`.
    fn register_post_accumulate_grad_hook(
        &self,
        hook: impl Fn(&Tensor) -> Result<()> + Send + Sync + 'static,
    ) -> Result<HookHandle>;
}

/// The error of asking a tensor outside of every graph.
#[cold]
fn no_history(what: &'static str) -> Error {
    Error::gradient("the tensor does not require grad").in_op(what).hint("call requires_grad_(true) first")
}

impl Autograd for Tensor {
    fn requires_grad(&self) -> bool {
        history(self).is_some()
    }

    #[track_caller]
    fn requires_grad_(&self, requires_grad: bool) -> Result<Tensor> {
        let fail =
            |message: String| Err(Error::gradient(message).in_op("requires_grad_").at(Origin::caller()));
        match (history(self), requires_grad) {
            (Edge::None, true) if !self.dtype().is_float() => {
                fail(format!("only floating-point tensors can require gradients, not {}", self.dtype()))
            }
            (Edge::None, true) => {
                self.set_slot(slot_for(&Edge::Leaf(Leaf::new())));
                Ok(self.clone())
            }
            (Edge::Leaf(_), false) => {
                self.set_slot(None);
                Ok(self.clone())
            }
            (Edge::Node(node, _), false) => fail(format!(
                "only a leaf can stop requiring its gradient; this tensor was made by {} (use detach())",
                node.name()
            )),
            (Edge::None, false) | (Edge::Leaf(_) | Edge::Node(..), true) => Ok(self.clone()),
        }
    }

    fn is_leaf(&self) -> bool {
        !matches!(history(self), Edge::Node(..))
    }

    fn grad(&self) -> Option<Tensor> {
        match history(self) {
            Edge::None => None,
            Edge::Leaf(leaf) => leaf.grad().clone(),
            Edge::Node(node, index) => node.extras.get().and_then(|e| e.retained(index)),
        }
    }

    #[track_caller]
    fn set_grad(&self, grad: Option<&Tensor>) -> Result<()> {
        let Edge::Leaf(leaf) = history(self) else {
            return match grad {
                None => Ok(()),
                Some(_) => Err(no_history("set_grad").at(Origin::caller())),
            };
        };
        if let Some(grad) = grad
            && grad.tensor_type() != self.tensor_type()
        {
            return Err(Error::gradient(format!(
                "the gradient {} does not have the tensor's type {}",
                grad.tensor_type(),
                self.tensor_type()
            ))
            .in_op("set_grad")
            .at(Origin::caller()));
        }
        *leaf.grad() = grad.cloned();
        Ok(())
    }

    fn zero_grad(&self) {
        match history(self) {
            Edge::None => {}
            Edge::Leaf(leaf) => *leaf.grad() = None,
            Edge::Node(node, index) => {
                if let Some(extras) = node.extras.get() {
                    extras.forget(index);
                }
            }
        }
    }

    #[track_caller]
    fn retain_grad(&self) -> Result<()> {
        match history(self) {
            Edge::None => Err(no_history("retain_grad").at(Origin::caller())),
            Edge::Leaf(_) => Ok(()),
            Edge::Node(node, index) => {
                node.extras().retain(index);
                Ok(())
            }
        }
    }

    fn grad_fn(&self) -> Option<String> {
        match history(self) {
            Edge::Node(node, _) => Some(node.name().to_string()),
            Edge::None | Edge::Leaf(_) => None,
        }
    }

    #[track_caller]
    fn backward_with(&self, options: BackwardOptions) -> Result<()> {
        let origin = Origin::caller();
        backward::backward(self, options).map_err(|e| e.at(origin))
    }

    #[track_caller]
    fn register_hook(
        &self,
        hook: impl Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync + 'static,
    ) -> Result<HookHandle> {
        match history(self) {
            Edge::None => Err(no_history("register_hook").at(Origin::caller())),
            Edge::Leaf(leaf) => Ok(leaf.extras.register(0, Arc::new(hook))),
            Edge::Node(node, index) => Ok(node.extras().register(index, Arc::new(hook))),
        }
    }

    #[track_caller]
    fn register_post_accumulate_grad_hook(
        &self,
        hook: impl Fn(&Tensor) -> Result<()> + Send + Sync + 'static,
    ) -> Result<HookHandle> {
        const WHAT: &str = "register_post_accumulate_grad_hook";
        match history(self) {
            Edge::None => Err(no_history(WHAT).at(Origin::caller())),
            Edge::Node(..) => Err(Error::gradient("only a leaf accumulates its gradient")
                .in_op(WHAT)
                .at(Origin::caller())
                .hint("register_hook sees the gradient of a tensor that was computed")),
            Edge::Leaf(leaf) => {
                // Without its own history, since the leaf owns the hook.
                let bare = self.detach()?;
                Ok(leaf.extras.register_after(Arc::new(move |leaf| {
                    let tensor = bare.alias();
                    tensor.set_slot(slot_for(&Edge::Leaf(leaf.clone())));
                    hook(&tensor)
                })))
            }
        }
    }
}
