//! Values as nodes of a graph: a tensor is a constant, a host value a literal, and what holds others is made of them once
//! more by each call, so that nobody can change what a graph holds.

use crate::scripted::action::{Action, Call};
use crate::scripted::lower::ir_type;
use crate::tree::{Program, Returns};
use crate::value::{ClassKind, Value};
use graph::build::Builder;
use graph::host;
use graph::ir::{NodeKind, Operand, Type, ValueId};
use runtime::error::{Error, Origin, Result};
use runtime::{Host, Scalar, Tensor};

/// Containers within each other.
const DEEPEST: usize = 64;

/// Whether nobody can change a value, nor what it holds.
pub(super) fn is_plain(value: &Value) -> bool {
    match value {
        Value::None
        | Value::Int(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::Str(_)
        | Value::DType(_)
        | Value::Device(_) => true,
        Value::Tuple(parts) => parts.iter().all(is_plain),
        Value::Tensor(_)
        | Value::List(_)
        | Value::Dict(_)
        | Value::Object(_)
        | Value::Iterator(_)
        | Value::Staged(_)
        | Value::Undefined => false,
    }
}

/// How many nodes a value takes; `None` where it has no end, or no form as nodes.
pub(super) fn size(value: &Value, depth: usize) -> Option<usize> {
    if depth > DEEPEST {
        return None;
    }
    let all = |list: &mut dyn Iterator<Item = &Value>| -> Option<usize> {
        let mut sum = 1usize;
        for value in list {
            sum = sum.checked_add(size(value, depth + 1)?)?;
            if sum > 1 << 20 {
                return None;
            }
        }
        Some(sum)
    };
    match value {
        Value::Tuple(parts) => all(&mut parts.iter()),
        Value::List(list) => all(&mut list.borrow().iter()),
        Value::Dict(dict) => all(&mut dict.borrow().iter().flat_map(|(k, v)| [k, v])),
        Value::Object(object) => all(&mut object.fields.borrow().iter()),
        Value::Iterator(_) | Value::Staged(_) | Value::Undefined | Value::Device(_) => None,
        _ => Some(1),
    }
}

/// Makes values in a graph that grows.
pub(super) struct Emit<'a> {
    pub(super) builder: &'a mut Builder,
    pub(super) program: &'a Program,
    /// Whether each tensor is a copy, since whoever gets it may write to it.
    pub(super) apart: bool,
    pub(super) origin: Option<Origin>,
}

#[cold]
fn unfit(value: &Value, ty: &Type) -> Error {
    Error::value(format!("a {} has no form as a {ty} of a graph", value.type_name()))
}

impl Emit<'_> {
    /// The value as one of this type; an error where it has no form in a graph.
    pub(super) fn value(&mut self, value: &Value, ty: &Type) -> Result<ValueId> {
        if let (Type::Optional(of), false) = (ty, matches!(value, Value::None)) {
            let inner = self.value(value, of)?;
            return Ok(self.widened(inner, ty));
        }
        let made = match value {
            Value::Tensor(tensor) => self.tensor(tensor),
            Value::None => self.literal(Host::None)?,
            Value::Int(v) => self.literal(Host::Scalar(Scalar::Int(*v)))?,
            Value::Float(v) => self.literal(Host::Scalar(Scalar::Float(*v)))?,
            Value::Bool(v) => self.literal(Host::Scalar(Scalar::Bool(*v)))?,
            Value::Str(v) => self.literal(Host::Str(v.clone()))?,
            Value::DType(v) => {
                let of = Operand::Host(Host::DType(*v));
                return Ok(self.act(Action::Widen(ty.clone()), vec![of], ty));
            }
            Value::Tuple(parts) => {
                let Type::Tuple(types) = ty else { return Err(unfit(value, ty)) };
                let made = self.all(parts.iter().zip(types))?;
                self.act(Action::Tuple, made, ty)
            }
            Value::List(list) => {
                let Type::List(of) = ty else { return Err(unfit(value, ty)) };
                let made = self.all(list.borrow().iter().map(|v| (v, &**of)))?;
                self.act(Action::List, made, ty)
            }
            Value::Dict(dict) => {
                let Type::Dict(key, of) = ty else { return Err(unfit(value, ty)) };
                let made = self.all(dict.borrow().iter().flat_map(|(k, v)| [(k, &**key), (v, &**of)]))?;
                self.act(Action::Dict, made, ty)
            }
            Value::Object(object) => {
                let shape = &object.shape;
                let class =
                    self.program.classes.get(shape.class.0 as usize).ok_or_else(|| unfit(value, ty))?;
                let types: Vec<Type> = class.fields.iter().map(|f| ir_type(&f.ty)).collect();
                let made = self.all(object.fields.borrow().iter().zip(&types))?;
                let fixed = shape.kind == ClassKind::Tuple;
                self.act(Action::Object(shape.class, shape.name.clone(), fixed), made, ty)
            }
            Value::Device(_) | Value::Iterator(_) | Value::Staged(_) | Value::Undefined => {
                return Err(unfit(value, ty));
            }
        };
        Ok(self.widened(made, ty))
    }

    fn all<'v>(&mut self, list: impl Iterator<Item = (&'v Value, &'v Type)>) -> Result<Vec<Operand>> {
        list.map(|(value, ty)| self.value(value, ty).map(Operand::Value)).collect()
    }

    fn tensor(&mut self, tensor: &Tensor) -> ValueId {
        let kind = NodeKind::Constant(tensor.clone());
        let node = self.builder.node(kind, Vec::new(), Vec::new(), &[Type::AnyTensor], self.origin);
        let made = self.builder.outputs(node)[0];
        match crate::calls::resolve("torch.clone").filter(|_| self.apart) {
            Some(call) => {
                let action = Action::Torch { call, given: 1, returns: Returns::Tensor };
                self.act(action, vec![Operand::Value(made)], &Type::AnyTensor)
            }
            None => made,
        }
    }

    fn act(&mut self, action: Action, operands: Vec<Operand>, ty: &Type) -> ValueId {
        let call = NodeKind::Host(Call::new(action, false));
        let node = self.builder.node(call, operands, Vec::new(), std::slice::from_ref(ty), self.origin);
        self.builder.outputs(node)[0]
    }

    fn literal(&mut self, host: Host) -> Result<ValueId> {
        let literal =
            host::find("host.literal").ok_or_else(|| Error::internal("the table has no literals"))?;
        self.builder.host_op(literal, vec![Operand::Host(host)], self.origin)
    }

    fn widened(&mut self, value: ValueId, ty: &Type) -> ValueId {
        match self.builder.graph().ty(value) == ty {
            true => value,
            false => self.act(Action::Widen(ty.clone()), vec![Operand::Value(value)], ty),
        }
    }
}
