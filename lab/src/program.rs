//! A function of a program's text as a function of tensors, so that every mode can run it: its arguments as a template
//! into which tensors are put, its results flattened.

use crate::drivers::{arguments_of, program_options, tensors_of};
use crate::execute::{autograd, execute};
use crate::modes::{Mode, Staging};
use crate::reference::{self, File};
use graph::Options;
use runtime::error::{Error, ErrorKind, Result};
use runtime::{DType, DeviceId, Scalar, Tensor};
use script::archive;
use script::interpret::Host;
use script::scripted::Scripted;
use script::tree::{FunctionId, Program};
use script::types::Type;
use script::value::{Dict, Value, flatten};
use serde_json::Value as Json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// An argument whose tensors are put in later, by place.
#[derive(Clone, Debug)]
pub enum Template {
    /// The tensor of this place.
    Tensor(usize),
    /// A host number.
    Number(Scalar),
    /// A string.
    Str(Arc<str>),
    /// `None`.
    None,
    /// A dtype.
    DType(DType),
    /// A list.
    List(Vec<Template>),
    /// A tuple.
    Tuple(Vec<Template>),
    /// A dict.
    Dict(Vec<(Template, Template)>),
}

impl Template {
    /// The template of a value, whose tensors are added to these.
    pub fn of(value: &Value, tensors: &mut Vec<Tensor>) -> Result<Template> {
        let mut all =
            |list: &[Value]| list.iter().map(|v| Template::of(v, tensors)).collect::<Result<Vec<_>>>();
        Ok(match value {
            Value::None => Template::None,
            Value::Int(v) => Template::Number(Scalar::Int(*v)),
            Value::Float(v) => Template::Number(Scalar::Float(*v)),
            Value::Bool(v) => Template::Number(Scalar::Bool(*v)),
            Value::Str(v) => Template::Str(v.clone()),
            Value::DType(v) => Template::DType(*v),
            Value::Tensor(t) => {
                tensors.push(t.clone());
                Template::Tensor(tensors.len() - 1)
            }
            Value::Tuple(parts) => Template::Tuple(all(parts)?),
            Value::List(list) => Template::List(all(&list.borrow())?),
            Value::Dict(dict) => {
                let entries: Vec<_> = dict.borrow().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                let pair =
                    |(k, v): &(Value, Value)| Ok((Template::of(k, tensors)?, Template::of(v, tensors)?));
                Template::Dict(entries.iter().map(pair).collect::<Result<_>>()?)
            }
            Value::Object(_)
            | Value::Device(_)
            | Value::Iterator(_)
            | Value::Staged(_)
            | Value::Undefined => {
                return Err(
                    value.unexpected("an argument of tensors, numbers, strings and containers of them")
                );
            }
        })
    }

    /// The same template for tensors that lie this much further on.
    fn moved(&self, by: usize) -> Template {
        let all = |list: &[Template]| list.iter().map(|t| t.moved(by)).collect();
        match self {
            Template::Tensor(at) => Template::Tensor(at + by),
            Template::List(list) => Template::List(all(list)),
            Template::Tuple(list) => Template::Tuple(all(list)),
            Template::Dict(entries) => {
                Template::Dict(entries.iter().map(|(k, v)| (k.moved(by), v.moved(by))).collect())
            }
            Template::Number(_) | Template::Str(_) | Template::None | Template::DType(_) => self.clone(),
        }
    }

    /// A value of its own with these tensors in it.
    pub fn value(&self, tensors: &[Tensor]) -> Result<Value> {
        let all = |list: &[Template]| list.iter().map(|t| t.value(tensors)).collect::<Result<Vec<_>>>();
        Ok(match self {
            Template::Tensor(at) => Value::Tensor(
                tensors.get(*at).ok_or_else(|| Error::internal("a template has more tensors"))?.clone(),
            ),
            Template::Number(Scalar::Int(v)) => Value::Int(*v),
            Template::Number(Scalar::Float(v)) => Value::Float(*v),
            Template::Number(Scalar::Bool(v)) => Value::Bool(*v),
            Template::Str(s) => Value::Str(s.clone()),
            Template::None => Value::None,
            Template::DType(dtype) => Value::DType(*dtype),
            Template::List(list) => Value::list(all(list)?),
            Template::Tuple(list) => Value::tuple(all(list)?),
            Template::Dict(entries) => {
                let mut dict = Dict::new();
                for (key, value) in entries {
                    dict.insert(key.value(tensors)?, value.value(tensors)?)?;
                }
                Value::dict(dict)
            }
        })
    }
}

/// What is wrong with an argument of a file.
fn malformed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::File, what)
}

/// An argument of a reference file for a parameter of this type; `place` gives the places of the file's tensors.
pub fn template(json: &Json, ty: &Type, place: &mut dyn FnMut(&str) -> Result<usize>) -> Result<Template> {
    let unfit = || malformed(format!("{json} is no {ty}"));
    Ok(match (json, ty) {
        (json, Type::Optional(of)) if !json.is_null() => template(json, of, place)?,
        (Json::Null, Type::Optional(_) | Type::None) => Template::None,
        (Json::String(s), _) if s.starts_with('$') => Template::Tensor(place(&s[1..])?),
        (Json::String(s), Type::Str) => Template::Str(s.as_str().into()),
        (Json::Bool(v), Type::Bool | Type::Number) => Template::Number(Scalar::Bool(*v)),
        (Json::Number(n), Type::Int) => Template::Number(Scalar::Int(n.as_i64().ok_or_else(unfit)?)),
        (Json::Number(n), Type::Float) => Template::Number(Scalar::Float(n.as_f64().ok_or_else(unfit)?)),
        (Json::Number(n), Type::Number) => Template::Number(match n.as_i64() {
            Some(i) => Scalar::Int(i),
            None => Scalar::Float(n.as_f64().ok_or_else(unfit)?),
        }),
        (Json::Array(list), Type::List(of)) => {
            Template::List(list.iter().map(|v| template(v, of, place)).collect::<Result<_>>()?)
        }
        (Json::Array(list), Type::Tuple(of) | Type::Named(_, of)) if list.len() == of.len() => {
            Template::Tuple(
                list.iter().zip(of.iter()).map(|(v, t)| template(v, t, place)).collect::<Result<_>>()?,
            )
        }
        (Json::Object(map), Type::Float) if map.contains_key("float") => {
            let text = map.get("float").and_then(Json::as_str).ok_or_else(unfit)?;
            Template::Number(Scalar::Float(text.parse().map_err(|_| unfit())?))
        }
        (Json::Object(map), Type::DType) => {
            let name = map.get("dtype").and_then(Json::as_str).ok_or_else(unfit)?;
            Template::DType(DType::parse(name).ok_or_else(unfit)?)
        }
        (Json::Object(map), Type::Dict(of)) => Template::Dict(
            map.iter()
                .map(|(k, v)| {
                    let key = match &of.0 {
                        Type::Int => Template::Number(Scalar::Int(k.parse().map_err(|_| unfit())?)),
                        _ => Template::Str(k.as_str().into()),
                    };
                    Ok((key, template(v, &of.1, place)?))
                })
                .collect::<Result<_>>()?,
        ),
        _ => return Err(unfit()),
    })
}

/// A function of a program.
#[derive(Clone)]
pub struct Entry {
    /// The program.
    pub program: Arc<Program>,
    /// The function.
    pub function: FunctionId,
    /// Where its `print` goes: to the terminal, or nowhere.
    pub quiet: bool,
    /// Most turns of loops and calls, if they are limited.
    pub step_limit: Option<u64>,
    /// Set when the user wants to stop.
    pub stop: Option<Arc<AtomicBool>>,
    /// Its scripted form, which then runs instead of the tree.
    pub scripted: Option<Arc<Scripted>>,
    /// Arguments that came with the program.
    pub frozen: Vec<FrozenArgument>,
}

/// A parameter's argument that an archive holds.
#[derive(Clone, Debug)]
pub struct FrozenArgument {
    /// The parameter's name.
    pub parameter: Arc<str>,
    /// The argument, with places of `tensors`.
    pub template: Template,
    /// Its tensors.
    pub tensors: Vec<Tensor>,
    /// Whether it is bound for good.
    pub constant: bool,
}

impl Entry {
    /// A function of a program by its name.
    pub fn of(program: Arc<Program>, name: &str) -> Result<Entry> {
        let function = program.find(name).ok_or_else(|| {
            let names: Vec<String> = program.functions.iter().map(|f| f.name.to_string()).collect();
            let what = format!("{} has no function '{name}'", program.source.name);
            Error::value(what).hint(match names.is_empty() {
                true => "it defines no function".into(),
                false => format!("its functions are {}", names.join(", ")),
            })
        })?;
        Ok(Entry {
            program,
            function,
            quiet: true,
            step_limit: None,
            stop: None,
            scripted: None,
            frozen: Vec::new(),
        })
    }

    /// A function of a file.
    pub fn open(path: &Path, name: &str) -> Result<Entry> {
        match archive::is_file(path) {
            true => Entry::of_archive(archive::load(path, &archive::Limits::default())?, name),
            false => Entry::of(Arc::new(Program::open(path)?), name),
        }
    }

    /// A function of an archive, with the arguments that it holds.
    pub fn of_archive(contents: archive::Contents, name: &str) -> Result<Entry> {
        let mut entry = Entry::of(contents.program, name)?;
        for value in contents.values.iter().filter(|v| &*v.function == name) {
            let mut tensors = Vec::new();
            let template = Template::of(&value.value, &mut tensors)?;
            let (parameter, constant) = (value.parameter.clone(), value.constant);
            entry.frozen.push(FrozenArgument { parameter, template, tensors, constant });
        }
        Ok(entry)
    }

    /// It as it runs in a mode: scripted, where the mode starts from the text.
    pub fn in_mode(&self, mode: &Mode, exact: bool) -> Result<Entry> {
        if !mode.needs_text() {
            return Ok(Entry { scripted: None, ..self.clone() });
        }
        self.scripted_with(mode.options(exact))
    }

    /// It scripted with these options; what is bound for good is frozen.
    pub fn scripted_with(&self, options: Options) -> Result<Entry> {
        let mut scripted = script::scripted::script(self.program.clone(), self.function, options)?;
        let constants = self.frozen.iter().filter(|f| f.constant);
        let values = constants.map(|f| Ok((&*f.parameter, f.template.value(&f.tensors)?)));
        let values = values.collect::<Result<Vec<(&str, Value)>>>()?;
        if !values.is_empty() {
            scripted = scripted.freeze(&mut Host::new(Box::new(std::io::sink())), &values)?;
        }
        Ok(Entry { scripted: Some(Arc::new(scripted)), ..self.clone() })
    }

    /// It with the tensors that came with it on a device.
    pub fn on(&self, device: DeviceId) -> Result<Entry> {
        let mut entry = self.clone();
        for frozen in &mut entry.frozen {
            let moved = frozen.tensors.iter().map(|t| t.to_device(device));
            frozen.tensors = moved.collect::<Result<_>>()?;
        }
        Ok(entry)
    }

    fn is_constant(&self, parameter: &str) -> bool {
        self.frozen.iter().any(|f| f.constant && &*f.parameter == parameter)
    }

    /// Its parameters.
    pub fn parameters(&self) -> &[script::tree::Parameter] {
        &self.program.functions[self.function.0 as usize].parameters
    }

    /// The arguments with respect to which gradients are taken, tensors of floats: their places and names.
    pub fn differentiable(&self, arguments: &Generated) -> Vec<(usize, String)> {
        let named = self.parameters().iter().zip(&arguments.templates);
        let float = |at: &usize| arguments.tensors[*at].dtype().is_float();
        named
            .filter_map(|(p, t)| match t {
                Template::Tensor(at) if float(at) && !self.is_constant(&p.name) => {
                    Some((*at, p.name.to_string()))
                }
                _ => None,
            })
            .collect()
    }

    /// Runs it once: the values that it returns.
    pub fn call(&self, args: Vec<Value>) -> Result<Value> {
        let out: Box<dyn std::io::Write> =
            if self.quiet { Box::new(std::io::sink()) } else { Box::new(std::io::stdout()) };
        let mut host = Host::new(out);
        host.step_limit = self.step_limit;
        host.stop = self.stop.clone();
        match &self.scripted {
            Some(scripted) => {
                let named = args.into_iter().zip(self.parameters());
                let open = |name: &str| scripted.parameters().any(|p| &*p.name == name);
                let open = named.filter(|(_, p)| open(&p.name)).map(|(value, _)| value);
                scripted.call(&mut host, open.collect())
            }
            None => self.program.call(&mut host, self.function, args),
        }
    }

    /// It as a function of the tensors that its arguments hold.
    pub fn bound(
        &self,
        templates: Vec<Template>,
    ) -> impl Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + Sync + use<> {
        let entry = self.clone();
        move |tensors| {
            let args = templates.iter().map(|t| t.value(tensors)).collect::<Result<Vec<_>>>()?;
            flatten(&entry.call(args)?)
        }
    }
}

/// Arguments that are made up for parameters, the same ones always.
pub struct Generated {
    /// For each parameter.
    pub templates: Vec<Template>,
    /// The tensors in them.
    pub tensors: Vec<Tensor>,
}

/// Makes up arguments: tensors of the shapes that are asked for by name (8 by 8 otherwise) drawn from a normal
/// distribution, ints 3, floats 1.0, three elements in a list, `None` for what may be none. Defaults stay.
pub fn generate(entry: &Entry, shapes: &[(String, Vec<usize>)]) -> Result<Generated> {
    let mut generated = Generated { templates: Vec::new(), tensors: Vec::new() };
    for (name, _) in shapes {
        if !entry.parameters().iter().any(|p| *p.name == **name) {
            return Err(Error::value(format!("no parameter is called '{name}'")));
        }
    }
    for parameter in entry.parameters() {
        if generated.take_frozen(entry, &parameter.name) {
            continue;
        }
        if parameter.default.is_some() && !shapes.iter().any(|(n, _)| **n == *parameter.name) {
            break;
        }
        let shape = shapes.iter().find(|(n, _)| **n == *parameter.name).map_or(&[8, 8][..], |(_, s)| s);
        let template = generated.make(&parameter.ty, shape, &parameter.name)?;
        generated.templates.push(template);
    }
    Ok(generated)
}

impl Generated {
    /// Takes a parameter's argument from the archive, if it holds one.
    fn take_frozen(&mut self, entry: &Entry, parameter: &str) -> bool {
        let Some(frozen) = entry.frozen.iter().find(|f| &*f.parameter == parameter) else { return false };
        self.templates.push(frozen.template.moved(self.tensors.len()));
        self.tensors.extend(frozen.tensors.iter().cloned());
        true
    }

    fn make(&mut self, ty: &Type, shape: &[usize], name: &str) -> Result<Template> {
        Ok(match ty {
            Type::Tensor => {
                self.tensors.push(draw(shape, self.tensors.len() as u64)?);
                Template::Tensor(self.tensors.len() - 1)
            }
            Type::Int => Template::Number(Scalar::Int(3)),
            Type::Float | Type::Number => Template::Number(Scalar::Float(1.0)),
            Type::Bool => Template::Number(Scalar::Bool(true)),
            Type::Str => Template::Str("text".into()),
            Type::Optional(_) | Type::None => Template::None,
            Type::DType => Template::DType(DType::F32),
            Type::List(of) => {
                Template::List((0..3).map(|_| self.make(of, shape, name)).collect::<Result<_>>()?)
            }
            Type::Tuple(of) | Type::Named(_, of) => {
                Template::Tuple(of.iter().map(|t| self.make(t, shape, name)).collect::<Result<_>>()?)
            }
            other => {
                let what = format!("no argument can be made up for '{name}: {other}'");
                return Err(Error::value(what).hint("give the arguments in a file: --args FILE.safetensors"));
            }
        })
    }
}

/// Normally distributed numbers, the same for the same place.
fn draw(shape: &[usize], place: u64) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(place + 1);
    let mut uniform = || {
        // splitmix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    };
    let values: Vec<f32> = (0..count)
        .map(|_| {
            let (u, v) = (uniform().max(1e-300), uniform());
            ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
        })
        .collect();
    Tensor::from_slice(&values, shape)
}

/// Arguments from a file's tensors by the parameters' names; a host number is a tensor of rank 0, a list of ints one of
/// rank 1. Of a reference file those of the program's case `id`, or of its first.
pub fn from_file(entry: &Entry, path: &Path, id: Option<&str>) -> Result<Generated> {
    let archive = reference::archive(path)?;
    if archive.metadata.contains_key("cases") {
        return File::of(archive)?.arguments(entry, id);
    }
    let mut generated = Generated { templates: Vec::new(), tensors: Vec::new() };
    for parameter in entry.parameters() {
        if generated.take_frozen(entry, &parameter.name) {
            continue;
        }
        let found = archive.tensors.iter().find(|(name, _)| **name == *parameter.name);
        let Some((_, tensor)) = found else {
            if parameter.default.is_some() {
                break;
            }
            let what = format!("{} has no tensor '{}'", path.display(), parameter.name);
            return Err(malformed(what).hint(format!("the function wants it: {}", parameter.ty)));
        };
        let ty = match &parameter.ty {
            Type::Optional(of) => &**of,
            ty => ty,
        };
        generated.templates.push(match ty {
            Type::Tensor => {
                generated.tensors.push(tensor.clone());
                Template::Tensor(generated.tensors.len() - 1)
            }
            Type::Int => Template::Number(Scalar::Int(tensor.item()?.to_i64())),
            Type::Float => Template::Number(Scalar::Float(tensor.item()?.to_f64())),
            Type::Bool => Template::Number(Scalar::Bool(tensor.item()?.to_bool())),
            Type::Number => Template::Number(tensor.item()?),
            Type::List(of) if **of == Type::Int => {
                let ints =
                    tensor.to_scalars()?.into_iter().map(|s| Template::Number(Scalar::Int(s.to_i64())));
                Template::List(ints.collect())
            }
            other => {
                return Err(malformed(format!("a file of tensors holds no '{}: {other}'", parameter.name)));
            }
        });
    }
    Ok(generated)
}

/// How to run a function once.
pub struct RunRequest {
    /// The execution model.
    pub mode: &'static Mode,
    /// Bitwise passes only.
    pub exact: bool,
    /// Whether gradients are asked for.
    pub grad: bool,
    /// Where.
    pub device: DeviceId,
}

/// What a run gave.
pub struct Run {
    /// Tensors by name: `out0`, `out1`, `grad.x`.
    pub tensors: Vec<(String, Tensor)>,
    /// What a trace froze, or where a compiled part ended: a line of the program for each place where the host looked.
    pub frozen: Vec<String>,
}

/// Runs a function once in a mode. Gradients are those of the sum of all floating-point outputs with respect to the
/// floating-point tensors that are arguments themselves.
pub fn run(entry: &Entry, arguments: &Generated, request: &RunRequest) -> Result<Run> {
    let inputs = arguments.tensors.iter().map(|t| t.to_device(request.device)).collect::<Result<Vec<_>>>()?;
    let entry = &entry.on(request.device)?;
    let function = entry.in_mode(request.mode, request.exact)?.bound(arguments.templates.clone());
    let mut frozen: Vec<String> = Vec::new();
    let mut run = |cotangents: &[Option<Tensor>], wanted: &[usize]| {
        if request.mode.staging != Staging::Compile {
            return execute(request.mode, request.exact, &function, &inputs, cotangents, wanted);
        }
        let options = program_options(request.mode.options(request.exact));
        let compiled = graph::compile::compile("program", options, |args| function(&tensors_of(args)?));
        let call = |inputs: &[Tensor]| compiled.call(&arguments_of(inputs));
        let results = autograd(&call, &inputs, cotangents, wanted)?;
        frozen.extend(compiled.graph_breaks().into_iter().map(|line| format!("graph break: {line}")));
        frozen.extend(compiled.fallbacks());
        Ok(results)
    };
    let named = entry.differentiable(arguments);
    let quiet = Entry { quiet: true, ..entry.clone() }.bound(arguments.templates.clone());
    let copies = || inputs.iter().map(Tensor::copy).collect::<Result<Vec<_>>>();
    // A trace shows what it froze when it is recorded, and the inputs may be written by the run.
    let examples = (request.mode.staging == Staging::Trace).then(copies).transpose()?;
    let (outputs, gradients) = match request.grad {
        false => run(&[], &[])?,
        true => {
            // The outputs' types are those of a first run, which eager gives without staging anything.
            let ones = |t: &Tensor| t.dtype().is_float().then(|| t.ones_like(None)).transpose();
            let cotangents = quiet(&copies()?)?.iter().map(ones).collect::<Result<Vec<_>>>()?;
            run(&cotangents, &named.iter().map(|(at, _)| *at).collect::<Vec<_>>())?
        }
    };
    if let Some(examples) = examples {
        let options = graph::TraceOptions { check: false, ..Default::default() };
        let traced = graph::trace("frozen", &examples, options, quiet)?;
        for warning in traced.warnings().iter().map(ToString::to_string) {
            if !frozen.contains(&warning) {
                frozen.push(warning);
            }
        }
    }
    let outputs = outputs.into_iter().enumerate().map(|(i, t)| (format!("out{i}"), t));
    let gradients =
        named.iter().zip(gradients).filter_map(|((_, name), g)| Some((format!("grad.{name}"), g?)));
    let tensors = outputs.chain(gradients).map(|(name, t)| Ok((name, t.to_device(DeviceId::Cpu)?)));
    Ok(Run { tensors: tensors.collect::<Result<_>>()?, frozen })
}

impl Run {
    /// Every tensor with its name.
    pub fn render(&self) -> String {
        self.tensors
            .iter()
            .map(|(name, t)| format!("{name} = {}\n", Value::Tensor(t.detach().unwrap_or(t.clone()))))
            .collect()
    }

    /// Writes the tensors to a safetensors file; it appears whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let named: Vec<(&str, &Tensor)> = self.tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
        runtime::io::safetensors::write(path, &named, &Default::default())
    }
}

/// A program's file with values for parameters of one of its functions, as an archive holds them, beside those that the
/// file has. A value is JSON (`3`, `[1, 2]`, `"text"`), or `FILE.safetensors:TENSOR`. Those of `freeze` are bound for good, if
/// the function lets them be.
pub fn contents(
    path: &Path,
    function: &str,
    set: &[(String, String)],
    freeze: &[String],
) -> Result<archive::Contents> {
    let mut contents = match archive::is_file(path) {
        true => archive::load(path, &archive::Limits::default())?,
        false => archive::Contents { program: Arc::new(Program::open(path)?), values: Vec::new() },
    };
    let entry = Entry::of(contents.program.clone(), function)?;
    for (name, text) in set {
        let parameter = entry.parameters().iter().find(|p| *p.name == **name);
        let parameter =
            parameter.ok_or_else(|| Error::value(format!("'{function}' has no parameter '{name}'")))?;
        let value = setting(name, text, &parameter.ty)?;
        contents.values.retain(|v| *v.function != *function || v.parameter != parameter.name);
        let parameter = parameter.name.clone();
        contents.values.push(archive::Frozen {
            function: function.into(),
            parameter,
            value,
            constant: false,
        });
    }
    for name in freeze {
        let value = contents.values.iter_mut().find(|v| *v.function == *function && *v.parameter == **name);
        let value = value.ok_or_else(|| {
            let what = format!("'{name}' of '{function}' has no value to be frozen to");
            Error::value(what).hint(format!("give it one: --set {name}=VALUE"))
        })?;
        value.constant = true;
    }
    if !freeze.is_empty() {
        Entry::of_archive(contents.clone(), function)?.scripted_with(Options::default())?;
    }
    Ok(contents)
}

/// A value that is written as text.
fn setting(name: &str, text: &str, ty: &Type) -> Result<Value> {
    if let Some((file, tensor)) = text.rsplit_once(':').filter(|(file, _)| file.ends_with(".safetensors")) {
        let found = reference::archive(Path::new(file))?.tensors.into_iter().find(|(n, _)| n == tensor);
        let found = found.ok_or_else(|| malformed(format!("{file} has no tensor '{tensor}'")))?;
        return Ok(Value::Tensor(found.1));
    }
    let json = serde_json::from_str(text).map_err(|e| {
        Error::value(format!("--set {name}: {e}")).hint("write JSON, or FILE.safetensors:TENSOR")
    })?;
    template(&json, ty, &mut |t| Err(malformed(format!("no tensor is called {t}"))))?.value(&[])
}
