//! One function while it is checked: its variables, what is known where, and what it returns.

use super::expressions::{constant_path, literal};
use super::flow::{Defined, State};
use super::{Checker, Top};
use crate::diagnostics::{Diagnostic, Kind};
use crate::syntax::{self, Span};
use crate::tree::{
    ClassId, Constant, Expr, ExprKind, Function, FunctionId, Local, Parameter, Slot, Stmt, StmtKind, Target,
};
use crate::types::Type;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Where ways leave a loop.
#[derive(Default)]
pub(super) struct Loop {
    pub(super) breaks: Vec<State>,
    pub(super) continues: Vec<State>,
}

/// A variable's name: its slot, the block that made it, and where.
#[derive(Clone, Copy)]
struct Variable {
    slot: Slot,
    block: u32,
    made: Span,
}

pub(super) struct Body<'c, 'm> {
    pub(super) c: &'c mut Checker<'m>,
    /// The function, none for constants of the module.
    pub(super) function: Option<FunctionId>,
    slots: Vec<Local>,
    names: HashMap<Rc<str>, Variable>,
    pub(super) state: State,
    pub(super) block: u32,
    blocks: u32,
    pub(super) loops: Vec<Loop>,
    /// What `->` says.
    pub(super) wanted: Option<Type>,
    /// What `return`s gave, if nothing is said.
    pub(super) returned: Option<Type>,
    /// Whether something in it could not be read.
    broken: bool,
    /// The last operand of a test that was no bool.
    pub(super) loose: Option<(Span, Type)>,
}

impl<'c, 'm> Body<'c, 'm> {
    pub(super) fn new(c: &'c mut Checker<'m>, function: Option<FunctionId>, wanted: Option<Type>) -> Self {
        Body {
            c,
            function,
            slots: Vec::new(),
            names: HashMap::new(),
            state: State::new(),
            block: 0,
            blocks: 0,
            loops: Vec::new(),
            wanted,
            returned: None,
            broken: false,
            loose: None,
        }
    }

    /// Checks a function.
    pub(super) fn function(c: &'c mut Checker<'m>, id: FunctionId) -> Function {
        let declared = &c.functions[id.0 as usize];
        let (syntax, class, types) = (declared.syntax, declared.class, declared.parameters.clone());
        let wanted = declared.returns.clone();
        let mut body = Body::new(c, Some(id), wanted.clone());
        for (i, (_, ty)) in types.iter().enumerate() {
            let (name, span) = match syntax.parameters.get(i) {
                Some(p) => (p.name.text.clone(), p.name.span),
                None => ("self".into(), syntax.name.span),
            };
            let slot = body.slot(&name, ty.clone());
            body.names.insert(name, Variable { slot, block: 0, made: span });
            body.state.set(slot, ty.clone());
        }
        let mut parameters = Vec::new();
        for (i, (name, ty)) in types.iter().enumerate() {
            let default = syntax.parameters.get(i).and_then(|p| p.default.as_ref());
            let default = default.map(|e| Body::new(body.c, None, None).expr_as(e, ty, "this default"));
            parameters.push(Parameter { name: name.clone(), ty: ty.clone(), default });
        }
        let no_grad =
            syntax.decorators.iter().any(|d| body.c.decorator(d).as_deref() == Some("torch.no_grad"));
        let mut statements = body.block(&syntax.body);
        if let (Some(class), "__init__") = (class, &*syntax.name.text) {
            statements.splice(0..0, body.defaults(class));
        }
        if body.state.reached && !body.broken {
            body.returns_nothing(syntax);
        }
        let nothing = if body.broken { Type::Unknown } else { Type::None };
        let returns = wanted.or(body.returned.take()).unwrap_or(nothing);
        let name: Arc<str> = match class {
            Some(class) => format!("{}.{}", body.c.classes[class.0 as usize].name, syntax.name.text).into(),
            None => (&*syntax.name.text).into(),
        };
        let statements = match no_grad {
            true => {
                let kind = StmtKind::Grad { enabled: false, body: statements };
                vec![Stmt { kind, span: syntax.span }]
            }
            false => statements,
        };
        Function { name, parameters, returns, slots: body.slots, body: statements, span: syntax.span }
    }

    /// What gives an object the values that the class declares for its attributes, at the beginning of `__init__`.
    fn defaults(&mut self, id: ClassId) -> Vec<Stmt> {
        let class = &mut self.c.classes[id.0 as usize];
        let ty = Type::Object(id, class.name.clone());
        let given = class.defaults.iter_mut().enumerate().filter_map(|(i, d)| Some((i as u32, d.take()?)));
        let assigned = given.map(|(field, value)| {
            let span = value.span;
            let object = Expr { kind: ExprKind::Load(Slot(0)), ty: ty.clone(), span };
            Stmt { kind: StmtKind::Assign { target: Target::Field { object, field }, value }, span }
        });
        assigned.collect()
    }

    /// The end of a function is reached without a `return`.
    fn returns_nothing(&mut self, syntax: &syntax::Function) {
        let known = self.wanted.clone().or_else(|| self.returned.clone());
        match known {
            None => self.returned = Some(Type::None),
            Some(ty) if Type::None.fits(&ty) => {}
            Some(ty) => {
                let what = format!("'{}' returns {ty}, but not on every way", syntax.name.text);
                let d = Diagnostic::new(Kind::Type, syntax.name.span, what).label("its end can be reached");
                self.c.report(d.hint("end every way with 'return' or 'raise'"));
            }
        }
    }

    fn slot(&mut self, name: &str, ty: Type) -> Slot {
        self.slots.push(Local { name: name.into(), ty });
        Slot(self.slots.len() as u32 - 1)
    }

    /// A variable without a name.
    pub(super) fn temporary(&mut self, ty: Type) -> Slot {
        let slot = self.slot("", ty.clone());
        self.state.set(slot, ty);
        slot
    }

    /// A variable's own type.
    pub(super) fn declared(&self, slot: Slot) -> Type {
        self.slots[slot.0 as usize].ty.clone()
    }

    /// The slot of a local variable.
    pub(super) fn local(&self, name: &str) -> Option<Slot> {
        self.names.get(name).map(|v| v.slot)
    }

    /// Runs `check` within a block of its own.
    pub(super) fn within<R>(&mut self, check: impl FnOnce(&mut Self) -> R) -> R {
        self.blocks += 1;
        let outer = std::mem::replace(&mut self.block, self.blocks);
        let result = check(self);
        self.block = outer;
        result
    }

    /// What is known where two ways meet.
    pub(super) fn meet(&self, a: State, b: State) -> State {
        a.meet(b, &|slot| self.declared(slot))
    }

    /// Gives a variable a value of a type.
    pub(super) fn assign(&mut self, name: &Rc<str>, span: Span, ty: &Type, annotation: Option<Type>) -> Slot {
        let ty = settled(ty);
        if let Some(v) = self.names.get(name).copied() {
            let declared = self.declared(v.slot);
            let undefined = self.state.get(v.slot).0 == Defined::No;
            let own = v.block == self.block || undefined;
            if let Some(wanted) = &annotation
                && *wanted != declared
                && !own
            {
                let what = format!("'{name}' is {declared} and cannot become {wanted} here");
                let d = Diagnostic::new(Kind::Type, span, what);
                self.c.report(d.related(v.made, "its type is from here"));
            }
            if annotation.as_ref().is_none_or(|w| *w == declared) && ty.fits(&declared) {
                self.state.set(v.slot, ty);
                return v.slot;
            }
            if !own {
                self.changes_type(name, span, &ty, &declared, v.made);
                return v.slot;
            }
        }
        let declared = annotation.unwrap_or_else(|| ty.clone());
        let slot = self.slot(name, declared);
        self.names.insert(name.clone(), Variable { slot, block: self.block, made: span });
        self.state.set(slot, ty);
        slot
    }

    /// Names of a statement that could not be read: those of variables may have any value and type from here on.
    pub(super) fn broken(&mut self, names: &[Rc<str>], span: Span) {
        self.broken = true;
        for name in names {
            if self.c.names.get(name).is_none_or(|top| matches!(top, Top::Broken)) {
                let slot = self.slot(name, Type::Unknown);
                self.names.insert(name.clone(), Variable { slot, block: self.block, made: span });
                self.state.set(slot, Type::Unknown);
            }
        }
    }

    fn changes_type(&mut self, name: &str, span: Span, ty: &Type, declared: &Type, made: Span) {
        let what = format!("'{name}' is {declared} and cannot become {ty} here");
        let d = Diagnostic::new(Kind::Type, span, what).label(format!("this is {ty}"));
        let d = d.related(made, format!("'{name}' is {declared} from here on"));
        self.c.report(match (declared, ty) {
            (Type::None, _) => d.hint(format!("say what it may hold: '{name}: Optional[{ty}] = None'")),
            (_, Type::None) => d.hint(format!("say what it may hold: '{name}: Optional[{declared}] = ...'")),
            (Type::Int, Type::Float) => d.hint(format!("begin with a float: '{name} = 0.0'")),
            _ => d.hint("a variable that a branch or loop changes has one type; use another name"),
        });
    }

    /// Forgets what is known better of the variables that statements assign.
    pub(super) fn forget(&mut self, statements: &[syntax::Stmt]) {
        let mut names = Vec::new();
        assigned(statements, &mut names);
        for name in names {
            if let Some(v) = self.names.get(&name).copied()
                && self.state.get(v.slot).0 != Defined::No
            {
                let declared = self.declared(v.slot);
                self.state.refine(v.slot, declared);
            }
        }
    }

    /// A name in an expression.
    pub(super) fn load(&mut self, name: &Rc<str>, span: Span) -> Expr {
        let of = |kind, ty| Expr { kind, ty, span };
        if let Some(v) = self.names.get(name).copied() {
            let (defined, ty) = self.state.get(v.slot);
            if defined != Defined::Yes && self.state.reached {
                let when = if defined == Defined::Maybe { "may have no value" } else { "has no value" };
                let d = Diagnostic::new(Kind::Name, span, format!("'{name}' {when} here"));
                let d = d.related(v.made, "it gets one here, on some ways only");
                self.c.report(d.hint("give it a value before the branch or loop"));
                return of(ExprKind::Load(v.slot), Type::Unknown);
            }
            return of(ExprKind::Load(v.slot), ty);
        }
        if let Some(Top::Path(path)) = self.c.names.get(name)
            && let Some(value) = constant_path(path)
        {
            return literal(value, span);
        }
        match self.c.names.get(name) {
            Some(Top::Global(id)) => {
                let ty = self.c.globals[*id as usize].clone();
                of(ExprKind::Global(*id), ty)
            }
            Some(Top::Broken) => of(ExprKind::Constant(Constant::None), Type::Unknown),
            Some(top) => {
                let what = match top {
                    Top::Function(_) => "a function",
                    Top::Class(_) => "a class",
                    _ => "a module",
                };
                let d = Diagnostic::new(
                    Kind::Unsupported,
                    span,
                    format!("'{name}' is {what}, which is no value"),
                );
                self.c.report(d.hint("a graph holds values; call it instead"));
                of(ExprKind::Constant(Constant::None), Type::Unknown)
            }
            None => {
                let d = Diagnostic::new(Kind::Name, span, format!("nothing is called '{name}'"));
                let near = self.nearest(name);
                self.c.report(match near {
                    Some(near) => d.hint(format!("did you mean '{near}'?")),
                    None => d,
                });
                of(ExprKind::Constant(Constant::None), Type::Unknown)
            }
        }
    }

    /// A name that differs by a letter or two.
    fn nearest(&self, name: &str) -> Option<String> {
        let all = self.names.keys().chain(self.c.names.keys());
        let near = all.filter(|other| other.len() > 2).map(|other| (distance(name, other), other));
        near.filter(|(d, _)| *d <= 2).min().map(|(_, other)| other.to_string())
    }
}

/// A list literal without elements is one of tensors, as in TorchScript.
pub(crate) fn settled(ty: &Type) -> Type {
    match ty {
        Type::List(of) if **of == Type::Unknown => Type::list(Type::Tensor),
        Type::Dict(of) if of.0 == Type::Unknown => Type::dict(Type::Str, Type::Tensor),
        other => other.clone(),
    }
}

/// How many letters must change to make one word of another.
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let least = (row[j].min(row[j + 1]) + 1).min(before + usize::from(x != *y));
            before = std::mem::replace(&mut row[j + 1], least);
        }
    }
    row[b.len()]
}

/// The names that statements assign.
fn assigned(statements: &[syntax::Stmt], names: &mut Vec<Rc<str>>) {
    use syntax::StmtKind as S;
    for statement in statements {
        match &statement.kind {
            S::Assign { targets, .. } => targets.iter().for_each(|t| targets_of(t, names)),
            S::Annotated { target, .. } | S::Augmented { target, .. } => targets_of(target, names),
            S::If { then, otherwise, .. } => {
                assigned(then, names);
                assigned(otherwise, names);
            }
            S::While { body, .. } | S::With { body, .. } => assigned(body, names),
            S::For { target, body, .. } => {
                targets_of(target, names);
                assigned(body, names);
            }
            _ => {}
        }
    }
}

fn targets_of(target: &syntax::Expr, names: &mut Vec<Rc<str>>) {
    match &target.kind {
        syntax::ExprKind::Name(name) => names.push(name.clone()),
        syntax::ExprKind::Tuple(parts) | syntax::ExprKind::List(parts) => {
            parts.iter().for_each(|p| targets_of(p, names));
        }
        _ => {}
    }
}
