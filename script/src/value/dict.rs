//! Dicts: entries in the order of insertion, found by keys that are equal exactly where Python's are.

use super::Value;
use indexmap::IndexMap;
use runtime::error::{Error, Result};
use std::sync::Arc;

/// What a key is found by: numbers of equal value are one key, whatever their types.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Key {
    /// `None`.
    None,
    /// An int, a bool, or a float without fraction.
    Int(i64),
    /// The bits of another float.
    Float(u64),
    /// A string.
    Str(Arc<str>),
    /// A tensor, by identity: its elements may change.
    Tensor(u64),
    /// A dtype.
    DType(runtime::DType),
    /// A device.
    Device(runtime::DeviceId),
    /// A tuple.
    Tuple(Box<[Key]>),
}

/// The int that a float is, if it is one.
pub(crate) fn whole(v: f64) -> Option<i64> {
    // 2^63 itself is no i64.
    ((-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&v) && v.fract() == 0.0)
        .then_some(v as i64)
}

impl Key {
    /// The key that a value is; an error of what can change.
    pub fn of(value: &Value) -> Result<Key> {
        Ok(match value {
            Value::None => Key::None,
            Value::Int(v) => Key::Int(*v),
            Value::Bool(v) => Key::Int(*v as i64),
            Value::Float(v) => whole(*v).map_or(Key::Float(v.to_bits()), Key::Int),
            Value::Str(v) => Key::Str(v.clone()),
            Value::Tensor(t) => Key::Tensor(t.id()),
            Value::DType(v) => Key::DType(*v),
            Value::Device(v) => Key::Device(*v),
            Value::Tuple(parts) => Key::Tuple(parts.iter().map(Key::of).collect::<Result<_>>()?),
            Value::Staged(_) | Value::Undefined => {
                return Err(crate::autograph::unknown(value, "as a key"));
            }
            Value::List(_) | Value::Dict(_) | Value::Object(_) | Value::Iterator(_) => {
                return Err(Error::value(format!("TypeError: unhashable type: '{}'", value.type_name())));
            }
        })
    }
}

/// A dict's entries: keys as they were first written, and what they stand for.
#[derive(Clone, Debug, Default)]
pub struct Dict {
    entries: IndexMap<Key, (Value, Value)>,
}

impl Dict {
    /// A dict without entries.
    pub fn new() -> Dict {
        Dict::default()
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What a key stands for.
    pub fn get(&self, key: &Value) -> Result<Option<&Value>> {
        Ok(self.entries.get(&Key::of(key)?).map(|(_, value)| value))
    }

    /// What a key stands for, or the error of a missing one.
    pub fn at(&self, key: &Value) -> Result<Value> {
        self.get(key)?.cloned().ok_or_else(|| missing(key))
    }

    /// Whether there is such a key.
    pub fn contains(&self, key: &Value) -> Result<bool> {
        Ok(self.entries.contains_key(&Key::of(key)?))
    }

    /// Lets a key stand for a value; a new key comes last, an old one keeps its place.
    pub fn insert(&mut self, key: Value, value: Value) -> Result<()> {
        let found = Key::of(&key)?;
        match self.entries.get_mut(&found) {
            Some(entry) => entry.1 = value,
            None => {
                self.entries.insert(found, (key, value));
            }
        }
        Ok(())
    }

    /// Takes an entry out; the others keep their order.
    pub fn remove(&mut self, key: &Value) -> Result<Option<Value>> {
        Ok(self.entries.shift_remove(&Key::of(key)?).map(|(_, value)| value))
    }

    /// Takes out the entry that came last.
    pub fn pop_last(&mut self) -> Option<(Value, Value)> {
        self.entries.pop().map(|(_, entry)| entry)
    }

    /// Takes out every entry.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The entry at a place of the order.
    pub fn entry(&self, at: usize) -> Option<(&Value, &Value)> {
        self.entries.get_index(at).map(|(_, (key, value))| (key, value))
    }

    /// The values alone; the keys hold no objects.
    pub fn into_values(self) -> impl Iterator<Item = Value> {
        self.entries.into_values().map(|(_, value)| value)
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&Value, &Value)> {
        self.entries.values().map(|(key, value)| (key, value))
    }
}

/// The error of a key that a dict does not have.
#[cold]
pub(crate) fn missing(key: &Value) -> Error {
    Error::index(format!("KeyError: {}", key.repr()))
}
