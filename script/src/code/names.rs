//! What a text imports, under names that nothing of the program has, and how it writes types.

use crate::tree::Program;
use crate::types::Type;
use std::collections::{BTreeSet, HashSet};

/// What may be imported: the module it is of (none for a module itself), its name.
const IMPORTS: &[(&str, &str)] = &[
    ("", "math"),
    ("dataclasses", "dataclass"),
    ("typing", "Dict"),
    ("typing", "List"),
    ("typing", "NamedTuple"),
    ("typing", "Optional"),
    ("typing", "Tuple"),
    ("", "torch"),
    ("torch", "Tensor"),
];

/// The imports of a text.
pub(super) struct Names {
    taken: HashSet<String>,
    used: BTreeSet<usize>,
}

impl Names {
    /// No import yet; every name of the program is taken.
    pub(super) fn of(program: &Program) -> Names {
        let own = |name: &str| name.rsplit('.').next().unwrap_or(name).to_string();
        let locals = program.functions.iter().flat_map(|f| f.slots.iter().map(|s| s.name.to_string()));
        let taken = program
            .functions
            .iter()
            .map(|f| own(&f.name))
            .chain(program.classes.iter().map(|c| c.name.to_string()))
            .chain(program.globals.iter().map(|g| g.name.to_string()))
            .chain(locals)
            .collect();
        Names { taken, used: BTreeSet::new() }
    }

    /// The name under which something is imported, from now on.
    pub(super) fn import(&mut self, name: &str) -> String {
        if let Some(place) = IMPORTS.iter().position(|(_, n)| *n == name) {
            self.used.insert(place);
        }
        self.free(name)
    }

    fn free(&self, name: &str) -> String {
        let fits = |name: &String| !self.taken.contains(name);
        let numbered = (1..).map(|n| format!("{name}_{n}"));
        std::iter::once(name.to_string()).chain(numbered).find(fits).unwrap_or_default()
    }

    /// The lines that import what was used.
    pub(super) fn imports(&self) -> String {
        let mut out = String::new();
        let mut open = "";
        for &place in &self.used {
            let (module, name) = IMPORTS[place];
            let free = self.free(name);
            let what = if free == name { free } else { format!("{name} as {free}") };
            match module {
                "" => out.push_str(&format!("\nimport {what}")),
                _ if module == open => out.push_str(&format!(", {what}")),
                _ => out.push_str(&format!("\nfrom {module} import {what}")),
            }
            open = module;
        }
        match out.strip_prefix('\n') {
            Some(lines) => format!("{lines}\n"),
            None => String::new(),
        }
    }

    /// How a type is written; `None` of types that no annotation names.
    pub(super) fn ty(&mut self, ty: &Type) -> Option<String> {
        Some(match ty {
            Type::Tensor => self.import("Tensor"),
            Type::Int => "int".into(),
            Type::Float => "float".into(),
            Type::Bool => "bool".into(),
            Type::Str => "str".into(),
            Type::None => "None".into(),
            Type::Number => format!("{}.types.Number", self.import("torch")),
            Type::DType => format!("{}.dtype", self.import("torch")),
            Type::Device => format!("{}.device", self.import("torch")),
            Type::List(of) => {
                let of = self.ty(of)?;
                format!("{}[{of}]", self.import("List"))
            }
            Type::Dict(of) => {
                let (key, value) = (self.ty(&of.0)?, self.ty(&of.1)?);
                format!("{}[{key}, {value}]", self.import("Dict"))
            }
            Type::Optional(of) => {
                let of = self.ty(of)?;
                format!("{}[{of}]", self.import("Optional"))
            }
            Type::Tuple(of) => {
                let parts: Vec<String> = of.iter().map(|t| self.ty(t)).collect::<Option<_>>()?;
                let parts = if parts.is_empty() { "()".to_string() } else { parts.join(", ") };
                format!("{}[{parts}]", self.import("Tuple"))
            }
            Type::Object(_, name) => name.to_string(),
            Type::Named(..) | Type::Iterator(_) | Type::Never | Type::Unknown => return None,
        })
    }
}
