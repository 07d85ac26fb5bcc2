//! The first operation of an eager run that another run of the same program does not have, or has with another result.
//! Operations are matched by name, place in the text, and how often they ran there.

use super::witness::{Event, Events};
use runtime::testing::{Tolerance, differences};
use runtime::{DType, Error, Origin, Scalar, Tensor};
use std::collections::HashMap;
use std::fmt;

/// The first operation that differs.
pub struct First {
    /// What differs.
    pub what: What,
    /// The operation.
    pub name: String,
    /// Its line.
    pub origin: Origin,
    /// How often it had run there before.
    pub before: usize,
}

/// How an operation differs.
pub enum What {
    /// Its result does: what it is in eager, what it is in the other run, and by how much.
    Result(String, String, String),
    /// Eager runs it, the other run does not.
    Missing,
    /// The other run goes on to run it, eager does not.
    Extra,
    /// It fails in the other run.
    Fails(String),
}

impl What {
    /// Its name in reports.
    pub const fn word(&self) -> &'static str {
        match self {
            What::Result(..) => "result",
            What::Missing => "missing",
            What::Extra => "extra",
            What::Fails(_) => "fails",
        }
    }
}

type Key = (std::sync::Arc<str>, (&'static str, u32, u32));

fn key(event: &Event) -> Key {
    (event.name.clone(), (event.origin.file(), event.origin.line(), event.origin.column()))
}

/// The first operation that differs; none if all are the same, bit for bit.
pub fn first(eager: &Events, other: &Events) -> Option<First> {
    let mut places: HashMap<Key, Vec<usize>> = HashMap::new();
    for (i, event) in other.all.iter().enumerate() {
        places.entry(key(event)).or_default().push(i);
    }
    let mut ran: HashMap<Key, usize> = HashMap::new();
    for event in &eager.all {
        let count = ran.entry(key(event)).or_default();
        let before = std::mem::replace(count, *count + 1);
        let found = |what| Some(First { what, name: event.name.to_string(), origin: event.origin, before });
        match places.get(&key(event)).and_then(|all| all.get(before)) {
            Some(&at) => {
                if let Some(what) = differ(&event.results, &other.all[at].results) {
                    return found(what);
                }
            }
            None if other.is_cut() => return None,
            None => return failure(other).or_else(|| found(What::Missing)),
        }
    }
    if eager.is_cut() {
        return None;
    }
    let mut seen: HashMap<Key, usize> = HashMap::new();
    for event in &other.all {
        let count = seen.entry(key(event)).or_default();
        let before = std::mem::replace(count, *count + 1);
        if before >= ran.get(&key(event)).copied().unwrap_or(0) {
            let (name, origin) = (event.name.to_string(), event.origin);
            return Some(First { what: What::Extra, name, origin, before });
        }
    }
    failure(other)
}

/// Where a run ended with an error.
fn failure(events: &Events) -> Option<First> {
    let error: &Error = events.error.as_ref()?;
    let name = error.op().unwrap_or("an operation").to_string();
    let what = What::Fails(error.message().to_string());
    Some(First { what, name, origin: error.origin()?, before: 0 })
}

fn differ(eager: &[Tensor], other: &[Tensor]) -> Option<What> {
    eager.iter().zip(other).find_map(|(a, b)| {
        let by = match a.tensor_type() == b.tensor_type() {
            false => "of another type".to_string(),
            true => {
                let found = differences(b, a, Tolerance::EXACT, true).ok()?;
                if found.mismatched == 0 {
                    return None;
                }
                let most = &found.absolute;
                let (count, total, at) = (found.mismatched, found.total, most.at.as_slice());
                format!("{count} of {total} elements differ, most by {:.3e} at {at:?}", most.value)
            }
        };
        Some(What::Result(glimpse(a), glimpse(b), by))
    })
}

/// Elements that are written out.
const SHOWN: usize = 4;

/// A tensor's type and first elements.
pub fn glimpse(t: &Tensor) -> String {
    let values = t.to_scalars().unwrap_or_default();
    let shown: Vec<String> = values.iter().take(SHOWN).map(|&v| number(v, t.dtype())).collect();
    let more = if values.len() > SHOWN { ", ..." } else { "" };
    format!("{} [{}{more}]", t.tensor_type(), shown.join(", "))
}

/// A number with as many digits as its type has.
pub fn number(value: Scalar, dtype: DType) -> String {
    match value {
        Scalar::Float(v) if dtype != DType::F64 => (v as f32).to_string(),
        other => other.to_string(),
    }
}

/// ` the 3rd time`; nothing for the first.
fn time(before: usize) -> String {
    let n = before + 1;
    let end = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    if before == 0 { String::new() } else { format!(" the {n}{end} time") }
}

impl fmt::Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, time) = (&self.name, time(self.before));
        write!(f, "{}: ", self.origin)?;
        match &self.what {
            What::Result(eager, other, by) => {
                write!(f, "`{name}`{time} gives {other}, in torch {eager}; {by}")
            }
            What::Missing => write!(f, "`{name}` is not run{time}, in torch it is"),
            What::Extra => write!(f, "`{name}` is run{time}, in torch it is not"),
            What::Fails(message) => write!(f, "`{name}`{time} fails: {message}"),
        }
    }
}
