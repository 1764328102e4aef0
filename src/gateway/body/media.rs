//! What a body is, said by its head: media type and charset (its codings: `coded`).
//!
//! What enters: header fields. What leaves: a format, or 415 before the body is read. What can
//! never happen: a coded or differently written body is taken for what it is not.

use http::{HeaderMap, HeaderValue, header};

use crate::config::Format;
use crate::error::{Code, Fault, Stage};

/// The format of a request body. A route's own `format` overrides the media type, where clients
/// are careless with it; the charset counts all the same.
///
/// # Errors
/// [`Code::MediaType`].
pub fn request(headers: &HeaderMap, format: Option<Format>) -> Result<Format, Fault> {
    let refused = || Fault::new(Code::MediaType, Stage::Authorise);
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let named = match (types.next(), types.next()) {
        (Some(one), None) => named(one).map_err(|()| refused())?,
        (None, _) => None,
        (Some(_), Some(_)) => return Err(refused()),
    };
    format.or(named).ok_or_else(refused)
}

/// The media type of a format, in our words.
pub fn of(format: Format) -> HeaderValue {
    HeaderValue::from_static(match format {
        Format::Json => "application/json",
        Format::Ndjson => "application/x-ndjson",
    })
}

/// The format of a response body; `None` where there is nothing to restore in it.
pub fn response(headers: &HeaderMap, format: Option<Format>) -> Option<Format> {
    match headers.get(header::CONTENT_TYPE) {
        Some(value) => named(value).ok().flatten(),
        None => format,
    }
}

/// No content coding, or the one that changes nothing.
pub fn is_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    codings.all(|v| v.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// `Err` for a charset that is not UTF-8, `Ok(None)` for a type of no format.
fn named(value: &HeaderValue) -> Result<Option<Format>, ()> {
    let text = value.to_str().map_err(|_| ())?;
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        let utf8 = ["utf-8", "utf8", "us-ascii"]
            .iter()
            .any(|u| value.eq_ignore_ascii_case(u));
        if name.trim().eq_ignore_ascii_case("charset") && !utf8 {
            return Err(());
        }
    }
    let is = |known: &str| essence.eq_ignore_ascii_case(known);
    let suffix = essence
        .len()
        .checked_sub(5)
        .and_then(|at| essence.get(at..));
    Ok(
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
        } else {
            None
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&'static str, &'static str)], format: Option<Format>) -> Result<Format, Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        request(&headers, format).map_err(|f| f.code)
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
        assert_eq!(of(&[form], Some(Format::Ndjson)), Ok(Format::Ndjson));
        let json = ("content-type", "application/json");
        assert_eq!(of(&[json, json], None), Err(Code::MediaType));
    }
}
