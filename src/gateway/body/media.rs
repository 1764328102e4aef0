//! What a body is, said by its head: media type and charset (its codings: `coded`).
//!
//! What enters: header fields. What leaves: a format, or 415 before the body is read. What can
//! never happen: a coded or differently written body is taken for what it is not.

use http::{HeaderMap, HeaderValue, header};

use crate::config::{Format, Rows};
use crate::error::{Code, Fault, Stage};
use crate::format::csv::Dialect;

/// The format of a request body. A route's own `format` overrides the media type, where clients
/// are careless with it; the charset counts all the same.
///
/// # Errors
/// [`Code::MediaType`].
pub fn request(headers: &HeaderMap, format: Option<Format>, rows: Rows) -> Result<Format, Fault> {
    let refused = || Fault::new(Code::MediaType, Stage::Authorise);
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let named = match (types.next(), types.next()) {
        (Some(one), None) => named(one, rows).map_err(|()| refused())?,
        (None, _) => Named::default(),
        (Some(_), Some(_)) => return Err(refused()),
    };
    // Events are what a server sends.
    let sent = named.format.filter(|named| *named != Format::EventStream);
    let format = format.or(sent).ok_or_else(refused)?;
    // What the client says of its rows is not what the route takes for granted.
    match (named.header, header_row(format)) {
        (Some(said), Some(known)) if said != known => Err(refused()),
        _ => Ok(format),
    }
}

/// The media type of a format, in our words.
pub fn of(format: Format) -> HeaderValue {
    HeaderValue::from_static(match format {
        Format::Json => "application/json",
        Format::Ndjson => "application/x-ndjson",
        Format::Csv(dialect) if dialect.header => "text/csv",
        Format::Csv(_) => "text/csv; header=absent",
        Format::Tsv { header: true } => "text/tab-separated-values",
        Format::Tsv { header: false } => "text/tab-separated-values; header=absent",
        Format::Form => "application/x-www-form-urlencoded",
        Format::EventStream => "text/event-stream",
    })
}

/// The format of a response body; `None` where there is nothing to restore in it.
pub fn response(headers: &HeaderMap, format: Option<Format>, rows: Rows) -> Option<Format> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return format.filter(restorable);
    };
    let named = named(value, rows).ok()?;
    // The backend knows whether it has written a header row.
    let format = named.format.filter(restorable)?;
    Some(match (format, named.header) {
        (Format::Csv(dialect), Some(header)) => Format::Csv(Dialect { header, ..dialect }),
        (Format::Tsv { .. }, Some(header)) => Format::Tsv { header },
        (format, _) => format,
    })
}

/// Restore places are places of bodies that have some.
fn restorable(format: &Format) -> bool {
    *format != Format::Form
}

/// Whether what a backend says of its answer is what the route says: the format, if it says one,
/// and whether rows have a header.
pub fn is_as_said(named: Format, format: Option<Format>, rows: Rows) -> bool {
    let same = |said: Format| std::mem::discriminant(&said) == std::mem::discriminant(&named);
    let header = match named {
        Format::Csv(_) => Some(rows.csv.header),
        Format::Tsv { .. } => Some(rows.tsv_header),
        Format::Json | Format::Ndjson | Format::Form | Format::EventStream => None,
    };
    // An event's data is JSON.
    let json =
        named == Format::EventStream && matches!(format, Some(Format::Json | Format::Ndjson));
    (json || format.is_none_or(same)) && header_row(named) == header
}

fn header_row(format: Format) -> Option<bool> {
    match format {
        Format::Csv(dialect) => Some(dialect.header),
        Format::Tsv { header } => Some(header),
        Format::Json | Format::Ndjson | Format::Form | Format::EventStream => None,
    }
}

/// No content coding, or the one that changes nothing.
pub fn is_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    codings.all(|v| v.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// What a media type says.
#[derive(Clone, Copy, Default)]
struct Named {
    /// `None`: a type of no format.
    format: Option<Format>,
    /// `header=present` or `absent` (RFC 4180, section 3), of a type of rows.
    header: Option<bool>,
}

/// `Err` for a charset that is not UTF-8, and for a `header` that is neither word.
fn named(value: &HeaderValue, rows: Rows) -> Result<Named, ()> {
    let text = value.to_str().map_err(|_| ())?;
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let is = |known: &str| essence.eq_ignore_ascii_case(known);
    let (csv, tsv) = (is("text/csv"), is("text/tab-separated-values"));
    let mut header = None;
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        let utf8 = ["utf-8", "utf8", "us-ascii"]
            .iter()
            .any(|u| value.eq_ignore_ascii_case(u));
        if name.trim().eq_ignore_ascii_case("charset") && !utf8 {
            return Err(());
        }
        if (csv || tsv) && name.trim().eq_ignore_ascii_case("header") {
            let said = match value.to_ascii_lowercase().as_str() {
                "present" => true,
                "absent" => false,
                _ => return Err(()),
            };
            if header.replace(said).is_some_and(|before| before != said) {
                return Err(());
            }
        }
    }
    let suffix = essence
        .len()
        .checked_sub(5)
        .and_then(|at| essence.get(at..));
    let format =
        if is("application/json") || suffix.is_some_and(|s| s.eq_ignore_ascii_case("+json")) {
            Some(Format::Json)
        } else if [
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
            "application/x-jsonlines",
        ]
        .iter()
        .any(|k| is(k))
        {
            Some(Format::Ndjson)
        } else if is("application/x-www-form-urlencoded") {
            Some(Format::Form)
        } else if is("text/event-stream") {
            Some(Format::EventStream)
        } else if csv {
            Some(Format::Csv(rows.csv))
        } else if tsv {
            let header = rows.tsv_header;
            Some(Format::Tsv { header })
        } else {
            None
        };
    Ok(Named { format, header })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&'static str, &'static str)], format: Option<Format>) -> Result<Format, Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        request(&headers, format, Rows::default()).map_err(|f| f.code)
    }

    #[test]
    fn formats_01_types_of_rows_and_their_header() {
        let t = |v| of(&[("content-type", v)], None);
        let dialect = Dialect::default();
        assert_eq!(t("text/csv"), Ok(Format::Csv(dialect)));
        assert_eq!(
            t("Text/CSV; charset=utf-8; Header=\"present\""),
            Ok(Format::Csv(dialect))
        );
        let tsv = Format::Tsv { header: true };
        assert_eq!(t("text/tab-separated-values; charset=UTF-8"), Ok(tsv));
        for refused in [
            "text/csv; header=absent",
            "text/csv; header=maybe",
            "text/csv; header=present; header=absent",
            "text/csv; charset=windows-1252",
            "text/tab-separated-values; header=absent",
        ] {
            assert_eq!(t(refused), Err(Code::MediaType), "{refused}");
        }
        let bare = Dialect {
            header: false,
            ..dialect
        };
        let own = |v| of(&[("content-type", v)], Some(Format::Csv(bare)));
        assert_eq!(own("text/csv"), Ok(Format::Csv(bare)));
        assert_eq!(own("text/csv; header=absent"), Ok(Format::Csv(bare)));
        assert_eq!(own("text/plain; header=present"), Ok(Format::Csv(bare)));
        assert_eq!(own("text/csv; header=present"), Err(Code::MediaType));
        // An answer is what its backend says.
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_static("text/csv; header=absent");
        headers.insert(header::CONTENT_TYPE, value);
        let answer = response(&headers, None, Rows::default());
        assert_eq!(answer, Some(Format::Csv(bare)));
    }

    #[test]
    fn types_and_charsets() {
        let t = |v| of(&[("content-type", v)], None);
        assert_eq!(t("Application/JSON; charset=\"UTF-8\""), Ok(Format::Json));
        assert_eq!(t("application/fhir+json"), Ok(Format::Json));
        assert_eq!(t("application/x-ndjson"), Ok(Format::Ndjson));
        assert_eq!(t("application/json; charset=utf-16"), Err(Code::MediaType));
        assert_eq!(
            t("application/json; q=1; Charset=latin1"),
            Err(Code::MediaType)
        );
        assert_eq!(t("text/plain"), Err(Code::MediaType));
        assert_eq!(of(&[], None), Err(Code::MediaType));
        assert_eq!(of(&[], Some(Format::Ndjson)), Ok(Format::Ndjson));
        let form = ("content-type", "application/x-www-form-urlencoded");
        assert_eq!(of(&[form], None), Ok(Format::Form));
        assert_eq!(of(&[form], Some(Format::Ndjson)), Ok(Format::Ndjson));
        let json = ("content-type", "application/json");
        assert_eq!(of(&[json, json], None), Err(Code::MediaType));
    }
}
