//! From the typed tree to a graph: every call of the program's own functions is part of its caller, a variable is the value
//! that was last given to it, `if` and `while` carry the variables that they assign.
//!
//! What the host does to containers, objects and tensors in place stays in the program's order, as nodes with an effect.
//! Every value of a variable has the variable's declared type: where it is narrower, a `widen` says so.

mod expressions;
mod statements;

use super::action::{Action, Call};
use crate::exits::{self, Structured};
use crate::liveness::{Liveness, Slots};
use crate::tree::{Expr, ExprKind, Function, FunctionId, IndexPart, Program, Slot, Stmt, StmtKind, Target};
use crate::types::Type;
use graph::build::Builder;
use graph::host;
use graph::ir::{Graph, InputRole, NodeKind, Operand, Type as IrType, ValueId};
use runtime::error::{Error, Origin, Result};
use runtime::origin::{self, SourceId};
use runtime::{Host as Constant, Scalar};
use std::sync::Arc;

/// Most calls of functions within each other: every one is copied into its caller.
const DEEPEST: usize = 64;

/// Most nodes of a graph.
const LARGEST: usize = 200_000;

/// A function as a graph whose inputs are its parameters and whose only result is what it returns.
pub(super) fn lower(program: &Program, function: FunctionId) -> Result<Graph> {
    let found = function_of(program, function)?;
    let mut lowering = Lowering {
        program,
        builder: Builder::new(found.name.to_string()),
        frames: Vec::new(),
        ordered: ordered(program),
        place: program.source.id(),
    };
    let _kept = origin::keep();
    let structured = exits::structured(found);
    let mut frame = Frame::new(&structured.function);
    for (i, parameter) in structured.function.parameters.iter().enumerate() {
        let value = lowering.builder.input(ir_type(&parameter.ty), InputRole::Argument, &parameter.name);
        frame.variables[i] = Some(value);
    }
    lowering.frames.push(frame);
    let result = lowering.body(&structured)?;
    Ok(lowering.builder.finish(vec![result], Vec::new()))
}

fn function_of(program: &Program, id: FunctionId) -> Result<&Function> {
    let found = program.functions.get(id.0 as usize);
    found.ok_or_else(|| Error::internal(format!("the program has no function {}", id.0)))
}

/// What a type of the program is in a graph.
pub(super) fn ir_type(ty: &Type) -> IrType {
    match ty {
        Type::Tensor => IrType::AnyTensor,
        Type::Int => IrType::Int,
        Type::Float => IrType::Float,
        Type::Bool => IrType::Bool,
        Type::Str => IrType::Str,
        Type::None | Type::Never | Type::Unknown => IrType::None,
        Type::Number => IrType::Object("number".into()),
        Type::DType => IrType::Object("dtype".into()),
        Type::Device => IrType::Object("device".into()),
        Type::List(of) => IrType::List(Box::new(ir_type(of))),
        Type::Tuple(of) | Type::Named(_, of) => IrType::Tuple(of.iter().map(ir_type).collect()),
        Type::Dict(of) => IrType::Dict(Box::new(ir_type(&of.0)), Box::new(ir_type(&of.1))),
        Type::Optional(of) => IrType::Optional(Box::new(ir_type(of))),
        Type::Object(_, name) => IrType::Object(name.clone()),
        Type::Iterator(_) => IrType::Object("iterator".into()),
    }
}

/// A function that is being lowered into its caller.
struct Frame {
    /// Declared types of its variables.
    types: Vec<IrType>,
    /// Their values now.
    variables: Vec<Option<ValueId>>,
    /// Whether the place is reached.
    reached: bool,
    /// What it returns.
    result: Option<ValueId>,
    /// Which variables are read after a statement.
    liveness: Liveness,
}

impl Frame {
    fn new(function: &Function) -> Frame {
        let types: Vec<IrType> = function.slots.iter().map(|s| ir_type(&s.ty)).collect();
        let liveness = Liveness::of(&function.body, Slots::new());
        Frame { variables: vec![None; types.len()], types, reached: true, result: None, liveness }
    }
}

struct Lowering<'p> {
    program: &'p Program,
    builder: Builder,
    frames: Vec<Frame>,
    /// Whether what is computed depends on where it stands: the program writes to tensors in place, or switches gradients
    /// on or off.
    ordered: bool,
    place: SourceId,
}

impl Lowering<'_> {
    fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("invariant: a frame is open while nodes are added")
    }

    /// Statements of a function whose parameters have values; the value that it returns.
    fn body(&mut self, structured: &Structured) -> Result<ValueId> {
        let function = &structured.function;
        self.block(&function.body, structured)?;
        let returns = ir_type(&function.returns);
        let (result, reached) = (self.frame().result, self.frame().reached);
        match result {
            Some(value) => Ok(self.widened(value, &returns)),
            None if reached => {
                let none = self.literal(Constant::None);
                Ok(self.widened(none, &returns))
            }
            None => Ok(self.never(&[returns])[0]),
        }
    }

    /// A call of a function of the program, which becomes part of its caller.
    fn call(&mut self, id: FunctionId, args: Vec<ValueId>) -> Result<ValueId> {
        let program = self.program;
        let function = function_of(program, id)?;
        if self.frames.len() >= DEEPEST {
            let what =
                format!("'{}' calls itself, or calls are nested more than {DEEPEST} deep", function.name);
            return Err(Error::value(what).hint("a scripted function is part of its caller; use a loop"));
        }
        let structured = exits::structured(function);
        let mut frame = Frame::new(&structured.function);
        let given = args.len();
        for (i, value) in args.into_iter().enumerate() {
            let ty = frame.types[i].clone();
            frame.variables[i] = Some(self.widened(value, &ty));
        }
        for (i, parameter) in structured.function.parameters.iter().enumerate().skip(given) {
            let default = parameter.default.as_ref();
            let default = default.ok_or_else(|| {
                Error::value(format!("{}() is missing its argument '{}'", function.name, parameter.name))
            })?;
            let value = self.value(default)?;
            let ty = frame.types[i].clone();
            frame.variables[i] = Some(self.widened(value, &ty));
        }
        self.frames.push(frame);
        let result = self.body(&structured);
        self.frames.pop();
        result
    }

    /// A node of an action.
    fn node(&mut self, action: Action, operands: Vec<Operand>, types: &[IrType]) -> Vec<ValueId> {
        self.made(Call::new(action, self.ordered), operands, types)
    }

    fn made(&mut self, call: Arc<Call>, operands: Vec<Operand>, types: &[IrType]) -> Vec<ValueId> {
        let node =
            self.builder.node(NodeKind::Host(call), operands, Vec::new(), types, Some(Origin::caller()));
        self.builder.outputs(node).to_vec()
    }

    /// A node with one output.
    fn one(&mut self, action: Action, operands: Vec<Operand>, ty: IrType) -> ValueId {
        self.node(action, operands, &[ty])[0]
    }

    /// A node for its effect.
    fn effect(&mut self, action: Action, operands: Vec<Operand>) {
        self.node(action, operands, &[]);
    }

    /// A constant as a value.
    fn literal(&mut self, constant: Constant) -> ValueId {
        let ty = match &constant {
            // `type_of` says text, which a dtype is not to a program.
            Constant::DType(_) => IrType::Object("dtype".into()),
            other => host::type_of(other),
        };
        if let Constant::DType(_) = &constant {
            return self.one(Action::Widen(ty.clone()), vec![Operand::Host(constant)], ty);
        }
        let literal = host::find("host.literal").expect("invariant: the table has literals");
        let kind = NodeKind::HostOp(literal);
        let node =
            self.builder.node(kind, vec![Operand::Host(constant)], Vec::new(), &[ty], Some(Origin::caller()));
        self.builder.outputs(node)[0]
    }

    fn int(&mut self, value: i64) -> ValueId {
        self.literal(Constant::Scalar(Scalar::Int(value)))
    }

    fn truth(&mut self, value: bool) -> ValueId {
        self.literal(Constant::Scalar(Scalar::Bool(value)))
    }

    fn ty(&self, value: ValueId) -> IrType {
        self.builder.graph().ty(value).clone()
    }

    /// The value as one of this type.
    fn widened(&mut self, value: ValueId, ty: &IrType) -> ValueId {
        match self.ty(value) == *ty {
            true => value,
            false => self.one(Action::Widen(ty.clone()), vec![Operand::Value(value)], ty.clone()),
        }
    }

    /// Values of a place that is not reached.
    fn never(&mut self, types: &[IrType]) -> Vec<ValueId> {
        self.node(Action::Never, Vec::new(), types)
    }

    fn set(&mut self, slot: Slot, value: ValueId) {
        let at = slot.0 as usize;
        let ty = self.frame().types[at].clone();
        let value = self.widened(value, &ty);
        self.frame().variables[at] = Some(value);
    }

    fn at(&self, span: crate::syntax::Span) {
        origin::at(self.place, span.start);
    }

    /// What a variable without a value has.
    fn none(&mut self, slot: Slot) -> ValueId {
        let none = self.literal(Constant::None);
        let ty = self.frame().types[slot.0 as usize].clone();
        self.widened(none, &ty)
    }

    /// Two blocks, of which a condition chooses one, and what the variables that they assign and that are read later are
    /// afterwards. Each block gives a value too, where `ty` says its type.
    fn branch(
        &mut self,
        condition: ValueId,
        assigned: &[Slot],
        ty: Option<&IrType>,
        sides: [&mut dyn FnMut(&mut Self) -> Result<Option<ValueId>>; 2],
    ) -> Result<Option<ValueId>> {
        if self.builder.graph().node_count() > LARGEST {
            return Err(Error::value(format!("the function is more than {LARGEST} nodes as a graph")));
        }
        let origin = Origin::caller();
        let (before, result) = (self.frame().variables.clone(), self.frame().result);
        let mut ends = Vec::new();
        for side in sides {
            let block = self.builder.begin(&[]);
            self.frame().variables.clone_from(&before);
            self.frame().reached = true;
            self.frame().result = result;
            let given = side(self)?;
            let frame = self.frame();
            let (reached, variables) = (frame.reached, frame.variables.clone());
            ends.push((block, given, reached, variables));
            // The block stays open until the results are known, which needs the other side's variables only by name.
            let known: Vec<Slot> = assigned.to_vec();
            let last = ends.len() - 1;
            if !reached {
                let types: Vec<IrType> =
                    known.iter().map(|s| self.frame().types[s.0 as usize].clone()).collect();
                let made = self.never(&types);
                for (slot, value) in known.iter().zip(made) {
                    ends[last].3[slot.0 as usize] = Some(value);
                }
                if let Some(ty) = ty {
                    ends[last].1 = Some(self.never(std::slice::from_ref(ty))[0]);
                }
            } else if let (Some(ty), Some(value)) = (ty, given) {
                ends[last].1 = Some(self.widened(value, ty));
            }
            self.builder.end(Vec::new());
        }
        let defined = |slot: &&Slot| ends.iter().any(|(_, _, _, v)| v[slot.0 as usize].is_some());
        let carried: Vec<Slot> = assigned.iter().filter(defined).copied().collect();
        // Where one side alone gives a variable its first value, whoever reads it knows that it has one.
        for &slot in &carried {
            if ends.iter().any(|(_, _, _, v)| v[slot.0 as usize].is_none()) {
                let none = self.none(slot);
                ends.iter_mut().for_each(|(_, _, _, v)| {
                    v[slot.0 as usize].get_or_insert(none);
                });
            }
        }
        let mut blocks = Vec::new();
        for (block, given, _, variables) in &ends {
            let mut results: Vec<ValueId> = carried.iter().filter_map(|s| variables[s.0 as usize]).collect();
            results.extend(ty.and(*given));
            self.builder.set_results(*block, results);
            blocks.push(*block);
        }
        let mut types: Vec<IrType> =
            carried.iter().map(|s| self.frames[self.frames.len() - 1].types[s.0 as usize].clone()).collect();
        types.extend(ty.cloned());
        let node =
            self.builder.node(NodeKind::If, vec![Operand::Value(condition)], blocks, &types, Some(origin));
        let outputs = self.builder.outputs(node).to_vec();
        let reached = ends.iter().any(|e| e.2);
        let frame = self.frame();
        frame.variables = before;
        for slot in assigned {
            frame.variables[slot.0 as usize] = None;
        }
        for (slot, &value) in carried.iter().zip(&outputs) {
            frame.variables[slot.0 as usize] = Some(value);
        }
        frame.reached = reached;
        Ok(ty.and(outputs.last().copied()))
    }

    /// A loop: `condition` and `body` see the variables that turns hand on, of those that they assign, and as many further
    /// values as `extra`, which `body` gives anew. The variables are those of the last turn afterwards, where `after` reads
    /// them.
    fn repeat(
        &mut self,
        assigned: &[Slot],
        after: &Slots,
        extra: Vec<ValueId>,
        condition: &mut dyn FnMut(&mut Self, &[ValueId]) -> Result<ValueId>,
        body: &mut dyn FnMut(&mut Self, &[ValueId]) -> Result<Vec<ValueId>>,
    ) -> Result<()> {
        let origin = Origin::caller();
        // A variable that first gets a value inside and is read behind the loop: whoever reads it knows that it has one.
        for &slot in assigned {
            let at = slot.0 as usize;
            if self.frame().variables[at].is_none() && after.contains(&slot) {
                let none = self.none(slot);
                self.frame().variables[at] = Some(none);
            }
        }
        let before = self.frame().variables.clone();
        let carried: Vec<Slot> =
            assigned.iter().filter(|s| before[s.0 as usize].is_some()).copied().collect();
        let mut operands: Vec<ValueId> = carried.iter().filter_map(|s| before[s.0 as usize]).collect();
        let own = extra.len();
        operands.extend(extra);
        let types: Vec<IrType> = operands.iter().map(|&v| self.ty(v)).collect();
        let mut blocks = Vec::new();
        for part in 0..2 {
            let block = self.builder.begin(&types);
            let params = self.builder.graph().block(block).params.clone();
            let (values, further) = params.split_at(params.len() - own);
            for (slot, &value) in carried.iter().zip(values) {
                self.frame().variables[slot.0 as usize] = Some(value);
            }
            let results = match part {
                0 => vec![condition(self, further)?],
                _ => {
                    let further = body(self, further)?;
                    let frame = self.frame();
                    let mut results: Vec<ValueId> =
                        carried.iter().filter_map(|s| frame.variables[s.0 as usize]).collect();
                    if !frame.reached {
                        frame.reached = true;
                    }
                    results.extend(further);
                    results
                }
            };
            blocks.push(self.builder.end(results));
            self.frame().variables.clone_from(&before);
        }
        let operands = operands.into_iter().map(Operand::Value).collect();
        let node = self.builder.node(NodeKind::While, operands, blocks, &types, Some(origin));
        let outputs = self.builder.outputs(node).to_vec();
        let frame = self.frame();
        for (slot, &value) in carried.iter().zip(&outputs) {
            frame.variables[slot.0 as usize] = Some(value);
        }
        Ok(())
    }
}

/// Whether any function of the program writes to a tensor in place or switches gradients on or off.
fn ordered(program: &Program) -> bool {
    let mut found = false;
    for function in &program.functions {
        visit_statements(&function.body, &mut |visited| {
            found |= match visited {
                Visited::Statement(stmt) => {
                    matches!(
                        &stmt.kind,
                        StmtKind::Assign { target: Target::Elements { .. }, .. }
                            | StmtKind::Augmented {
                                target: Target::Elements { .. } | Target::Grad { .. },
                                ..
                            }
                            | StmtKind::Grad { .. }
                    ) || matches!(&stmt.kind, StmtKind::Augmented { value, .. } if value.ty == Type::Tensor)
                }
                Visited::Expression(e) => match &e.kind {
                    ExprKind::Torch { call, args, returns } => {
                        let action = Action::Torch { call: call.clone(), given: 0, returns: returns.clone() };
                        let known = |name: &str| expressions::known(call, args, name);
                        action.writes() || (action.trains() && !action.is_still(&known))
                    }
                    ExprKind::Builtin(builtin, _) => Action::Builtin(builtin).writes(),
                    _ => false,
                },
                Visited::Target(_) => false,
            };
        });
    }
    found
}

/// The variables that statements assign, each once, in order.
fn assigned(body: &[Stmt]) -> Vec<Slot> {
    let mut slots = Vec::new();
    visit_statements(body, &mut |visited| note(visited, &mut slots));
    slots
}

/// The variables that an expression assigns for itself.
fn assigned_in(e: &Expr) -> Vec<Slot> {
    let mut slots = Vec::new();
    visit_expression(e, &mut |visited| note(visited, &mut slots));
    slots
}

fn note(visited: Visited, slots: &mut Vec<Slot>) {
    let slot = match visited {
        Visited::Target(Target::Slot(slot)) => *slot,
        Visited::Expression(Expr { kind: ExprKind::Keep { slot, .. }, .. }) => *slot,
        _ => return,
    };
    if !slots.contains(&slot) {
        slots.push(slot);
    }
}

/// A part of a function's tree.
enum Visited<'a> {
    Statement(&'a Stmt),
    Expression(&'a Expr),
    Target(&'a Target),
}

fn visit_statements<'a>(body: &'a [Stmt], see: &mut dyn FnMut(Visited<'a>)) {
    for stmt in body {
        see(Visited::Statement(stmt));
        match &stmt.kind {
            StmtKind::Expr(e) => visit_expression(e, see),
            StmtKind::Assign { target, value } | StmtKind::Augmented { target, value, .. } => {
                visit_target(target, see);
                visit_expression(value, see);
            }
            StmtKind::If { test, then, otherwise } => {
                visit_expression(test, see);
                visit_statements(then, see);
                visit_statements(otherwise, see);
            }
            StmtKind::While { test, body } => {
                visit_expression(test, see);
                visit_statements(body, see);
            }
            StmtKind::For { target, iterable, body } => {
                visit_target(target, see);
                visit_expression(iterable, see);
                visit_statements(body, see);
            }
            StmtKind::Grad { body, .. } => visit_statements(body, see),
            StmtKind::Return(e) => e.iter().for_each(|e| visit_expression(e, see)),
            StmtKind::Break | StmtKind::Continue => {}
            StmtKind::Assert { test, message } => {
                visit_expression(test, see);
                message.iter().for_each(|e| visit_expression(e, see));
            }
            StmtKind::Raise { message, .. } => message.iter().for_each(|e| visit_expression(e, see)),
            StmtKind::Delete { container, key } => {
                visit_expression(container, see);
                visit_expression(key, see);
            }
        }
    }
}

fn visit_target<'a>(target: &'a Target, see: &mut dyn FnMut(Visited<'a>)) {
    see(Visited::Target(target));
    match target {
        Target::Slot(_) => {}
        Target::Field { object: e, .. } | Target::Grad { tensor: e } => visit_expression(e, see),
        Target::Item { container, key } => {
            visit_expression(container, see);
            visit_expression(key, see);
        }
        Target::Elements { tensor, index } => {
            visit_expression(tensor, see);
            index.iter().for_each(|part| visit_part(part, see));
        }
        Target::Unpack(targets) => targets.iter().for_each(|t| visit_target(t, see)),
    }
}

fn visit_part<'a>(part: &'a IndexPart, see: &mut dyn FnMut(Visited<'a>)) {
    match part {
        IndexPart::Int(e) | IndexPart::Tensor(e) | IndexPart::List(e) => visit_expression(e, see),
        IndexPart::Slice { start, stop, step } => {
            [start, stop, step].into_iter().flatten().for_each(|e| visit_expression(e, see));
        }
        IndexPart::New | IndexPart::Ellipsis => {}
    }
}

fn visit_expression<'a>(e: &'a Expr, see: &mut dyn FnMut(Visited<'a>)) {
    see(Visited::Expression(e));
    let mut all = |list: &mut dyn Iterator<Item = &'a Expr>| list.for_each(|e| visit_expression(e, see));
    match &e.kind {
        ExprKind::Constant(_) | ExprKind::Load(_) | ExprKind::Global(_) => {}
        ExprKind::Field { object: inner, .. }
        | ExprKind::Convert(_, inner)
        | ExprKind::Negate(inner)
        | ExprKind::Not(inner)
        | ExprKind::Keep { value: inner, .. } => all(&mut [&**inner].into_iter()),
        ExprKind::List(list) | ExprKind::Tuple(list) => all(&mut list.iter()),
        ExprKind::Builtin(_, list) | ExprKind::Call(_, list) | ExprKind::New(_, list) => {
            all(&mut list.iter())
        }
        ExprKind::Dict(entries) => all(&mut entries.iter().flat_map(|(k, v)| [k, v])),
        ExprKind::ListComp { element, target, iterable, test } => {
            all(&mut [&**element, &**iterable].into_iter().chain(test.as_deref()));
            visit_target(target, see);
        }
        ExprKind::Arithmetic(_, _, a, b) | ExprKind::Compare(_, a, b) => all(&mut [&**a, &**b].into_iter()),
        ExprKind::Logical { left, right, .. } => all(&mut [&**left, &**right].into_iter()),
        ExprKind::Conditional { test, then, otherwise } => {
            all(&mut [&**test, &**then, &**otherwise].into_iter());
        }
        ExprKind::Torch { args, .. } => all(&mut args.iter().flatten()),
        ExprKind::Index { tensor, index } => {
            all(&mut [&**tensor].into_iter());
            index.iter().for_each(|part| visit_part(part, see));
        }
        ExprKind::Item { container, key } => all(&mut [&**container, &**key].into_iter()),
        ExprKind::Slice { container, part } => {
            all(&mut [&**container].into_iter());
            visit_part(part, see);
        }
        ExprKind::FString(pieces) => {
            let values = pieces.iter().filter_map(|p| match p {
                crate::tree::Piece::Value(e, ..) => Some(e),
                crate::tree::Piece::Text(_) => None,
            });
            all(&mut { values });
        }
    }
}

/// The action's text pieces and the expressions between them.
fn pieces(pieces: &[crate::tree::Piece]) -> (Arc<[super::action::Piece]>, Vec<&Expr>) {
    let mut values = Vec::new();
    let made = pieces.iter().map(|piece| match piece {
        crate::tree::Piece::Text(text) => super::action::Piece::Text(text.clone()),
        crate::tree::Piece::Value(e, conversion, spec) => {
            values.push(e);
            super::action::Piece::Value(*conversion, spec.clone())
        }
    });
    (made.collect(), values)
}
