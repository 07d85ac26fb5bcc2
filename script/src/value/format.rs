//! Python's format specifications: `[[fill]align][sign][#][0][width][,][.precision][type]`.

use super::Value;
use runtime::error::{Error, Result};

/// What a specification asks for.
struct Spec {
    fill: char,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

fn number(text: &mut &str) -> Result<Option<usize>> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    if digits.is_empty() {
        return Ok(None);
    }
    match digits.parse() {
        Ok(n) if n <= 10_000 => Ok(Some(n)),
        _ => Err(Error::value("ValueError: too many digits in a format specification")),
    }
}

impl Spec {
    fn parse(spec: &str) -> Result<Spec> {
        let is_align = |c: char| matches!(c, '<' | '>' | '=' | '^');
        let mut rest = spec;
        let take = |rest: &mut &str, wanted: &dyn Fn(char) -> bool| {
            let found = rest.chars().next().filter(|c| wanted(*c));
            if let Some(c) = found {
                *rest = &rest[c.len_utf8()..];
            }
            found
        };
        let (mut fill, mut align) = (None, None);
        let mut chars = spec.chars();
        if let (Some(first), Some(second)) = (chars.next(), chars.next())
            && is_align(second)
        {
            (fill, align) = (Some(first), Some(second));
            rest = chars.as_str();
        }
        align = align.or_else(|| take(&mut rest, &is_align));
        let sign = take(&mut rest, &|c| matches!(c, '+' | '-' | ' '));
        let alternate = take(&mut rest, &|c| c == '#').is_some();
        let zero = take(&mut rest, &|c| c == '0').is_some();
        let width = number(&mut rest)?.unwrap_or(0);
        let grouping = take(&mut rest, &|c| matches!(c, ',' | '_'));
        let precision = match take(&mut rest, &|c| c == '.') {
            None => None,
            Some(_) => Some(
                number(&mut rest)?
                    .ok_or_else(|| Error::value("ValueError: format specifier missing precision"))?,
            ),
        };
        let kind = take(&mut rest, &|_| true);
        if !rest.is_empty() {
            return Err(Error::value(format!("ValueError: invalid format specifier '{spec}'")));
        }
        let fill = fill.unwrap_or(if zero { '0' } else { ' ' });
        let align = align.or(zero.then_some('='));
        Ok(Spec { fill, align, sign, alternate, zero, width, grouping, precision, kind })
    }

    /// Filled up to the width; `sign` stands before the filling of `=`.
    fn pad(&self, sign: &str, body: &str, default: char) -> String {
        let missing = self.width.saturating_sub(sign.chars().count() + body.chars().count());
        let fill = |n: usize| self.fill.to_string().repeat(n);
        match self.align.unwrap_or(default) {
            '<' => format!("{sign}{body}{}", fill(missing)),
            '^' => format!("{}{sign}{body}{}", fill(missing / 2), fill(missing - missing / 2)),
            '=' => format!("{sign}{}{body}", fill(missing)),
            _ => format!("{}{sign}{body}", fill(missing)),
        }
    }

    fn sign_of(&self, negative: bool) -> &'static str {
        match (negative, self.sign) {
            (true, _) => "-",
            (false, Some('+')) => "+",
            (false, Some(' ')) => " ",
            (false, _) => "",
        }
    }

    /// Digits in groups of `size`; zeros that fill up the width are grouped too.
    fn group(&self, digits: &str, size: usize, rest: usize, sign: usize) -> String {
        let Some(separator) = self.grouping else { return digits.to_string() };
        let grouped = |digits: &str| {
            let n = digits.len();
            let mut out = String::with_capacity(n + n / size);
            for (i, c) in digits.chars().enumerate() {
                if i > 0 && (n - i).is_multiple_of(size) {
                    out.push(separator);
                }
                out.push(c);
            }
            out
        };
        let mut digits = digits.to_string();
        let mut out = grouped(&digits);
        if self.fill == '0' && self.align == Some('=') {
            while out.len() + rest + sign < self.width {
                digits.insert(0, '0');
                out = grouped(&digits);
            }
        }
        out
    }

    #[cold]
    fn unknown(&self, kind: char, of: &str) -> Error {
        Error::value(format!("ValueError: unknown format code '{kind}' for object of type '{of}'"))
    }

    fn int(&self, v: i64) -> Result<String> {
        let magnitude = v.unsigned_abs();
        let (prefix, digits, size) = match self.kind {
            None | Some('d' | 'n') => ("", magnitude.to_string(), 3),
            Some('x') => ("0x", format!("{magnitude:x}"), 4),
            Some('X') => ("0X", format!("{magnitude:X}"), 4),
            Some('o') => ("0o", format!("{magnitude:o}"), 4),
            Some('b') => ("0b", format!("{magnitude:b}"), 4),
            Some('c') => {
                let c = u32::try_from(v).ok().and_then(char::from_u32);
                let c = c.ok_or_else(|| Error::value("OverflowError: %c arg not in range(0x110000)"))?;
                return Ok(self.pad("", &c.to_string(), '<'));
            }
            Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => return self.float(v as f64),
            Some(other) => return Err(self.unknown(other, "int")),
        };
        if self.precision.is_some() {
            return Err(Error::value("ValueError: precision not allowed in an integer format specifier"));
        }
        let prefix = if self.alternate { prefix } else { "" };
        let sign = format!("{}{prefix}", self.sign_of(v < 0));
        let body = self.group(&digits, size, 0, sign.len());
        Ok(self.pad(&sign, &body, '>'))
    }

    fn float(&self, v: f64) -> Result<String> {
        let sign = self.sign_of(v.is_sign_negative() && !v.is_nan());
        let kind = self.kind.unwrap_or(' ');
        if !matches!(kind, ' ' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'n' | '%') {
            return Err(self.unknown(kind, "float"));
        }
        let mut text = if !v.is_finite() {
            let text = if v.is_nan() { "nan" } else { "inf" };
            format!("{text}{}", if kind == '%' { "%" } else { "" })
        } else {
            let v = v.abs();
            let precision = self.precision.unwrap_or(6);
            match kind {
                'f' | 'F' => fixed(v, precision, self.alternate),
                '%' => format!("{}%", fixed(v * 100.0, precision, self.alternate)),
                'e' | 'E' => scientific(v, precision, self.alternate),
                'g' | 'G' | 'n' => general(v, precision.max(1), self.alternate, false),
                _ => match self.precision {
                    None => super::text::float(v),
                    Some(precision) => general(v, precision.max(1), self.alternate, true),
                },
            }
        };
        if matches!(kind, 'E' | 'F' | 'G') {
            text = text.to_uppercase();
        }
        let whole = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(whole);
        let body = if digits.is_empty() {
            text.clone()
        } else {
            self.group(digits, 3, rest.len(), sign.len()) + rest
        };
        Ok(self.pad(sign, &body, '>'))
    }

    fn text(&self, text: &str) -> Result<String> {
        match self.kind {
            None | Some('s') => {}
            Some(other) => return Err(self.unknown(other, "str")),
        }
        if self.align == Some('=') && !self.zero {
            return Err(Error::value("ValueError: '=' alignment not allowed in string format specifier"));
        }
        let refused = match (self.sign, self.alternate, self.grouping) {
            (Some(_), ..) => "ValueError: Sign not allowed in string format specifier",
            (_, true, _) => "ValueError: Alternate form (#) not allowed in string format specifier",
            (.., Some(_)) => "ValueError: Cannot group digits of a string",
            _ => "",
        };
        if !refused.is_empty() {
            return Err(Error::value(refused));
        }
        let cut: String = match self.precision {
            Some(n) => text.chars().take(n).collect(),
            None => text.to_string(),
        };
        let align = self.align.filter(|a| *a != '=').unwrap_or('<');
        Ok(Spec { align: Some(align), ..*self }.pad("", &cut, '<'))
    }
}

fn fixed(v: f64, precision: usize, alternate: bool) -> String {
    format!("{v:.precision$}{}", if alternate && precision == 0 { "." } else { "" })
}

/// Mantissa and exponent of so many digits after the point.
fn parts(v: f64, precision: usize) -> (String, i32) {
    let text = format!("{v:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.to_string(), exponent.parse().unwrap_or(0))
}

fn exponent_text(exponent: i32) -> String {
    format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

fn scientific(v: f64, precision: usize, alternate: bool) -> String {
    let (mantissa, exponent) = parts(v, precision);
    let point = if alternate && precision == 0 { "." } else { "" };
    format!("{mantissa}{point}{}", exponent_text(exponent))
}

/// `g`: fixed or scientific, whichever is shorter, without trailing zeros; `point` keeps one digit after the point, as a
/// precision without a type does.
fn general(v: f64, precision: usize, alternate: bool, point: bool) -> String {
    let (mantissa, exponent) = parts(v, precision - 1);
    let trim = |text: &str| {
        if alternate || !text.contains('.') {
            return text.to_string();
        }
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    };
    // Without a type, the exponent comes one digit earlier, since a digit after the point is always written.
    let limit = precision as i32 - point as i32;
    if exponent < -4 || exponent >= limit.max(if point { 1 } else { 0 }).max(limit) {
        return trim(&mantissa) + &exponent_text(exponent);
    }
    let text = trim(&format!("{v:.*}", (precision as i32 - 1 - exponent).max(0) as usize));
    if point && !text.contains('.') { text + ".0" } else { text }
}

/// A value in the format of a specification; an empty one is `str(x)`.
pub fn format(value: &Value, spec: &str) -> Result<String> {
    match value {
        // A tensor of one element formats as its number does, if it has one by now.
        Value::Tensor(t) if t.rank() == 0 && !(spec.is_empty() && graph::trace::is_staging()) => {
            format(&Value::from(t.item()?), spec)
        }
        _ if spec.is_empty() => Ok(value.to_string()),
        Value::Int(v) => Spec::parse(spec)?.int(*v),
        Value::Bool(v) => Spec::parse(spec)?.int(*v as i64),
        Value::Float(v) => Spec::parse(spec)?.float(*v),
        Value::Str(v) => Spec::parse(spec)?.text(v),
        other => Err(Error::value(format!(
            "TypeError: unsupported format string passed to {}.__format__",
            other.type_name()
        ))),
    }
}
