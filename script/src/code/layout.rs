//! The top of a text: constants, classes and functions in their order.

use super::Printer;
use super::context::{Context, reproduces};
use crate::tree::{Class, ClassId, Expr, ExprKind, Function, Global, Slot, Stmt, StmtKind, Target};
use crate::types::Type;
use std::collections::HashMap;

/// A part of the top.
enum Item<'p> {
    Global(&'p Global),
    Class(ClassId, &'p Class),
    Function(&'p Function),
}

impl<'p> Printer<'p> {
    pub(super) fn module(&mut self) {
        let program = self.program;
        let mut items: Vec<(u32, Item)> = Vec::new();
        items.extend(program.globals.iter().map(|g| (g.value.span.start, Item::Global(g))));
        let class = |(i, c): (usize, &'p Class)| (c.span.start, Item::Class(ClassId(i as u32), c));
        items.extend(program.classes.iter().enumerate().map(class));
        let free = program.functions.iter().filter(|f| !f.name.contains('.'));
        items.extend(free.map(|f| (f.span.start, Item::Function(f))));
        // Their order is the text's, since Python runs it.
        items.sort_by_key(|(start, _)| *start);
        let mut constant = false;
        for (_, item) in items {
            match item {
                Item::Global(global) => {
                    if !constant {
                        self.write("\n");
                    }
                    self.global(global);
                }
                Item::Class(id, class) => self.class(id, class),
                Item::Function(function) => {
                    self.write("\n\n");
                    self.function(function, None);
                }
            }
            constant = matches!(item, Item::Global(_));
        }
    }

    fn global(&mut self, global: &'p Global) {
        self.line(global.value.span.start);
        self.write(&global.name);
        let plain = reproduces(&global.value, Context::Free) && global.ty == global.value.ty;
        match self.names.ty(&global.ty).filter(|_| !plain) {
            Some(ty) => {
                self.write(": ");
                self.write(&ty);
                self.write(" = ");
                self.expr(&global.value, Context::As(&global.ty), 0);
            }
            None => {
                self.write(" = ");
                self.free(&global.value);
            }
        }
        self.write("\n");
    }

    fn class(&mut self, id: ClassId, class: &'p Class) {
        self.write("\n\n");
        if !class.tuple && class.init.is_none() && !class.fields.is_empty() {
            let decorator = self.names.import("dataclass");
            self.write(&format!("@{decorator}\n"));
        }
        self.line(class.span.start);
        self.write(&format!("class {}", class.name));
        if class.tuple {
            let base = self.names.import("NamedTuple");
            self.write(&format!("({base})"));
        }
        self.write(":\n");
        self.indent = 1;
        let fields = self.declared_fields(id, class);
        for (i, field) in class.fields.iter().enumerate().take(fields) {
            self.line(class.span.start);
            self.write(&field.name);
            if let Some(ty) = self.names.ty(&field.ty) {
                self.write(": ");
                self.write(&ty);
            }
            if let Some(Some(default)) = class.defaults.get(i) {
                self.write(" = ");
                self.expr(default, Context::As(&field.ty), 0);
            }
            self.write("\n");
        }
        for (i, (_, method)) in class.methods.iter().enumerate() {
            if i > 0 || fields > 0 {
                self.write("\n");
            }
            if let Some(function) = self.program.functions.get(method.0 as usize) {
                self.function(function, Some(id));
            }
        }
        if fields == 0 && class.methods.is_empty() {
            self.line(class.span.start);
            self.write("pass\n");
        }
        self.indent = 0;
    }

    /// How many fields are declared in the class's body: those that `__init__` does not make, and those before them,
    /// since the checker keeps declared ones first. All of them, where `__init__` would make them in another order.
    fn declared_fields(&self, id: ClassId, class: &'p Class) -> usize {
        let all = class.fields.len();
        let Some(init) = class.init.and_then(|f| self.program.functions.get(f.0 as usize)) else {
            return all;
        };
        let made = made_fields(&init.body, id);
        let own =
            |i: usize| class.defaults.get(i).is_some_and(Option::is_some) || !made.contains(&(i as u32));
        let count = (0..all).rev().find(|&i| own(i)).map_or(0, |i| i + 1);
        let rest: Vec<u32> = (count as u32..all as u32).collect();
        // Annotated ones are found before the others.
        let annotated = self.annotated_fields(init, id, class, count);
        let top: Vec<u32> = firsts(init.body.iter().filter_map(|s| field_of(s, id)));
        let mut order: Vec<u32> = top.into_iter().filter(|f| annotated.contains(f)).collect();
        order.extend(made.iter().filter(|f| **f >= count as u32 && !annotated.contains(f)));
        if order == rest { count } else { all }
    }

    /// The fields whose types `__init__` must say: those that their first values do not show, and those before them.
    pub(super) fn annotated_fields(
        &self,
        init: &'p Function,
        id: ClassId,
        class: &'p Class,
        declared: usize,
    ) -> Vec<u32> {
        let mut first: HashMap<u32, &Expr> = HashMap::new();
        for statement in &init.body {
            if let (Some(field), StmtKind::Assign { value, .. }) = (field_of(statement, id), &statement.kind)
            {
                first.entry(field).or_insert(value);
            }
        }
        let shows = |field: u32, value: &Expr| {
            let ty = &class.fields[field as usize].ty;
            reproduces(value, Context::Free) && crate::check::settled(&value.ty) == *ty
        };
        let last = first
            .iter()
            .filter(|(f, value)| **f as usize >= declared && !shows(**f, value))
            .map(|(f, _)| *f)
            .max();
        match last {
            Some(last) => (declared as u32..=last).filter(|f| first.contains_key(f)).collect(),
            None => Vec::new(),
        }
    }

    /// The fields that a method annotates, if it is the `__init__` of a class.
    fn annotations(&self, function: &'p Function, class: Option<ClassId>) -> Vec<u32> {
        let Some((id, class)) = class.and_then(|id| Some((id, self.program.classes.get(id.0 as usize)?)))
        else {
            return Vec::new();
        };
        let init = class.init.and_then(|f| self.program.functions.get(f.0 as usize));
        match init.filter(|init| std::ptr::eq(*init, function)) {
            Some(init) => {
                let declared = self.declared_fields(id, class);
                self.annotated_fields(init, id, class, declared)
            }
            None => Vec::new(),
        }
    }

    fn function(&mut self, function: &'p Function, class: Option<ClassId>) {
        self.function = Some(function);
        self.bound = HashMap::new();
        let fields = self.annotations(function, class);
        self.line(function.span.start);
        let name = function.name.rsplit('.').next().unwrap_or(&function.name);
        self.write(&format!("def {name}("));
        for (i, parameter) in function.parameters.iter().enumerate() {
            if i > 0 {
                self.write(", ");
            }
            self.bound.insert(parameter.name.clone(), Slot(i as u32));
            self.write(&parameter.name);
            let own = |id: ClassId| matches!(&parameter.ty, Type::Object(of, _) if *of == id);
            let is_self = i == 0 && class.is_some_and(own);
            let ty = if is_self { None } else { self.names.ty(&parameter.ty) };
            if let Some(ty) = &ty {
                self.write(&format!(": {ty}"));
            }
            if let Some(default) = &parameter.default {
                self.write(if ty.is_some() { " = " } else { "=" });
                self.expr(default, Context::As(&parameter.ty), 0);
            }
        }
        self.write(")");
        if let Some(ty) = self.names.ty(&function.returns) {
            self.write(&format!(" -> {ty}"));
        }
        self.write(":\n");
        self.body(&function.body, &fields, function.span.start);
        self.function = None;
    }
}

/// The field that a statement writes of the object that its method is called on.
pub(super) fn field_of(statement: &Stmt, id: ClassId) -> Option<u32> {
    match &statement.kind {
        StmtKind::Assign { target, .. } => field_of_target(target, id),
        _ => None,
    }
}

fn field_of_target(target: &Target, id: ClassId) -> Option<u32> {
    match target {
        Target::Field { object, field } => {
            let own = matches!(&object.ty, Type::Object(of, _) if *of == id);
            (own && matches!(object.kind, ExprKind::Load(Slot(0)))).then_some(*field)
        }
        _ => None,
    }
}

fn firsts(fields: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut out = Vec::new();
    for field in fields {
        if !out.contains(&field) {
            out.push(field);
        }
    }
    out
}

/// The fields that statements write, in the order in which they are first met.
fn made_fields(statements: &[Stmt], id: ClassId) -> Vec<u32> {
    fn of_target(target: &Target, id: ClassId, out: &mut Vec<u32>) {
        match target {
            Target::Unpack(parts) => parts.iter().for_each(|t| of_target(t, id, out)),
            other => out.extend(field_of_target(other, id)),
        }
    }
    fn walk(statements: &[Stmt], id: ClassId, out: &mut Vec<u32>) {
        for statement in statements {
            match &statement.kind {
                StmtKind::Assign { target, .. } => of_target(target, id, out),
                StmtKind::If { then, otherwise, .. } => {
                    walk(then, id, out);
                    walk(otherwise, id, out);
                }
                StmtKind::For { target, body, .. } => {
                    of_target(target, id, out);
                    walk(body, id, out);
                }
                StmtKind::While { body, .. } | StmtKind::Grad { body, .. } => walk(body, id, out),
                _ => {}
            }
        }
    }
    let mut out = Vec::new();
    walk(statements, id, &mut out);
    firsts(out.into_iter())
}
