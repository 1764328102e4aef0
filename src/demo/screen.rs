//! What the demonstration prints: headings, aligned tables, two columns side by side.
//!
//! What enters: text. What leaves: lines of at most 80 columns, in colour on a terminal that
//! has not set `NO_COLOR` (no-color.org). What can never happen: control characters of a
//! message reach the terminal.

use std::io::{self, IsTerminal, Write};

/// Columns of a line.
pub const WIDTH: usize = 80;

pub struct Screen {
    colour: bool,
    step: usize,
}

#[derive(Clone, Copy)]
enum Colour {
    Heading = 1,
    Good = 32,
    Bad = 31,
    Dim = 2,
}

impl Screen {
    pub fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colour: wanted && io::stdout().is_terminal(),
            step: 0,
        }
    }

    /// A numbered heading.
    pub fn heading(&mut self, text: &str) {
        self.step += 1;
        let line = format!("{}. {text}", self.step);
        self.put("");
        self.put(&self.paint(&clip(&line, WIDTH), Colour::Heading));
        self.put(&"-".repeat(width(&line).min(WIDTH)));
    }

    /// A paragraph, wrapped between words.
    pub fn say(&self, text: &str) {
        for line in wrap(text, WIDTH) {
            self.put(&line);
        }
    }

    pub fn dim(&self, text: &str) {
        for line in wrap(text, WIDTH) {
            self.put(&self.paint(&line, Colour::Dim));
        }
    }

    /// What was checked, and whether it held.
    pub fn verdict(&self, holds: bool, text: &str) {
        let (word, colour) = if holds {
            ("ok  ", Colour::Good)
        } else {
            ("NOT ", Colour::Bad)
        };
        for (at, line) in wrap(text, WIDTH - 4).iter().enumerate() {
            let head = if at == 0 {
                self.paint(word, colour)
            } else {
                " ".repeat(4)
            };
            self.put(&format!("{head}{line}"));
        }
    }

    /// A command to copy: never wrapped, since a broken line cannot be pasted.
    pub fn command(&self, text: &str) {
        self.put(&format!("  {}", clean(text)));
    }

    /// Output of another command, indented and cut to the width.
    pub fn quote(&self, text: &str) {
        for line in text.lines() {
            self.put(&format!("  {}", clip(line, WIDTH - 2)));
        }
    }

    /// Columns as wide as their widest cell; the widest give way until all fits in 80.
    pub fn table(&self, heads: &[&str], rows: &[Vec<String>]) {
        let widths = widths(heads, rows);
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded: Vec<String> = cells
                .zip(&widths)
                .map(|(cell, &wide)| pad(&clip(cell, wide), wide))
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        self.put(&self.paint(&line(&mut heads.iter().copied()), Colour::Heading));
        for row in rows {
            self.put(&line(&mut row.iter().map(String::as_str)));
        }
    }

    fn paint(&self, text: &str, colour: Colour) -> String {
        if self.colour {
            format!("\x1b[{}m{text}\x1b[0m", colour as u8)
        } else {
            text.to_owned()
        }
    }

    /// A closed pipe (`| head`) ends the printing, not the program.
    fn put(&self, line: &str) {
        let _ = writeln!(io::stdout().lock(), "{line}");
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

fn widths(heads: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths: Vec<usize> = heads.iter().map(|head| width(head)).collect();
    for row in rows {
        for (wide, cell) in widths.iter_mut().zip(row) {
            *wide = (*wide).max(width(cell));
        }
    }
    let gaps = 2 * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > WIDTH {
        let Some(widest) = widths.iter_mut().max() else {
            break;
        };
        *widest -= 1;
    }
    widths
}

/// Characters, which on the scripts printed here are columns.
fn width(text: &str) -> usize {
    text.chars().count()
}

fn pad(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn clip(text: &str, to: usize) -> String {
    let text = clean(text);
    if width(&text) <= to {
        return text;
    }
    let mut cut: String = text.chars().take(to.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

fn wrap(text: &str, to: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && width(&line) + 1 + width(word) > to {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&clean(word));
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_columns_give_way_and_the_rest_stays_whole() {
        let rows = vec![vec!["short".to_owned(), "x".repeat(100), "y".repeat(60)]];
        let widths = widths(&["a", "b", "c"], &rows);
        assert_eq!(widths.iter().sum::<usize>() + 4, WIDTH);
        assert_eq!(widths[0], 5);
        assert!(widths[1].abs_diff(widths[2]) <= 1);
    }

    #[test]
    fn cutting_shows_that_it_cut_and_no_control_character_passes() {
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(clip("Łukasz", 6), "Łukasz");
        assert_eq!(clip("a\x1b[2Jb", 10), "a [2Jb");
    }

    #[test]
    fn wrapping_keeps_words_whole() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
    }
}
