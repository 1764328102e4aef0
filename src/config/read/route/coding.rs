//! `codings` and `encode`: compressed bodies of a route with a policy.

use super::super::super::raw::Table;
use super::super::super::{Codings, RequestBody};
use super::super::word;
use crate::coding::Coding;

/// Which content codings are taken, and whether what is rewritten is coded again.
pub(super) fn codings(table: &Table<'_>, request: Option<&RequestBody>) -> Codings {
    let findings = table.findings();
    let words = Coding::ALL.map(|coding| (coding.name(), coding));
    let mut taken = Vec::new();
    for text in table.texts("codings") {
        let Some(coding) = word(&text, "content coding that is known", &words, findings) else {
            continue;
        };
        if taken.contains(&coding) {
            let message = format!("`{}` stands here twice", coding.name());
            findings.error(&text.place, message, "write it once");
        } else {
            taken.push(coding);
        }
    }
    let encode = table.text("encode");
    let words = [("same", false), ("identity", true)];
    let plain = encode
        .as_ref()
        .and_then(|text| word(text, "way to code rewritten bodies", &words, findings));
    if table.has("codings") && !matches!(request, Some(RequestBody::Policy(_)) | None) {
        findings.warn(
            &table.place_of("codings"),
            "`codings` has no use: no policy reads this body",
            "remove it, or name a `request` policy; opaque bodies pass with any coding",
        );
    } else if let Some(text) = &encode
        && !table.has("codings")
    {
        findings.warn(
            &text.place,
            "`encode` has no use: this route takes no content coding",
            "write codings = [\"gzip\"], or remove it",
        );
    }
    Codings {
        taken,
        plain: plain.unwrap_or(false),
    }
}
