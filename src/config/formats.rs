//! What bodies are written in.
//!
//! What enters: nothing. What leaves: the formats that a route can name. What can never happen: one
//! that no scanner reads.

use crate::format::csv::Dialect;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Ndjson,
    /// `application/x-www-form-urlencoded`
    Form,
    Csv(Dialect),
    /// Tab-separated, with backslash escapes; `header`: the first row names the columns.
    Tsv {
        header: bool,
    },
    /// `text/event-stream`: answers only.
    EventStream,
}

/// How a route's rows are written, where the format or the media type says that there are rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    pub csv: Dialect,
    /// A TSV body's first row names the columns.
    pub tsv_header: bool,
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            csv: Dialect::default(),
            tsv_header: true,
        }
    }
}
