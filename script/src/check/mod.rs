//! From the syntax tree to the typed tree: names become slots, expressions get types, calls find what they call.
//!
//! Types are found in the order of the text. A variable's type is that of its first value or its annotation; an
//! `Optional` is known better after `is None` tests. A function is checked when it is first called, so that what it
//! returns is known; functions that nobody calls are checked at the end.

mod annotations;
mod body;
mod calls;
mod classes;
mod expressions;
mod flow;
mod indexing;
mod operators;
mod rules;
mod statements;
mod torch;

pub(crate) use body::settled;
pub(crate) use calls::{ATTRIBUTES, fitting, overloads};
pub(crate) use expressions::conversion;
pub(crate) use operators::{compare_function, function};

use crate::diagnostics::{Diagnostic, Kind, SourceFile};
use crate::syntax::{self, Module, Span};
use crate::tree::{Class, ClassId, Function, FunctionId, Global, Program};
use crate::types::Type;
use body::Body;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Checks a module; the program is there only if no diagnostic is an error.
pub fn check(source: Arc<SourceFile>, module: &Module) -> (Option<Program>, Vec<Diagnostic>) {
    let mut checker = Checker::new(module);
    checker.declare();
    checker.globals();
    for id in 0..checker.functions.len() {
        checker.function(FunctionId(id as u32), None);
    }
    let Checker { diagnostics, functions, classes, trees, .. } = checker;
    if diagnostics.iter().any(Diagnostic::is_error) {
        return (None, diagnostics);
    }
    let functions: Option<Vec<Function>> = functions.into_iter().map(|f| f.tree).collect();
    (functions.map(|functions| Program { source, functions, classes, globals: trees }), diagnostics)
}

/// A function while the program is checked.
pub(crate) struct Declared<'m> {
    syntax: &'m syntax::Function,
    class: Option<ClassId>,
    /// Name, type, default; found when it is declared.
    parameters: Vec<(Arc<str>, Type)>,
    /// What the annotation says, then what the body says.
    returns: Option<Type>,
    open: bool,
    tree: Option<Function>,
}

/// What a name at the top of the module stands for.
#[derive(Clone, Debug)]
enum Top {
    Function(FunctionId),
    Class(ClassId),
    Global(u32),
    Path(Rc<str>),
    /// Something in a part of the text that could not be read.
    Broken,
}

pub(crate) struct Checker<'m> {
    module: &'m Module,
    diagnostics: Vec<Diagnostic>,
    names: HashMap<Rc<str>, Top>,
    functions: Vec<Declared<'m>>,
    classes: Vec<Class>,
    class_syntax: Vec<&'m syntax::Class>,
    globals: Vec<Type>,
    trees: Vec<Global>,
}

impl<'m> Checker<'m> {
    fn new(module: &'m Module) -> Checker<'m> {
        Checker {
            module,
            diagnostics: Vec::new(),
            names: HashMap::new(),
            functions: Vec::new(),
            classes: Vec::new(),
            class_syntax: Vec::new(),
            globals: Vec::new(),
            trees: Vec::new(),
        }
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        // What follows from an error at the same place says nothing new.
        if !self.diagnostics.iter().any(|d| d.span == diagnostic.span && d.kind == diagnostic.kind) {
            self.diagnostics.push(diagnostic);
        }
    }

    fn error(&mut self, kind: Kind, span: Span, message: impl Into<String>) {
        self.report(Diagnostic::new(kind, span, message));
    }

    /// Gives a name at the top its meaning; a second one of the same name is an error.
    fn name(&mut self, name: &syntax::Name, top: Top) {
        let imported = matches!(self.names.get(&name.text), Some(Top::Path(_)));
        if self.names.insert(name.text.clone(), top).is_some() && !imported {
            let what = format!("'{}' is defined twice", name.text);
            self.report(Diagnostic::new(Kind::Name, name.span, what).label("the second one"));
        }
    }

    /// Declares imports, classes and functions, so that the order of their text does not matter.
    fn declare(&mut self) {
        let module = self.module;
        for import in &module.imports {
            self.names.insert(import.name.text.clone(), Top::Path(import.path.clone()));
        }
        for class in &module.classes {
            let id = ClassId(self.classes.len() as u32);
            self.name(&class.name, Top::Class(id));
            self.class_syntax.push(class);
            self.classes.push(Class {
                name: (&*class.name.text).into(),
                fields: Vec::new(),
                init: None,
                methods: Vec::new(),
                defaults: Vec::new(),
                tuple: false,
                span: class.span,
            });
        }
        for (i, class) in module.classes.iter().enumerate() {
            let id = ClassId(i as u32);
            for method in &class.methods {
                let function = self.add(method, Some(id));
                let name: Arc<str> = (&*method.name.text).into();
                if self.classes[i].methods.iter().any(|(n, _)| *n == name) {
                    let what = format!("'{}' has two methods '{name}'", class.name.text);
                    self.error(Kind::Name, method.name.span, what);
                }
                if &*name == "__init__" {
                    self.classes[i].init = Some(function);
                }
                self.classes[i].methods.push((name, function));
            }
        }
        for function in &module.functions {
            let id = self.add(function, None);
            self.name(&function.name, Top::Function(id));
        }
        for name in &module.broken {
            self.names.entry(name.clone()).or_insert(Top::Broken);
        }
        for id in 0..self.functions.len() {
            self.declare_types(id);
        }
        for id in 0..self.classes.len() {
            self.class(ClassId(id as u32));
        }
    }

    fn add(&mut self, syntax: &'m syntax::Function, class: Option<ClassId>) -> FunctionId {
        let declared =
            Declared { syntax, class, parameters: Vec::new(), returns: None, open: false, tree: None };
        self.functions.push(declared);
        FunctionId(self.functions.len() as u32 - 1)
    }

    /// The name of a decorator; `@torch.no_grad()` is `@torch.no_grad`.
    pub(super) fn decorator(&self, decorator: &syntax::Expr) -> Option<String> {
        match &decorator.kind {
            syntax::ExprKind::Call { callee, args, kwargs } if args.is_empty() && kwargs.is_empty() => {
                self.path(callee).filter(|path| path == "torch.no_grad")
            }
            _ => self.path(decorator),
        }
    }

    /// The types of a function's parameters and what it says to return.
    fn declare_types(&mut self, id: usize) {
        let (syntax, class) = (self.functions[id].syntax, self.functions[id].class);
        for decorator in &syntax.decorators {
            let known = self.decorator(decorator);
            let fine = ["torch.jit.script", "torch.jit.export", "torch.no_grad", "torch.jit.script_method"];
            if !known.as_deref().is_some_and(|p| fine.contains(&p)) {
                let d =
                    Diagnostic::new(Kind::Unsupported, decorator.span, "a decorator that changes a function");
                self.report(d.hint(
                    "only '@torch.jit.script', '@torch.jit.export' and '@torch.no_grad()' may stand here",
                ));
            }
        }
        let mut parameters = Vec::new();
        for (i, parameter) in syntax.parameters.iter().enumerate() {
            let ty = match (&parameter.annotation, class) {
                (None, Some(class)) if i == 0 => {
                    Type::Object(class, self.classes[class.0 as usize].name.clone())
                }
                (None, _) => Type::Tensor,
                (Some(annotation), _) => self.annotation(annotation),
            };
            if syntax.parameters[..i].iter().any(|p| p.name.text == parameter.name.text) {
                let what = format!("two parameters '{}'", parameter.name.text);
                self.error(Kind::Name, parameter.name.span, what);
            }
            parameters.push(((&*parameter.name.text).into(), ty));
        }
        if class.is_some() && parameters.is_empty() {
            let d = Diagnostic::new(Kind::Call, syntax.name.span, "a method without 'self'");
            self.report(d.hint("its first parameter is the object: 'def method(self, ...)'"));
            parameters.push(("self".into(), Type::Unknown));
        }
        self.functions[id].returns = syntax.returns.as_ref().map(|r| self.annotation(r));
        self.functions[id].parameters = parameters;
    }

    /// Types and trees of the module's constants.
    fn globals(&mut self) {
        let module = self.module;
        for constant in &module.constants {
            let wanted = constant.annotation.as_ref().map(|a| self.annotation(a));
            let mut body = Body::new(self, None, None);
            let value = match &wanted {
                Some(ty) => body.expr_as(&constant.value, ty, "this constant"),
                None => body.expr(&constant.value),
            };
            let ty = wanted.unwrap_or_else(|| value.ty.clone());
            let id = self.globals.len() as u32;
            self.globals.push(ty.clone());
            self.trees.push(Global { name: (&*constant.name.text).into(), ty, value });
            // A later constant of the same name takes its place, as in Python.
            self.names.insert(constant.name.text.clone(), Top::Global(id));
        }
    }

    /// What a function returns; it is checked first if it was not yet. `from` is the call that asks.
    fn function(&mut self, id: FunctionId, from: Option<Span>) -> Type {
        let at = id.0 as usize;
        if self.functions[at].open {
            let name = &self.functions[at].syntax.name;
            let d = Diagnostic::new(
                Kind::Unsupported,
                from.unwrap_or(name.span),
                format!("'{}' calls itself", name.text),
            );
            let d = d.related(name.span, "it is defined here and still being called");
            self.report(d.hint("programs become graphs, which have no recursion; loop over a list instead"));
            return self.functions[at].returns.clone().unwrap_or(Type::Unknown);
        }
        if self.functions[at].tree.is_none() {
            self.functions[at].open = true;
            let tree = Body::function(self, id);
            let declared = &mut self.functions[at];
            declared.open = false;
            declared.returns = Some(tree.returns.clone());
            declared.tree = Some(tree);
        }
        self.functions[at].returns.clone().unwrap_or(Type::Unknown)
    }

    /// The dotted path that an expression is, by way of imports: `F.relu` is `torch.nn.functional.relu`.
    fn path(&self, e: &syntax::Expr) -> Option<String> {
        match &e.kind {
            syntax::ExprKind::Name(name) => match self.names.get(name) {
                Some(Top::Path(path)) => Some(path.to_string()),
                _ => None,
            },
            syntax::ExprKind::Attribute { value, name } => {
                Some(format!("{}.{}", self.path(value)?, name.text))
            }
            _ => None,
        }
    }
}
