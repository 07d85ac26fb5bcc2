//! Iteration without materialising: a range of a billion numbers costs three words.

use super::{ClassKind, Dict, Value};
use runtime::error::{Error, Result};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// What a dict's methods show of its entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// `.keys()`.
    Keys,
    /// `.values()`.
    Values,
    /// `.items()`.
    Items,
}

/// Something to loop over. Ranges and views of dicts start anew with every loop; the others are used up by one.
#[derive(Debug)]
pub enum Lazy {
    /// `range(start, stop, step)`.
    Range(i64, i64, i64),
    /// `.keys()`, `.values()`, `.items()` of a dict.
    View(Rc<RefCell<Dict>>, Part),
    /// `enumerate`, `zip`, `reversed`: its name and where it is.
    Once(&'static str, RefCell<Cursor>),
    /// A range from a bound to another, of which one is known when the graph runs, and its step.
    Staged(Box<[Value; 2]>, i64),
}

/// A place in something that is looped over.
#[derive(Debug)]
pub enum Cursor {
    /// The next number of a range, how many are left, the step.
    Range(i64, u64, i64),
    /// A list, which may grow meanwhile, and the next place.
    List(Rc<RefCell<Vec<Value>>>, usize),
    /// A list from its end: how many are left.
    Back(Rc<RefCell<Vec<Value>>>, usize),
    /// Elements that do not change, and the next place.
    Values(Rc<[Value]>, usize),
    /// A dict's entries: the part, the next place, and how many there were at first.
    Entries(Rc<RefCell<Dict>>, Part, usize, usize),
    /// The characters of a string from a byte on.
    Chars(Arc<str>, usize),
    /// Numbered elements: the next number.
    Enumerate(Box<Cursor>, i64),
    /// Several at once, as long as the shortest.
    Zip(Vec<Cursor>),
    /// One that others go on with too.
    Shared(Rc<Lazy>),
}

/// How many numbers a range has.
fn count(start: i64, stop: i64, step: i64) -> u64 {
    let (distance, step) = match step {
        1.. => (stop as i128 - start as i128, step as i128),
        _ => (start as i128 - stop as i128, -(step as i128)),
    };
    if distance <= 0 || step == 0 { 0 } else { ((distance + step - 1) / step) as u64 }
}

impl Lazy {
    /// `range` of one to three ints.
    pub fn range(args: &[Value]) -> Result<Lazy> {
        let ints = args.iter().map(Value::int).collect::<Result<Vec<i64>>>()?;
        let (start, stop, step) = match ints[..] {
            [stop] => (0, stop, 1),
            [start, stop] => (start, stop, 1),
            [start, stop, step] => (start, stop, step),
            _ => return Err(Error::value(format!("range takes 1 to 3 ints, got {}", ints.len()))),
        };
        match step {
            0 => Err(Error::value("ValueError: range() arg 3 must not be zero")),
            _ => Ok(Lazy::Range(start, stop, step)),
        }
    }

    /// An iterator that one loop uses up.
    pub fn once(name: &'static str, cursor: Cursor) -> Lazy {
        Lazy::Once(name, RefCell::new(cursor))
    }

    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Lazy::Range(..) | Lazy::Staged(..) => "range",
            Lazy::View(_, Part::Keys) => "dict_keys",
            Lazy::View(_, Part::Values) => "dict_values",
            Lazy::View(_, Part::Items) => "dict_items",
            Lazy::Once(name, _) => name,
        }
    }

    /// How many elements, of what can be looped over again.
    pub fn count(&self) -> Option<usize> {
        match self {
            Lazy::Range(start, stop, step) => Some(count(*start, *stop, *step) as usize),
            Lazy::View(dict, _) => Some(dict.borrow().len()),
            Lazy::Once(..) | Lazy::Staged(..) => None,
        }
    }

    /// Its truth: that of its length, or true.
    pub fn truth(&self) -> bool {
        self.count().is_none_or(|n| n > 0)
    }

    /// A number of a range, counted from the end where negative.
    pub fn at(&self, place: i64) -> Result<Value> {
        let Lazy::Range(start, stop, step) = *self else {
            return Err(Error::value(format!("TypeError: '{}' object has no places", self.type_name())));
        };
        let n = count(start, stop, step) as i128;
        let place = if place < 0 { place as i128 + n } else { place as i128 };
        match (0..n).contains(&place) {
            true => Ok(Value::Int((start as i128 + place * step as i128) as i64)),
            false => Err(Error::index("IndexError: range object index out of range")),
        }
    }
}

impl Cursor {
    /// The start of a loop over a value.
    pub fn over(value: &Value) -> Result<Cursor> {
        Ok(match value {
            Value::List(list) => Cursor::List(list.clone(), 0),
            Value::Tuple(values) => Cursor::Values(values.clone(), 0),
            Value::Dict(dict) => Cursor::entries(dict.clone(), Part::Keys),
            Value::Str(text) => Cursor::Chars(text.clone(), 0),
            Value::Tensor(t) if t.rank() == 0 => {
                return Err(Error::value("TypeError: iteration over a 0-d tensor"));
            }
            Value::Tensor(t) => {
                t.observe_extent(Some(0))?;
                Cursor::Values(t.unbind(0)?.into_iter().map(Value::Tensor).collect(), 0)
            }
            Value::Object(object) if object.shape.kind == ClassKind::Tuple => {
                Cursor::Values(object.fields.borrow().iter().cloned().collect(), 0)
            }
            Value::Iterator(lazy) => match &**lazy {
                Lazy::Range(start, stop, step) => Cursor::Range(*start, count(*start, *stop, *step), *step),
                Lazy::View(dict, part) => Cursor::entries(dict.clone(), *part),
                Lazy::Once(..) => Cursor::Shared(lazy.clone()),
                Lazy::Staged(bounds, _) => {
                    let [start, stop] = &**bounds;
                    let unknown = if matches!(start, Value::Staged(_)) { start } else { stop };
                    return Err(crate::autograph::unknown(
                        unknown,
                        "as a bound of what the host goes through",
                    ));
                }
            },
            Value::None
            | Value::Int(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::DType(_)
            | Value::Device(_)
            | Value::Staged(_)
            | Value::Undefined
            | Value::Object(_) => {
                return Err(Error::value(format!(
                    "TypeError: '{}' object is not iterable",
                    value.type_name()
                )));
            }
        })
    }

    /// The start of a loop from the end.
    pub fn back(value: &Value) -> Result<Cursor> {
        Ok(match value {
            Value::List(list) => Cursor::Back(list.clone(), list.borrow().len()),
            Value::Iterator(lazy) if matches!(**lazy, Lazy::Range(..)) => match **lazy {
                Lazy::Range(start, stop, step) => {
                    let n = count(start, stop, step);
                    let last = start as i128 + (n as i128 - 1) * step as i128;
                    Cursor::Range(last as i64, n, step.checked_neg().unwrap_or(i64::MAX))
                }
                Lazy::View(..) | Lazy::Once(..) | Lazy::Staged(..) => return Err(value.unexpected("a range")),
            },
            other => {
                let mut all = Cursor::over(other)?.collect()?;
                all.reverse();
                Cursor::Values(all.into(), 0)
            }
        })
    }

    fn entries(dict: Rc<RefCell<Dict>>, part: Part) -> Cursor {
        let n = dict.borrow().len();
        Cursor::Entries(dict, part, 0, n)
    }

    /// The next element.
    #[allow(clippy::should_implement_trait, reason = "it can fail")]
    pub fn next(&mut self) -> Result<Option<Value>> {
        Ok(match self {
            Cursor::Range(next, left, step) => {
                if *left == 0 {
                    return Ok(None);
                }
                let value = *next;
                *left -= 1;
                // The number after the last one may not exist, and is not asked for.
                *next = value.wrapping_add(*step);
                Some(Value::Int(value))
            }
            Cursor::List(list, at) => {
                let value = list.borrow().get(*at).cloned();
                *at += value.is_some() as usize;
                value
            }
            Cursor::Back(list, left) => {
                if *left == 0 {
                    return Ok(None);
                }
                *left -= 1;
                list.borrow().get(*left).cloned()
            }
            Cursor::Values(values, at) => {
                let value = values.get(*at).cloned();
                *at += value.is_some() as usize;
                value
            }
            Cursor::Entries(dict, part, at, n) => {
                let dict = dict.borrow();
                if dict.len() != *n {
                    return Err(Error::value("RuntimeError: dictionary changed size during iteration"));
                }
                let value = dict.entry(*at).map(|(key, value)| match part {
                    Part::Keys => key.clone(),
                    Part::Values => value.clone(),
                    Part::Items => Value::tuple([key.clone(), value.clone()]),
                });
                *at += value.is_some() as usize;
                value
            }
            Cursor::Chars(text, at) => match text[*at..].chars().next() {
                None => None,
                Some(c) => {
                    *at += c.len_utf8();
                    Some(Value::str(c.encode_utf8(&mut [0; 4]) as &str))
                }
            },
            Cursor::Enumerate(of, number) => match of.next()? {
                None => None,
                Some(value) => {
                    let pair = Value::tuple([Value::Int(*number), value]);
                    *number = number.wrapping_add(1);
                    Some(pair)
                }
            },
            Cursor::Zip(parts) => {
                let mut row = Vec::with_capacity(parts.len());
                for part in parts.iter_mut() {
                    match part.next()? {
                        Some(value) => row.push(value),
                        None => return Ok(None),
                    }
                }
                if row.is_empty() { None } else { Some(Value::Tuple(row.into())) }
            }
            Cursor::Shared(lazy) => match &**lazy {
                Lazy::Once(_, cursor) => cursor
                    .try_borrow_mut()
                    .map_err(|_| Error::value("ValueError: the iterator is already being advanced"))?
                    .next()?,
                Lazy::Range(..) | Lazy::View(..) | Lazy::Staged(..) => None,
            },
        })
    }

    /// All that is left.
    pub fn collect(mut self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        while let Some(value) = self.next()? {
            // Before it grows: a range may be longer than any memory.
            if all.len() == all.capacity() {
                runtime::alloc::ask(all.len() * 2 * size_of::<Value>())?;
            }
            all.push(value);
        }
        Ok(all)
    }
}
