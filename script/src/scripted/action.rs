//! What a node of a scripted graph does: the program's own operations, one for each way in which a program can compute,
//! look or change something. Operands are values of the graph, in the order in which the program evaluates them.

use crate::builtins::Builtin;
use crate::calls::Resolved;
use crate::syntax::{BinaryOp, CompareOp};
use crate::tree::{Arithmetic, ClassId, Conversion, Returns};
use graph::ir::{HostCall, HostEffect};
use runtime::Scalar;
use std::any::Any;
use std::fmt::Write;
use std::sync::Arc;

/// A part of an index, whose operands are values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// An int, a bool or a tensor.
    At,
    /// `start:stop:step`, those that are given.
    Slice(bool, bool, bool),
    /// `None`.
    New,
    /// `...`.
    Ellipsis,
    /// A list of ints or bools.
    List,
}

/// A part of an f-string.
#[derive(Clone, PartialEq, Debug)]
pub enum Piece {
    /// Text.
    Text(Arc<str>),
    /// A value with its conversion and format.
    Value(Option<char>, Arc<str>),
}

/// What a node does.
#[derive(Clone, Debug)]
pub enum Action {
    /// A call of torch; bit i: parameter i is given.
    Torch {
        /// What is called.
        call: Resolved,
        /// Which parameters have an operand.
        given: u64,
        /// What becomes of its outputs.
        returns: Returns,
    },
    /// A function or method of the language.
    Builtin(&'static Builtin),
    /// An implicit conversion.
    Convert(Conversion),
    /// The same value, of this wider type.
    Widen(graph::Type),
    /// Arithmetic of the host.
    Arithmetic(Arithmetic, BinaryOp),
    /// `-a`.
    Negate,
    /// A comparison of host values.
    Compare(CompareOp),
    /// `not a`.
    Not,
    /// A new list.
    List,
    /// A tuple.
    Tuple,
    /// A new dict; operands are keys and values by turns.
    Dict,
    /// An f-string.
    Text(Arc<[Piece]>),
    /// `tensor[index]`.
    Index(Arc<[Part]>),
    /// `tensor[index] = value`; the value comes last.
    SetIndex(Arc<[Part]>),
    /// `tensor[index] op= value`.
    AugmentIndex(BinaryOp, Arc<[Part]>),
    /// `container[key]`.
    Item,
    /// `container[key] = value`.
    SetItem,
    /// `del container[key]`.
    Delete,
    /// `container[a:b:c]`; left-out bounds are `None`.
    Slice,
    /// An attribute; whether it never changes.
    Field(u32, Arc<str>, bool),
    /// `object.attribute = value`.
    SetField(u32, Arc<str>),
    /// A tensor's gradient is replaced or dropped.
    SetGrad,
    /// `tensor.grad op= value`.
    AugmentGrad(BinaryOp),
    /// `a op= b` of what changes in place; gives what `a` is then.
    Augment(BinaryOp),
    /// As many values as outputs.
    Unpack,
    /// The start of a loop over something.
    Iterate,
    /// Whether there is a next element, and it.
    Next,
    /// Operations keep gradients from here on, or do not.
    GradMode(bool),
    /// The mode before the last `GradMode` is back.
    EndGradMode,
    /// Ends the program with this exception.
    Raise(Arc<str>),
    /// Values that are never computed: the place is not reached.
    Never,
    /// A new object; operands are its fields, the others are `None` still.
    Object(ClassId, Arc<str>, bool),
    /// A constant of the module.
    Global(u32, Arc<str>),
    /// A part of the program that is compiled as one: the node's block.
    Region(u32),
}

/// An action as a node's call.
#[derive(Debug)]
pub struct Call {
    /// What it does.
    pub action: Action,
    /// Whether it may train or draw in general, and does neither here.
    pub still: bool,
    name: String,
    effect: HostEffect,
}

impl Call {
    /// The call of an action in a program in which what is computed depends on where it stands (it writes to tensors in
    /// place, or switches gradients on or off), or does not.
    pub fn new(action: Action, ordered: bool) -> Arc<Call> {
        let (name, effect) = (action.name(), action.effect(ordered));
        Arc::new(Call { action, still: false, name, effect })
    }

    /// The call of an action that is still.
    pub fn still(action: Action, ordered: bool) -> Arc<Call> {
        let effect = if ordered { HostEffect::Reads } else { HostEffect::None };
        Arc::new(Call { name: action.name(), action, still: true, effect })
    }

    /// The call of a node's kind, if it is one.
    pub fn of(call: &dyn HostCall) -> Option<&Call> {
        call.as_any().downcast_ref()
    }
}

impl HostCall for Call {
    fn name(&self) -> &str {
        &self.name
    }

    fn effect(&self) -> HostEffect {
        self.effect
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Calls that draw, or that write to statistics, as one argument says: the call, that argument, and whether it is still
/// where the argument is left out.
const TRAINING: &[(&str, &str, bool)] = &[
    ("batch_norm", "training", true),
    ("native_batch_norm", "training", false),
    ("dropout", "training", false),
    ("dropout1d", "training", false),
    ("dropout2d", "training", false),
    ("dropout3d", "training", false),
    ("alpha_dropout", "training", true),
    ("feature_alpha_dropout", "training", true),
    ("rrelu", "training", true),
    ("scaled_dot_product_attention", "dropout_p", true),
];

impl Action {
    /// Whether a call that may train or draw does neither; one that writes to its argument is not still. `known` says what is known of an argument: `None` where it is left
    /// out, else its number, if that is known.
    pub fn is_still(&self, known: &dyn Fn(&str) -> Option<Option<Scalar>>) -> bool {
        let Action::Torch { call, .. } = self else { return false };
        if self.writes() {
            return false;
        }
        let name = call.name.rsplit('.').next().unwrap_or_default();
        TRAINING.iter().find(|(own, ..)| *own == name).is_some_and(|(_, argument, left_out)| {
            match known(argument) {
                None => *left_out,
                Some(number) => number.is_some_and(|n| n.to_f64() == 0.0),
            }
        })
    }

    /// Whether it writes to the elements of a tensor.
    pub fn writes(&self) -> bool {
        match self {
            Action::Torch { call, returns, .. } => *returns == Returns::Nothing || in_place(&call.name),
            Action::Builtin(builtin) => in_place(builtin.name),
            Action::SetIndex(_) | Action::AugmentIndex(..) | Action::AugmentGrad(_) => true,
            Action::Augment(_) => true,
            _ => false,
        }
    }

    /// Whether it follows a batch's statistics in arguments, unless it is still.
    pub fn trains(&self) -> bool {
        let Action::Torch { call, .. } = self else { return false };
        call.parameters.iter().any(|p| p.name == "running_mean")
    }

    fn effect(&self, ordered: bool) -> HostEffect {
        let looks = if ordered { HostEffect::Reads } else { HostEffect::None };
        match self {
            _ if self.writes() => HostEffect::Ordered,
            Action::Torch { call, returns, .. } => match returns {
                _ if call.draws() => HostEffect::Ordered,
                Returns::Bool => HostEffect::Reads,
                // A list can be changed, so that two of them are two.
                Returns::List => HostEffect::Reads,
                Returns::Tensor | Returns::Tuple | Returns::TupleOf(_) | Returns::Nothing => looks,
            },
            Action::Index(_) => looks,
            Action::Builtin(builtin) => builtin.effect(),
            // These may fail on their operands: they stay where they are.
            Action::Convert(Conversion::IntToFloat | Conversion::BoolToInt | Conversion::NumberToTensor) => {
                HostEffect::None
            }
            Action::Arithmetic(_, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul) => HostEffect::None,
            Action::Widen(_) | Action::Negate | Action::Compare(_) | Action::Not | Action::Tuple => {
                HostEffect::None
            }
            Action::Unpack | Action::Global(..) | Action::Field(_, _, true) => HostEffect::None,
            Action::Object(_, _, fixed) if *fixed => HostEffect::None,
            Action::Convert(_)
            | Action::Arithmetic(..)
            | Action::List
            | Action::Dict
            | Action::Text(_)
            | Action::Item
            | Action::Slice
            | Action::Field(..)
            | Action::Iterate
            | Action::Object(..) => HostEffect::Reads,
            Action::SetIndex(_)
            | Action::AugmentIndex(..)
            | Action::SetItem
            | Action::Delete
            | Action::SetField(..)
            | Action::SetGrad
            | Action::AugmentGrad(_)
            | Action::Augment(_)
            | Action::Next
            | Action::GradMode(_)
            | Action::EndGradMode
            | Action::Raise(_)
            | Action::Never
            | Action::Region(_) => HostEffect::Ordered,
        }
    }

    /// All that it does, in words of the text form.
    fn name(&self) -> String {
        let parts = |parts: &[Part]| {
            let shown = parts.iter().map(|p| match p {
                Part::At => "i".to_string(),
                Part::Slice(start, stop, step) => {
                    let bound = |on: &bool| if *on { "i" } else { "" };
                    format!("{}:{}:{}", bound(start), bound(stop), bound(step))
                }
                Part::New => "None".to_string(),
                Part::Ellipsis => "...".to_string(),
                Part::List => "[i]".to_string(),
            });
            shown.collect::<Vec<_>>().join(", ")
        };
        match self {
            Action::Torch { call, given, .. } => {
                let mut name = call.name.to_string();
                let positional = given.trailing_ones() as usize;
                if *given != (1u64 << positional) - 1 {
                    let names = call.parameters.iter().enumerate().filter(|(i, _)| given >> i & 1 == 1);
                    let names: Vec<&str> = names.map(|(_, p)| p.name).collect();
                    // Writing to a string cannot fail.
                    let _ = write!(name, "({})", names.join(" "));
                }
                name
            }
            Action::Builtin(builtin) => format!("{}{}", builtin.name, builtin.signature),
            Action::Convert(conversion) => format!("{conversion:?}"),
            Action::Widen(ty) => format!("as {ty}"),
            Action::Arithmetic(kind, op) => format!("{kind:?} {}", op.symbol()),
            Action::Negate => "negate".into(),
            Action::Compare(op) => format!("compare {op:?}"),
            Action::Not => "not".into(),
            Action::List => "list".into(),
            Action::Tuple => "tuple".into(),
            Action::Dict => "dict".into(),
            Action::Text(pieces) => format!("text {pieces:?}"),
            Action::Index(p) => format!("index [{}]", parts(p)),
            Action::SetIndex(p) => format!("set [{}]", parts(p)),
            Action::AugmentIndex(op, p) => format!("{}= [{}]", op.symbol(), parts(p)),
            Action::Item => "item".into(),
            Action::SetItem => "set item".into(),
            Action::Delete => "delete item".into(),
            Action::Slice => "slice".into(),
            Action::Field(_, name, _) => format!("field {name}"),
            Action::SetField(_, name) => format!("set field {name}"),
            Action::SetGrad => "set grad".into(),
            Action::AugmentGrad(op) => format!("grad {}=", op.symbol()),
            Action::Augment(op) => format!("{}=", op.symbol()),
            Action::Unpack => "unpack".into(),
            Action::Iterate => "iterate".into(),
            Action::Next => "next".into(),
            Action::GradMode(on) => format!("grad mode {on}"),
            Action::EndGradMode => "end of grad mode".into(),
            Action::Raise(exception) => format!("raise {exception}"),
            Action::Never => "never".into(),
            Action::Object(_, class, _) => format!("object {class}"),
            Action::Global(_, name) => format!("global {name}"),
            Action::Region(number) => format!("region {number}"),
        }
    }
}

/// Whether torch's name says that a call writes to its first argument.
fn in_place(name: &str) -> bool {
    name.ends_with('_')
        && !name.ends_with("__")
        && name != "Tensor.requires_grad_"
        && name != "Tensor.detach_"
}
