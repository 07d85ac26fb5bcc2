//! Classes: their attributes, what is read of and written to them.

use super::Checker;
use super::body::{Body, settled};
use crate::diagnostics::{Diagnostic, Kind};
use crate::syntax::{self, ExprKind as E};
use crate::tree::{ClassId, FunctionId, Local};
use crate::types::Type;

/// What a class may derive from.
const BASES: &[&str] = &["object", "torch.nn.Module", "typing.NamedTuple", "NamedTuple"];

impl Checker<'_> {
    /// A class's declared attributes. Those that `__init__` makes are found when it is checked.
    pub(super) fn class(&mut self, id: ClassId) {
        let (at, class) = (id.0 as usize, self.class_syntax[id.0 as usize]);
        for base in &class.bases {
            let name = match &base.kind {
                E::Name(name) => Some(self.path(base).unwrap_or_else(|| name.to_string())),
                _ => self.path(base),
            };
            match name.as_deref() {
                Some("typing.NamedTuple" | "NamedTuple") => self.classes[at].tuple = true,
                Some(name) if BASES.contains(&name) => {}
                _ => {
                    let d = Diagnostic::new(Kind::Unsupported, base.span, "this base of a class");
                    self.report(d.hint("a class derives from nothing, 'NamedTuple' or 'torch.nn.Module'"));
                }
            }
        }
        for decorator in &class.decorators {
            let name = match &decorator.kind {
                E::Name(name) => Some(self.path(decorator).unwrap_or_else(|| name.to_string())),
                _ => self.path(decorator),
            };
            if !matches!(name.as_deref(), Some("torch.jit.script" | "dataclasses.dataclass" | "dataclass")) {
                let d = Diagnostic::new(Kind::Unsupported, decorator.span, "this decorator of a class");
                self.report(d.hint("'@torch.jit.script' and '@dataclass' are known"));
            }
        }
        for field in &class.fields {
            let ty = match &field.annotation {
                Some(annotation) => self.annotation(annotation),
                None => {
                    field.value.as_ref().map_or(Type::Unknown, |v| Body::new(self, None, None).expr(v).ty)
                }
            };
            let default =
                field.value.as_ref().map(|v| Body::new(self, None, None).expr_as(v, &ty, "this default"));
            self.classes[at].fields.push(Local { name: (&*field.name.text).into(), ty });
            self.classes[at].defaults.push(default);
        }
        if let Some(init) = self.classes[at].init {
            self.attributes(id, init);
        }
    }

    /// The attributes that `__init__` gives values, by their annotations or by the values' own types where those are
    /// literals and parameters; the rest as `__init__` is checked, in its order.
    fn attributes(&mut self, id: ClassId, init: FunctionId) {
        let syntax = self.functions[init.0 as usize].syntax;
        let Some(own) = syntax.parameters.first().map(|p| p.name.text.clone()) else { return };
        for statement in &syntax.body {
            let syntax::StmtKind::Annotated { target, annotation, .. } = &statement.kind else { continue };
            let E::Attribute { value, name } = &target.kind else { continue };
            if matches!(&value.kind, E::Name(n) if *n == own) && self.field(id, &name.text).is_none() {
                let ty = self.annotation(annotation);
                self.add_field(id, &name.text, ty);
            }
        }
    }

    fn add_field(&mut self, id: ClassId, name: &str, ty: Type) -> u32 {
        let class = &mut self.classes[id.0 as usize];
        class.fields.push(Local { name: name.into(), ty });
        class.defaults.push(None);
        class.fields.len() as u32 - 1
    }

    /// The place of an attribute.
    pub(super) fn field(&self, id: ClassId, name: &str) -> Option<u32> {
        self.classes[id.0 as usize].fields.iter().position(|f| &*f.name == name).map(|i| i as u32)
    }

    /// A method.
    pub(super) fn method(&self, id: ClassId, name: &str) -> Option<FunctionId> {
        self.classes[id.0 as usize].methods.iter().find(|(n, _)| &**n == name).map(|(_, f)| *f)
    }
}

impl Body<'_, '_> {
    /// The class whose `__init__` is being checked.
    fn initialising(&self) -> Option<ClassId> {
        let declared = &self.c.functions[self.function?.0 as usize];
        (&*declared.syntax.name.text == "__init__").then_some(declared.class).flatten()
    }

    /// The attributes of a class are known once its `__init__` was checked.
    pub(super) fn complete(&mut self, id: ClassId) {
        if self.initialising() == Some(id) {
            return;
        }
        if let Some(init) = self.c.classes[id.0 as usize].init
            && !self.c.functions[init.0 as usize].open
        {
            self.c.function(init, None);
        }
    }

    /// The place of an attribute that is written; `__init__` makes new ones.
    pub(super) fn field_to_write(
        &mut self,
        id: ClassId,
        name: &syntax::Name,
        ty: &Type,
        annotation: Option<&Type>,
    ) -> Option<u32> {
        self.complete(id);
        if self.c.classes[id.0 as usize].tuple {
            let what = format!("'{}' of a named tuple does not change", name.text);
            self.c.error(Kind::Type, name.span, what);
            return None;
        }
        if let Some(field) = self.c.field(id, &name.text) {
            let wanted = self.c.classes[id.0 as usize].fields[field as usize].ty.clone();
            let converts = matches!((ty, &wanted), (Type::Int | Type::Bool | Type::Number, Type::Float));
            if !ty.fits(&wanted) && !converts {
                let what = format!("'{}' is {wanted} and cannot become {ty}", name.text);
                let d = Diagnostic::new(Kind::Type, name.span, what);
                self.c.report(match wanted {
                    Type::None => d.hint(format!("declare it: 'self.{}: Optional[{ty}] = None'", name.text)),
                    _ => d,
                });
            }
            return Some(field);
        }
        if self.initialising() == Some(id) {
            let ty = annotation.cloned().unwrap_or_else(|| settled(ty));
            return Some(self.c.add_field(id, &name.text, ty));
        }
        let class = self.c.classes[id.0 as usize].name.clone();
        let d = Diagnostic::new(Kind::Name, name.span, format!("'{class}' has no attribute '{}'", name.text));
        self.c.report(d.hint("attributes are made in '__init__'"));
        None
    }

    /// The type of an attribute that is about to be written, if it is known.
    pub(super) fn attribute_type(&mut self, target: &syntax::Expr) -> Option<Type> {
        let E::Attribute { value, name } = &target.kind else { return None };
        let E::Name(object) = &value.kind else { return None };
        let slot = self.local(object)?;
        let Type::Object(id, _) = self.state.get(slot).1 else { return None };
        self.complete(id);
        let field = self.c.field(id, &name.text)?;
        Some(self.c.classes[id.0 as usize].fields[field as usize].ty.clone())
    }
}
