//! Selectors: the one-pass part of JSONPath (RFC 9535).
//!
//! What enters: the text of a rule's `at`. What leaves: its steps. What can never happen: a
//! construct that this version does not match is read as something else.
//!
//! Understood: `$`, `.name`, `['name']`, `["name"]`, `.*`, `[*]`, and `..` before a name, a
//! quoted name or `*`; and `$[0]`, alone, for a column of rows without a header. Other indexes,
//! slices, unions and filters are refused with a hint.

use std::fmt;

use crate::limits;

/// One step of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `.name` or `['name']`: a member of this name (after unescaping).
    Child(Box<str>),
    /// `.*` or `[*]`: every member or element.
    Wildcard,
    /// `..name`: a member of this name at any depth below.
    Descendant(Box<str>),
    /// `..*`: everything at any depth below.
    DescendantWildcard,
    /// `[0]`: a column of a row without a header, counted from 0. The only step of its selector.
    Column(u32),
}

/// A parsed selector, relative to the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    pub steps: Vec<Step>,
}

/// Why a text is no selector, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at byte {offset} of the selector)")]
pub struct SelectorError {
    /// Byte offset in the selector's text.
    pub offset: usize,
    pub message: &'static str,
    /// What to write instead, where that is known.
    pub hint: Option<&'static str>,
}

impl Selector {
    /// Reads a selector (RFC 9535, section 2; the grammar of its appendix A).
    ///
    /// # Errors
    /// [`SelectorError`] with the offset of the first character that does not fit.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { text, at: 0 };
        if !parser.eat("$") {
            return Err(parser.error("a selector starts with $", Some("write $.name")));
        }
        if let Some(column) = parser.column()? {
            return Ok(Self {
                steps: vec![column],
            });
        }
        let mut steps = Vec::new();
        loop {
            let before = parser.at;
            parser.blanks();
            if parser.at == text.len() {
                if before != text.len() {
                    parser.at = before;
                    return Err(parser.error("white space behind the selector", None));
                }
                return Ok(Self { steps });
            }
            if steps.len() == limits::SELECTOR_STEPS {
                return Err(parser.error("the selector has too many steps", None));
            }
            steps.push(parser.step()?);
        }
    }
}

/// The canonical form: `.name` where the shorthand allows it, else `['name']` escaped as in
/// normalized paths (RFC 9535, section 2.7).
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for step in &self.steps {
            match step {
                Step::Child(name) => write_name(f, "", name)?,
                Step::Wildcard => f.write_str(".*")?,
                Step::Descendant(name) => write_name(f, "..", name)?,
                Step::DescendantWildcard => f.write_str("..*")?,
                Step::Column(at) => write!(f, "[{at}]")?,
            }
        }
        Ok(())
    }
}

/// Writes one name behind `before` (empty for a child, `..` for a descendant).
pub(crate) fn write_name(out: &mut impl fmt::Write, before: &str, name: &str) -> fmt::Result {
    let mut chars = name.chars();
    let short = chars.next().is_some_and(name_first) && chars.all(name_char);
    if short {
        out.write_str(if before.is_empty() { "." } else { before })?;
        return out.write_str(name);
    }
    out.write_str(before)?;
    out.write_str("['")?;
    for c in name.chars() {
        match c {
            '\u{8}' => out.write_str("\\b")?,
            '\t' => out.write_str("\\t")?,
            '\n' => out.write_str("\\n")?,
            '\u{c}' => out.write_str("\\f")?,
            '\r' => out.write_str("\\r")?,
            '\'' => out.write_str("\\'")?,
            '\\' => out.write_str("\\\\")?,
            c if c < ' ' => write!(out, "\\u{:04x}", u32::from(c))?,
            c => out.write_char(c)?,
        }
    }
    out.write_str("']")
}

fn name_first(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn name_char(c: char) -> bool {
    name_first(c) || c.is_ascii_digit()
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn error(&self, message: &'static str, hint: Option<&'static str>) -> SelectorError {
        SelectorError {
            offset: self.at,
            message,
            hint,
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, what: &str) -> bool {
        let fits = self.rest().starts_with(what);
        if fits {
            self.at += what.len();
        }
        fits
    }

    fn blanks(&mut self) {
        let blank = |c| matches!(c, ' ' | '\t' | '\n' | '\r');
        self.at = self.text.len() - self.rest().trim_start_matches(blank).len();
    }

    /// `$[0]`: the whole selector, or none of it.
    fn column(&mut self) -> Result<Option<Step>, SelectorError> {
        let inside = self
            .rest()
            .strip_prefix('[')
            .and_then(|r| r.strip_suffix(']'));
        let Some(digits) = inside.map(|i| i.trim_matches([' ', '\t'])) else {
            return Ok(None);
        };
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !plain || (digits.len() > 1 && digits.starts_with('0')) {
            return Ok(None);
        }
        match digits.parse() {
            Ok(at) if (at as usize) < limits::COLUMNS => Ok(Some(Step::Column(at))),
            _ => {
                self.at += 1;
                Err(self.error("no row has so many columns", None))
            }
        }
    }

    fn step(&mut self) -> Result<Step, SelectorError> {
        if self.eat("..") {
            if self.peek() == Some('.') {
                return Err(self.error("three dots in a row", Some("write ..name")));
            }
            return Ok(match self.name_or_star()? {
                Some(name) => Step::Descendant(name),
                None => Step::DescendantWildcard,
            });
        }
        if self.peek() == Some('[') || self.eat(".") {
            return Ok(match self.name_or_star()? {
                Some(name) => Step::Child(name),
                None => Step::Wildcard,
            });
        }
        Err(self.error(
            "a step starts with '.' or '['",
            Some("names with other characters than letters, digits and _ are quoted: ['name']"),
        ))
    }

    /// A name in shorthand, a quoted name in brackets, or `*` (`None`), bare or in brackets.
    fn name_or_star(&mut self) -> Result<Option<Box<str>>, SelectorError> {
        if self.eat("*") {
            return Ok(None);
        }
        if !self.eat("[") {
            return self.shorthand().map(Some);
        }
        self.blanks();
        let name = match self.peek() {
            Some('*') => {
                self.at += 1;
                None
            }
            Some(quote @ ('\'' | '"')) => Some(self.quoted(quote)?),
            Some('?') => {
                return Err(self.error("filters are not matched in this version", None));
            }
            Some('0'..='9' | '-' | ':') => {
                return Err(self.error(
                    "indexes and slices are not matched",
                    Some("write [*] for every element; $[0] alone is a column of a CSV row"),
                ));
            }
            _ => {
                return Err(self.error("a quoted name or * is missing", Some("write ['name']")));
            }
        };
        self.blanks();
        if self.peek() == Some(',') {
            return Err(self.error("unions are not matched", Some("write one rule a name")));
        }
        if !self.eat("]") {
            return Err(self.error("a ] is missing", None));
        }
        Ok(name)
    }

    fn shorthand(&mut self) -> Result<Box<str>, SelectorError> {
        match self.peek() {
            Some(c) if name_first(c) => {}
            Some('"' | '\'') => {
                return Err(self.error("quoted names stand in brackets", Some("write ['name']")));
            }
            Some('0'..='9') => {
                return Err(self.error(
                    "a bare name does not start with a digit",
                    Some("write ['0name']"),
                ));
            }
            _ => return Err(self.error("a name is missing", None)),
        }
        let rest = self.rest();
        let length = rest.find(|c| !name_char(c)).unwrap_or(rest.len());
        let name = rest[..length].into();
        self.at += length;
        Ok(name)
    }

    fn quoted(&mut self, quote: char) -> Result<Box<str>, SelectorError> {
        self.at += 1;
        let mut name = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(self.error("the quoted name does not end", None));
            };
            if c < ' ' {
                return Err(self.error("a control character in a name", Some("escape it: \\n")));
            }
            if c != '\\' {
                self.at += c.len_utf8();
                if c == quote {
                    return Ok(name.into());
                }
                name.push(c);
                continue;
            }
            name.push(self.escape(quote)?);
        }
    }

    fn escape(&mut self, quote: char) -> Result<char, SelectorError> {
        let start = self.at;
        self.at += 1;
        let Some(c) = self.peek() else {
            return Err(self.error("the quoted name does not end", None));
        };
        let plain = match c {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            '/' | '\\' => c,
            'u' => {
                self.at += 1;
                return self.unicode(start);
            }
            c if c == quote => c,
            _ => return Err(self.error("no such escape", None)),
        };
        self.at += c.len_utf8();
        Ok(plain)
    }

    fn unicode(&mut self, start: usize) -> Result<char, SelectorError> {
        let high = self.hex4()?;
        let code = match high {
            0xD800..=0xDBFF if self.eat("\\u") => match self.hex4()? {
                low @ 0xDC00..=0xDFFF => 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00),
                _ => high,
            },
            _ => high,
        };
        char::from_u32(code).ok_or(SelectorError {
            offset: start,
            message: "half of a surrogate pair",
            hint: None,
        })
    }

    fn hex4(&mut self) -> Result<u32, SelectorError> {
        let digits = self.rest().get(..4).unwrap_or_default();
        if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(self.error("\\u needs four hexadecimal digits", None));
        }
        let value = u32::from_str_radix(digits, 16).unwrap_or_default();
        self.at += 4;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<Step> {
        Selector::parse(text).expect(text).steps
    }

    #[test]
    fn reads_every_step_in_every_spelling() {
        assert!(steps("$").is_empty());
        let a = || "a".into();
        assert_eq!(steps("$.a"), [Step::Child(a())]);
        assert_eq!(steps("$['a']"), [Step::Child(a())]);
        assert_eq!(steps("$[ \"a\" ]"), [Step::Child(a())]);
        assert_eq!(steps("$.*"), [Step::Wildcard]);
        assert_eq!(steps("$[*]"), [Step::Wildcard]);
        assert_eq!(steps("$..a"), [Step::Descendant(a())]);
        assert_eq!(steps("$..['a']"), [Step::Descendant(a())]);
        assert_eq!(steps("$..*"), [Step::DescendantWildcard]);
        assert_eq!(steps("$[0]"), [Step::Column(0)]);
        assert_eq!(steps("$[ 16383 ]"), [Step::Column(16383)]);
        assert_eq!(steps("$..[*]"), [Step::DescendantWildcard]);
        assert_eq!(steps("$ .a [*]"), [Step::Child(a()), Step::Wildcard]);
        assert_eq!(steps("$['']"), [Step::Child("".into())]);
        assert_eq!(steps("$.größe"), [Step::Child("größe".into())]);
    }

    #[test]
    fn reads_escapes() {
        let text = r"$['\u0073ub\'\\\/\b\f\n\r\t\ud83d\ude00']";
        let name = "sub'\\/\u{8}\u{c}\n\r\t\u{1f600}";
        assert_eq!(steps(text), [Step::Child(name.into())]);
        assert_eq!(steps(r#"$["it's\""]"#), [Step::Child("it's\"".into())]);
    }

    #[test]
    fn refuses_with_the_offset_of_what_does_not_fit() {
        for (text, offset) in [
            ("", 0),
            ("a", 0),
            (" $", 0),
            ("$.a ", 3),
            ("$a", 1),
            ("$.", 2),
            ("$..", 3),
            ("$...a", 3),
            ("$.a-b", 3),
            ("$.1", 2),
            ("$[00]", 2),
            ("$[0][1]", 2),
            ("$[0].a", 2),
            ("$.a[0]", 4),
            ("$[16384]", 2),
            ("$[-1]", 2),
            ("$[1:2]", 2),
            ("$[?@.a]", 2),
            ("$['a','b']", 5),
            ("$['a'", 5),
            ("$['a", 4),
            (r"$['\x']", 4),
            (r#"$['\"']"#, 4),
            (r"$['\ud800']", 3),
            (r"$['\udc00']", 3),
            (r"$['\ud800\u0041']", 3),
            (r"$['\u12']", 5),
            ("$['\n']", 3),
            ("$.'a'", 2),
        ] {
            let error = Selector::parse(text).expect_err(text);
            assert_eq!(error.offset, offset, "{text}: {error}");
        }
    }

    #[test]
    fn prints_the_canonical_form() {
        for (text, canonical) in [
            ("$", "$"),
            ("$['a']['b c']", "$.a['b c']"),
            ("$[*]..['x']..[*]", "$.*..x..*"),
            ("$..['']", "$..['']"),
            (r#"$["it's\u0001\n"]"#, r"$['it\'s\u0001\n']"),
        ] {
            assert_eq!(Selector::parse(text).expect(text).to_string(), canonical);
        }
    }
}
