//! Signatures of builtins: how their text is read, and how arguments' types find what `T`, `K` and `V` stand for.

use crate::tree::Constant;
use crate::types::Type;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// A type in which variables stand for others.
#[derive(Clone, PartialEq, Debug)]
pub enum Pattern {
    /// This type.
    Is(Type),
    /// Any type, the same wherever the letter stands.
    Variable(char),
    /// `List[..]`.
    List(Box<Pattern>),
    /// `Iterator[..]`.
    Iterator(Box<Pattern>),
    /// `Optional[..]`.
    Optional(Box<Pattern>),
    /// `Dict[.., ..]`.
    Dict(Box<Pattern>, Box<Pattern>),
    /// `Tuple[..]`.
    Tuple(Vec<Pattern>),
}

/// A parameter of a builtin.
#[derive(Clone, PartialEq, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub pattern: Pattern,
    /// Its default.
    pub default: Option<Constant>,
    /// Whether it takes any number of arguments.
    pub many: bool,
}

/// What a builtin takes and gives.
#[derive(Clone, PartialEq, Debug)]
pub struct Signature {
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// What it gives.
    pub returns: Pattern,
}

/// What the variables of a signature stand for.
pub type Bound = HashMap<char, Type>;

impl Pattern {
    /// Whether a type fits, given what is bound; binds what it meets first.
    pub fn takes(&self, ty: &Type, bound: &mut Bound) -> bool {
        match (self, ty) {
            (_, Type::Unknown | Type::Never) => true,
            (Pattern::Variable(letter), ty) => match bound.get(letter) {
                Some(known) if ty.fits(known) => true,
                Some(known) => match known.join(ty) {
                    Some(both) => {
                        bound.insert(*letter, both);
                        true
                    }
                    None => false,
                },
                None => {
                    bound.insert(*letter, ty.clone());
                    true
                }
            },
            (Pattern::List(of), Type::List(ty)) => of.takes(ty, bound),
            (Pattern::Iterator(of), ty) => element(ty).is_some_and(|e| of.takes(&e, bound)),
            (Pattern::Optional(_), Type::None) => true,
            (Pattern::Optional(of), Type::Optional(ty)) => of.takes(ty, bound),
            (Pattern::Optional(of), ty) => of.takes(ty, bound),
            (Pattern::Dict(key, value), Type::Dict(of)) => {
                key.takes(&of.0, bound) && value.takes(&of.1, bound)
            }
            (Pattern::Tuple(parts), Type::Tuple(of) | Type::Named(_, of)) => {
                parts.len() == of.len() && parts.iter().zip(of.iter()).all(|(p, t)| p.takes(t, bound))
            }
            (Pattern::Is(wanted), ty) => ty.fits(wanted),
            _ => false,
        }
    }

    /// The type, with what is bound put in.
    pub fn with(&self, bound: &Bound) -> Type {
        match self {
            Pattern::Is(ty) => ty.clone(),
            Pattern::Variable(letter) => bound.get(letter).cloned().unwrap_or(Type::Unknown),
            Pattern::List(of) => Type::list(of.with(bound)),
            Pattern::Iterator(of) => Type::Iterator(Arc::new(of.with(bound))),
            Pattern::Optional(of) => Type::optional(of.with(bound)),
            Pattern::Dict(key, value) => Type::dict(key.with(bound), value.with(bound)),
            Pattern::Tuple(of) => Type::tuple(of.iter().map(|p| p.with(bound)).collect::<Vec<_>>()),
        }
    }
}

/// What looping over a value of a type gives; `None` where one cannot.
pub fn element(ty: &Type) -> Option<Type> {
    Some(match ty {
        Type::List(of) | Type::Iterator(of) => (**of).clone(),
        Type::Dict(of) => of.0.clone(),
        Type::Str => Type::Str,
        Type::Tensor => Type::Tensor,
        Type::Unknown | Type::Never => Type::Unknown,
        Type::Tuple(of) | Type::Named(_, of) => {
            let mut all = of.iter();
            let first = all.next()?.clone();
            all.try_fold(first, |a, b| a.join(b))?
        }
        _ => return None,
    })
}

/// Reads a signature. The texts are those of the table of builtins; a test reads them all.
pub fn parse(text: &'static str) -> Result<Signature, String> {
    let mut reader = Reader { text, rest: text };
    let signature = reader.signature();
    signature.ok_or_else(|| format!("'{text}' does not read as a signature at '{}'", reader.rest))
}

/// A signature that was read before is not read again.
pub fn of(text: &'static str) -> Option<Arc<Signature>> {
    static READ: LazyLock<Mutex<HashMap<&'static str, Option<Arc<Signature>>>>> =
        LazyLock::new(Mutex::default);
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    read.entry(text).or_insert_with(|| parse(text).ok().map(Arc::new)).clone()
}

struct Reader {
    text: &'static str,
    rest: &'static str,
}

impl Reader {
    fn eat(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self, more: &[char]) -> Option<&'static str> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || more.contains(&c)));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn signature(&mut self) -> Option<Signature> {
        let mut parameters = Vec::new();
        if !self.eat("(") {
            return None;
        }
        while !self.eat(")") {
            let many = self.eat("*");
            let name = self.word(&[])?;
            if !self.eat(":") {
                return None;
            }
            let pattern = self.pattern()?;
            let default = if self.eat("=") { Some(self.constant()?) } else { None };
            parameters.push(Parameter { name, pattern, default, many });
            if !self.eat(",") && !self.rest.trim_start().starts_with(')') {
                return None;
            }
        }
        if !self.eat("->") {
            return None;
        }
        let returns = self.pattern()?;
        (self.rest.trim().is_empty() && !self.text.is_empty()).then_some(Signature { parameters, returns })
    }

    fn pattern(&mut self) -> Option<Pattern> {
        let word = self.word(&[])?;
        let mut inner = Vec::new();
        if self.eat("[") {
            while !self.eat("]") {
                inner.push(self.pattern()?);
                if !self.eat(",") && !self.rest.trim_start().starts_with(']') {
                    return None;
                }
            }
        }
        let simple = |ty: Type| Some(Pattern::Is(ty));
        let mut inner_one = |of: fn(Box<Pattern>) -> Pattern| match (inner.pop(), inner.is_empty()) {
            (Some(p), true) => Some(of(Box::new(p))),
            _ => None,
        };
        match word {
            "Tensor" => simple(Type::Tensor),
            "int" => simple(Type::Int),
            "float" => simple(Type::Float),
            "bool" => simple(Type::Bool),
            "number" => simple(Type::Number),
            "str" => simple(Type::Str),
            "None" => simple(Type::None),
            "dtype" => simple(Type::DType),
            "device" => simple(Type::Device),
            "T" | "K" | "V" => word.chars().next().map(Pattern::Variable),
            "List" => inner_one(Pattern::List),
            "Iterator" => inner_one(Pattern::Iterator),
            "Optional" => inner_one(Pattern::Optional),
            "Tuple" => Some(Pattern::Tuple(inner)),
            "Dict" => {
                let (value, key) = (inner.pop()?, inner.pop()?);
                Some(Pattern::Dict(Box::new(key), Box::new(value)))
            }
            _ => None,
        }
    }

    fn constant(&mut self) -> Option<Constant> {
        self.rest = self.rest.trim_start();
        if let Some(rest) = self.rest.strip_prefix(['"', '\'']) {
            let end = rest.find(['"', '\''])?;
            self.rest = &rest[end + 1..];
            return Some(Constant::Str(rest[..end].into()));
        }
        let word = self.word(&['.', '-'])?;
        Some(match word {
            "None" => Constant::None,
            "True" => Constant::Bool(true),
            "False" => Constant::Bool(false),
            _ => match word.parse() {
                Ok(n) => Constant::Int(n),
                Err(_) => Constant::Float(word.parse().ok()?),
            },
        })
    }
}
