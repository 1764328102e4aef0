//! What is wrong in a configuration, and where.
//!
//! What enters: a place in a text, a sentence, perhaps a hint. What leaves: a message with file,
//! line, column, the line itself and a marker under the fault. What can never happen: a panic,
//! whatever bytes the text holds.

use std::fmt;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One finding. `line` and `column` count from 1, columns in characters; both are 0 where a
/// file as a whole is meant (it cannot be read).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub message: String,
    pub hint: Option<String>,
    /// The line that is shown, and the bytes of it that are marked.
    excerpt: Option<(String, Range<usize>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does not start.
    Error,
    /// It starts, and somebody should know.
    Warning,
}

/// Longest part of a line that is shown: a longer one is no configuration that a person wrote.
const SHOWN: usize = 400;

impl Diagnostic {
    /// A finding about the bytes `span` of `text`. Spans outside the text are cut to fit.
    pub fn at(file: &str, text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let start = floor(text, span.start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = &text[line_start..];
        let line_end = rest.find('\n').map_or(text.len(), |at| line_start + at);
        let line_text = text[line_start..line_end].trim_end_matches('\r');
        let line_text = &line_text[..floor(line_text, SHOWN)];
        let from = (start - line_start).min(line_text.len());
        let to = floor(line_text, span.end.saturating_sub(line_start)).max(from);
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            message: message.into(),
            hint: None,
            excerpt: Some((line_text.to_owned(), from..to)),
        }
    }

    /// A finding about a whole file.
    pub fn file(file: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: 0,
            column: 0,
            message: message.into(),
            hint: None,
            excerpt: None,
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// As a person reads it: message, place, the line with a marker, the hint.
    pub fn rendered(&self, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = level.primary_title(&*self.message);
        let mut report = Vec::new();
        let shown;
        match &self.excerpt {
            Some((line, span)) => {
                let mark = AnnotationKind::Primary.span(span.clone());
                shown = group.element(
                    Snippet::source(&**line)
                        .line_start(self.line)
                        .path(&*self.file)
                        .annotation(mark),
                );
            }
            None => {
                group = group.id("");
                shown = group.element(annotate_snippets::Origin::path(&*self.file));
            }
        }
        let shown = match &self.hint {
            Some(hint) => shown.element(Level::HELP.message(&**hint)),
            None => shown,
        };
        report.push(shown);
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        renderer
            .decor_style(DecorStyle::Ascii)
            .term_width(80)
            .render(&report)
    }
}

/// One line: `file:line:column: message (hint)`, for logs.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message)?,
            _ => write!(
                f,
                "{}:{}:{}: {}",
                self.file, self.line, self.column, self.message
            )?,
        }
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// The nearest of `names` to what was written, if it is near enough to be meant.
pub fn did_you_mean<'a>(
    written: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Long garbage is no typing error, and comparing it costs its square.
    if written.len() > 64 {
        return None;
    }
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, name)| {
            *distance < name.len() && *distance <= 1 + name.len().max(written.len()) / 4
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// `did you mean`, or else all the names there are.
pub fn name_hint<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match did_you_mean(written, names.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if names.is_empty() => "there are none".to_owned(),
        None => format!("there are: {}", names.join(", ")),
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let d = Diagnostic::at("c.toml", "a = 1\nname = \"é\" x\n", 18..19, "m");
        assert_eq!((d.line, d.column), (2, 12));
    }

    #[test]
    fn any_span_renders() {
        for text in [
            "",
            "\n",
            "é\u{0}\t\r\n🦀 wide 全角\n\u{202e}",
            &"x".repeat(5000),
        ] {
            for start in 0..(text.len() + 3).min(60) {
                for end in start..(text.len() + 4).min(60) {
                    let d = Diagnostic::at("c", text, start..end, "m\nn").hint("h");
                    assert!(!d.rendered(true).is_empty() && !d.rendered(false).is_empty());
                }
            }
        }
    }

    #[test]
    fn near_names_are_found_and_far_ones_listed() {
        let names = ["subscriber", "email", "kit"];
        assert_eq!(did_you_mean("subscribr", names), Some("subscriber"));
        assert_eq!(name_hint("zzz", names), "there are: subscriber, email, kit");
        assert_eq!(did_you_mean("b", ["a"]), None);
        assert_eq!(did_you_mean(&"x".repeat(100_000), names), None);
    }
}
