//! Schemas of ops as data: operand names, kinds and defaults, read once from the table's text.

use kernels::Scalar;
use runtime::table::OpDef;
use runtime::value::Host;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What an operand may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperandKind {
    /// A tensor, or a host number that stands for one.
    Tensor,
    /// A list of tensors.
    Tensors,
    /// A host value.
    Host,
}

/// One operand of a schema.
#[derive(Clone, PartialEq, Debug)]
pub struct Parameter {
    /// Its keyword.
    pub name: String,
    /// What it may be.
    pub kind: OperandKind,
    /// Whether it may be `none`.
    pub optional: bool,
    /// Its value where it is left out; `None` for a required operand.
    pub default: Option<Host>,
}

/// The operands of an op, in order.
pub fn schema(op: &'static OpDef) -> Arc<[Parameter]> {
    static SCHEMAS: OnceLock<Mutex<HashMap<&'static str, Arc<[Parameter]>>>> = OnceLock::new();
    let mut schemas = SCHEMAS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    schemas.entry(op.schema).or_insert_with(|| read(op.schema)).clone()
}

fn read(text: &str) -> Arc<[Parameter]> {
    let inside =
        text.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ->")).map_or("", |(inside, _)| inside);
    split(inside).into_iter().filter(|part| *part != "*").filter_map(parameter).collect()
}

/// Splits at the commas that are not inside brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

fn parameter(text: &str) -> Option<Parameter> {
    let (declared, default) = match text.split_once('=') {
        Some((declared, default)) => (declared.trim(), Some(literal(default.trim()))),
        None => (text, None),
    };
    let (ty, name) = declared.rsplit_once(' ')?;
    let ty = ty.trim();
    let optional = ty.ends_with('?');
    let bare = ty.trim_end_matches('?');
    let kind = match bare {
        "Tensor" => OperandKind::Tensor,
        list if list.starts_with("Tensor[") => OperandKind::Tensors,
        _ => OperandKind::Host,
    };
    Some(Parameter { name: name.to_string(), kind, optional, default })
}

/// A Python literal.
fn literal(text: &str) -> Host {
    match text {
        "None" => return Host::None,
        "True" => return Host::Scalar(Scalar::Bool(true)),
        "False" => return Host::Scalar(Scalar::Bool(false)),
        _ => {}
    }
    if let Ok(v) = text.parse::<i64>() {
        return Host::Scalar(Scalar::Int(v));
    }
    if let Ok(v) = text.parse::<f64>() {
        return Host::Scalar(Scalar::Float(v));
    }
    let list = [('[', ']'), ('(', ')')].into_iter().find_map(|(a, b)| text.strip_prefix(a)?.strip_suffix(b));
    if let Some(list) = list {
        return Host::Ints(list.split(',').filter_map(|v| v.trim().parse().ok()).collect());
    }
    Host::Str(text.trim_matches(['\'', '"']).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_torch_schemas() {
        let found = read(
            "sum(Tensor self, Tensor[] rest, int[2]? dim=None, *, bool keepdim=False, str mode='a') -> Tensor",
        );
        let names: Vec<&str> = found.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["self", "rest", "dim", "keepdim", "mode"]);
        assert_eq!(found[1].kind, OperandKind::Tensors);
        assert_eq!((found[2].optional, &found[2].default), (true, &Some(Host::None)));
        assert_eq!(found[3].default, Some(Host::Scalar(Scalar::Bool(false))));
        assert_eq!(found[4].default, Some(Host::Str("a".into())));
    }

    #[test]
    fn every_op_has_a_readable_schema() {
        for op in runtime::table::table() {
            let names: Vec<String> = schema(op).iter().map(|p| p.name.clone()).collect();
            assert_eq!(names, op.operand_names(), "{}", op.schema);
        }
    }
}
