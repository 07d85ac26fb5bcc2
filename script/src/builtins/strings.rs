//! Strings: sequences of characters that do not change.

use super::{Builtin, line};
use crate::value::{self, Cursor, Value};
use runtime::error::{Error, Result};

fn text(value: String) -> Result<Value> {
    Ok(Value::str(value))
}

/// A string of the string that a method is called on.
fn mapped(a: &[Value], f: fn(&str) -> String) -> Result<Value> {
    text(f(a[0].text()?))
}

/// Whether every character fits and there is one.
fn every(a: &[Value], f: fn(char) -> bool) -> Result<Value> {
    let s = a[0].text()?;
    Ok(Value::Bool(!s.is_empty() && s.chars().all(f)))
}

/// Whether letters that have a case all have this one, and there is one.
fn cased(a: &[Value], upper: bool) -> Result<Value> {
    let s = a[0].text()?;
    let (is, is_not): (fn(char) -> bool, fn(char) -> bool) = if upper {
        (char::is_uppercase, char::is_lowercase)
    } else {
        (char::is_lowercase, char::is_uppercase)
    };
    Ok(Value::Bool(s.chars().any(is) && !s.chars().any(is_not)))
}

/// What Python's `str.split` parts words at.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

fn limit(value: &Value) -> Result<usize> {
    Ok(usize::try_from(value.int()?).unwrap_or(usize::MAX))
}

/// Words, at most `limit` cuts; what is left is the last one, with the space behind it.
fn words(s: &str, limit: usize) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = s.trim_start_matches(is_space);
    while !rest.is_empty() {
        match rest.find(is_space).filter(|_| out.len() < limit) {
            Some(end) => {
                out.push(&rest[..end]);
                rest = rest[end..].trim_start_matches(is_space);
            }
            None => {
                out.push(rest);
                rest = "";
            }
        }
    }
    out
}

/// Words from the end.
fn words_back(s: &str, limit: usize) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = s.trim_end_matches(is_space);
    while !rest.is_empty() {
        match rest.char_indices().rev().find(|(_, c)| is_space(*c)).filter(|_| out.len() < limit) {
            Some((at, c)) => {
                out.push(&rest[at + c.len_utf8()..]);
                rest = rest[..at].trim_end_matches(is_space);
            }
            None => {
                out.push(rest);
                rest = "";
            }
        }
    }
    out.reverse();
    out
}

fn split(a: &[Value], back: bool) -> Result<Value> {
    let (s, cuts) = (a[0].text()?, limit(&a[2])?);
    let parts: Vec<&str> = match (&a[1], back) {
        (Value::None, false) => words(s, cuts),
        (Value::None, true) => words_back(s, cuts),
        (separator, back) => {
            let separator = separator.text()?;
            if separator.is_empty() {
                return Err(Error::value("ValueError: empty separator"));
            }
            match back {
                false => s.splitn(cuts.saturating_add(1), separator).collect(),
                true => {
                    let mut parts: Vec<&str> = s.rsplitn(cuts.saturating_add(1), separator).collect();
                    parts.reverse();
                    parts
                }
            }
        }
    };
    Ok(Value::list(parts.into_iter().map(Value::from)))
}

fn lines(a: &[Value]) -> Result<Value> {
    let (mut rest, keep) = (a[0].text()?, a[1].truth()?);
    let ends = |c: char| {
        matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let mut out = Vec::new();
    while !rest.is_empty() {
        let end = rest.find(ends).unwrap_or(rest.len());
        let more = match &rest[end..] {
            after if after.starts_with("\r\n") => 2,
            after => after.chars().next().map_or(0, char::len_utf8),
        };
        out.push(Value::str(&rest[..if keep { end + more } else { end }]));
        rest = &rest[end + more..];
    }
    Ok(Value::list(out))
}

fn strip(a: &[Value], left: bool, right: bool) -> Result<Value> {
    let mut s = a[0].text()?;
    let given: Option<Vec<char>> = match &a[1] {
        Value::None => None,
        chars => Some(chars.text()?.chars().collect()),
    };
    let goes = |c: char| given.as_ref().map_or(is_space(c), |set| set.contains(&c));
    if left {
        s = s.trim_start_matches(goes);
    }
    if right {
        s = s.trim_end_matches(goes);
    }
    Ok(Value::str(s))
}

/// The characters from `start` to `stop` of a search, and where they begin.
fn window(a: &[Value]) -> Result<Option<(Vec<char>, usize)>> {
    let all: Vec<char> = a[0].text()?.chars().collect();
    let n = all.len() as i64;
    let bound = |v: &Value, default: i64| match v {
        Value::None => Ok(default),
        v => v.int().map(|i| if i < 0 { i.saturating_add(n).max(0) } else { i }),
    };
    let (start, stop) = (bound(&a[2], 0)?, bound(&a[3], n)?.min(n));
    // Beyond the end not even nothing is found.
    if start > n || start > stop {
        return Ok(None);
    }
    Ok(Some((all[start as usize..stop as usize].to_vec(), start as usize)))
}

fn find(a: &[Value], back: bool) -> Result<Option<usize>> {
    let part: Vec<char> = a[1].text()?.chars().collect();
    let Some((all, start)) = window(a)? else { return Ok(None) };
    if part.len() > all.len() {
        return Ok(None);
    }
    let mut places = 0..=all.len() - part.len();
    let here = |i: &usize| all[*i..*i + part.len()] == part[..];
    let found = if back { places.rev().find(here) } else { places.find(here) };
    Ok(found.map(|i| i + start))
}

fn place(found: Option<usize>) -> Result<Value> {
    Ok(Value::Int(found.map_or(-1, |i| i as i64)))
}

fn place_or_error(found: Option<usize>) -> Result<Value> {
    found.map(Value::from).ok_or_else(|| Error::value("ValueError: substring not found"))
}

fn count(a: &[Value]) -> Result<Value> {
    let part: Vec<char> = a[1].text()?.chars().collect();
    let Some((all, _)) = window(a)? else { return Ok(Value::Int(0)) };
    if part.is_empty() {
        return Ok((all.len() + 1).into());
    }
    let (mut n, mut at) = (0usize, 0);
    while at + part.len() <= all.len() {
        let here = all[at..at + part.len()] == part[..];
        n += here as usize;
        at += if here { part.len() } else { 1 };
    }
    Ok(n.into())
}

fn begins(a: &[Value], end: bool) -> Result<Value> {
    let Some((all, _)) = window(a)? else { return Ok(Value::Bool(false)) };
    let all: String = all.into_iter().collect();
    let part = a[1].text()?;
    Ok(Value::Bool(if end { all.ends_with(part) } else { all.starts_with(part) }))
}

fn replace(a: &[Value]) -> Result<Value> {
    let (s, old, new) = (a[0].text()?, a[1].text()?, a[2].text()?);
    text(match a[3].int()? {
        times if times < 0 => s.replace(old, new),
        times => s.replacen(old, new, times as usize),
    })
}

/// A letter at the beginning of a word: of several in capitals only the first is one (`ß` becomes `Ss`).
fn title(c: char) -> impl Iterator<Item = char> {
    let mut all = c.to_uppercase();
    all.next().into_iter().chain(all.flat_map(char::to_lowercase))
}

fn swapped(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        match c.is_lowercase() {
            true => out.extend(c.to_uppercase()),
            false => out.extend(c.to_lowercase()),
        }
    }
    out
}

/// Before a separator, the separator, after it; all of it on one side where there is none.
fn partition(a: &[Value], last: bool) -> Result<Value> {
    let (s, separator) = (a[0].text()?, a[1].text()?);
    if separator.is_empty() {
        return Err(Error::value("ValueError: empty separator"));
    }
    let found = if last { s.rsplit_once(separator) } else { s.split_once(separator) };
    let parts = match (found, last) {
        (Some((before, after)), _) => [before, separator, after],
        (None, false) => [s, "", ""],
        (None, true) => ["", "", s],
    };
    Ok(Value::tuple(parts.map(Value::str)))
}

/// Tabs as spaces up to the next column that `tabsize` divides.
fn expanded(a: &[Value]) -> Result<Value> {
    let (s, size) = (a[0].text()?, width(&a[1])?);
    let (mut out, mut column) = (String::with_capacity(s.len()), 0);
    for c in s.chars() {
        match c {
            '\t' => {
                let spaces = if size == 0 { 0 } else { size - column % size };
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            _ => {
                out.push(c);
                column = if matches!(c, '\n' | '\r') { 0 } else { column + 1 };
            }
        }
    }
    text(out)
}

fn capitalized(s: &str) -> String {
    let mut chars = s.chars();
    match chars.next() {
        None => String::new(),
        Some(first) => title(first).chain(chars.flat_map(char::to_lowercase)).collect(),
    }
}

fn titled(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut within = false;
    for c in s.chars() {
        match within {
            true => out.extend(c.to_lowercase()),
            false => out.extend(title(c)),
        }
        within = c.is_alphabetic();
    }
    out
}

/// More characters than this are no intended width.
const WIDEST: i64 = 1 << 32;

fn width(value: &Value) -> Result<usize> {
    match value.int()? {
        n if n > WIDEST => Err(Error::value("MemoryError: a string of more than 2^32 characters")),
        n => Ok(n.max(0) as usize),
    }
}

/// Filled up to a width: `left` is how much of what is missing goes before, out of it and the width.
fn padded(a: &[Value], left: fn(usize, usize) -> usize) -> Result<Value> {
    let (s, width) = (a[0].text()?, width(&a[1])?);
    let fill = a[2].text()?;
    if fill.chars().count() != 1 {
        return Err(Error::value("TypeError: The fill character must be exactly one character long"));
    }
    let missing = width.saturating_sub(s.chars().count());
    let before = left(missing, width);
    text(fill.repeat(before) + s + &fill.repeat(missing - before))
}

fn zeros(a: &[Value]) -> Result<Value> {
    let (s, width) = (a[0].text()?, width(&a[1])?);
    let (sign, digits) = match s.starts_with(['+', '-']) {
        true => s.split_at(1),
        false => ("", s),
    };
    text(format!("{sign}{}{digits}", "0".repeat(width.saturating_sub(s.chars().count()))))
}

fn joined(a: &[Value]) -> Result<Value> {
    let separator = a[0].text()?;
    let mut out = String::new();
    let mut cursor = Cursor::over(&a[1])?;
    let mut first = true;
    while let Some(part) = cursor.next()? {
        out.push_str(if std::mem::take(&mut first) { "" } else { separator });
        out.push_str(part.text()?);
    }
    text(out)
}

/// `'{} {1:.2f}'.format(a, b)`: the fields by number, or in turn.
fn formatted(a: &[Value]) -> Result<Value> {
    let (pattern, args) = (a[0].text()?, &a[1..]);
    let wrong = |what: &str| Error::value(format!("ValueError: {what}"));
    let (mut out, mut next) = (String::new(), 0);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' if chars.peek() == Some(&c) => {
                chars.next();
                out.push(c);
            }
            '}' => return Err(wrong("Single '}' encountered in format string")),
            '{' => {
                let mut field = String::new();
                loop {
                    match chars.next() {
                        Some('}') => break,
                        Some('{') => return Err(wrong("a field within a field is not known here")),
                        Some(c) => field.push(c),
                        None => return Err(wrong("expected '}' before end of string")),
                    }
                }
                let (name, spec) = field.split_once(':').unwrap_or((&field, ""));
                let (name, conversion) = match name.split_once('!') {
                    Some((name, conversion)) => (name, conversion),
                    None => (name, ""),
                };
                let at = match name {
                    "" => {
                        next += 1;
                        next - 1
                    }
                    name => name.parse::<usize>().map_err(|_| {
                        Error::value(format!("KeyError: '{name}'"))
                            .hint("fields are numbered here, or an f-string")
                    })?,
                };
                let value = args.get(at).ok_or_else(|| {
                    Error::index("IndexError: Replacement index out of range for positional args tuple")
                })?;
                out.push_str(&match conversion {
                    "r" => value::format(&Value::str(value.repr()), spec)?,
                    "s" => value::format(&Value::str(value.to_string()), spec)?,
                    _ => value::format(value, spec)?,
                });
            }
            c => out.push(c),
        }
    }
    text(out)
}

/// Whether letters are upper case where a word begins and lower case elsewhere, and there are some.
fn is_title(text: &str) -> bool {
    let (mut inside, mut any) = (false, false);
    for c in text.chars() {
        let fits = if c.is_uppercase() { !inside } else { !c.is_lowercase() || inside };
        if !fits {
            return false;
        }
        inside = c.is_uppercase() || c.is_lowercase();
        any |= inside;
    }
    any
}

pub(super) const BUILTINS: &[Builtin] = &[
    line("ord", "(c: str) -> int", |a, _| {
        let mut chars = a[0].text()?.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => Ok(Value::Int(c as i64)),
            _ => Err(Error::value("TypeError: ord() expected a character")),
        }
    }),
    line("chr", "(i: int) -> str", |a, _| {
        let c = u32::try_from(a[0].int()?).ok().and_then(char::from_u32);
        let c = c.ok_or_else(|| Error::value("ValueError: chr() arg not in range(0x110000)"))?;
        text(c.to_string())
    }),
    line("str.join", "(self: str, parts: Iterator[str]) -> str", |a, _| joined(a)),
    line("str.split", "(self: str, sep: Optional[str] = None, maxsplit: int = -1) -> List[str]", |a, _| {
        split(a, false)
    }),
    line("str.rsplit", "(self: str, sep: Optional[str] = None, maxsplit: int = -1) -> List[str]", |a, _| {
        split(a, true)
    }),
    line("str.splitlines", "(self: str, keepends: bool = False) -> List[str]", |a, _| lines(a)),
    line("str.strip", "(self: str, chars: Optional[str] = None) -> str", |a, _| strip(a, true, true)),
    line("str.lstrip", "(self: str, chars: Optional[str] = None) -> str", |a, _| strip(a, true, false)),
    line("str.rstrip", "(self: str, chars: Optional[str] = None) -> str", |a, _| strip(a, false, true)),
    line("str.replace", "(self: str, old: str, new: str, count: int = -1) -> str", |a, _| replace(a)),
    line(
        "str.find",
        "(self: str, sub: str, start: Optional[int] = None, end: Optional[int] = None) -> int",
        |a, _| place(find(a, false)?),
    ),
    line(
        "str.rfind",
        "(self: str, sub: str, start: Optional[int] = None, end: Optional[int] = None) -> int",
        |a, _| place(find(a, true)?),
    ),
    line(
        "str.index",
        "(self: str, sub: str, start: Optional[int] = None, end: Optional[int] = None) -> int",
        |a, _| place_or_error(find(a, false)?),
    ),
    line(
        "str.rindex",
        "(self: str, sub: str, start: Optional[int] = None, end: Optional[int] = None) -> int",
        |a, _| place_or_error(find(a, true)?),
    ),
    line(
        "str.count",
        "(self: str, sub: str, start: Optional[int] = None, end: Optional[int] = None) -> int",
        |a, _| count(a),
    ),
    line(
        "str.startswith",
        "(self: str, prefix: str, start: Optional[int] = None, end: Optional[int] = None) -> bool",
        |a, _| begins(a, false),
    ),
    line(
        "str.endswith",
        "(self: str, suffix: str, start: Optional[int] = None, end: Optional[int] = None) -> bool",
        |a, _| begins(a, true),
    ),
    line("str.upper", "(self: str) -> str", |a, _| mapped(a, str::to_uppercase)),
    line("str.lower", "(self: str) -> str", |a, _| mapped(a, str::to_lowercase)),
    line("str.capitalize", "(self: str) -> str", |a, _| mapped(a, capitalized)),
    line("str.swapcase", "(self: str) -> str", |a, _| mapped(a, swapped)),
    line("str.partition", "(self: str, sep: str) -> Tuple[str, str, str]", |a, _| partition(a, false)),
    line("str.rpartition", "(self: str, sep: str) -> Tuple[str, str, str]", |a, _| partition(a, true)),
    line("str.expandtabs", "(self: str, tabsize: int = 8) -> str", |a, _| expanded(a)),
    line("str.title", "(self: str) -> str", |a, _| mapped(a, titled)),
    line("str.isdigit", "(self: str) -> bool", |a, _| every(a, |c| c.is_ascii_digit())),
    line("str.isalpha", "(self: str) -> bool", |a, _| every(a, char::is_alphabetic)),
    line("str.isalnum", "(self: str) -> bool", |a, _| every(a, char::is_alphanumeric)),
    line("str.isdecimal", "(self: str) -> bool", |a, _| every(a, |c| c.is_ascii_digit())),
    line("str.isnumeric", "(self: str) -> bool", |a, _| every(a, char::is_numeric)),
    line("str.isprintable", "(self: str) -> bool", |a, _| {
        Ok(Value::Bool(a[0].text()?.chars().all(|c| c == ' ' || !(c.is_control() || c.is_whitespace()))))
    }),
    line("str.isidentifier", "(self: str) -> bool", |a, _| {
        let text = a[0].text()?;
        let first = text.chars().next().is_some_and(|c| c == '_' || c.is_alphabetic());
        Ok(Value::Bool(first && text.chars().all(|c| c == '_' || c.is_alphanumeric())))
    }),
    line("str.istitle", "(self: str) -> bool", |a, _| Ok(Value::Bool(is_title(a[0].text()?)))),
    line("str.isspace", "(self: str) -> bool", |a, _| every(a, is_space)),
    line("str.isupper", "(self: str) -> bool", |a, _| cased(a, true)),
    line("str.islower", "(self: str) -> bool", |a, _| cased(a, false)),
    line("str.zfill", "(self: str, width: int) -> str", |a, _| zeros(a)),
    line("str.center", "(self: str, width: int, fillchar: str = ' ') -> str", |a, _| {
        // Of an odd rest the larger half goes before where the width is odd too.
        padded(a, |missing, width| missing / 2 + (missing & width & 1))
    }),
    line("str.ljust", "(self: str, width: int, fillchar: str = ' ') -> str", |a, _| padded(a, |_, _| 0)),
    line("str.rjust", "(self: str, width: int, fillchar: str = ' ') -> str", |a, _| padded(a, |n, _| n)),
    line("str.format", "...", |a, _| formatted(a)),
];
