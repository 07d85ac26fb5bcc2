//! The values of programs while they run.

use crate::tree::ClassId;
use runtime::{DType, DeviceId, Tensor};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// A value. Lists, dicts and objects are shared and change in place, as Python's do.
#[derive(Clone, Debug)]
pub enum Value {
    /// `None`.
    None,
    /// `int`.
    Int(i64),
    /// `float`.
    Float(f64),
    /// `bool`.
    Bool(bool),
    /// `str`.
    Str(Arc<str>),
    /// `Tensor`.
    Tensor(Tensor),
    /// `torch.dtype`.
    DType(DType),
    /// `torch.device`.
    Device(DeviceId),
    /// `Tuple`, and what a call returns with names.
    Tuple(Rc<[Value]>),
    /// `List`.
    List(Rc<RefCell<Vec<Value>>>),
    /// `Dict`, in the order of insertion.
    Dict(Rc<RefCell<Dict>>),
    /// An object of a class: its attributes by place.
    Object(ClassId, Rc<RefCell<Vec<Value>>>),
}

/// A dict's entries.
#[derive(Clone, Debug, Default)]
pub struct Dict {}
