//! Objects of the program's classes. Through them alone can values hold others to any depth, so that what walks values
//! minds the depth here.

use super::Value;
use crate::tree::ClassId;
use runtime::error::{Error, Result};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// What objects of one class have in common.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    /// The class.
    pub class: ClassId,
    /// Its name.
    pub name: Arc<str>,
    /// The attributes' names, by place.
    pub fields: Vec<Arc<str>>,
    /// What its objects are compared and printed by.
    pub kind: ClassKind,
}

/// What sort of class it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassKind {
    /// Objects are equal only to themselves.
    Plain,
    /// A data class: objects with equal attributes are equal.
    Data,
    /// A `NamedTuple`: a tuple whose elements have names.
    Tuple,
}

/// An object of a class of the program.
#[derive(Debug)]
pub struct Object {
    /// What it shares with the others of its class.
    pub shape: Rc<Shape>,
    /// Its attributes by place.
    pub fields: RefCell<Vec<Value>>,
}

impl Drop for Object {
    /// A chain of a million objects ends without a call for each.
    fn drop(&mut self) {
        let mut rest = std::mem::take(self.fields.get_mut());
        while let Some(value) = rest.pop() {
            match value {
                Value::Object(object) => {
                    if let Some(mut object) = Rc::into_inner(object) {
                        rest.append(object.fields.get_mut());
                    }
                }
                Value::List(list) => {
                    if let Some(list) = Rc::into_inner(list) {
                        rest.append(&mut list.into_inner());
                    }
                }
                Value::Dict(dict) => {
                    if let Some(dict) = Rc::into_inner(dict) {
                        rest.extend(dict.into_inner().into_values());
                    }
                }
                Value::Tuple(mut values) => {
                    if let Some(values) = Rc::get_mut(&mut values) {
                        rest.extend(values.iter_mut().map(|v| std::mem::replace(v, Value::None)));
                    }
                }
                Value::None
                | Value::Int(_)
                | Value::Float(_)
                | Value::Bool(_)
                | Value::Str(_)
                | Value::Tensor(_)
                | Value::DType(_)
                | Value::Device(_)
                | Value::Iterator(_)
                | Value::Staged(_)
                | Value::Undefined => {}
            }
        }
    }
}

/// The most objects within each other that a walk follows; Python's limit of open calls.
pub(super) const DEEPEST: usize = 1000;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// One object further in, until it drops.
pub(super) struct Within(());

impl Within {
    /// Goes into an object, unless that many are open already: then they hold each other in a circle, or nearly so.
    pub(super) fn enter() -> Result<Within> {
        let depth = DEPTH.get();
        if depth >= DEEPEST {
            return Err(Error::value("RecursionError: objects within objects, without end"));
        }
        DEPTH.set(depth + 1);
        Ok(Within(()))
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}
