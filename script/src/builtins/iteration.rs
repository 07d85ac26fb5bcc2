//! What loops go over, lengths, and printing.

use super::{Builtin, line};
use crate::value::{Cursor, Lazy, Value};
use runtime::error::{Error, Result};

fn len(value: &Value) -> Result<Value> {
    let n = match value {
        Value::Str(text) => text.chars().count(),
        Value::List(list) => list.borrow().len(),
        Value::Dict(dict) => dict.borrow().len(),
        Value::Tensor(t) => match t.shape().first() {
            Some(&n) => {
                t.observe_extent(Some(0))?;
                n
            }
            None => return Err(Error::value("TypeError: len() of a 0-d tensor")),
        },
        Value::Iterator(lazy) => {
            let none = || Error::value(format!("TypeError: a '{}' has no len()", lazy.type_name()));
            lazy.count().ok_or_else(none)?
        }
        other => other.elements()?.len(),
    };
    Ok(n.into())
}

/// Whether `wanted` is the truth of any of the values.
fn any(values: &Value, wanted: bool) -> Result<bool> {
    let mut cursor = Cursor::over(values)?;
    while let Some(value) = cursor.next()? {
        if value.truth()? == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `print`: separator, end, values.
fn print(a: &mut [Value], out: &mut dyn std::io::Write) -> Result<Value> {
    let or = |value: &Value, default: &str| match value {
        Value::None => Ok(default.to_string()),
        text => text.text().map(str::to_string),
    };
    runtime::door::effect("print", runtime::Origin::caller());
    let (separator, end) = (or(&a[0], " ")?, or(&a[1], "\n")?);
    let values: Vec<String> = a[2..].iter().map(Value::to_string).collect();
    out.write_all((values.join(&separator) + &end).as_bytes())
        .map_err(|e| Error::new(runtime::ErrorKind::File, format!("print cannot write: {e}")))?;
    Ok(Value::None)
}

pub(super) const BUILTINS: &[Builtin] = &[
    line("len", "(values: Iterator[T]) -> int", |a, _| len(&a[0])),
    // Of a tuple whose elements differ in type.
    line("len", "(values: T) -> int", |a, _| len(&a[0])),
    line("range", "...", |a, _| Lazy::range(a).map(Value::iterator)),
    line("enumerate", "...", |a, _| {
        let start = a.get(1).map_or(Ok(0), Value::int)?;
        let cursor = Cursor::Enumerate(Box::new(Cursor::over(&a[0])?), start);
        Ok(Value::iterator(Lazy::once("enumerate", cursor)))
    }),
    line("zip", "...", |a, _| {
        let parts = a.iter().map(Cursor::over).collect::<Result<Vec<_>>>()?;
        Ok(Value::iterator(Lazy::once("zip", Cursor::Zip(parts))))
    }),
    line("reversed", "(values: Iterator[T]) -> Iterator[T]", |a, _| {
        Ok(Value::iterator(Lazy::once("reversed", Cursor::back(&a[0])?)))
    }),
    line("any", "(values: Iterator[T]) -> bool", |a, _| any(&a[0], true).map(Value::Bool)),
    line("all", "(values: Iterator[T]) -> bool", |a, _| any(&a[0], false).map(|b| Value::Bool(!b))),
    line("print", "...", |a, host| print(a, &mut *host.out)),
    line("isinstance", "...", |_, _| Err(Error::internal("isinstance is decided before the program runs"))),
];
