//! Whether what arrived is what should have arrived: measured nothing is not measured.
//!
//! What enters: samples that the origin kept, and the records that were sent. What leaves: how
//! many records were compared, or what is wrong. What can never happen: a gateway that does
//! nothing, or too much, passes; an identifier in the message.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::bodies::Pool;
use super::origin::Sample;
use crate::local::processes::Failure;

/// What a way through does to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// These members hold pseudonyms with these prefixes, and nothing else has changed.
    Replaced(&'static [(&'static str, &'static str)]),
    /// Not a byte has changed.
    Same,
}

/// Records of one sample that are compared: the first ones show what there is to see.
const RECORDS: usize = 200;

/// The member by which a record is found again; no policy here replaces it in a load.
const KEY: &str = "kit_id";

type Record<'a> = BTreeMap<&'a str, &'a RawValue>;

/// Compares, and says how many records there were.
///
/// # Errors
/// The first difference.
pub fn samples(samples: &[Sample], pool: &Pool, expect: Expect) -> Result<usize, Failure> {
    let mut compared = 0;
    for sample in samples {
        for text in records(sample)? {
            compare(&text, pool, expect)?;
            compared += 1;
        }
    }
    if compared == 0 {
        return Err(wrong("no record arrived at the origin"));
    }
    Ok(compared)
}

fn compare(arrived: &RawValue, pool: &Pool, expect: Expect) -> Result<(), Failure> {
    let parse = |text| serde_json::from_str::<Record<'_>>(text);
    let record = parse(arrived.get()).map_err(|_| wrong("a record is no JSON object"))?;
    let kit: Option<String> = record
        .get(KEY)
        .and_then(|kit| serde_json::from_str(kit.get()).ok());
    let original = kit.and_then(|kit| pool.by_kit(&kit));
    let text = original
        .and_then(|original| std::str::from_utf8(original).ok())
        .ok_or_else(|| wrong("a record is none of those that were sent"))?;
    let Expect::Replaced(members) = expect else {
        return match text == arrived.get() {
            true => Ok(()),
            false => Err(wrong("a record was changed where nothing should be")),
        };
    };
    let original = parse(text).map_err(|_| wrong("a generated record is no JSON object"))?;
    if !original.keys().eq(record.keys()) {
        return Err(wrong(
            "a record has other members than the one that was sent",
        ));
    }
    for (name, value) in original {
        let is = record[name].get();
        match members.iter().find(|(member, _)| *member == name) {
            None if is == value.get() => {}
            None => return Err(wrong(&format!("`{name}` was changed, and should be kept"))),
            Some((_, prefix)) if is.starts_with(&format!("\"{prefix}_")) => {}
            Some(_) => return Err(wrong(&format!("`{name}` arrived without a pseudonym"))),
        }
    }
    Ok(())
}

/// The first records of a sample: of an array, of lines, or one alone.
fn records(sample: &Sample) -> Result<Vec<Box<RawValue>>, Failure> {
    let mut rest = &sample.bytes[..];
    let mut found = Vec::new();
    loop {
        let skip = rest
            .iter()
            .position(|byte| !matches!(byte, b'[' | b']' | b',' | b'\n'));
        let Some(skip) = skip.filter(|_| found.len() < RECORDS) else {
            return Ok(found);
        };
        rest = &rest[skip..];
        let mut texts = serde_json::Deserializer::from_slice(rest).into_iter::<Box<RawValue>>();
        match texts.next() {
            Some(Ok(text)) => found.push(text),
            // What was not kept of the body cannot be compared.
            Some(Err(error)) if sample.cut && error.is_eof() => return Ok(found),
            _ => return Err(wrong("a body is not JSON any more")),
        }
        rest = &rest[texts.byte_offset()..];
    }
}

fn wrong(what: &str) -> Failure {
    Failure(format!("what arrives at the origin is wrong: {what}"))
}

#[cfg(test)]
mod tests {
    use super::super::bodies::{Format, Load};
    use super::*;

    const FOUR: Expect = Expect::Replaced(&[("subscriber_id", "sub"), ("email", "eml")]);

    fn check(
        change: impl Fn(String) -> String,
        load: Load,
        format: Format,
        expect: Expect,
    ) -> String {
        let pool = Pool::new(3, &[load], 0).unwrap();
        let body = &pool.bodies(load, format, 0).all[0].0;
        let bytes = change(String::from_utf8(body.to_vec()).unwrap()).into_bytes();
        let cut = false;
        match samples(&[Sample { bytes, cut }], &pool, expect) {
            Ok(count) => format!("{count} well"),
            Err(failure) => failure.0,
        }
    }

    fn replace(text: String) -> String {
        // What follows the two names becomes a pseudonym.
        let replace = |text: String, name: &str, prefix: &str| {
            let member = format!("\"{name}\":\"");
            let mut parts = text.split(&member);
            let mut out = parts.next().unwrap().to_owned();
            for part in parts {
                let (_, rest) = part.split_once('"').unwrap();
                out += &format!("\"{name}\":\"{prefix}_1_x\"{rest}");
            }
            out
        };
        replace(replace(text, "subscriber_id", "sub"), "email", "eml")
    }

    #[test]
    fn replaced_records_pass_in_every_shape() {
        for format in Format::ALL {
            assert_eq!(check(replace, Load::Single, format, FOUR), "1 well");
            assert_eq!(check(replace, Load::Batch, format, FOUR), "100 well");
            assert_eq!(
                check(|text| text, Load::Batch, format, Expect::Same),
                "100 well"
            );
        }
    }

    #[test]
    fn a_gateway_that_does_nothing_or_too_much_is_found() {
        let single = |change: fn(String) -> String, expect| {
            check(change, Load::Single, Format::Json, expect)
        };
        assert!(single(|text| text, FOUR).ends_with("arrived without a pseudonym"));
        assert!(single(replace, Expect::Same).ends_with("nothing should be"));
        let too_much = |text: String| replace(text).replace("PRV-", "x-");
        assert!(single(too_much, FOUR).ends_with("`provider_id` was changed, and should be kept"));
        let lost = |text: String| replace(text).replacen("\"email\"", "\"mail\"", 1);
        assert!(single(lost, FOUR).contains("other members"));
        let another = |text: String| replace(text).replace("KIT-", "KIT-0");
        assert!(single(another, FOUR).ends_with("none of those that were sent"));
        assert!(single(|_| String::new(), FOUR).contains("no record arrived"));
        assert!(single(|_| "{\"a\":".to_owned(), FOUR).contains("not JSON"));
        let said = single(|text| text, FOUR);
        assert!(!said.contains("SUB-") && !said.contains('@'), "{said}");
    }

    #[test]
    fn what_was_cut_is_compared_as_far_as_it_goes() {
        let pool = Pool::new(3, &[Load::Batch], 0).unwrap();
        let body = &pool.bodies(Load::Batch, Format::Json, 0).all[0].0;
        let bytes = body[..2000].to_vec();
        let sample = |cut| {
            [Sample {
                bytes: bytes.clone(),
                cut,
            }]
        };
        assert!(samples(&sample(true), &pool, Expect::Same).unwrap() >= 2);
        assert!(samples(&sample(false), &pool, Expect::Same).is_err());
    }
}
