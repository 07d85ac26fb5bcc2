//! Tokens of the text form, with the line and column where each starts.

use runtime::error::{Error, ErrorKind, Result};

/// One token.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Token {
    /// `%name`, without the sign.
    Value(String),
    /// A word: letters, digits, `_` and `.`.
    Word(String),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// Quoted text.
    Text(String),
    /// Any other character.
    Punct(char),
    /// The end of the text.
    End,
}

/// A token and its place.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// The token.
    pub(crate) token: Token,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Column in characters, from 1.
    pub(crate) column: usize,
}

/// An error of kind `Parse` that names the place.
#[cold]
pub(crate) fn error_at(line: usize, column: usize, message: &str) -> Error {
    Error::new(ErrorKind::Parse, format!("line {line}, column {column}: {message}"))
}

/// Cuts the text into tokens; `#` starts a comment that ends with the line. The last token is `End`.
pub(crate) fn lex(text: &str) -> Result<Vec<Placed>> {
    let mut tokens = Vec::new();
    let mut rest = Cursor { chars: text.chars().peekable(), line: 1, column: 1 };
    loop {
        let (line, column) = (rest.line, rest.column);
        let Some(c) = rest.next() else {
            tokens.push(Placed { token: Token::End, line, column });
            return Ok(tokens);
        };
        let token = match c {
            c if c.is_whitespace() => continue,
            '#' => {
                while rest.chars.peek().is_some_and(|&c| c != '\n') {
                    rest.next();
                }
                continue;
            }
            '%' => Token::Value(rest.take_while(String::new(), is_word)),
            '"' => Token::Text(
                rest.quoted().ok_or_else(|| error_at(line, column, "the quoted text does not end"))?,
            ),
            c if c.is_ascii_digit()
                || (c == '-' && rest.chars.peek().is_some_and(|c| c.is_ascii_alphanumeric())) =>
            {
                number(&rest.number(c)).ok_or_else(|| error_at(line, column, "not a number"))?
            }
            c if c.is_ascii_alphabetic() || c == '_' => Token::Word(rest.take_while(c.to_string(), is_word)),
            c => Token::Punct(c),
        };
        tokens.push(Placed { token, line, column });
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

fn number(text: &str) -> Option<Token> {
    match text {
        "-inf" => Some(Token::Float(f64::NEG_INFINITY)),
        _ if text.contains(['.', 'e', 'E']) => text.parse().ok().map(Token::Float),
        _ => text.parse().ok().map(Token::Int),
    }
}

struct Cursor<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    column: usize,
}

impl Cursor<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        if c == '\n' {
            (self.line, self.column) = (self.line + 1, 1);
        } else {
            self.column += 1;
        }
        Some(c)
    }

    fn take_while(&mut self, mut text: String, keep: fn(char) -> bool) -> String {
        while let Some(c) = self.chars.peek().copied().filter(|&c| keep(c)) {
            text.push(c);
            self.next();
        }
        text
    }

    /// Digits, point and exponent; a sign belongs to it only after the `e`.
    fn number(&mut self, first: char) -> String {
        let mut text = first.to_string();
        while let Some(&c) = self.chars.peek() {
            let sign = (c == '-' || c == '+') && text.ends_with(['e', 'E']);
            if !(is_word(c) || sign) {
                break;
            }
            text.push(c);
            self.next();
        }
        text
    }

    /// The rest of a text after its opening quote, with Rust's escapes.
    fn quoted(&mut self) -> Option<String> {
        let mut text = String::new();
        loop {
            match self.next()? {
                '"' => return Some(text),
                '\\' => text.push(match self.next()? {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '0' => '\0',
                    'u' => {
                        self.next().filter(|&c| c == '{')?;
                        let mut code = 0u32;
                        loop {
                            match self.next()? {
                                '}' => break,
                                digit => code = code.checked_mul(16)?.checked_add(digit.to_digit(16)?)?,
                            }
                        }
                        char::from_u32(code)?
                    }
                    other => other,
                }),
                c => text.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        lex(text).unwrap().into_iter().map(|t| t.token).collect()
    }

    #[test]
    fn numbers_and_words() {
        assert_eq!(
            tokens("-3 1e-7 -2.5 -inf host.add %x.1 # rest\n\"a\\n\\u{e9}\""),
            [
                Token::Int(-3),
                Token::Float(1e-7),
                Token::Float(-2.5),
                Token::Float(f64::NEG_INFINITY),
                Token::Word("host.add".into()),
                Token::Value("x.1".into()),
                Token::Text("a\n\u{e9}".into()),
                Token::End
            ]
        );
        assert!(lex("\n  \"open").unwrap_err().message().starts_with("line 2, column 3"));
    }
}
