//! Dicts.

use super::{Builtin, line};
use crate::value::{Cursor, Dict, Lazy, Part, Value, missing};
use runtime::error::{Error, Result};

fn view(a: &mut [Value], part: Part) -> Result<Value> {
    Ok(Value::iterator(Lazy::View(a[0].as_dict()?.clone(), part)))
}

/// Entries of another dict over those of this one.
fn update(dict: &Value, other: &Value) -> Result<()> {
    let entries: Vec<(Value, Value)> = match other {
        Value::Dict(other) => other.borrow().iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        pairs => {
            let pair = |value: Value| match &value.elements()?[..] {
                [key, value] => Ok((key.clone(), value.clone())),
                other => Err(Error::value(format!(
                    "ValueError: dictionary update sequence element has length {}; 2 is required",
                    other.len()
                ))),
            };
            Cursor::over(pairs)?.collect()?.into_iter().map(pair).collect::<Result<_>>()?
        }
    };
    let mut dict = dict.as_dict()?.borrow_mut();
    entries.into_iter().try_for_each(|(key, value)| dict.insert(key, value))
}

fn made_of(entries: &Value) -> Result<Value> {
    let dict = Value::dict(Dict::new());
    update(&dict, entries)?;
    Ok(dict)
}

pub(super) const BUILTINS: &[Builtin] = &[
    line("dict", "() -> Dict[K, V]", |_, _| Ok(Value::dict(Dict::new()))),
    line("dict", "(entries: Dict[K, V]) -> Dict[K, V]", |a, _| made_of(&a[0])),
    line("dict", "(entries: Iterator[Tuple[K, V]]) -> Dict[K, V]", |a, _| made_of(&a[0])),
    line("dict.keys", "(self: Dict[K, V]) -> Iterator[K]", |a, _| view(a, Part::Keys)),
    line("dict.values", "(self: Dict[K, V]) -> Iterator[V]", |a, _| view(a, Part::Values)),
    line("dict.items", "(self: Dict[K, V]) -> Iterator[Tuple[K, V]]", |a, _| view(a, Part::Items)),
    line("dict.get", "(self: Dict[K, V], key: K) -> Optional[V]", |a, _| {
        Ok(a[0].as_dict()?.borrow().get(&a[1])?.cloned().unwrap_or(Value::None))
    }),
    line("dict.get", "(self: Dict[K, V], key: K, default: V) -> V", |a, _| {
        Ok(a[0].as_dict()?.borrow().get(&a[1])?.unwrap_or(&a[2]).clone())
    }),
    line("dict.pop", "(self: Dict[K, V], key: K) -> V", |a, _| {
        a[0].as_dict()?.borrow_mut().remove(&a[1])?.ok_or_else(|| missing(&a[1]))
    }),
    line("dict.pop", "(self: Dict[K, V], key: K, default: V) -> V", |a, _| {
        Ok(a[0].as_dict()?.borrow_mut().remove(&a[1])?.unwrap_or_else(|| a[2].clone()))
    }),
    line("dict.popitem", "(self: Dict[K, V]) -> Tuple[K, V]", |a, _| {
        let last = a[0].as_dict()?.borrow_mut().pop_last();
        let (key, value) = last.ok_or_else(|| Error::index("KeyError: 'popitem(): dictionary is empty'"))?;
        Ok(Value::tuple([key, value]))
    }),
    line("dict.setdefault", "(self: Dict[K, V], key: K, default: V) -> V", |a, _| {
        let mut dict = a[0].as_dict()?.borrow_mut();
        if !dict.contains(&a[1])? {
            dict.insert(a[1].clone(), a[2].clone())?;
        }
        dict.at(&a[1])
    }),
    line("dict.update", "(self: Dict[K, V], other: Dict[K, V]) -> None", |a, _| {
        update(&a[0], &a[1]).map(|()| Value::None)
    }),
    line("dict.clear", "(self: Dict[K, V]) -> None", |a, _| {
        a[0].as_dict()?.borrow_mut().clear();
        Ok(Value::None)
    }),
    line("dict.copy", "(self: Dict[K, V]) -> Dict[K, V]", |a, _| made_of(&a[0])),
];
