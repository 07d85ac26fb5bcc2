//! What graphs compute on the host: arithmetic on numbers, construction of and access to lists, tuples and dictionaries.
//!
//! Each is one line of one table: a name, a type rule, a meaning. They are pure: `list_append` gives a new list. Ops on
//! tensors are not here; they are in the runtime's table.

use crate::ir::Type;
use kernels::Scalar;
use runtime::error::{Error, Result};
use runtime::tensor::Tensor;
use runtime::value::Host;
use std::sync::Arc;

/// A value while a graph is interpreted.
#[derive(Clone, Debug)]
pub enum Item {
    /// A tensor.
    Tensor(Tensor),
    /// A host constant: number, truth, text, list of integers, element type or none.
    Host(Host),
    /// A list.
    List(Vec<Item>),
    /// A tuple.
    Tuple(Vec<Item>),
    /// A dictionary, in order of insertion.
    Dict(Vec<(Item, Item)>),
}

impl Item {
    /// The tensor, or an error.
    pub fn tensor(&self) -> Result<&Tensor> {
        match self {
            Item::Tensor(t) => Ok(t),
            Item::Host(_) | Item::List(_) | Item::Tuple(_) | Item::Dict(_) => {
                Err(Error::value(format!("expected a tensor, got {self:?}")))
            }
        }
    }

    /// The host number, or an error.
    pub fn scalar(&self) -> Result<Scalar> {
        match self {
            Item::Host(Host::Scalar(s)) => Ok(*s),
            Item::Tensor(_) | Item::Host(_) | Item::List(_) | Item::Tuple(_) | Item::Dict(_) => {
                Err(Error::value(format!("expected a number, got {self:?}")))
            }
        }
    }

    fn equals(&self, other: &Item) -> bool {
        matches!((self, other), (Item::Host(a), Item::Host(b)) if a == b)
    }
}

/// One operand as a type rule sees it.
#[derive(Clone, Debug)]
pub struct HostArg {
    /// Its type.
    pub ty: Type,
    /// Its value, where it is a constant operand.
    pub constant: Option<Host>,
}

impl HostArg {
    /// A constant operand.
    pub fn constant(host: &Host) -> HostArg {
        HostArg { ty: type_of(host), constant: Some(host.clone()) }
    }
}

/// The type of a host constant.
pub fn type_of(host: &Host) -> Type {
    match host {
        Host::Scalar(Scalar::Int(_)) => Type::Int,
        Host::Scalar(Scalar::Float(_)) => Type::Float,
        Host::Scalar(Scalar::Bool(_)) => Type::Bool,
        Host::Str(_) | Host::DType(_) => Type::Str,
        Host::Ints(_) => Type::List(Box::new(Type::Int)),
        Host::None => Type::None,
    }
}

/// One host operation.
pub struct HostOp {
    /// Its name in the text form.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub doc: &'static str,
    /// Type of the result.
    pub infer: fn(&[HostArg]) -> Result<Type>,
    /// Meaning.
    pub run: fn(&[Item]) -> Result<Item>,
}

/// The host operation with this name.
pub fn find(name: &str) -> Option<&'static HostOp> {
    TABLE.iter().find(|op| op.name == name)
}

fn arity<const N: usize, T>(args: &[T]) -> Result<&[T; N]> {
    args.try_into().map_err(|_| Error::value(format!("expected {N} operands, got {}", args.len())))
}

fn mismatch(what: &str, args: &[HostArg]) -> Error {
    let types: Vec<String> = args.iter().map(|a| a.ty.to_string()).collect();
    Error::value(format!("expected {what}, got {}", types.join(", ")))
}

fn number_pair(args: &[HostArg]) -> Result<Type> {
    let [a, b] = arity(args)?;
    match (&a.ty, &b.ty) {
        (Type::Int, Type::Int) => Ok(Type::Int),
        (Type::Int | Type::Float, Type::Int | Type::Float) => Ok(Type::Float),
        _ => Err(mismatch("two numbers", args)),
    }
}

fn comparison(args: &[HostArg]) -> Result<Type> {
    number_pair(args).map(|_| Type::Bool)
}

fn truths(args: &[HostArg]) -> Result<Type> {
    match args.iter().all(|a| a.ty == Type::Bool) {
        true => Ok(Type::Bool),
        false => Err(mismatch("truth values", args)),
    }
}

fn one_element(args: &[HostArg], result: Type) -> Result<Type> {
    let [a] = arity(args)?;
    let single = a.ty.tensor().is_some_and(|t| t.numel().known().is_none_or(|n| n == 1));
    if single { Ok(result) } else { Err(mismatch("a tensor of one element", args)) }
}

fn int(v: i64) -> Item {
    Item::Host(Host::Scalar(Scalar::Int(v)))
}

fn truth(v: bool) -> Item {
    Item::Host(Host::Scalar(Scalar::Bool(v)))
}

fn arithmetic(args: &[Item], ints: fn(i64, i64) -> Option<i64>, floats: fn(f64, f64) -> f64) -> Result<Item> {
    let [a, b] = arity(args)?;
    match (a.scalar()?, b.scalar()?) {
        (Scalar::Int(a), Scalar::Int(b)) => ints(a, b)
            .map(int)
            .ok_or_else(|| Error::value(format!("integer arithmetic on {a} and {b} has no result"))),
        (a, b) => Ok(Item::Host(Host::Scalar(Scalar::Float(floats(a.to_f64(), b.to_f64()))))),
    }
}

fn compare(args: &[Item], holds: fn(std::cmp::Ordering) -> bool) -> Result<Item> {
    let [a, b] = arity(args)?;
    let order = match (a.scalar()?, b.scalar()?) {
        (Scalar::Int(a), Scalar::Int(b)) => Some(a.cmp(&b)),
        (a, b) => a.to_f64().partial_cmp(&b.to_f64()),
    };
    Ok(truth(order.is_some_and(holds)))
}

/// Python's floor division and remainder; `None` for a zero divisor or an overflow.
fn floor_div(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    Some(if a % b != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient })
}

fn floor_mod(a: i64, b: i64) -> Option<i64> {
    let rest = a.checked_rem(b)?;
    Some(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
}

fn wrap(index: i64, len: usize) -> Result<usize> {
    let wrapped = if index < 0 { index + len as i64 } else { index };
    usize::try_from(wrapped)
        .ok()
        .filter(|&i| i < len)
        .ok_or_else(|| Error::index(format!("index {index} is out of range for {len} items")))
}

fn items(list: &Item) -> Result<Vec<Item>> {
    match list {
        Item::List(items) | Item::Tuple(items) => Ok(items.clone()),
        Item::Host(Host::Ints(list)) => Ok(list.iter().map(|&v| int(v)).collect()),
        Item::Tensor(_) | Item::Host(_) | Item::Dict(_) => {
            Err(Error::value(format!("expected a list, got {list:?}")))
        }
    }
}

fn entries(dict: &Item) -> Result<&[(Item, Item)]> {
    match dict {
        Item::Dict(entries) => Ok(entries),
        Item::Tensor(_) | Item::Host(_) | Item::List(_) | Item::Tuple(_) => {
            Err(Error::value(format!("expected a dictionary, got {dict:?}")))
        }
    }
}

fn list_type(args: &[HostArg]) -> Result<Type> {
    let Some(first) = args.first() else { return Err(Error::value("an empty list has no item type")) };
    match args.iter().all(|a| a.ty == first.ty) {
        true => Ok(Type::List(Box::new(first.ty.clone()))),
        false => Err(mismatch("items of one type", args)),
    }
}

fn dict_type(args: &[HostArg]) -> Result<Type> {
    let [key, value, ..] = args else { return Err(Error::value("an empty dictionary has no item type")) };
    let regular =
        args.len().is_multiple_of(2) && args.chunks(2).all(|c| c[0].ty == key.ty && c[1].ty == value.ty);
    match regular {
        true => Ok(Type::Dict(Box::new(key.ty.clone()), Box::new(value.ty.clone()))),
        false => Err(mismatch("keys of one type and values of one type", args)),
    }
}

macro_rules! host_ops {
    ($($name:literal, $doc:literal: $infer:expr => $run:expr;)*) => {
        /// Every host operation.
        pub static TABLE: &[HostOp] = &[$(HostOp { name: $name, doc: $doc, infer: $infer, run: $run }),*];
    };
}

host_ops! {
    "host.add", "Sum of two numbers.": number_pair => |a| arithmetic(a, i64::checked_add, |a, b| a + b);
    "host.sub", "Difference of two numbers.": number_pair => |a| arithmetic(a, i64::checked_sub, |a, b| a - b);
    "host.mul", "Product of two numbers.": number_pair => |a| arithmetic(a, i64::checked_mul, |a, b| a * b);
    "host.floordiv", "Quotient rounded down.": number_pair => |a| arithmetic(a, floor_div, |a, b| (a / b).floor());
    "host.mod", "Remainder with the divisor's sign.": number_pair => |a| arithmetic(a, floor_mod, |a, b| a - (a / b).floor() * b);
    "host.lt", "Whether a < b.": comparison => |a| compare(a, std::cmp::Ordering::is_lt);
    "host.le", "Whether a <= b.": comparison => |a| compare(a, std::cmp::Ordering::is_le);
    "host.gt", "Whether a > b.": comparison => |a| compare(a, std::cmp::Ordering::is_gt);
    "host.ge", "Whether a >= b.": comparison => |a| compare(a, std::cmp::Ordering::is_ge);
    "host.eq", "Whether a == b.": comparison => |a| compare(a, std::cmp::Ordering::is_eq);
    "host.ne", "Whether a != b.": comparison => |a| compare(a, std::cmp::Ordering::is_ne);
    "host.not", "Negation of a truth value.": truths => |a| Ok(truth(!arity::<1, _>(a)?[0].scalar()?.to_bool()));
    "host.all_of", "Whether every truth value holds.": truths => |a| {
        a.iter().try_fold(true, |all, v| Ok(all && v.scalar()?.to_bool())).map(truth)
    };
    "host.any_of", "Whether some truth value holds.": truths => |a| {
        a.iter().try_fold(false, |any, v| Ok(any || v.scalar()?.to_bool())).map(truth)
    };
    "host.truth_of", "Truth of a one-element tensor.": |a| one_element(a, Type::Bool) => |a| {
        Ok(truth(arity::<1, _>(a)?[0].tensor()?.item()?.to_bool()))
    };
    "host.int_of", "The element of a one-element tensor as an integer.": |a| one_element(a, Type::Int) => |a| {
        Ok(int(arity::<1, _>(a)?[0].tensor()?.item()?.to_i64()))
    };
    "host.float_of", "The element of a one-element tensor as a float.": |a| one_element(a, Type::Float) => |a| {
        Ok(Item::Host(Host::Scalar(Scalar::Float(arity::<1, _>(a)?[0].tensor()?.item()?.to_f64()))))
    };
    "host.literal", "A host constant as a value.": |a| {
        let [a] = arity(a)?;
        Ok(a.ty.clone())
    } => |a| Ok(arity::<1, _>(a)?[0].clone());
    "host.list", "A list of its operands.": list_type => |a| Ok(Item::List(a.to_vec()));
    "host.list_index", "An item of a list; negative indices count from the end.": |a| {
        match arity(a)? {
            [HostArg { ty: Type::List(item), .. }, HostArg { ty: Type::Int, .. }] => Ok((**item).clone()),
            _ => Err(mismatch("a list and an int", a)),
        }
    } => |a| {
        let [list, index] = arity(a)?;
        let list = items(list)?;
        let at = wrap(index.scalar()?.to_i64(), list.len())?;
        Ok(list[at].clone())
    };
    "host.list_len", "Number of items of a list.": |a| {
        match arity(a)? {
            [HostArg { ty: Type::List(_), .. }] => Ok(Type::Int),
            _ => Err(mismatch("a list", a)),
        }
    } => |a| Ok(int(items(&arity::<1, _>(a)?[0])?.len() as i64));
    "host.list_append", "A list with one more item at its end.": |a| {
        match arity(a)? {
            [HostArg { ty: Type::List(item), .. }, new] if new.ty.fits(item) => Ok(a[0].ty.clone()),
            _ => Err(mismatch("a list and an item", a)),
        }
    } => |a| {
        let [list, item] = arity(a)?;
        let mut list = items(list)?;
        list.push(item.clone());
        Ok(Item::List(list))
    };
    "host.tuple", "A tuple of its operands.": |a| Ok(Type::Tuple(a.iter().map(|a| a.ty.clone()).collect())) => |a| {
        Ok(Item::Tuple(a.to_vec()))
    };
    "host.tuple_index", "An item of a tuple at a constant position.": |a| {
        let [tuple, index] = arity(a)?;
        match (&tuple.ty, &index.constant) {
            (Type::Tuple(items), Some(Host::Scalar(Scalar::Int(i)))) => Ok(items[wrap(*i, items.len())?].clone()),
            _ => Err(mismatch("a tuple and a constant int", a)),
        }
    } => |a| {
        let [tuple, index] = arity(a)?;
        let tuple = items(tuple)?;
        let at = wrap(index.scalar()?.to_i64(), tuple.len())?;
        Ok(tuple[at].clone())
    };
    "host.dict", "A dictionary of its operands, key and value by turns; a later key replaces an equal one.": dict_type => |a| {
        let mut out: Vec<(Item, Item)> = Vec::new();
        for pair in a.chunks_exact(2) {
            match out.iter_mut().find(|(k, _)| k.equals(&pair[0])) {
                Some(entry) => entry.1 = pair[1].clone(),
                None => out.push((pair[0].clone(), pair[1].clone())),
            }
        }
        Ok(Item::Dict(out))
    };
    "host.dict_index", "The value of a key of a dictionary.": |a| {
        match arity(a)? {
            [HostArg { ty: Type::Dict(key, value), .. }, asked] if asked.ty == **key => Ok((**value).clone()),
            _ => Err(mismatch("a dictionary and a key", a)),
        }
    } => |a| {
        let [dict, key] = arity(a)?;
        let found = entries(dict)?.iter().find(|(k, _)| k.equals(key));
        found.map(|(_, v)| v.clone()).ok_or_else(|| Error::index(format!("no key {key:?} in the dictionary")))
    };
    "host.dict_contains", "Whether a dictionary has a key.": |a| {
        match arity(a)? {
            [HostArg { ty: Type::Dict(key, _), .. }, asked] if asked.ty == **key => Ok(Type::Bool),
            _ => Err(mismatch("a dictionary and a key", a)),
        }
    } => |a| {
        let [dict, key] = arity(a)?;
        Ok(truth(entries(dict)?.iter().any(|(k, _)| k.equals(key))))
    };
}

/// Text as an item.
pub fn text(v: &str) -> Item {
    Item::Host(Host::Str(Arc::from(v)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, args: &[Item]) -> Item {
        (find(name).unwrap().run)(args).unwrap()
    }

    #[test]
    fn division_is_pythons() {
        for (a, b, q, r) in [(7, 2, 3, 1), (-7, 2, -4, 1), (7, -2, -4, -1), (-7, -2, 3, -1)] {
            assert!(run("host.floordiv", &[int(a), int(b)]).equals(&int(q)));
            assert!(run("host.mod", &[int(a), int(b)]).equals(&int(r)));
        }
        assert!((find("host.mod").unwrap().run)(&[int(1), int(0)]).is_err());
    }

    #[test]
    fn containers_keep_their_items() {
        let dict = run("host.dict", &[text("a"), int(1), text("a"), int(2)]);
        assert!(run("host.dict_index", &[dict.clone(), text("a")]).equals(&int(2)));
        assert!(run("host.dict_contains", &[dict, text("b")]).equals(&truth(false)));
        let list = run("host.list_append", &[run("host.list", &[int(1)]), int(5)]);
        assert!(run("host.list_index", &[list, int(-1)]).equals(&int(5)));
    }
}
