//! The query string is a side door: only names (and values) that the route lists pass.
//!
//! What enters: the raw query and the route's list. What leaves: nothing; the bytes are
//! forwarded as they came. What can never happen: a parameter passes because it is spelled
//! otherwise; names and values are compared decoded.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::config::QueryRule;
use crate::error::{Code, Fault, Stage};

/// # Errors
/// [`Code::QueryNotAllowed`], naming the parameter only if the route lists it.
pub fn check(query: Option<&str>, rules: &[QueryRule]) -> Result<(), Fault> {
    let Some(query) = query.filter(|q| !q.is_empty()) else {
        return Ok(());
    };
    // Some readers take `;` for `&` and would find parameters that we did not see.
    if query.contains(';') {
        return Err(fault("?*"));
    }
    query.split('&').try_for_each(|pair| parameter(pair, rules))
}

fn parameter(pair: &str, rules: &[QueryRule]) -> Result<(), Fault> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let name = decoded(name).ok_or_else(|| fault("?*"))?;
    let rule = rules.iter().find(|r| r.name.as_bytes() == &*name);
    let rule = rule.ok_or_else(|| fault("?*"))?;
    let here = || fault(&format!("?{}", rule.name));
    let value = decoded(value).ok_or_else(here)?;
    if rule.values.is_empty() || rule.values.iter().any(|v| v.as_bytes() == &*value) {
        Ok(())
    } else {
        Err(here())
    }
}

/// As a form reads it: `+` is a space. `None` for a broken escape, which readers mend differently.
fn decoded(text: &str) -> Option<Cow<'_, [u8]>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text.as_bytes()));
    }
    let mut rest = text.split('%');
    rest.next();
    let whole = |e: &str| {
        let mut digits = e.bytes();
        let mut digit = || digits.next().is_some_and(|b| b.is_ascii_hexdigit());
        digit() && digit()
    };
    if !rest.all(whole) {
        return None;
    }
    let spaced = text.replace('+', " ");
    let plain = percent_decode_str(&spaced).collect();
    Some(Cow::Owned(plain))
}

fn fault(place: &str) -> Fault {
    Fault::new(Code::QueryNotAllowed, Stage::Authorise).place(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Vec<QueryRule> {
        let rule = |name: &str, values: &[&str]| QueryRule {
            name: name.to_owned(),
            values: values.iter().map(|v| (*v).to_owned()).collect(),
        };
        vec![
            rule("page", &[]),
            rule("query", &["INSERT INTO r FORMAT JSONEachRow"]),
        ]
    }

    #[test]
    fn only_listed_names_and_values_pass_however_they_are_spelled() {
        for good in [
            "page=1",
            "p%61ge=anything+at+all",
            "page",
            "query=INSERT%20INTO%20r+FORMAT%20JSONEachRow&page=2",
        ] {
            assert_eq!(check(Some(good), &rules()), Ok(()), "{good}");
        }
        for (bad, place) in [
            ("name=Ann", "?*"),
            ("page=1&name=Ann", "?*"),
            ("page=1;name=Ann", "?*"),
            ("page=1&", "?*"),
            ("query=SELECT+1", "?query"),
            ("page=%4", "?page"),
            ("page=%zz", "?page"),
            ("%=1", "?*"),
        ] {
            let fault = check(Some(bad), &rules()).unwrap_err();
            assert_eq!(fault.place.as_deref(), Some(place), "{bad}");
        }
        assert_eq!(check(None, &[]), Ok(()));
        assert!(check(Some("page=1"), &[]).is_err());
    }
}
