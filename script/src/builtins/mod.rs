//! The functions and methods of the language itself: a line says the name, the types and what it does. Those that are
//! torch's are in `calls`.

mod dicts;
mod gradients;
mod iteration;
mod lists;
mod mathematics;
mod numbers;
mod strings;
mod tensors;

use crate::interpret::Host;
use crate::value::Value;
use graph::HostEffect;
use runtime::Result;
use std::fmt;

/// A function or method.
pub struct Builtin {
    /// `len`, `math.sqrt`; a method after its type: `list.append`, `Tensor.item`.
    pub name: &'static str,
    /// Its types: `(x: float) -> float`. `T`, `K` and `V` stand for any type, each for one; `= value` is a default; `*`
    /// before a parameter takes any number of arguments. The first parameter of a method is what it is called on.
    /// `...` alone: the types follow a rule of their own (`check/rules.rs`).
    pub signature: &'static str,
    /// What it does with arguments that have these types: one for each parameter, in order, those for a `*` one by one.
    pub run: Run,
}

/// What a builtin runs.
pub type Run = fn(&mut [Value], &mut Host) -> Result<Value>;

/// A line of a family's table.
const fn line(name: &'static str, signature: &'static str, run: Run) -> Builtin {
    Builtin { name, signature, run }
}

impl fmt::Debug for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Every family's lines.
const FAMILIES: &[&[Builtin]] = &[
    dicts::BUILTINS,
    gradients::BUILTINS,
    iteration::BUILTINS,
    lists::BUILTINS,
    mathematics::BUILTINS,
    numbers::BUILTINS,
    strings::BUILTINS,
    tensors::BUILTINS,
];

/// Every line.
pub fn all() -> impl Iterator<Item = &'static Builtin> {
    FAMILIES.iter().flat_map(|f| f.iter())
}

/// The lines of this name, in the order in which they are tried.
pub fn find(name: &str) -> impl Iterator<Item = &'static Builtin> {
    all().filter(move |b| b.name == name)
}

/// Methods that change what they are called on, or something outside the program.
const CHANGING: &[&str] = &[
    "list.append",
    "list.extend",
    "list.insert",
    "list.pop",
    "list.remove",
    "list.reverse",
    "list.sort",
    "list.clear",
    "dict.pop",
    "dict.popitem",
    "dict.setdefault",
    "dict.update",
    "dict.clear",
    "print",
    "torch.manual_seed",
    "torch.autograd.grad",
    "Tensor.backward",
    "Tensor.retain_grad",
];

/// What asks nothing but for facts of a tensor that never change.
const FACTS: &[&str] = &[
    "Tensor.shape",
    "Tensor.size",
    "Tensor.dim",
    "Tensor.ndimension",
    "Tensor.ndim",
    "Tensor.numel",
    "Tensor.nelement",
    "torch.numel",
    "Tensor.__len__",
    "Tensor.dtype",
    "Tensor.device",
    "Tensor.is_floating_point",
    "Tensor.element_size",
    "Tensor.itemsize",
    "dtype.is_floating_point",
];

impl Builtin {
    /// Whether it asks for facts of a tensor that never change: extents, rank, element type, device.
    pub fn is_fact(&self) -> bool {
        FACTS.contains(&self.name)
    }

    /// How a call may be moved. What may fail on its arguments, or reads what may change, keeps its place.
    pub fn effect(&self) -> HostEffect {
        match self.name {
            name if CHANGING.contains(&name) || (name.ends_with('_') && !name.ends_with("__")) => {
                HostEffect::Ordered
            }
            // A list of extents can be changed, so that two of them are two.
            "Tensor.shape" => HostEffect::Reads,
            "Tensor.size" if self.signature.ends_with("List[int]") => HostEffect::Reads,
            name if name.starts_with("float.") || FACTS.contains(&name) => HostEffect::None,
            _ => HostEffect::Reads,
        }
    }
}
