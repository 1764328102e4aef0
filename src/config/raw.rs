//! The file as written: TOML values with their places.
//!
//! What enters: the text of one file. What leaves: typed values, each with its [`Place`]; every
//! wrong type, missing key and unknown key is noted in the [`Findings`]. What can never happen: a
//! key that nothing has asked for goes unnoticed. (A derive would stop at the first error; this
//! reader asks table by table, so that one run tells all of them.)

use std::cell::RefCell;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, did_you_mean};
use super::units;

/// The text of one file and its name in messages.
#[derive(Debug)]
pub struct Source {
    pub name: String,
    pub text: String,
    /// Relative paths in this file start here.
    pub base: PathBuf,
}

/// A run of bytes in a source.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    pub source: &'a Source,
    pub span: Range<usize>,
}

/// Everything found so far, in the order found.
#[derive(Debug, Default)]
pub struct Findings(RefCell<Vec<Diagnostic>>);

impl Findings {
    pub fn error(&self, place: &Place<'_>, message: impl Into<String>, hint: impl Into<String>) {
        self.push(place.diagnostic(message).hint(hint));
    }

    pub fn warn(&self, place: &Place<'_>, message: impl Into<String>, hint: impl Into<String>) {
        self.push(place.diagnostic(message).hint(hint).warning());
    }

    pub fn push(&self, diagnostic: Diagnostic) {
        self.0.borrow_mut().push(diagnostic);
    }

    pub fn into_inner(self) -> Vec<Diagnostic> {
        self.0.into_inner()
    }
}

impl Place<'_> {
    pub fn diagnostic(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::at(
            &self.source.name,
            &self.source.text,
            self.span.clone(),
            message,
        )
    }

    /// 1-based line, for messages that point at a second place.
    pub fn line(&self) -> usize {
        self.diagnostic("").line
    }

    /// This place, `offset` bytes into the string that stands here (where it has no escapes).
    pub fn inside(&self, value: &str, offset: usize) -> Self {
        let written = self.source.text.get(self.span.clone()).unwrap_or_default();
        let plain = written.len() == value.len() + 2 && written[1..].starts_with(value);
        let start = self.span.start + 1 + offset;
        let span = if plain && offset < value.len() {
            start..self.span.end - 1
        } else {
            self.span.clone()
        };
        Self {
            source: self.source,
            span,
        }
    }
}

/// A string and where it stands.
#[derive(Clone, Debug)]
pub struct Text<'a> {
    pub value: &'a str,
    pub place: Place<'a>,
}

/// One value of any type and where it stands.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    value: &'a DeValue<'a>,
    pub place: Place<'a>,
    findings: &'a Findings,
}

/// A table that remembers which keys were asked for.
#[derive(Debug)]
pub struct Table<'a> {
    map: &'a DeTable<'a>,
    pub place: Place<'a>,
    /// What this table is, for messages: `route`, `[gateway]`.
    what: String,
    asked: RefCell<Vec<&'static str>>,
    findings: &'a Findings,
}

/// Parses one file. Syntax errors are noted, all of them; then there is no table.
pub fn parse<'a>(source: &'a Source, findings: &Findings) -> Option<DeTable<'a>> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for e in &errors {
        let span = e.span().unwrap_or(0..0);
        let place = Place { source, span };
        let hint = if e.message().contains("duplicate key") {
            "a key stands once in its table; remove one of them"
        } else {
            "the file is TOML 1.1: https://toml.io/"
        };
        findings.error(&place, e.message(), hint);
    }
    errors.is_empty().then(|| table.into_inner())
}

impl<'a> Table<'a> {
    /// The outermost table of a file.
    pub fn root(map: &'a DeTable<'a>, source: &'a Source, findings: &'a Findings) -> Self {
        Self {
            map,
            place: Place { source, span: 0..0 },
            what: "the file".to_owned(),
            asked: RefCell::default(),
            findings,
        }
    }

    pub fn findings(&self) -> &'a Findings {
        self.findings
    }

    /// The value under a key, of any type.
    pub fn get(&self, key: &'static str) -> Option<Node<'a>> {
        self.asked.borrow_mut().push(key);
        self.map.get(key).map(|value| self.node(value))
    }

    /// Where a key's value stands, if it is there; else the table itself.
    pub fn place_of(&self, key: &str) -> Place<'a> {
        self.map
            .get(key)
            .map_or_else(|| self.place.clone(), |v| self.node(v).place)
    }

    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Whether a list is absent or empty; a value of another type is an error of its own.
    pub fn lists_nothing(&self, key: &str) -> bool {
        match self.map.get(key).map(Spanned::get_ref) {
            None => true,
            Some(DeValue::Array(array)) => array.is_empty(),
            Some(_) => false,
        }
    }

    /// Notes an error at the table if a needed key is absent.
    pub fn require<T>(&self, key: &'static str, value: Option<T>, example: &str) -> Option<T> {
        if value.is_none() && !self.has(key) {
            self.findings.error(
                &self.place,
                format!("{} has no `{key}`", self.what),
                format!("write {example}"),
            );
        }
        value
    }

    pub fn text(&self, key: &'static str) -> Option<Text<'a>> {
        self.get(key)?.text()
    }

    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        let node = self.get(key)?;
        match node.value {
            DeValue::Boolean(b) => Some(*b),
            _ => node.wrong("true or false"),
        }
    }

    /// A whole number in a range.
    pub fn integer(&self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        self.get(key)?.integer(key, &range)
    }

    /// A list of whole numbers in a range; absent is empty.
    pub fn integers(&self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Vec<u64> {
        let Some(node) = self.get(key) else {
            return Vec::new();
        };
        node.items("a list of whole numbers")
            .into_iter()
            .filter_map(|n| n.integer(key, &range))
            .collect()
    }

    /// A part of a whole, from 0 to 1.
    pub fn fraction(&self, key: &'static str) -> Option<f64> {
        let node = self.get(key)?;
        let written = match node.value {
            DeValue::Float(f) => f.as_str(),
            DeValue::Integer(i) => i.as_str(),
            _ => return node.wrong("a number from 0 to 1"),
        };
        let number = written.replace('_', "").parse::<f64>().ok();
        let read = number
            .filter(|n| (0.0..=1.0).contains(n))
            .ok_or("a number from 0 to 1, as in 0.01");
        node.read(key, read)
    }

    /// Bytes: an integer, or a string with a unit.
    pub fn size(&self, key: &'static str) -> Option<usize> {
        let node = self.get(key)?;
        let read = match node.value {
            DeValue::Integer(i) => u64::from_str_radix(i.as_str(), i.radix())
                .ok()
                .and_then(|n| usize::try_from(n).ok())
                .ok_or("a size is zero or more bytes"),
            DeValue::String(s) => units::size(s),
            _ => return node.wrong("a size, as in \"256KiB\""),
        };
        node.read(key, read)
    }

    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        let text = self.text(key)?;
        let read = units::duration(text.value);
        self.get(key)?.read(key, read)
    }

    /// A list of strings; absent is empty.
    pub fn texts(&self, key: &'static str) -> Vec<Text<'a>> {
        let Some(node) = self.get(key) else {
            return Vec::new();
        };
        node.items("a list of strings")
            .into_iter()
            .filter_map(Node::text)
            .collect()
    }

    pub fn table(&self, key: &'static str, what: &str) -> Option<Table<'a>> {
        self.get(key)?.table(what)
    }

    /// A list of tables (`[[key]]`, or inline); absent is empty.
    pub fn tables(&self, key: &'static str, what: &str) -> Vec<Table<'a>> {
        let Some(node) = self.get(key) else {
            return Vec::new();
        };
        node.items("a list of tables")
            .into_iter()
            .filter_map(|n| n.table(what))
            .collect()
    }

    /// The tables `[key.NAME]`, in the order of the file.
    pub fn named(&self, key: &'static str) -> Vec<(Text<'a>, Table<'a>)> {
        let Some(outer) = self.table(key, &format!("[{key}]")) else {
            return Vec::new();
        };
        let mut all: Vec<_> = outer
            .map
            .iter()
            .filter_map(|(name, value)| {
                let name = Text {
                    value: name.get_ref(),
                    place: Place {
                        source: self.place.source,
                        span: name.span(),
                    },
                };
                let table = self.node(value).table(&format!("[{key}.{}]", name.value))?;
                Some((name, table))
            })
            .collect();
        all.sort_by_key(|(name, _)| name.place.span.start);
        all
    }

    /// Notes every key that nothing has asked for. Call it last.
    pub fn finish(self) {
        let asked = self.asked.borrow();
        for (name, _) in self.map.iter() {
            let written: &str = name.get_ref();
            if asked.contains(&written) {
                continue;
            }
            let place = Place {
                source: self.place.source,
                span: name.span(),
            };
            let hint = match did_you_mean(written, asked.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => {
                    let mut known: Vec<_> = asked.clone();
                    known.sort_unstable();
                    known.dedup();
                    format!("known here: {}", known.join(", "))
                }
            };
            let message = format!("unknown key `{}` in {}", shorten(written), self.what);
            self.findings.error(&place, message, hint);
        }
    }

    fn node(&self, value: &'a Spanned<DeValue<'a>>) -> Node<'a> {
        Node {
            value: value.get_ref(),
            place: Place {
                source: self.place.source,
                span: value.span(),
            },
            findings: self.findings,
        }
    }
}

impl<'a> Node<'a> {
    pub fn text(self) -> Option<Text<'a>> {
        match self.value {
            DeValue::String(s) => Some(Text {
                value: s,
                place: self.place,
            }),
            _ => self.wrong("a string"),
        }
    }

    pub fn is_table(&self) -> bool {
        matches!(self.value, DeValue::Table(_))
    }

    fn integer(self, key: &str, range: &std::ops::RangeInclusive<u64>) -> Option<u64> {
        let Some(i) = self.value.as_integer() else {
            return self.wrong("a whole number");
        };
        let read = u64::from_str_radix(i.as_str(), i.radix()).ok();
        let good = read.filter(|n| range.contains(n));
        if good.is_none() {
            let message = format!("`{key}` is out of range");
            let hint = format!("a whole number from {} to {}", range.start(), range.end());
            self.findings.error(&self.place, message, hint);
        }
        good
    }

    /// A string, or a list of strings.
    pub fn text_or_texts(self) -> Vec<Text<'a>> {
        match self.value {
            DeValue::Array(_) => {
                let items = self.items("a string, or a list of strings");
                items.into_iter().filter_map(Node::text).collect()
            }
            _ => self.text().into_iter().collect(),
        }
    }

    pub fn table(self, what: &str) -> Option<Table<'a>> {
        match self.value {
            DeValue::Table(map) => Some(Table {
                map,
                place: self.place,
                what: what.to_owned(),
                asked: RefCell::default(),
                findings: self.findings,
            }),
            _ => self.wrong("a table, as in { key = \"value\" }"),
        }
    }

    fn items(self, expected: &str) -> Vec<Node<'a>> {
        let DeValue::Array(array) = self.value else {
            return self.wrong(expected).unwrap_or_default();
        };
        let node = |value: &'a Spanned<DeValue<'a>>| Node {
            value: value.get_ref(),
            place: Place {
                source: self.place.source,
                span: value.span(),
            },
            findings: self.findings,
        };
        array.iter().map(node).collect()
    }

    fn wrong<T>(&self, expected: &str) -> Option<T> {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "a truth value",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let message = format!("this is {found}");
        let hint = format!("expected {expected}");
        self.findings.error(&self.place, message, hint);
        None
    }

    fn read<T>(&self, key: &str, read: Result<T, &'static str>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(why) => {
                let message = format!("`{key}` cannot be read");
                self.findings.error(&self.place, message, why);
                None
            }
        }
    }
}

/// A name as it may be repeated in a message.
pub fn shorten(name: &str) -> String {
    let mut shown: String = name.chars().take(60).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    shown
}
