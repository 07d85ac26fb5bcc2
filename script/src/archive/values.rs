//! Values as JSON beside a file of tensors. Lists, dicts and objects are numbered, since they are shared and may hold each
//! other; every other value stands where it is used.

use super::{Frozen, Limits, damaged};
use crate::tree::{ClassId, Program};
use crate::types::Type;
use crate::value::{ClassKind, Dict, Object, Shape, Value};
use eager::Autograd;
use runtime::error::{Error, Result};
use runtime::{DType, DeviceId, Tensor};
use serde_json::{Map, Value as Json, json};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Tuples within tuples; deeper ones would meet the limit of what reads JSON.
const DEEPEST: usize = 32;

#[derive(Default)]
struct Encoder {
    heap: Vec<Json>,
    known: HashMap<*const (), usize>,
    tensors: Vec<(String, Tensor)>,
    /// Containers whose elements are still to be written.
    open: Vec<(usize, Value)>,
}

/// The values as JSON, and their tensors.
pub(super) fn encode(values: &[Frozen]) -> Result<(Json, Vec<(String, Tensor)>)> {
    let mut encoder = Encoder::default();
    let mut out = Vec::new();
    for Frozen { function, parameter, value, constant } in values {
        let value = encoder.value(value, 0)?;
        out.push(json!({
            "function": &**function,
            "parameter": &**parameter,
            "value": value,
            "constant": constant,
        }));
        // Not by recursion: a chain of objects may be longer than the stack.
        while let Some((place, value)) = encoder.open.pop() {
            encoder.heap[place] = encoder.contents(&value)?;
        }
    }
    Ok((json!({ "values": out, "heap": encoder.heap }), encoder.tensors))
}

impl Encoder {
    fn shared(&mut self, address: *const (), value: &Value) -> Json {
        let place = *self.known.entry(address).or_insert_with(|| {
            self.heap.push(Json::Null);
            self.open.push((self.heap.len() - 1, value.clone()));
            self.heap.len() - 1
        });
        json!({ "ref": place })
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<Json> {
        Ok(match value {
            Value::None => Json::Null,
            Value::Int(v) => json!(v),
            Value::Float(v) => json!({ "float": format!("{v:?}") }),
            Value::Bool(v) => json!(v),
            Value::Str(v) => json!(&**v),
            Value::DType(v) => json!({ "dtype": v.torch_name() }),
            Value::Device(v) => json!({ "device": v.to_string() }),
            Value::Tensor(t) => {
                let known = self.tensors.iter().position(|(_, other)| other.same(t));
                let place = known.unwrap_or_else(|| {
                    self.tensors.push((format!("t{}", self.tensors.len()), t.clone()));
                    self.tensors.len() - 1
                });
                json!({ "tensor": self.tensors[place].0, "requires_grad": t.requires_grad() && t.is_leaf() })
            }
            Value::Tuple(parts) => {
                if depth == DEEPEST {
                    return Err(Error::value(format!("an archive holds no tuples deeper than {DEEPEST}")));
                }
                let parts = parts.iter().map(|v| self.value(v, depth + 1)).collect::<Result<Vec<_>>>()?;
                json!({ "tuple": parts })
            }
            Value::List(list) => self.shared(Rc::as_ptr(list).cast(), value),
            Value::Dict(dict) => self.shared(Rc::as_ptr(dict).cast(), value),
            Value::Object(object) => self.shared(Rc::as_ptr(object).cast(), value),
            Value::Iterator(_) => {
                let what =
                    format!("an archive holds no {}, which is used up as it is read", value.type_name());
                return Err(Error::value(what).hint("make a list of it: 'list(...)'"));
            }
            Value::Staged(_) | Value::Undefined => {
                let what =
                    format!("an archive holds no {} that a graph has yet to compute", value.type_name());
                return Err(Error::value(what));
            }
        })
    }

    fn contents(&mut self, value: &Value) -> Result<Json> {
        Ok(match value {
            Value::List(list) => {
                let parts = list.borrow().clone();
                json!({ "list": parts.iter().map(|v| self.value(v, 0)).collect::<Result<Vec<_>>>()? })
            }
            Value::Dict(dict) => {
                let entries: Vec<(Value, Value)> =
                    dict.borrow().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                let pair = |(k, v): &(Value, Value)| Ok(json!([self.value(k, 0)?, self.value(v, 0)?]));
                json!({ "dict": entries.iter().map(pair).collect::<Result<Vec<_>>>()? })
            }
            Value::Object(object) => {
                let fields = object.fields.borrow().clone();
                let mut map = Map::new();
                for (name, value) in object.shape.fields.iter().zip(&fields) {
                    map.insert(name.to_string(), self.value(value, 0)?);
                }
                json!({ "object": &*object.shape.name, "fields": map })
            }
            other => self.value(other, 0)?,
        })
    }
}

struct Decoder<'p> {
    program: &'p Program,
    tensors: HashMap<String, Tensor>,
    heap: Vec<Value>,
}

#[cold]
fn wrong(what: impl std::fmt::Display) -> Error {
    damaged(format!("entry \"data/objects.json\": {what}"))
}

/// The values that JSON describes.
pub(super) fn decode(
    program: &Program,
    text: &str,
    tensors: Vec<(String, Tensor)>,
    limits: &Limits,
) -> Result<Vec<Frozen>> {
    let json: Json = serde_json::from_str(text).map_err(wrong)?;
    let array = |name: &str| {
        json.get(name).and_then(Json::as_array).ok_or_else(|| wrong(format!("there is no list '{name}'")))
    };
    let (heap, values) = (array("heap")?, array("values")?);
    if heap.len() > limits.values || values.len() > limits.values {
        return Err(wrong(format!("more than {} values", limits.values)));
    }
    let mut decoder =
        Decoder { program, tensors: tensors.into_iter().collect(), heap: Vec::with_capacity(heap.len()) };
    // First every container empty, so that they may hold each other.
    for json in heap {
        let empty = decoder.empty(json)?;
        decoder.heap.push(empty);
    }
    for (place, json) in heap.iter().enumerate() {
        decoder.fill(place, json)?;
    }
    let mut out = Vec::with_capacity(values.len());
    for json in values {
        let text = |key: &str| {
            json.get(key).and_then(Json::as_str).ok_or_else(|| wrong(format!("a value without its {key}")))
        };
        let value = json.get("value").ok_or_else(|| wrong("a value is missing"))?;
        out.push(Frozen {
            function: text("function")?.into(),
            parameter: text("parameter")?.into(),
            value: decoder.value(value)?,
            constant: match json.get("constant") {
                None | Some(Json::Bool(false)) => false,
                Some(Json::Bool(true)) => true,
                Some(other) => return Err(wrong(format!("{other} is no truth"))),
            },
        });
    }
    Ok(out)
}

impl Decoder<'_> {
    fn class(&self, name: &str) -> Result<ClassId> {
        let place = self.program.classes.iter().position(|c| &*c.name == name);
        place.map(|i| ClassId(i as u32)).ok_or_else(|| wrong(format!("the program has no class {name:?}")))
    }

    fn empty(&self, json: &Json) -> Result<Value> {
        if json.get("list").is_some() {
            return Ok(Value::list([]));
        }
        if json.get("dict").is_some() {
            return Ok(Value::dict(Dict::new()));
        }
        let name =
            json.get("object").and_then(Json::as_str).ok_or_else(|| wrong("no list, dict or object"))?;
        let id = self.class(name)?;
        let class = &self.program.classes[id.0 as usize];
        let shape = Shape {
            class: id,
            name: class.name.clone(),
            fields: class.fields.iter().map(|f| f.name.clone()).collect(),
            kind: match (class.tuple, class.init) {
                (true, _) => ClassKind::Tuple,
                (false, None) => ClassKind::Data,
                (false, Some(_)) => ClassKind::Plain,
            },
        };
        let fields = vec![Value::None; class.fields.len()];
        Ok(Value::Object(Rc::new(Object { shape: Rc::new(shape), fields: RefCell::new(fields) })))
    }

    fn fill(&mut self, place: usize, json: &Json) -> Result<()> {
        match self.heap[place].clone() {
            Value::List(list) => {
                let parts =
                    json.get("list").and_then(Json::as_array).ok_or_else(|| wrong("a list is none"))?;
                let parts = parts.iter().map(|v| self.value(v)).collect::<Result<_>>()?;
                *list.borrow_mut() = parts;
            }
            Value::Dict(dict) => {
                let pairs =
                    json.get("dict").and_then(Json::as_array).ok_or_else(|| wrong("a dict is none"))?;
                for pair in pairs {
                    let [key, value] = &pair.as_array().ok_or_else(|| wrong("a pair is none"))?[..] else {
                        return Err(wrong("a pair has two parts"));
                    };
                    let (key, value) = (self.value(key)?, self.value(value)?);
                    dict.borrow_mut().insert(key, value)?;
                }
            }
            Value::Object(object) => {
                let fields =
                    json.get("fields").and_then(Json::as_object).ok_or_else(|| wrong("an object is none"))?;
                if fields.len() != object.shape.fields.len() {
                    return Err(wrong(format!(
                        "a {} has {} attributes",
                        object.shape.name,
                        object.shape.fields.len()
                    )));
                }
                for (i, name) in object.shape.fields.iter().enumerate() {
                    let json = fields.get(&**name);
                    let json = json.ok_or_else(|| wrong(format!("a {} has '{name}'", object.shape.name)))?;
                    let value = self.value(json)?;
                    object.fields.borrow_mut()[i] = value;
                }
            }
            _ => return Err(wrong("no list, dict or object")),
        }
        Ok(())
    }

    fn value(&self, json: &Json) -> Result<Value> {
        let unknown = || wrong(format!("{json} is no value"));
        Ok(match json {
            Json::Null => Value::None,
            Json::Bool(v) => Value::Bool(*v),
            Json::Number(n) => Value::Int(n.as_i64().ok_or_else(unknown)?),
            Json::String(s) => Value::str(s.as_str()),
            Json::Array(_) => return Err(unknown()),
            Json::Object(map) => {
                let text = |key: &str| map.get(key).and_then(Json::as_str);
                if let Some(place) = map.get("ref") {
                    let place = place.as_u64().and_then(|n| usize::try_from(n).ok());
                    place.and_then(|n| self.heap.get(n)).ok_or_else(unknown)?.clone()
                } else if let Some(parts) = map.get("tuple") {
                    let parts = parts.as_array().ok_or_else(unknown)?;
                    Value::tuple(parts.iter().map(|v| self.value(v)).collect::<Result<Vec<_>>>()?)
                } else if let Some(name) = text("tensor") {
                    let found = self.tensors.get(name);
                    let t = found.ok_or_else(|| wrong(format!("there is no tensor {name:?}")))?;
                    match map.get("requires_grad") {
                        Some(Json::Bool(true)) => Value::Tensor(t.requires_grad_(true)?),
                        _ => Value::Tensor(t.clone()),
                    }
                } else if let Some(v) = text("float") {
                    Value::Float(v.parse().map_err(|_| unknown())?)
                } else if let Some(v) = text("dtype") {
                    Value::DType(DType::parse(v).ok_or_else(unknown)?)
                } else if let Some(v) = text("device") {
                    Value::Device(DeviceId::parse(v)?)
                } else {
                    return Err(unknown());
                }
            }
        })
    }
}

/// Whether values are of the types of their parameters, each of which has one at most.
pub(super) fn check(program: &Program, values: &[Frozen]) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for Frozen { function, parameter, value, .. } in values {
        let found = program.functions.iter().find(|f| f.name == *function);
        let wanted = found.and_then(|f| f.parameters.iter().find(|p| p.name == *parameter));
        let Some(wanted) = wanted else {
            return Err(damaged(format!("'{function}' has no parameter '{parameter}'")));
        };
        if !seen.insert((function.clone(), parameter.clone())) {
            return Err(damaged(format!("two values for '{parameter}' of '{function}'")));
        }
        if !fits(program, value, &wanted.ty) {
            return Err(damaged(format!("'{parameter}' of '{function}' is {}, not this value", wanted.ty)));
        }
    }
    Ok(())
}

/// Whether a value is of a type of the program, all that it holds included.
pub(crate) fn fits(program: &Program, value: &Value, ty: &Type) -> bool {
    let open = vec![(value.clone(), ty.clone())];
    Fit { program, checked: std::collections::HashSet::new(), open }.all()
}

/// Values that must have types, the containers among them each checked once for a type.
struct Fit<'a> {
    program: &'a Program,
    checked: std::collections::HashSet<(*const (), Type)>,
    open: Vec<(Value, Type)>,
}

impl Fit<'_> {
    fn all(mut self) -> bool {
        while let Some((value, ty)) = self.open.pop() {
            if !self.one(value, ty) {
                return false;
            }
        }
        true
    }

    fn one(&mut self, value: Value, ty: Type) -> bool {
        match (&value, &ty) {
            (Value::None, Type::Optional(_) | Type::None)
            | (Value::Int(_), Type::Int | Type::Number)
            | (Value::Float(_), Type::Float | Type::Number)
            | (Value::Bool(_), Type::Bool | Type::Number)
            | (Value::Str(_), Type::Str)
            | (Value::DType(_), Type::DType)
            | (Value::Device(_), Type::Device)
            | (Value::Tensor(_), Type::Tensor) => true,
            (_, Type::Optional(of)) => {
                self.open.push((value.clone(), (**of).clone()));
                true
            }
            (Value::Tuple(parts), Type::Tuple(of) | Type::Named(_, of)) if parts.len() == of.len() => {
                self.open.extend(parts.iter().cloned().zip(of.iter().cloned()));
                true
            }
            (Value::List(list), Type::List(of)) => {
                if self.checked.insert((Rc::as_ptr(list).cast(), ty.clone())) {
                    self.open.extend(list.borrow().iter().map(|v| (v.clone(), (**of).clone())));
                }
                true
            }
            (Value::Dict(dict), Type::Dict(of)) => {
                if self.checked.insert((Rc::as_ptr(dict).cast(), ty.clone())) {
                    for (key, value) in dict.borrow().iter() {
                        self.open.push((key.clone(), of.0.clone()));
                        self.open.push((value.clone(), of.1.clone()));
                    }
                }
                true
            }
            (Value::Object(object), Type::Object(id, _)) if object.shape.class == *id => {
                if self.checked.insert((Rc::as_ptr(object).cast(), ty.clone())) {
                    let Some(class) = self.program.classes.get(id.0 as usize) else { return false };
                    let fields = object.fields.borrow();
                    self.open.extend(fields.iter().cloned().zip(class.fields.iter().map(|f| f.ty.clone())));
                }
                true
            }
            _ => false,
        }
    }
}
