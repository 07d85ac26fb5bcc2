//! Lists, and what lists, tuples and strings have in common.

use super::{Builtin, line};
use crate::arithmetic;
use crate::syntax::{BinaryOp, CompareOp};
use crate::value::{self, Cursor, Value};
use runtime::error::{Error, Result};

/// A place in a list of `n`, counted from the end where negative, moved to the nearest one there is.
fn near(i: i64, n: usize) -> usize {
    let at = if i < 0 { i.saturating_add(n as i64) } else { i };
    at.clamp(0, n as i64) as usize
}

fn position(values: &[Value], wanted: &Value, from: usize) -> Result<Option<usize>> {
    for (i, value) in values.iter().enumerate().skip(from) {
        if value::is(value, wanted) || value::equals(value, wanted)? {
            return Ok(Some(i));
        }
    }
    Ok(None)
}

fn count(values: &[Value], wanted: &Value) -> Result<Value> {
    let (mut n, mut at) = (0i64, 0);
    while let Some(found) = position(values, wanted, at)? {
        (n, at) = (n + 1, found + 1);
    }
    Ok(Value::Int(n))
}

fn index(values: &[Value], a: &[Value], what: &str) -> Result<Value> {
    let bound = |i: usize, default: usize| match a.get(i) {
        None | Some(Value::None) => Ok(default),
        Some(v) => v.int().map(|v| near(v, values.len())),
    };
    let (start, stop) = (bound(2, 0)?, bound(3, values.len())?);
    match position(&values[..stop.max(start)], &a[1], start)? {
        Some(at) => Ok(at.into()),
        None => Err(Error::value(format!("ValueError: {} is not in {what}", a[1].repr()))),
    }
}

/// Sorts, equal elements in their order, by `<` alone: floats that are not numbers have no order, and need none here.
fn sorted(mut values: Vec<Value>, reverse: bool) -> Result<Vec<Value>> {
    // Reversed before and after, equal elements keep their order in what is sorted downwards too.
    if reverse {
        values.reverse();
    }
    let mut other = Vec::with_capacity(values.len());
    let mut width = 1;
    while width < values.len() {
        let mut at = 0;
        while at < values.len() {
            let middle = (at + width).min(values.len());
            let end = (middle + width).min(values.len());
            let (mut left, mut right) = (at, middle);
            while left < middle && right < end {
                let takes_right = value::compare(CompareOp::Lt, &values[right], &values[left])?;
                let next = if takes_right { &mut right } else { &mut left };
                other.push(std::mem::replace(&mut values[*next], Value::None));
                *next += 1;
            }
            for rest in (left..middle).chain(right..end) {
                other.push(std::mem::replace(&mut values[rest], Value::None));
            }
            at = end;
        }
        std::mem::swap(&mut values, &mut other);
        other.clear();
        width *= 2;
    }
    if reverse {
        values.reverse();
    }
    Ok(values)
}

fn sort_in_place(a: &mut [Value]) -> Result<Value> {
    let reverse = a[1].truth()?;
    let list = a[0].as_list()?;
    let values = sorted(list.borrow().clone(), reverse)?;
    *list.borrow_mut() = values;
    Ok(Value::None)
}

fn pop(a: &mut [Value]) -> Result<Value> {
    let mut list = a[0].as_list()?.borrow_mut();
    if list.is_empty() {
        return Err(Error::index("IndexError: pop from empty list"));
    }
    let i = a[1].int()?;
    let at = if i < 0 { i + list.len() as i64 } else { i };
    match usize::try_from(at) {
        Ok(at) if at < list.len() => Ok(list.remove(at)),
        _ => Err(Error::index("IndexError: pop index out of range")),
    }
}

fn remove(a: &mut [Value]) -> Result<Value> {
    let list = a[0].as_list()?;
    let found = position(&list.borrow(), &a[1], 0)?;
    match found {
        Some(at) => {
            list.borrow_mut().remove(at);
            Ok(Value::None)
        }
        None => Err(Error::value("ValueError: list.remove(x): x not in list")),
    }
}

fn has(a: &mut [Value]) -> Result<Value> {
    value::contains(&a[0], &a[1]).map(Value::Bool)
}

fn join(a: &mut [Value]) -> Result<Value> {
    arithmetic::binary(BinaryOp::Add, &a[0], &a[1])
}

fn repeat(a: &mut [Value]) -> Result<Value> {
    arithmetic::binary(BinaryOp::Mul, &a[0], &a[1])
}

fn collect(a: &mut [Value]) -> Result<Vec<Value>> {
    Cursor::over(&a[0])?.collect()
}

pub(super) const BUILTINS: &[Builtin] = &[
    line("list", "() -> List[T]", |_, _| Ok(Value::list([]))),
    line("list", "(values: Iterator[T]) -> List[T]", |a, _| collect(a).map(Value::list)),
    line("sorted", "(values: Iterator[T], reverse: bool = False) -> List[T]", |a, _| {
        let reverse = a[1].truth()?;
        sorted(collect(a)?, reverse).map(Value::list)
    }),
    line("list.append", "(self: List[T], value: T) -> None", |a, _| {
        a[0].as_list()?.borrow_mut().push(a[1].clone());
        Ok(Value::None)
    }),
    line("list.extend", "(self: List[T], values: Iterator[T]) -> None", |a, _| {
        // All of them first: they may be the list itself.
        let more = Cursor::over(&a[1])?;
        let more = match &a[1] {
            Value::List(list) => list.borrow().clone(),
            _ => more.collect()?,
        };
        a[0].as_list()?.borrow_mut().extend(more);
        Ok(Value::None)
    }),
    line("list.insert", "(self: List[T], index: int, value: T) -> None", |a, _| {
        let mut list = a[0].as_list()?.borrow_mut();
        let at = near(a[1].int()?, list.len());
        list.insert(at, a[2].clone());
        Ok(Value::None)
    }),
    line("list.pop", "(self: List[T], index: int = -1) -> T", |a, _| pop(a)),
    line("list.remove", "(self: List[T], value: T) -> None", |a, _| remove(a)),
    line(
        "list.index",
        "(self: List[T], value: T, start: int = 0, stop: int = 9223372036854775807) -> int",
        |a, _| index(&a[0].as_list()?.borrow(), a, "list"),
    ),
    line("list.count", "(self: List[T], value: T) -> int", |a, _| count(&a[0].as_list()?.borrow(), &a[1])),
    line("list.reverse", "(self: List[T]) -> None", |a, _| {
        a[0].as_list()?.borrow_mut().reverse();
        Ok(Value::None)
    }),
    line("list.sort", "(self: List[T], reverse: bool = False) -> None", |a, _| sort_in_place(a)),
    line("list.clear", "(self: List[T]) -> None", |a, _| {
        a[0].as_list()?.borrow_mut().clear();
        Ok(Value::None)
    }),
    line("list.copy", "(self: List[T]) -> List[T]", |a, _| a[0].elements().map(Value::list)),
    line("list.__add__", "(self: List[T], other: List[T]) -> List[T]", |a, _| join(a)),
    line("list.__mul__", "(self: List[T], times: int) -> List[T]", |a, _| repeat(a)),
    line("list.__contains__", "(self: List[T], value: T) -> bool", |a, _| has(a)),
    line("tuple.index", "(self: Iterator[T], value: T) -> int", |a, _| index(&a[0].elements()?, a, "tuple")),
    line("tuple.count", "(self: Iterator[T], value: T) -> int", |a, _| count(&a[0].elements()?, &a[1])),
    line("tuple.__contains__", "(self: Iterator[T], value: T) -> bool", |a, _| has(a)),
    line("str.__add__", "(self: str, other: str) -> str", |a, _| join(a)),
    line("str.__mul__", "(self: str, times: int) -> str", |a, _| repeat(a)),
    line("str.__contains__", "(self: str, part: str) -> bool", |a, _| has(a)),
    line("dict.__contains__", "(self: Dict[K, V], key: K) -> bool", |a, _| has(a)),
    line("Tensor.__contains__", "(self: Tensor, value: number) -> bool", |a, _| has(a)),
    line("Tensor.__contains__", "(self: Tensor, value: Tensor) -> bool", |a, _| has(a)),
];
