//! The text form of programs. Printing a verified program and parsing the text gives the program again.
//!
//! ```text
//! program (a0: read f32, a1: write f32; p0: f32) {
//!   %0: f32 elem = load a0
//!   %1: f32 row = reduce max %0
//!   %2: f32 elem = sub %0, %1
//!   store a1 %2
//! }
//! ```
//!
//! A number after `%` is the position of an instruction, stores counted. `load a0 [%3] if %4` is gathered and masked;
//! `store row add a0 [%3] %5` happens once a row, adds and scatters. The type of a store is its access's.

use super::ir::{
    Access, AccessId, AccessKind, BinaryOp, Combine, Inst, InstOp, Level, Program, ReduceOp, Reg, UnaryOp,
};
use crate::dtype::{DType, Scalar};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Where and why a text is not a program.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What was expected or is wrong.
    pub message: String,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("program (")?;
        for (i, access) in self.accesses.iter().enumerate() {
            let kind = match access.kind {
                AccessKind::Read => "read",
                AccessKind::Write => "write",
            };
            write!(f, "{}a{i}: {kind} {}", if i > 0 { ", " } else { "" }, access.dtype)?;
        }
        for (i, param) in self.params.iter().enumerate() {
            write!(f, "{}p{i}: {param}", if i > 0 { ", " } else { "; " })?;
        }
        f.write_str(") {\n")?;
        for (i, inst) in self.insts.iter().enumerate() {
            f.write_str("  ")?;
            print_instruction(f, i, inst)?;
            f.write_str("\n")?;
        }
        f.write_str("}\n")
    }
}

fn print_instruction(f: &mut fmt::Formatter<'_>, i: usize, inst: &Inst) -> fmt::Result {
    if !matches!(inst.op, InstOp::Store { .. }) {
        let level = match inst.level {
            Level::Row => "row",
            Level::Elem => "elem",
        };
        write!(f, "%{i}: {} {level} = ", inst.dtype)?;
    }
    match &inst.op {
        InstOp::Const(value) => write!(f, "const {value}"),
        InstOp::Param(param) => write!(f, "param p{param}"),
        InstOp::Index(axis) => write!(f, "index {axis}"),
        InstOp::Extent => f.write_str("extent"),
        InstOp::Load { access, index, mask } => {
            write!(f, "load a{}", access.0)?;
            if let Some(index) = index {
                write!(f, " [%{}]", index.0)?;
            }
            mask.map_or(Ok(()), |mask| write!(f, " if %{}", mask.0))
        }
        InstOp::Unary(op, a) => write!(f, "{} %{}", op.name(), a.0),
        InstOp::Binary(op, a, b) => write!(f, "{} %{}, %{}", op.name(), a.0, b.0),
        InstOp::Select(c, a, b) => write!(f, "select %{}, %{}, %{}", c.0, a.0, b.0),
        InstOp::Cast(a) => write!(f, "cast %{}", a.0),
        InstOp::RandomBits { stream, seed, offset } => write!(f, "random {stream} %{} %{}", seed.0, offset.0),
        InstOp::Reduce(op, a) => write!(f, "reduce {} %{}", op.name(), a.0),
        InstOp::Scan(op, a) => write!(f, "scan {} %{}", op.name(), a.0),
        InstOp::Store { access, value, index, combine } => {
            f.write_str("store ")?;
            if inst.level == Level::Row {
                f.write_str("row ")?;
            }
            if *combine == Combine::Add {
                f.write_str("add ")?;
            }
            write!(f, "a{} ", access.0)?;
            if let Some(index) = index {
                write!(f, "[%{}] ", index.0)?;
            }
            write!(f, "%{}", value.0)
        }
    }
}

impl FromStr for Program {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Program, ParseError> {
        let mut parser = Parser { text, at: 0 };
        let program = parser.program()?;
        match parser.peek() {
            None => Ok(program),
            Some(_) => Err(parser.expected("the end of the text")),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn program(&mut self) -> Result<Program, ParseError> {
        let mut program = Program::default();
        self.keyword("program")?;
        self.mark('(')?;
        while self.peek() == Some('a') {
            self.numbered("a", program.accesses.len())?;
            self.mark(':')?;
            let kind = match self.word() {
                "read" => AccessKind::Read,
                "write" => AccessKind::Write,
                _ => return Err(self.expected("`read` or `write`")),
            };
            program.accesses.push(Access { dtype: self.dtype()?, kind });
            if !self.skip(',') {
                break;
            }
        }
        if self.skip(';') {
            loop {
                self.numbered("p", program.params.len())?;
                self.mark(':')?;
                program.params.push(self.dtype()?);
                if !self.skip(',') {
                    break;
                }
            }
        }
        self.mark(')')?;
        self.mark('{')?;
        while !self.skip('}') {
            let inst = self.instruction(&program)?;
            program.insts.push(inst);
        }
        Ok(program)
    }

    fn instruction(&mut self, program: &Program) -> Result<Inst, ParseError> {
        if self.peek() != Some('%') {
            return self.store(program);
        }
        self.numbered("%", program.insts.len())?;
        self.mark(':')?;
        let dtype = self.dtype()?;
        let level = match self.word() {
            "row" => Level::Row,
            "elem" => Level::Elem,
            _ => return Err(self.expected("`row` or `elem`")),
        };
        self.mark('=')?;
        let name = self.word();
        let op = match name {
            "const" => InstOp::Const(self.scalar()?),
            "param" => InstOp::Param(self.number_after("p")?),
            "index" => InstOp::Index(self.number()?),
            "extent" => InstOp::Extent,
            "load" => {
                let access = AccessId(self.number_after("a")?);
                let index = self.index()?;
                let mask = if self.peek() == Some('i') { Some(self.condition()?) } else { None };
                InstOp::Load { access, index, mask }
            }
            "select" => {
                let c = self.reg()?;
                self.mark(',')?;
                let a = self.reg()?;
                self.mark(',')?;
                InstOp::Select(c, a, self.reg()?)
            }
            "cast" => InstOp::Cast(self.reg()?),
            "random" => {
                let stream = self.number()?;
                let Ok(stream) = u8::try_from(stream) else { return Err(self.expected("a word of a block")) };
                InstOp::RandomBits { stream, seed: self.reg()?, offset: self.reg()? }
            }
            "reduce" => InstOp::Reduce(self.reduction()?, self.reg()?),
            "scan" => InstOp::Scan(self.reduction()?, self.reg()?),
            _ => {
                if let Some(op) = UnaryOp::parse(name) {
                    InstOp::Unary(op, self.reg()?)
                } else if let Some(op) = BinaryOp::parse(name) {
                    let a = self.reg()?;
                    self.mark(',')?;
                    InstOp::Binary(op, a, self.reg()?)
                } else {
                    return Err(self.expected("an instruction"));
                }
            }
        };
        Ok(Inst { op, dtype, level })
    }

    fn store(&mut self, program: &Program) -> Result<Inst, ParseError> {
        self.keyword("store")?;
        let level = if self.optional("row ") { Level::Row } else { Level::Elem };
        let combine = if self.optional("add ") { Combine::Add } else { Combine::Set };
        let access = AccessId(self.number_after("a")?);
        let Some(declared) = program.accesses.get(access.0 as usize) else {
            return Err(self.expected("an access of this program"));
        };
        let index = self.index()?;
        let value = self.reg()?;
        Ok(Inst { op: InstOp::Store { access, value, index, combine }, dtype: declared.dtype, level })
    }

    fn index(&mut self) -> Result<Option<Reg>, ParseError> {
        if !self.skip('[') {
            return Ok(None);
        }
        let reg = self.reg()?;
        self.mark(']')?;
        Ok(Some(reg))
    }

    fn condition(&mut self) -> Result<Reg, ParseError> {
        self.keyword("if")?;
        self.reg()
    }

    fn reduction(&mut self) -> Result<ReduceOp, ParseError> {
        ReduceOp::parse(self.word()).ok_or_else(|| self.expected("a reduction"))
    }

    fn reg(&mut self) -> Result<Reg, ParseError> {
        Ok(Reg(self.number_after("%")?))
    }

    fn dtype(&mut self) -> Result<DType, ParseError> {
        DType::parse(self.word()).ok_or_else(|| self.expected("an element type"))
    }

    fn scalar(&mut self) -> Result<Scalar, ParseError> {
        self.space();
        let end = self.rest().find(char::is_whitespace).unwrap_or(self.rest().len());
        let word = &self.rest()[..end];
        let value = match word {
            "true" => Scalar::Bool(true),
            "false" => Scalar::Bool(false),
            _ => match (word.parse::<i64>(), word.parse::<f64>()) {
                (Ok(v), _) => Scalar::Int(v),
                // One NaN, so that the text form has one meaning.
                (_, Ok(v)) => Scalar::Float(if v.is_nan() { f64::NAN } else { v }),
                _ => return Err(self.expected("a number")),
            },
        };
        self.at += end;
        Ok(value)
    }

    /// A prefix and the number that must come next.
    fn numbered(&mut self, prefix: &str, number: usize) -> Result<(), ParseError> {
        self.space();
        let before = self.at;
        if self.number_after(prefix)? as usize == number {
            return Ok(());
        }
        self.at = before;
        Err(self.expected(&format!("{prefix}{number}")))
    }

    fn number_after(&mut self, prefix: &str) -> Result<u32, ParseError> {
        self.space();
        if !self.rest().starts_with(prefix) {
            return Err(self.expected(&format!("`{prefix}` and a number")));
        }
        self.at += prefix.len();
        self.number()
    }

    fn number(&mut self) -> Result<u32, ParseError> {
        self.space();
        let end = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest().len());
        let Ok(number) = self.rest()[..end].parse() else { return Err(self.expected("a number")) };
        self.at += end;
        Ok(number)
    }

    /// The next word, or nothing, in which case the parser has not moved.
    fn word(&mut self) -> &'a str {
        self.space();
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn keyword(&mut self, word: &str) -> Result<(), ParseError> {
        if self.word() == word { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    fn optional(&mut self, text: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    fn mark(&mut self, mark: char) -> Result<(), ParseError> {
        if self.skip(mark) { Ok(()) } else { Err(self.expected(&format!("`{mark}`"))) }
    }

    fn skip(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(mark);
        self.at += if found { mark.len_utf8() } else { 0 };
        found
    }

    fn peek(&mut self) -> Option<char> {
        self.space();
        self.rest().chars().next()
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// An error at the last word that was read.
    fn expected(&self, what: &str) -> ParseError {
        let before = &self.text[..self.at];
        let start = before.rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |i| i + 1);
        let line = before[..start].matches('\n').count() + 1;
        let line_start = before[..start].rfind('\n').map_or(0, |i| i + 1);
        let found = self.text[start..].split_whitespace().next().unwrap_or("the end");
        let column = before[line_start..start].chars().count() + 1;
        ParseError { line, column, message: format!("expected {what}, found `{found}`") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printing_and_parsing_are_inverse() {
        let text = "program (a0: read f32, a1: read i64, a2: write f32, a3: write f32; p0: i64, p1: bool) {
  %0: f32 elem = load a0
  %1: f32 row = reduce max %0
  %2: f32 elem = sub %0, %1
  %3: i64 elem = index 1
  %4: bool elem = isnan %2
  %5: f32 elem = load a0 [%3] if %4
  %6: f32 row = const -inf
  %7: f32 elem = select %4, %5, %6
  store a2 %7
  %9: i64 row = param p0
  %10: i32 elem = random 3 %9 %9
  %11: f32 elem = uniform %10
  %12: f32 elem = scan sum %11
  store row add a3 [%9] %1
  %14: f64 row = const 1e-300
  %15: f32 row = const nan
  %16: f32 row = extent
  %17: i64 row = const -3
  %18: i32 elem = cast %12
}
";
        let program: Program = text.parse().unwrap();
        assert_eq!(program.to_string(), text);
        assert_eq!(program.to_string().parse::<Program>().unwrap(), program);
        assert_eq!("program () {}".parse::<Program>().unwrap(), Program::default());
    }

    #[test]
    fn errors_have_a_place() {
        let place = |text: &str| text.parse::<Program>().unwrap_err().to_string();
        assert_eq!(
            place("program (a0: read f32) {\n  %0: f32 elem = lod a0\n}"),
            "line 2, column 18: expected an instruction, found `lod`"
        );
        assert_eq!(
            place("program (a0: read f33) {}"),
            "line 1, column 19: expected an element type, found `f33)`"
        );
        assert_eq!(
            place("program () {\n  %1: f32 row = extent\n}"),
            "line 2, column 3: expected %0, found `%1:`"
        );
        assert_eq!(place("program () {"), "line 1, column 13: expected `store`, found `the end`");
    }
}
