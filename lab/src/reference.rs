//! Reference files: stored cases with inputs, expected outputs and gradients, and how a case is checked.
//!
//! A file is a safetensors file, as it is or through gzip, whose metadata `cases` is a JSON list. Values are compared with the tolerances that the
//! case or its element type asks for; NaN equals NaN.

use crate::execute::{self, Results, Runner};
use crate::modes::{MODES, Mode};
use crate::program::{Entry, Generated, Template, template};
use flate2::read::MultiGzDecoder;
use runtime::error::{Error, ErrorKind, Result};
use runtime::io::{
    Limits, read_whole,
    safetensors::{self, Archive},
};
use runtime::testing::{Tolerance, differences};
use runtime::{DType, Host, Scalar, Tensor};
use script::calls::{self, Value};
use script::tree::Program;
use serde_json::Value as Json;
use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// One case of a file.
pub struct Case {
    /// Its name.
    pub id: String,
    /// The torch-qualified call, or the name of a function of `program`.
    pub call: String,
    /// The program whose function is called, within the folder of programs.
    pub program: Option<String>,
    /// Positional arguments; a string that starts with `$` names a tensor.
    pub args: Vec<Json>,
    /// Arguments by name.
    pub kwargs: Vec<(String, Json)>,
    /// Names of the expected outputs.
    pub outputs: Vec<String>,
    /// Names of the outputs' cotangents; `None` where an output has no gradient.
    pub cotangents: Vec<Option<String>>,
    /// Inputs and the names of their expected gradients.
    pub grads: Vec<(String, String)>,
    /// The kind of the error that the call must return.
    pub error: Option<String>,
    /// Relative and absolute tolerance, where the element type's own do not do.
    pub tolerance: (Option<f64>, Option<f64>),
}

/// The cases and tensors of a file.
pub struct File {
    /// Every case, in order.
    pub cases: Vec<Case>,
    /// Every tensor by name.
    pub tensors: HashMap<String, Tensor>,
    /// The programs that cases name, or what is wrong with them.
    programs: HashMap<String, Result<Arc<Program>>>,
    /// The program of cases that name none and whose call is not torch's.
    program: Option<Arc<Program>>,
}

/// How a case ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// As stored.
    Pass,
    /// Another value, type, shape or error than stored.
    Fail,
    /// A call that is not known here.
    Unsupported,
    /// An error where a value is stored.
    Error,
}

impl Status {
    /// The word of reports.
    pub const fn word(self) -> &'static str {
        match self {
            Status::Pass => "pass",
            Status::Fail => "fail",
            Status::Unsupported => "unsupported",
            Status::Error => "error",
        }
    }
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Largest relative difference.
    pub max_rel: f64,
    /// Where the largest absolute difference is: the output or gradient, and the element's index.
    pub place: String,
    /// What differs and where.
    pub message: String,
}

impl Outcome {
    fn new(status: Status, message: impl Into<String>) -> Outcome {
        Outcome { status, max_abs: 0.0, max_rel: 0.0, place: String::new(), message: message.into() }
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_default()
}

fn malformed(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::File, what)
}

/// The first two bytes of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Most bytes that a packed file may unpack to.
const UNPACKED: u64 = 1 << 30;

/// A file's bytes, unpacked if they are packed.
fn unpacked(bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
    if !bytes.starts_with(&GZIP) {
        return Ok(bytes.into());
    }
    let mut out = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(UNPACKED + 1).read_to_end(&mut out);
    match read {
        Err(e) => Err(malformed(format!("gzip after {} unpacked bytes: {e}", out.len()))),
        Ok(n) if n as u64 > UNPACKED => Err(malformed(format!("it unpacks to more than {UNPACKED} bytes"))),
        Ok(_) => Ok(out.into()),
    }
}

/// Names a file in an error.
fn of_file(path: &Path, e: Error) -> Error {
    malformed(format!("{}: {}", path.display(), e.message()))
}

/// The tensors of a safetensors file, packed or not.
pub fn archive(path: &Path) -> Result<Archive> {
    let bytes = read_whole(path, &Limits::default())?;
    let read = unpacked(&bytes).and_then(|bytes| safetensors::parse(&bytes, &Limits::default()));
    read.map_err(|e| of_file(path, e))
}

impl File {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<File> {
        File::of(archive(path)?).map_err(|e| of_file(path, e))
    }

    /// Reads a file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<File> {
        File::of(safetensors::parse(bytes, &Limits::default())?)
    }

    /// The cases of a file whose tensors were read.
    pub fn of(archive: Archive) -> Result<File> {
        let text = archive.metadata.get("cases").ok_or_else(|| malformed("no cases"))?;
        let list: Vec<Json> = serde_json::from_str(text).map_err(|e| malformed(format!("cases: {e}")))?;
        let cases = list.iter().map(Case::parse).collect::<Result<_>>()?;
        let tensors = archive.tensors.into_iter().collect();
        Ok(File { cases, tensors, programs: HashMap::new(), program: None })
    }

    /// Whether its cases are of programs' text.
    pub fn of_programs(&self) -> bool {
        self.cases.iter().any(|case| case.program.is_some())
    }

    /// Gives the cases their programs: `path` is a program, or the folder in which the named ones lie.
    pub fn with_programs(mut self, path: &Path) -> Result<File> {
        if !path.is_dir() {
            self.program = Some(Arc::new(Program::open(path)?));
            return Ok(self);
        }
        for name in self.cases.iter().filter_map(|c| c.program.as_ref()) {
            if !self.programs.contains_key(name) {
                let program = Program::open(&path.join(name)).map(Arc::new);
                self.programs.insert(name.clone(), program);
            }
        }
        Ok(self)
    }

    /// The function of a program that a case calls; none if it calls torch.
    fn entry(&self, case: &Case) -> Result<Option<Entry>> {
        let program = match &case.program {
            Some(name) => match self.programs.get(name) {
                Some(found) => Some(found.clone()?),
                None => self.program.clone(),
            },
            None if calls::is_known(&case.call) => None,
            None => self.program.clone(),
        };
        program.map(|program| Entry::of(program, &case.call)).transpose()
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| malformed(format!("no tensor is called {name}")))
    }

    /// Checks a case with torch's eager mode.
    pub fn check_eager(&self, case: &Case) -> Outcome {
        self.check(case, &MODES[0], &mut execute::autograd)
    }

    /// Checks a case in a mode, run by `runner`. A panic is a failure, like another value.
    pub fn check(&self, case: &Case, mode: &Mode, runner: &mut Runner) -> Outcome {
        let entry = match self.entry(case) {
            Err(e) => return Outcome::new(Status::Error, e.to_string()),
            Ok(None) if case.program.is_some() || !calls::is_known(&case.call) => {
                let name = case.program.as_ref().unwrap_or(&case.call);
                return Outcome::new(Status::Unsupported, name.clone());
            }
            // A call of torch by itself is no text.
            Ok(None) if mode.needs_text() => return Outcome::new(Status::Unsupported, case.call.clone()),
            Ok(entry) => entry,
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let entry = entry.map(|e| e.in_mode(mode, false)).transpose()?;
            self.run(case, entry, runner)
        }));
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(panic) => return Outcome::new(Status::Fail, format!("panic: {}", words(&*panic))),
        };
        match (outcome, &case.error) {
            (Err(e), None) => Outcome::new(Status::Error, e.to_string()),
            (Err(e), Some(word)) if e.kind().word() == word => Outcome::new(Status::Pass, ""),
            (Err(e), Some(word)) => {
                Outcome::new(Status::Fail, format!("expected an error of kind {word}, got {e:?}"))
            }
            (Ok(_), Some(word)) => {
                Outcome::new(Status::Fail, format!("expected an error of kind {word}, got values"))
            }
            (Ok((outputs, gradients)), None) => self
                .compare(case, &outputs, &gradients)
                .unwrap_or_else(|e| Outcome::new(Status::Error, e.to_string())),
        }
    }

    fn run(&self, case: &Case, entry: Option<Entry>, runner: &mut Runner) -> Result<Results> {
        let mut names = Vec::new();
        for value in case.args.iter().chain(case.kwargs.iter().map(|(_, v)| v)) {
            collect_names(value, &mut names);
        }
        let inputs = names.iter().map(|n| self.tensor(n).cloned()).collect::<Result<Vec<_>>>()?;
        let cotangents = case
            .cotangents
            .iter()
            .map(|name| name.as_ref().map(|n| self.tensor(n).cloned()).transpose())
            .collect::<Result<Vec<_>>>()?;
        let place = |name: &String| {
            names
                .iter()
                .position(|n| n == name)
                .ok_or_else(|| malformed(format!("{name} is no input of {}", case.id)))
        };
        let wanted = case.grads.iter().map(|(input, _)| place(input)).collect::<Result<Vec<_>>>()?;
        if let Some(entry) = entry {
            let templates = self.templates(case, &entry, &names)?;
            return runner(&entry.bound(templates), &inputs, &cotangents, &wanted);
        }
        let function = |inputs: &[Tensor]| -> Result<Vec<Tensor>> {
            let value = |json: &Json| argument(json, &names, inputs);
            let args = case.args.iter().map(value).collect::<Result<Vec<_>>>()?;
            let kwargs =
                case.kwargs.iter().map(|(k, v)| Ok((k.clone(), value(v)?))).collect::<Result<Vec<_>>>()?;
            calls::run(&case.call, &args, &kwargs)
                .unwrap_or_else(|| Err(Error::internal("the call is not known")))
        };
        runner(&function, &inputs, &cotangents, &wanted)
    }

    /// The arguments of a case of this program: of the one with this id, or the first.
    pub fn arguments(&self, entry: &Entry, id: Option<&str>) -> Result<Generated> {
        let name = Path::new(&entry.program.source.name).file_name().unwrap_or_default().to_string_lossy();
        let mut own = self.cases.iter().filter(|c| c.program.as_deref() == Some(&*name));
        let case = own.find(|c| id.is_none_or(|id| c.id == id)).ok_or_else(|| {
            let which = id.map_or(String::new(), |id| format!(" '{id}'"));
            let ids: Vec<&str> =
                self.cases.iter().filter(|c| c.program.as_deref() == Some(&*name)).map(|c| &*c.id).collect();
            malformed(format!("the file has no case{which} of {name}"))
                .hint(format!("its cases of the program: {}", ids.join(", ")))
        })?;
        let mut names = Vec::new();
        for value in case.args.iter().chain(case.kwargs.iter().map(|(_, v)| v)) {
            collect_names(value, &mut names);
        }
        let tensors = names.iter().map(|n| self.tensor(n).cloned()).collect::<Result<_>>()?;
        Ok(Generated { templates: self.templates(case, entry, &names)?, tensors })
    }

    /// The arguments of a function of a program, in the order of its parameters.
    fn templates(&self, case: &Case, entry: &Entry, names: &[String]) -> Result<Vec<Template>> {
        let mut place = |name: &str| {
            let at = names.iter().position(|n| n == name);
            at.ok_or_else(|| malformed(format!("no tensor is called {name}")))
        };
        let mut out = Vec::new();
        for (i, parameter) in entry.parameters().iter().enumerate() {
            let named = case.kwargs.iter().find(|(k, _)| **k == *parameter.name).map(|(_, v)| v);
            match case.args.get(i).or(named) {
                Some(json) => out.push(template(json, &parameter.ty, &mut place)?),
                None if parameter.default.is_some() => break,
                None => return Err(malformed(format!("{} gives no '{}'", case.id, parameter.name))),
            }
        }
        Ok(out)
    }

    fn compare(&self, case: &Case, outputs: &[Tensor], gradients: &[Option<Tensor>]) -> Result<Outcome> {
        let mut worst = Outcome::new(Status::Pass, "");
        if outputs.len() != case.outputs.len() {
            let message = format!("{} outputs, expected {}", outputs.len(), case.outputs.len());
            return Ok(Outcome::new(Status::Fail, message));
        }
        for (i, (got, name)) in outputs.iter().zip(&case.outputs).enumerate() {
            compare_one(&format!("output {i}"), got, self.tensor(name)?, case.tolerance, &mut worst)?;
        }
        for (got, (input, name)) in gradients.iter().zip(&case.grads) {
            let want = self.tensor(name)?;
            let got = match got {
                Some(got) => got.clone(),
                None => want.zeros_like(None)?,
            };
            compare_one(&format!("gradient of {input}"), &got, want, case.tolerance, &mut worst)?;
        }
        Ok(worst)
    }
}

impl Case {
    fn parse(json: &Json) -> Result<Case> {
        let text = |key: &str| json.get(key).and_then(Json::as_str).map(str::to_string);
        let strings = |key: &str| -> Vec<Option<String>> {
            let list = json.get(key).and_then(Json::as_array);
            list.map(|l| l.iter().map(|v| v.as_str().map(str::to_string)).collect()).unwrap_or_default()
        };
        let object = |key: &str| -> Vec<(String, Json)> {
            let map = json.get(key).and_then(Json::as_object);
            map.map(|m| m.iter().map(|(k, v)| (k.clone(), v.clone())).collect()).unwrap_or_default()
        };
        let need = |key: &str| text(key).ok_or_else(|| malformed(format!("a case has no {key}")));
        Ok(Case {
            id: need("id")?,
            call: need("call")?,
            program: text("program"),
            args: json.get("args").and_then(Json::as_array).cloned().unwrap_or_default(),
            kwargs: object("kwargs"),
            outputs: strings("outputs").into_iter().flatten().collect(),
            cotangents: strings("cotangents"),
            grads: object("grads")
                .into_iter()
                .filter_map(|(k, v)| Some((k, v.as_str()?.to_string())))
                .collect(),
            error: text("error"),
            tolerance: (json.get("rtol").and_then(Json::as_f64), json.get("atol").and_then(Json::as_f64)),
        })
    }
}

fn collect_names(value: &Json, names: &mut Vec<String>) {
    match value {
        Json::String(s) => {
            if let Some(name) = s.strip_prefix('$')
                && !names.iter().any(|n| n == name)
            {
                names.push(name.to_string());
            }
        }
        Json::Array(list) => list.iter().for_each(|v| collect_names(v, names)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => {}
    }
}

fn argument(json: &Json, names: &[String], inputs: &[Tensor]) -> Result<Value> {
    Ok(match json {
        Json::Null => Value::Host(Host::None),
        Json::Bool(v) => Value::Host(Host::Scalar(Scalar::Bool(*v))),
        Json::Number(n) => Value::Host(Host::Scalar(match n.as_i64() {
            Some(i) => Scalar::Int(i),
            None => Scalar::Float(n.as_f64().ok_or_else(|| malformed(format!("the number {n}")))?),
        })),
        Json::String(s) => match s.strip_prefix('$') {
            Some(name) => {
                let at = names.iter().position(|n| n == name);
                Value::Tensor(
                    inputs[at.ok_or_else(|| malformed(format!("no tensor is called {name}")))?].clone(),
                )
            }
            None => Value::Host(Host::Str(s.as_str().into())),
        },
        Json::Array(list) => match list.iter().map(Json::as_i64).collect::<Option<Vec<_>>>() {
            Some(ints) => Value::Host(Host::Ints(ints.into_iter().collect())),
            None => Value::List(list.iter().map(|v| argument(v, names, inputs)).collect::<Result<_>>()?),
        },
        Json::Object(map) => {
            let word = |key: &str| map.get(key).and_then(Json::as_str);
            if let Some(name) = word("dtype") {
                let dtype =
                    DType::parse(name).ok_or_else(|| malformed(format!("no dtype is called {name}")))?;
                Value::Host(Host::DType(dtype))
            } else if let Some(text) = word("float") {
                Value::Host(Host::Scalar(Scalar::Float(
                    text.parse().map_err(|_| malformed(format!("the float {text}")))?,
                )))
            } else if map.contains_key("ellipsis") {
                Value::Ellipsis
            } else if let Some([start, stop, step]) =
                map.get("slice").and_then(Json::as_array).map(Vec::as_slice)
            {
                Value::Slice([start.as_i64(), stop.as_i64(), step.as_i64()])
            } else {
                return Err(malformed(format!("the argument {json}")));
            }
        }
    })
}

/// Compares one tensor with what is stored, and keeps the largest error and its place.
fn compare_one(
    what: &str,
    got: &Tensor,
    want: &Tensor,
    tolerance: (Option<f64>, Option<f64>),
    worst: &mut Outcome,
) -> Result<()> {
    let mut fail = |message: String| {
        if worst.status == Status::Pass {
            worst.status = Status::Fail;
            worst.message = message;
        }
    };
    if got.tensor_type() != want.tensor_type() {
        fail(format!("{what} is {}, expected {}", got.tensor_type(), want.tensor_type()));
        return Ok(());
    }
    let own = Tolerance::of(want.dtype());
    let allowed = match want.dtype().is_float() {
        true => Tolerance { rtol: tolerance.0.unwrap_or(own.rtol), atol: tolerance.1.unwrap_or(own.atol) },
        false => Tolerance::EXACT,
    };
    let found = differences(&got.detach()?, want, allowed, true)?;
    if let Some((at, g, w)) = &found.first {
        let (place, greatest) = (at.as_slice(), &found.absolute);
        fail(format!(
            "{what}{place:?} is {g}, expected {w}; {} of {} elements differ, most by {:e} at {:?}",
            found.mismatched,
            found.total,
            greatest.value,
            greatest.at.as_slice()
        ));
    }
    worst.max_rel = worst.max_rel.max(found.relative.value);
    // What is not a number is the largest error of all.
    if found.absolute.value > worst.max_abs || found.absolute.value.is_nan() {
        worst.max_abs = found.absolute.value;
        worst.place = format!("{what}{:?}", found.absolute.at.as_slice());
    }
    Ok(())
}
