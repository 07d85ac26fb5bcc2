//! Damaged programs: the parser ends, does not panic, and every place lies within the text.

mod random;

use random::Random;
use script::diagnostics::{SourceFile, render};
use script::parse::parse;
use script::syntax::*;

const PROGRAMS: [&str; 3] = [
    include_str!("programs/layers.py"),
    include_str!("programs/control.py"),
    include_str!("programs/beyond.py"),
];

/// A few bytes of a text.
fn range(random: &mut Random, text: &[u8]) -> (usize, usize) {
    let start = random.below(text.len());
    (start, (start + 1 + random.below(8)).min(text.len()))
}

/// Bytes that mean most to a lexer.
const TOKENS: [&str; 40] = [
    "(", ")", "[", "]", "{", "}", ":", "=", "\"", "'", "\"\"\"", "f'", "f\"{", "!r", "\\", "\n", "\r\n",
    "\t", "    ", "#", ".", "**", "->", ":=", "lambda ", "if ", " else ", "for ", " in ", "def ", "class ",
    "try:", "@", "async ", "yield ", "0x", "1e", "é", "\u{feff}", "not ",
];

/// The pieces of a text: words, numbers, and single characters.
fn pieces(text: &str) -> Vec<&str> {
    text.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_').collect()
}

fn mutate(text: &str, random: &mut Random) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let (start, end) = range(random, &bytes);
        match random.below(9) {
            0 => {
                bytes.drain(start..end);
            }
            1 => {
                let part = bytes[start..end].to_vec();
                let at = random.below(bytes.len());
                bytes.splice(at..at, part);
            }
            2 => {
                let other = random.below(bytes.len());
                bytes.swap(start, other);
            }
            3 => bytes[start] = random.below(256) as u8,
            4 => {
                let token = TOKENS[random.below(TOKENS.len())];
                bytes.splice(start..start, token.bytes());
            }
            5 => bytes.truncate(start),
            6 | 7 => {
                // Lines or words are deleted, doubled or exchanged.
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let mut parts: Vec<&str> =
                    if random.below(2) == 0 { text.split_inclusive('\n').collect() } else { pieces(&text) };
                let (a, b) = (random.below(parts.len()), random.below(parts.len()));
                match random.below(3) {
                    0 => {
                        parts.remove(a);
                    }
                    1 => parts.insert(b, parts[a]),
                    _ => parts.swap(a, b),
                }
                bytes = parts.concat().into_bytes();
            }
            _ => {
                let noise: Vec<u8> = (0..random.below(6)).map(|_| random.below(256) as u8).collect();
                bytes.splice(start..end, noise);
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Every place of a tree.
struct Places(Vec<Span>);

impl Places {
    fn module(module: &Module) -> Vec<Span> {
        let mut places = Places(Vec::new());
        places.0.extend(module.imports.iter().map(|i| i.name.span));
        for constant in &module.constants {
            places.0.push(constant.name.span);
            places.maybe(constant.annotation.as_ref());
            places.expr(&constant.value);
        }
        module.functions.iter().for_each(|f| places.function(f));
        for class in &module.classes {
            places.0.extend([class.name.span, class.span]);
            class.bases.iter().chain(&class.decorators).for_each(|e| places.expr(e));
            for field in &class.fields {
                places.0.push(field.name.span);
                places.maybe(field.annotation.as_ref());
                places.maybe(field.value.as_ref());
            }
            class.methods.iter().for_each(|f| places.function(f));
        }
        places.0
    }

    fn function(&mut self, function: &Function) {
        self.0.extend([function.name.span, function.span]);
        for parameter in &function.parameters {
            self.0.push(parameter.name.span);
            self.maybe(parameter.annotation.as_ref());
            self.maybe(parameter.default.as_ref());
        }
        self.maybe(function.returns.as_ref());
        function.decorators.iter().for_each(|e| self.expr(e));
        self.block(&function.body);
    }

    fn maybe(&mut self, expr: Option<&Expr>) {
        expr.into_iter().for_each(|e| self.expr(e));
    }

    fn block(&mut self, statements: &[Stmt]) {
        statements.iter().for_each(|s| self.statement(s));
    }

    fn statement(&mut self, statement: &Stmt) {
        self.0.push(statement.span);
        match &statement.kind {
            StmtKind::Expr(e) | StmtKind::Raise(e) => self.expr(e),
            StmtKind::Assign { targets, value } => targets.iter().chain([value]).for_each(|e| self.expr(e)),
            StmtKind::Annotated { target, annotation, value } => {
                self.expr(target);
                self.expr(annotation);
                self.maybe(value.as_ref());
            }
            StmtKind::Augmented { target, op: _, value } => {
                [target, value].into_iter().for_each(|e| self.expr(e))
            }
            StmtKind::If { test, then, otherwise } => {
                self.expr(test);
                self.block(then);
                self.block(otherwise);
            }
            StmtKind::While { test, body } => {
                self.expr(test);
                self.block(body);
            }
            StmtKind::For { target, iterable, body } => {
                self.expr(target);
                self.expr(iterable);
                self.block(body);
            }
            StmtKind::With { items, body } => {
                for (context, name) in items {
                    self.expr(context);
                    self.maybe(name.as_ref());
                }
                self.block(body);
            }
            StmtKind::Return(value) => self.maybe(value.as_ref()),
            StmtKind::Break | StmtKind::Continue | StmtKind::Pass | StmtKind::Broken(_) => {}
            StmtKind::Assert { test, message } => {
                self.expr(test);
                self.maybe(message.as_ref());
            }
            StmtKind::Delete { targets } => targets.iter().for_each(|e| self.expr(e)),
        }
    }

    fn expr(&mut self, expr: &Expr) {
        self.0.push(expr.span);
        match &expr.kind {
            ExprKind::Name(_)
            | ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Str(_)
            | ExprKind::Bool(_)
            | ExprKind::None
            | ExprKind::Ellipsis
            | ExprKind::Missing => {}
            ExprKind::FString(parts) => {
                for part in parts {
                    if let FPart::Value { value, .. } = part {
                        self.expr(value);
                    }
                }
            }
            ExprKind::List(items) | ExprKind::Tuple(items) => items.iter().for_each(|e| self.expr(e)),
            ExprKind::Dict(items) => items.iter().flat_map(|(k, v)| [k, v]).for_each(|e| self.expr(e)),
            ExprKind::ListComp { element, target, iterable, test } => {
                [element, target, iterable].into_iter().chain(test).for_each(|e| self.expr(e));
            }
            ExprKind::Unary(_, e) | ExprKind::Starred(e) => self.expr(e),
            ExprKind::Binary(_, left, right) | ExprKind::Logical { and: _, left, right } => {
                [left, right].into_iter().for_each(|e| self.expr(e));
            }
            ExprKind::Compare { first, rest } => {
                self.expr(first);
                rest.iter().for_each(|(_, e)| self.expr(e));
            }
            ExprKind::Conditional { test, then, otherwise } => {
                [test, then, otherwise].into_iter().for_each(|e| self.expr(e));
            }
            ExprKind::Call { callee, args, kwargs } => {
                self.expr(callee);
                args.iter().for_each(|e| self.expr(e));
                for (name, value) in kwargs {
                    self.0.push(name.span);
                    self.expr(value);
                }
            }
            ExprKind::Attribute { value, name } => {
                self.0.push(name.span);
                self.expr(value);
            }
            ExprKind::Subscript { value, index } => [value, index].into_iter().for_each(|e| self.expr(e)),
            ExprKind::Slice { start, stop, step } => {
                [start, stop, step].into_iter().flatten().for_each(|e| self.expr(e));
            }
        }
    }
}

fn check(text: &str) {
    let (module, diagnostics) = parse(text);
    let mut spans = Places::module(&module);
    for d in &diagnostics {
        spans.push(d.span);
        spans.extend(d.related.iter().map(|(span, _)| *span));
    }
    for span in spans {
        assert!(
            span.start <= span.end && text.get(span.start as usize..span.end as usize).is_some(),
            "{span:?} of {} bytes\n{text}",
            text.len()
        );
    }
}

#[test]
fn whole_programs_are_read() {
    for program in &PROGRAMS[..2] {
        let (_, diagnostics) = parse(program);
        let source = SourceFile::new("program.py", *program);
        assert!(diagnostics.is_empty(), "{}", render(&source, &diagnostics, false));
    }
}

#[test]
fn damaged_programs() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..50_000 {
        let text = mutate(PROGRAMS[round % PROGRAMS.len()], &mut random);
        check(&text);
        if round % 500 == 0 {
            let source = SourceFile::new("program.py", text.as_str());
            render(&source, &parse(&text).1, false);
        }
    }
}

#[test]
fn noise() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for round in 0..20_000 {
        let text = if round % 2 == 0 {
            let bytes: Vec<u8> = (0..random.below(200)).map(|_| random.below(256) as u8).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            (0..random.below(60)).map(|_| TOKENS[random.below(TOKENS.len())]).collect()
        };
        check(&text);
    }
}

#[test]
fn every_beginning_of_a_program() {
    for program in PROGRAMS {
        for end in (0..program.len()).filter(|&end| program.is_char_boundary(end)) {
            check(&program[..end]);
        }
    }
}
