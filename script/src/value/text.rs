//! How values read: Python's `str` and `repr`.

use super::objects::DEEPEST;
use super::{ClassKind, Lazy, Part, Value, show};
use std::fmt::{self, Write};

/// A float as Python writes it: the fewest digits that read back to the same float, a point or an exponent always.
pub(crate) fn float(v: f64) -> String {
    if v.is_nan() {
        return "nan".to_string();
    }
    if v.is_infinite() {
        return if v > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    let text = format!("{v:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        return format!("{v:?}").replace("e0", "");
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// A string in quotes: single ones unless it holds such and no double ones.
pub(crate) fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c < ' ' || ('\x7f'..'\u{a0}').contains(&c) || c == '\u{ad}' => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// The representation of a value; `within` are the containers that it stands in, by address: one that holds itself is
/// written once.
fn repr(value: &Value, out: &mut String, within: &mut Vec<*const ()>) -> fmt::Result {
    let mut nested =
        |address: *const (),
         open: &str,
         close: &str,
         out: &mut String,
         parts: &mut dyn FnMut(&mut String, &mut Vec<*const ()>) -> fmt::Result| {
            out.push_str(open);
            if within.contains(&address) || within.len() >= DEEPEST {
                out.push_str("...");
            } else {
                within.push(address);
                parts(out, within)?;
                within.pop();
            }
            out.push_str(close);
            Ok(())
        };
    match value {
        Value::None => out.push_str("None"),
        Value::Int(v) => write!(out, "{v}")?,
        Value::Float(v) => out.push_str(&float(*v)),
        Value::Bool(v) => out.push_str(if *v { "True" } else { "False" }),
        Value::Str(v) => out.push_str(&quoted(v)),
        Value::Tensor(t) => out.push_str(&show::tensor(t)),
        Value::DType(v) => write!(out, "torch.{}", v.torch_name())?,
        Value::Device(v) => match v.to_string().split_once(':') {
            Some((kind, index)) => write!(out, "device(type='{kind}', index={index})")?,
            None => write!(out, "device(type='{v}')")?,
        },
        Value::Tuple(parts) => {
            let close = if parts.len() == 1 { ",)" } else { ")" };
            nested(parts.as_ptr().cast(), "(", close, out, &mut |out, within| sequence(parts, out, within))?;
        }
        Value::List(list) => {
            let list = list.borrow();
            nested((&raw const *list).cast(), "[", "]", out, &mut |out, within| {
                sequence(&list, out, within)
            })?;
        }
        Value::Dict(dict) => {
            let dict = dict.borrow();
            nested((&raw const *dict).cast(), "{", "}", out, &mut |out, within| {
                for (i, (key, value)) in dict.iter().enumerate() {
                    out.push_str(if i > 0 { ", " } else { "" });
                    repr(key, out, within)?;
                    out.push_str(": ");
                    repr(value, out, within)?;
                }
                Ok(())
            })?;
        }
        Value::Object(object) if object.shape.kind == ClassKind::Plain => {
            write!(out, "<{} object>", object.shape.name)?;
        }
        Value::Object(object) => {
            let fields = object.fields.borrow();
            out.push_str(&object.shape.name);
            nested((&raw const **object).cast(), "(", ")", out, &mut |out, within| {
                for (i, (name, value)) in object.shape.fields.iter().zip(fields.iter()).enumerate() {
                    write!(out, "{}{name}=", if i > 0 { ", " } else { "" })?;
                    repr(value, out, within)?;
                }
                Ok(())
            })?;
        }
        Value::Iterator(lazy) => match &**lazy {
            Lazy::Range(start, stop, 1) => write!(out, "range({start}, {stop})")?,
            Lazy::Range(start, stop, step) => write!(out, "range({start}, {stop}, {step})")?,
            Lazy::View(dict, part) => {
                let dict = dict.borrow();
                write!(out, "{}", lazy.type_name())?;
                nested((&raw const *dict).cast(), "([", "])", out, &mut |out, within| {
                    for (i, (key, value)) in dict.iter().enumerate() {
                        out.push_str(if i > 0 { ", " } else { "" });
                        match part {
                            Part::Keys => repr(key, out, within)?,
                            Part::Values => repr(value, out, within)?,
                            Part::Items => {
                                out.push('(');
                                repr(key, out, within)?;
                                out.push_str(", ");
                                repr(value, out, within)?;
                                out.push(')');
                            }
                        }
                    }
                    Ok(())
                })?;
            }
            Lazy::Once(name, _) => write!(out, "<{name} object>")?,
            Lazy::Staged(bounds, step) => {
                out.push_str("range(");
                sequence(&**bounds, out, within)?;
                write!(out, ", {step})")?;
            }
        },
        Value::Staged(_) | Value::Undefined => write!(out, "<{}>", value.type_name())?,
    }
    Ok(())
}

fn sequence(values: &[Value], out: &mut String, within: &mut Vec<*const ()>) -> fmt::Result {
    for (i, value) in values.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        repr(value, out, within)?;
    }
    Ok(())
}

impl Value {
    /// Python's `repr(x)`: as it stands in a container that is printed.
    pub fn repr(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = repr(self, &mut out, &mut Vec::new());
        out
    }
}

impl fmt::Display for Value {
    /// Python's `str(x)`: as `print` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Str(v) => f.write_str(v),
            Value::Device(v) => write!(f, "{v}"),
            other => f.write_str(&other.repr()),
        }
    }
}
