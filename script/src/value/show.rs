//! How tensors are printed: torch's layout, with four digits, lines of 80 characters, and the middle left out of what has
//! more than 1000 elements.

use super::text::float;
use eager::Autograd;
use runtime::{DType, Scalar, Tensor};

const DIGITS: usize = 4;
const LINE: usize = 80;
const EDGE: usize = 3;
const THRESHOLD: usize = 1000;

/// What all elements of one tensor are written with.
struct Style {
    floats: bool,
    whole: bool,
    scientific: bool,
    width: usize,
}

fn scientific(v: f64) -> String {
    let text = format!("{v:.DIGITS$e}");
    match text.split_once('e').and_then(|(m, e)| Some((m, e.parse::<i32>().ok()?))) {
        Some((mantissa, e)) => format!("{mantissa}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs()),
        None => text,
    }
}

impl Style {
    fn of(elements: &[Scalar], dtype: DType) -> Style {
        let mut style = Style { floats: dtype.is_float(), whole: true, scientific: false, width: 1 };
        if style.floats {
            let values: Vec<f64> =
                elements.iter().map(|v| v.to_f64()).filter(|v| v.is_finite() && *v != 0.0).collect();
            let (mut least, mut most) = (f64::INFINITY, 0.0f64);
            for v in &values {
                (least, most) = (least.min(v.abs()), most.max(v.abs()));
                style.whole &= v.fract() == 0.0;
            }
            if values.is_empty() {
                return style;
            }
            style.scientific = most / least > 1000.0 || most > 1e8 || least < 1e-4;
            style.width = values.iter().map(|v| style.bare(Scalar::Float(*v)).len()).max().unwrap_or(1);
        } else {
            style.width = elements.iter().map(|v| style.bare(*v).len()).max().unwrap_or(1);
        }
        style
    }

    fn bare(&self, value: Scalar) -> String {
        match value {
            Scalar::Bool(v) => if v { "True" } else { "False" }.to_string(),
            Scalar::Int(v) => v.to_string(),
            Scalar::Float(v) if !v.is_finite() => float(v),
            Scalar::Float(v) if self.scientific => scientific(v),
            Scalar::Float(v) if self.whole => format!("{v:.0}."),
            Scalar::Float(v) => format!("{v:.DIGITS$}"),
        }
    }

    fn write(&self, value: Scalar) -> String {
        format!("{:>1$}", self.bare(value), self.width)
    }
}

/// Elements in row-major order with their extents.
struct Grid<'a> {
    elements: &'a [Scalar],
    dims: &'a [usize],
    short: bool,
}

impl Grid<'_> {
    fn row(&self, at: usize) -> Grid<'_> {
        let dims = &self.dims[1..];
        let n: usize = dims.iter().product();
        Grid { elements: &self.elements[at * n..(at + 1) * n], dims, short: self.short }
    }

    /// The rows that are shown, `None` for those left out.
    fn shown(&self) -> Vec<Option<usize>> {
        let n = self.dims[0];
        match self.short && n > 2 * EDGE {
            true => (0..EDGE).map(Some).chain([None]).chain((n - EDGE..n).map(Some)).collect(),
            false => (0..n).map(Some).collect(),
        }
    }

    /// The elements that are shown.
    fn gather(&self, out: &mut Vec<Scalar>) {
        match self.dims.len() {
            0 => out.extend(self.elements),
            1 => out.extend(self.shown().into_iter().flatten().map(|i| self.elements[i])),
            _ => self.shown().into_iter().flatten().for_each(|i| self.row(i).gather(out)),
        }
    }

    fn write(&self, indent: usize, style: &Style) -> String {
        if self.dims.is_empty() {
            return style.write(self.elements[0]);
        }
        let next = " ".repeat(indent + 1);
        let parts = self.shown().into_iter();
        if self.dims.len() == 1 {
            let parts: Vec<String> =
                parts.map(|i| i.map_or(" ...".to_string(), |i| style.write(self.elements[i]))).collect();
            let a_line = ((LINE.saturating_sub(indent)) / (style.width + 2)).max(1);
            let lines: Vec<String> = parts.chunks(a_line).map(|line| line.join(", ")).collect();
            return format!("[{}]", lines.join(&format!(",\n{next}")));
        }
        let parts: Vec<String> =
            parts.map(|i| i.map_or("...".to_string(), |i| self.row(i).write(indent + 1, style))).collect();
        let separator = format!(",{}{next}", "\n".repeat(self.dims.len() - 1));
        format!("[{}]", parts.join(&separator))
    }
}

/// A tensor as it is printed.
pub(crate) fn tensor(t: &Tensor) -> String {
    const HEAD: &str = "tensor(";
    let elements = match t.detach().and_then(|t| t.to_scalars()) {
        Ok(elements) => elements,
        // A traced one has no elements; its type and place in the trace are what there is to say.
        Err(_) => return format!("{HEAD}{t:?})"),
    };
    let mut suffixes = Vec::new();
    let body = if elements.is_empty() {
        if t.rank() != 1 {
            let dims: Vec<String> = t.shape().iter().map(usize::to_string).collect();
            suffixes.push(format!("size=({})", dims.join(", ")));
        }
        "[]".to_string()
    } else {
        let grid = Grid { elements: &elements, dims: t.shape(), short: elements.len() > THRESHOLD };
        let mut shown = Vec::new();
        grid.gather(&mut shown);
        grid.write(HEAD.len(), &Style::of(&shown, t.dtype()))
    };
    if t.device() != runtime::DeviceId::Cpu {
        suffixes.insert(0, format!("device='{}'", t.device()));
    }
    // The types that the written elements imply are not said.
    let implied = match t.dtype() {
        DType::F32 => true,
        DType::I64 | DType::Bool => !elements.is_empty(),
        DType::U8 | DType::I32 | DType::F16 | DType::BF16 | DType::F64 => false,
    };
    if !implied {
        suffixes.push(format!("dtype=torch.{}", t.dtype().torch_name()));
    }
    if let Some(made_by) = t.grad_fn() {
        suffixes.push(format!("grad_fn=<{made_by}>"));
    } else if t.requires_grad() {
        suffixes.push("requires_grad=True".to_string());
    }
    let mut out = format!("{HEAD}{body}");
    // torch counts two characters more than stand on the last line.
    let mut last = out.len() + 2 - out.rfind('\n').map_or(0, |at| at + 1);
    for suffix in suffixes {
        if last + suffix.len() + 2 > LINE {
            out += &format!(",\n{}{suffix}", " ".repeat(HEAD.len()));
            last = HEAD.len() + suffix.len();
        } else {
            out += &format!(", {suffix}");
            last += suffix.len() + 2;
        }
    }
    out.push(')');
    out
}
