//! Reads the text form that `print` writes. Errors are of kind `Parse` and name line and column.
//!
//! Host operands that the text leaves out get the schema's default. Output types are taken as they are written: whether
//! they are true is the verifier's question.

use crate::build::Builder;
use crate::host;
use crate::ir::{BlockId, Graph, HostCall, InputRole, NodeKind, Operand, Type, ValueId};
use crate::lex::{Placed, Token, error_at, lex};
use crate::schema::{OperandKind, schema};
use kernels::{DType, Element, Scalar};
use runtime::callable::Callable;
use runtime::error::{Error, Result};
use runtime::infer::{Dim, TensorType};
use runtime::table::{self, OpDef};
use runtime::tensor::Tensor;
use runtime::value::Host;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What a text refers to by name.
#[derive(Clone, Default)]
pub struct Environment {
    /// Large constants, as `print` returned them.
    pub constants: BTreeMap<String, Tensor>,
    /// Callables of `call` nodes.
    pub callables: BTreeMap<String, Arc<dyn Callable>>,
    /// Calls of `host` nodes.
    pub hosts: BTreeMap<String, Arc<dyn HostCall>>,
}

/// Reads a graph whose text refers to nothing outside.
pub fn parse(text: &str) -> Result<Graph> {
    parse_with(text, &Environment::default())
}

/// Reads a graph.
pub fn parse_with(text: &str, environment: &Environment) -> Result<Graph> {
    let mut parser =
        Parser { tokens: lex(text)?, at: 0, environment, builder: Builder::new(""), names: HashMap::new() };
    parser.word("graph")?;
    let name = match parser.take() {
        Token::Word(name) | Token::Text(name) => name,
        _ => return Err(parser.unexpected("the graph's name")),
    };
    parser.builder = Builder::new(name);
    let (results, write_backs) = parser.graph()?;
    match parser.peek() {
        Token::End => Ok(parser.builder.finish(results, write_backs)),
        _ => Err(parser.expected("the end of the text")),
    }
}

struct Parser<'a> {
    tokens: Vec<Placed>,
    at: usize,
    environment: &'a Environment,
    builder: Builder,
    names: HashMap<String, ValueId>,
}

impl Parser<'_> {
    fn placed(&self) -> &Placed {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }
    fn peek(&self) -> &Token {
        &self.placed().token
    }
    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }
    fn error(&self, message: &str) -> Error {
        let here = self.placed();
        error_at(here.line, here.column, message)
    }
    /// The next token is wrong.
    fn expected(&self, what: &str) -> Error {
        self.error(&format!("expected {what}, found {}", describe(self.peek())))
    }
    /// The token just taken is wrong.
    fn unexpected(&mut self, what: &str) -> Error {
        self.at -= 1;
        self.expected(what)
    }
    fn is(&self, c: char) -> bool {
        *self.peek() == Token::Punct(c)
    }
    fn eat(&mut self, c: char) -> bool {
        let found = self.is(c);
        self.at += found as usize;
        found
    }
    fn punct(&mut self, c: char) -> Result<()> {
        if self.eat(c) { Ok(()) } else { Err(self.expected(&format!("'{c}'"))) }
    }
    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(w) if w == word)
    }
    fn word(&mut self, word: &str) -> Result<()> {
        if !self.is_word(word) {
            return Err(self.expected(&format!("'{word}'")));
        }
        self.at += 1;
        Ok(())
    }

    /// Items between brackets, separated by commas.
    fn list<T>(
        &mut self,
        open: char,
        close: char,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.punct(open)?;
        let mut items = Vec::new();
        while !self.eat(close) {
            if !items.is_empty() {
                self.punct(',')?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn graph(&mut self) -> Result<(Vec<ValueId>, Vec<(usize, usize)>)> {
        self.list('(', ')', |p| {
            let role =
                [InputRole::State, InputRole::Captured].into_iter().find(|r| p.is_word(r.word().trim()));
            p.at += role.is_some() as usize;
            let (name, ty) = p.declared()?;
            let value = p.builder.input(ty, role.unwrap_or(InputRole::Argument), "");
            p.define(name, value)
        })?;
        self.punct('{')?;
        self.nodes("return")?;
        let (mut results, mut write_backs) = (Vec::new(), Vec::new());
        while !self.eat('}') {
            if !results.is_empty() {
                self.punct(',')?;
            }
            results.push(self.used()?);
            if self.is_word("into") {
                self.at += 1;
                let state = self.used()?;
                let input = self.builder.graph().params().iter().position(|&p| p == state);
                let input = input.ok_or_else(|| self.error("a result can only go into an input"))?;
                write_backs.push((input, results.len() - 1));
            }
        }
        Ok((results, write_backs))
    }

    /// Nodes up to the closing word, which is taken.
    fn nodes(&mut self, end: &str) -> Result<()> {
        while !self.is_word(end) {
            self.node()?;
        }
        self.word(end)
    }

    fn declared(&mut self) -> Result<(String, Type)> {
        let Token::Value(name) = self.take() else { return Err(self.unexpected("a value")) };
        if self.names.contains_key(&name) {
            self.at -= 1;
            return Err(self.error(&format!("%{name} is defined twice")));
        }
        self.punct(':')?;
        Ok((name, self.ty()?))
    }

    fn define(&mut self, name: String, value: ValueId) -> Result<()> {
        if !name.starts_with(|c: char| c.is_ascii_digit()) {
            self.builder.rename(value, &name);
        }
        self.names.insert(name, value);
        Ok(())
    }

    fn used(&mut self) -> Result<ValueId> {
        let Token::Value(name) = self.take() else { return Err(self.unexpected("a value")) };
        self.names.get(&name).copied().ok_or_else(|| {
            self.at -= 1;
            self.error(&format!("%{name} is not defined here"))
        })
    }

    fn node(&mut self) -> Result<()> {
        let mut outputs = Vec::new();
        while let Token::Value(_) = self.peek() {
            outputs.push(self.declared()?);
            if !self.eat(',') {
                self.punct('=')?;
                break;
            }
        }
        let Token::Word(word) = self.take() else { return Err(self.unexpected("an operation")) };
        let (kind, operands, wanted) = match word.as_str() {
            "constant" => (NodeKind::Constant(self.constant()?), Vec::new(), 0),
            "fused" => (NodeKind::Fused, self.plain_operands()?, 1),
            "if" => (NodeKind::If, self.plain_operands()?, 2),
            "while" => (NodeKind::While, self.plain_operands()?, 2),
            "call" => {
                let (callable, operands) = self.call()?;
                (NodeKind::Call(callable), operands, 0)
            }
            "host" => {
                let (call, operands) = self.host_call()?;
                (NodeKind::Host(call), operands, self.is('{') as usize)
            }
            name => match (table::find(name), host::find(name)) {
                (Some(op), _) => (NodeKind::Op(op), self.op_operands(op)?, 0),
                (None, Some(op)) => (NodeKind::HostOp(op), self.plain_operands()?, 0),
                (None, None) => {
                    self.at -= 1;
                    return Err(self.error(&format!("there is no operation '{name}'")));
                }
            },
        };
        let blocks = (0..wanted).map(|_| self.block()).collect::<Result<_>>()?;
        let types: Vec<Type> = outputs.iter().map(|(_, ty)| ty.clone()).collect();
        let node = self.builder.node(kind, operands, blocks, &types, None);
        let values = self.builder.outputs(node).to_vec();
        outputs.into_iter().zip(values).try_for_each(|((name, _), value)| self.define(name, value))
    }

    fn block(&mut self) -> Result<BlockId> {
        self.punct('{')?;
        let params = self.list('(', ')', Self::declared)?;
        let types: Vec<Type> = params.iter().map(|(_, ty)| ty.clone()).collect();
        let id = self.builder.begin(&types);
        let values = self.builder.graph().block(id).params.clone();
        for ((name, _), value) in params.into_iter().zip(values) {
            self.define(name, value)?;
        }
        self.nodes("yield")?;
        let mut results = Vec::new();
        while !self.eat('}') {
            if !results.is_empty() {
                self.punct(',')?;
            }
            results.push(self.used()?);
        }
        Ok(self.builder.end(results))
    }

    fn call(&mut self) -> Result<(Arc<dyn Callable>, Vec<Operand>)> {
        self.punct('(')?;
        let Token::Text(name) = self.take() else {
            return Err(self.unexpected("the callable's name in quotes"));
        };
        let callable = self.environment.callables.get(&name).cloned();
        let callable = callable.ok_or_else(|| self.error(&format!("there is no callable {name:?}")))?;
        let mut operands = Vec::new();
        while !self.eat(')') {
            self.punct(',')?;
            operands.push(Operand::Value(self.used()?));
        }
        Ok((callable, operands))
    }

    fn host_call(&mut self) -> Result<(Arc<dyn HostCall>, Vec<Operand>)> {
        self.punct('(')?;
        let Token::Text(name) = self.take() else {
            return Err(self.unexpected("the call's name in quotes"));
        };
        let call = self.environment.hosts.get(&name).cloned();
        let call = call.ok_or_else(|| self.error(&format!("there is no call of the host {name:?}")))?;
        let mut operands = Vec::new();
        while !self.eat(')') {
            self.punct(',')?;
            operands.push(self.operand(OperandKind::Tensor)?);
        }
        Ok((call, operands))
    }

    fn plain_operands(&mut self) -> Result<Vec<Operand>> {
        self.list('(', ')', |p| p.operand(OperandKind::Tensor))
    }

    fn op_operands(&mut self, op: &'static OpDef) -> Result<Vec<Operand>> {
        let schema = schema(op);
        let mut operands: Vec<Option<Operand>> = vec![None; schema.len()];
        let mut position = Some(0);
        self.list('(', ')', |p| {
            let index = match (p.peek().clone(), p.tokens.get(p.at + 1).map(|t| &t.token)) {
                (Token::Word(name), Some(Token::Punct('='))) => {
                    let index = schema.iter().position(|q| q.name == name);
                    let index =
                        index.ok_or_else(|| p.error(&format!("{} has no operand '{name}'", op.name)))?;
                    position = None;
                    p.at += 2;
                    index
                }
                _ => {
                    let index = position
                        .ok_or_else(|| p.error("an operand without keyword after one with keyword"))?;
                    position = Some(index + 1);
                    index
                }
            };
            let Some(parameter) = schema.get(index) else {
                return Err(p.error(&format!("{} has only {} operands", op.name, schema.len())));
            };
            if operands[index].is_some() {
                return Err(p.error(&format!("operand '{}' is given twice", parameter.name)));
            }
            operands[index] = Some(p.operand(parameter.kind)?);
            Ok(())
        })?;
        let filled = operands.into_iter().zip(schema.iter()).map(|(operand, parameter)| match operand {
            Some(operand) => Ok(operand),
            None => parameter.default.clone().map(Operand::Host).ok_or_else(|| {
                self.error(&format!("operand '{}' of {} is missing", parameter.name, op.name))
            }),
        });
        filled.collect()
    }

    fn operand(&mut self, kind: OperandKind) -> Result<Operand> {
        if let Token::Value(_) = self.peek() {
            return Ok(Operand::Value(self.used()?));
        }
        let lists_values = matches!(self.tokens.get(self.at + 1).map(|t| &t.token), Some(Token::Value(_)));
        if self.is('[') && (lists_values || kind == OperandKind::Tensors) {
            return Ok(Operand::Values(self.list('[', ']', Self::used)?));
        }
        Ok(Operand::Host(self.host()?))
    }

    fn host(&mut self) -> Result<Host> {
        if self.is('[') {
            let ints = self.list('[', ']', |p| match p.take() {
                Token::Int(v) => Ok(v),
                _ => Err(p.unexpected("an integer")),
            })?;
            return Ok(Host::Ints(ints.into_iter().collect()));
        }
        Ok(match self.take() {
            Token::Text(text) => Host::Str(text.into()),
            Token::Word(word) if word == "none" => Host::None,
            Token::Word(word) if DType::parse(&word).is_some() => {
                Host::DType(DType::parse(&word).expect("invariant: just asked"))
            }
            _ => {
                self.at -= 1;
                Host::Scalar(self.scalar()?)
            }
        })
    }

    fn scalar(&mut self) -> Result<Scalar> {
        Ok(match self.take() {
            Token::Int(v) => Scalar::Int(v),
            Token::Float(v) => Scalar::Float(v),
            Token::Word(word) => match word.as_str() {
                "true" => Scalar::Bool(true),
                "false" => Scalar::Bool(false),
                "inf" => Scalar::Float(f64::INFINITY),
                "nan" => Scalar::Float(f64::NAN),
                _ => return Err(self.unexpected("a host value")),
            },
            Token::Value(_) | Token::Text(_) | Token::Punct(_) | Token::End => {
                return Err(self.unexpected("a host value"));
            }
        })
    }

    fn constant(&mut self) -> Result<Tensor> {
        self.punct('(')?;
        let Type::Tensor(ty) = self.ty()? else { return Err(self.expected("a tensor type")) };
        self.punct(',')?;
        let tensor = if let Token::Text(name) = self.peek().clone() {
            let found = self.environment.constants.get(&name).cloned();
            let found = found.ok_or_else(|| self.error(&format!("there is no constant {name:?}")))?;
            self.at += 1;
            if found.tensor_type() != ty {
                return Err(self.error(&format!("the constant is a {}, not a {ty}", found.tensor_type())));
            }
            found
        } else {
            let dims = ty.constant_dims().map_err(|e| self.error(e.message()))?;
            let elements = self.list('[', ']', Self::scalar)?;
            from_scalars(&elements, &dims, ty.dtype).map_err(|e| self.error(e.message()))?
        };
        self.punct(')')?;
        Ok(tensor)
    }

    fn ty(&mut self) -> Result<Type> {
        let Token::Word(word) = self.take() else { return Err(self.unexpected("a type")) };
        if let (Some(dtype), true) = (DType::parse(&word), self.is('[')) {
            let shape = self.list('[', ']', Self::dim)?.into_iter().collect();
            return Ok(Type::Tensor(TensorType { dtype, shape }));
        }
        Ok(match word.as_str() {
            "tensor" => Type::AnyTensor,
            "int" => Type::Int,
            "float" => Type::Float,
            "bool" => Type::Bool,
            "str" => Type::Str,
            "none" => Type::None,
            "tuple" => Type::Tuple(self.list('<', '>', Self::ty)?),
            "list" | "optional" | "dict" => {
                let mut inner = self.list('<', '>', Self::ty)?.into_iter().map(Box::new);
                match (word.as_str(), inner.next(), inner.next(), inner.next()) {
                    ("list", Some(item), None, None) => Type::List(item),
                    ("optional", Some(item), None, None) => Type::Optional(item),
                    ("dict", Some(key), Some(value), None) => Type::Dict(key, value),
                    _ => return Err(self.error(&format!("wrong number of types inside {word}<>"))),
                }
            }
            "object" => {
                self.punct('<')?;
                let Token::Word(class) = self.take() else { return Err(self.unexpected("a class name")) };
                self.punct('>')?;
                Type::Object(class.into())
            }
            _ => return Err(self.unexpected("a type")),
        })
    }

    fn dim(&mut self) -> Result<Dim> {
        match self.take() {
            Token::Int(v) => match usize::try_from(v) {
                Ok(extent) => Ok(Dim::constant(extent)),
                Err(_) => Err(self.unexpected("an extent")),
            },
            Token::Word(name) => Ok(Dim::symbol(&name)),
            Token::Punct('(') => {
                let left = self.dim()?;
                let combined = match self.take() {
                    Token::Punct('*') => Some(left.times(self.dim()?)),
                    Token::Punct('+') => Some(left.plus(self.dim()?)),
                    Token::Punct('/') => left.over(self.dim()?),
                    Token::Value(_)
                    | Token::Word(_)
                    | Token::Int(_)
                    | Token::Float(_)
                    | Token::Text(_)
                    | Token::Punct(_)
                    | Token::End => {
                        return Err(self.unexpected("'*', '+' or '/'"));
                    }
                };
                self.punct(')')?;
                combined.ok_or_else(|| self.error("the dimensions do not divide"))
            }
            Token::Value(_) | Token::Float(_) | Token::Text(_) | Token::Punct(_) | Token::End => {
                Err(self.unexpected("a dimension"))
            }
        }
    }
}

fn describe(token: &Token) -> String {
    match token {
        Token::Value(name) => format!("'%{name}'"),
        Token::Word(word) => format!("'{word}'"),
        Token::Int(v) => format!("'{v}'"),
        Token::Float(v) => format!("'{v}'"),
        Token::Text(text) => format!("{text:?}"),
        Token::Punct(c) => format!("'{c}'"),
        Token::End => "the end of the text".to_string(),
    }
}

/// A CPU tensor of host numbers, converted to `dtype`.
pub fn from_scalars(elements: &[Scalar], dims: &[usize], dtype: DType) -> Result<Tensor> {
    fn typed<T: Element>(elements: &[Scalar], dims: &[usize]) -> Result<Tensor> {
        let elements: Vec<T> = elements.iter().map(|&s| T::from_scalar(s)).collect();
        Tensor::from_slice(&elements, dims)
    }
    match dtype {
        DType::Bool => typed::<bool>(elements, dims),
        DType::U8 => typed::<u8>(elements, dims),
        DType::I32 => typed::<i32>(elements, dims),
        DType::I64 => typed::<i64>(elements, dims),
        DType::F16 => typed::<half::f16>(elements, dims),
        DType::BF16 => typed::<half::bf16>(elements, dims),
        DType::F32 => typed::<f32>(elements, dims),
        DType::F64 => typed::<f64>(elements, dims),
    }
}
