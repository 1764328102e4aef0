use proptest::prelude::*;

use super::*;
use crate::pseudonym::Normaliser;

/// Looks for everything.
fn all() -> Scrub {
    let detectors = Detector::ALL.iter().filter(|d| **d != Detector::Own);
    let scrub = Scrub::new(Some("44".into())).own();
    detectors.fold(scrub, |scrub, d| scrub.find(*d, KindId(*d as u16)))
}

fn owns(values: &[(&str, Option<Normaliser>)]) -> Owns {
    let mut owns = Owns::default();
    for (value, normaliser) in values {
        owns.add(value, *normaliser).unwrap();
    }
    owns.ready();
    owns
}

/// The text with `<what:hit>` for every hit.
fn marked(text: &str, owns: &Owns) -> String {
    let (mut hits, mut out, mut done) = (Vec::new(), String::new(), 0);
    all().look(text, owns, &mut hits);
    for hit in &hits {
        let what = match hit.what {
            What::Own(number) => format!("own {number}"),
            What::Found(detector) => detector.name().to_owned(),
        };
        out += &text[done..hit.start];
        out += &format!("<{what}:{}>", &text[hit.start..hit.end]);
        done = hit.end;
    }
    out + &text[done..]
}

#[test]
fn what_has_a_form_is_found_where_it_stands() {
    for expected in [
        "write to <email:Ann.Lee+kit@example.org>, please.",
        "(<email:ann@example.org>) <email:mailto@example.org>; 'ann@' and @ann are none; a@b is none",
        "<email:ann@b\u{fc}cher.example> has no normal form and is one",
        "mailto:<email:ann@example.org>?subject=x <<email:lee@example.org>>",
        "from <ip:198.51.100.7>:443 and <ip:2001:db8::7>, [<ip:::1>]:80. At 10:30:00 v1.2 and 1.2.3.4.5",
        "<iban:GB82 WEST 1234 5698 7654 32> and <iban:gb82west12345698765432>; GB83WEST12345698765432 is wrong",
        "paid with <card:4929 1234 1234 1232>, <card:4929-1234-1234-1232>, <card:4929123412341232>",
        "order 4929123412341231 is no card",
        "NHS <nhs-number:943 476 5919> <nhs-number:943-476-5919> <nhs-number:9434765919> 9434765918",
        "a typing error: <nhs-number:943 476 5918>",
        "call <phone:+44 7700 900123> or <phone:07700 900123> or <phone:(020) 7946 0958>.",
        "tel<phone:07700900123>; <phone:+44 (0)20 7946 0958>; <phone:0044 20 7946 0958> 12 times",
        "on 01.02.2024 10:30 and 01/02/2024, 0.123456789012, dose 0800 mg",
        "lives in <postcode:LS1 4AP>, once <postcode:ec1a 1bb> or <postcode:SW1A1AA>; ls14ap, A1 and B12 no",
        "<phone:07700900123>/<phone:07700900124>,<phone:07700900126>; Tel.<phone:07700900127>, tel-<phone:07700 900128>",
        "<nhs-number:9434765919>/<nhs-number:9434765870>, ward 3/<nhs-number:9434765919>",
        "<phone:07700\u{a0}900123>, <nhs-number:943\u{2011}476\u{2011}5919>, <nhs-number:943  476  5919>, <card:4929\u{202f}1234\u{202f}1234\u{202f}1232>",
        "<phone:0044 7700 900 123>, <phone:+49 1512 34 56 78 91>, <phone:+44 7700 900123> 12 mg",
        "remote:<ip:198.51.100.7>, ip<ip:198.51.100.10>, <ip:198.51.100.007>; 198.51.100.7.2 and 0.0.0.0",
        "<email:\"ann lee\"@example.org>, <https://x.example/?cc=<email:bob@example.org>&x=1",
        "glucose 5.4 mmol/l, HbA1c 42, reference 4-7, 12 of 30",
    ] {
        let text: String = {
            let mut rest = expected;
            let mut out = String::new();
            // Takes the marks away again.
            while let Some(at) = rest.find('<') {
                let names = Detector::ALL.iter().map(|d| d.name());
                let mark = names
                    .map(|name| format!("<{name}:"))
                    .find(|m| rest[at..].starts_with(m));
                match mark {
                    None => {
                        out += &rest[..=at];
                        rest = &rest[at + 1..];
                    }
                    Some(mark) => {
                        let end = at + rest[at..].find('>').unwrap();
                        out += &rest[..at];
                        out += &rest[at + mark.len()..end];
                        rest = &rest[end + 1..];
                    }
                }
            }
            out + rest
        };
        assert_eq!(marked(&text, &Owns::default()), expected);
    }
}

#[test]
fn own_identifiers_are_found_in_other_spellings() {
    let owns = owns(&[
        ("SUB-00000001", Some(Normaliser::Subscriber)),
        ("Ann Mary O'Connor-Lee", Some(Normaliser::Name)),
        ("ann.lee@example.org", Some(Normaliser::Email)),
        ("+447700900123", Some(Normaliser::Phone)),
        ("1984-05-07", None),
    ]);
    for expected in [
        "subscriber <own 0:sub 00000001>, no. <own 0:00000001>, <own 0:SUB/00000001>; SUB-000000012 is another",
        "<own 1:ann  mary o\u{2019}connor lee>; <own 1:O'Connor-Lee, A>.; <own 1:A. O'Connor-Lee>; Ms <own 1:Lee>",
        "<own 1:MARY> and <own 1:Ann> but not Annabel, Leeds or Rosemary",
        "<own 2:ANN.LEE@example.org> is <own 2:ann lee at example dot org>",
        "<own 3:0 7700-900 123>, <own 3:+44 (0)7700 900123>, <own 3:00 44 7700 900123>",
        "born <own 4:7 May 1984>, <own 4:07/05/1984>, <own 4:7.5.1984>, <own 4:May 7th, 1984>; 17 May 1984",
    ] {
        let text = regex_free(expected);
        assert_eq!(marked(&text, &owns), expected);
    }
}

/// Takes `<own N:…>` away again.
fn regex_free(expected: &str) -> String {
    let mut out = String::new();
    let mut rest = expected;
    while let Some(at) = rest.find("<own ") {
        let colon = at + rest[at..].find(':').unwrap();
        let end = colon + rest[colon..].find('>').unwrap();
        out += &rest[..at];
        out += &rest[colon + 1..end];
        rest = &rest[end + 1..];
    }
    out + rest
}

/// What an identifier of the record stands inside is hit whole, and is not that identifier.
#[test]
fn an_own_identifier_within_another_does_not_cut_it() {
    let owns = owns(&[
        ("Ann Lee", Some(Normaliser::Name)),
        ("lee@example.org", Some(Normaliser::Email)),
        ("1984-05-07", None),
        ("1984", None),
    ]);
    for expected in [
        "<email:ann.smithson@example.org>, <email:bob.lee@example.org>, <email:ann-marie.jones@example.org>",
        "<own 1:lee@example.org>, <phone:+44 1984 123456>, <own 3:1984>",
    ] {
        let text = expected
            .replace("<email:", "")
            .replace("<phone:", "")
            .replace("<own 1:", "")
            .replace("<own 3:", "")
            .replace('>', "");
        assert_eq!(marked(&text, &owns), expected);
    }
}

#[test]
fn any_value_of_a_record_can_be_looked_for() {
    for value in [
        "1-1-123456",
        "-1-1-1",
        "1984-+5-+7",
        "198-05-071",
        "@",
        "+",
        "\u{130}-\u{130}-1",
    ] {
        let owns = owns(&[(value, None)]);
        let mut hits = Vec::new();
        all().look(value, &owns, &mut hits);
    }
}

#[test]
fn numbers_get_their_country_where_it_is_known() {
    let spelt = |scrub: &Scrub, hit: &str| {
        let mut out = Vec::new();
        scrub.spelling(Detector::Phone, hit, &mut out);
        String::from_utf8(out).unwrap()
    };
    for hit in [
        "+44 7700 900123",
        "07700 900123",
        "+44 (0)7700 900123",
        "(07700) 900123",
        "0044 7700-900123",
    ] {
        assert_eq!(spelt(&all(), hit), "+447700900123", "{hit}");
    }
    let nowhere = Scrub::new(None);
    assert_eq!(spelt(&nowhere, "07700 900123"), "");
    // Half a number would be another's.
    assert_eq!(spelt(&all(), "+49 1512 34 56 78 91"), "");
    assert_eq!(spelt(&all(), "0044 7700 900 123"), "+447700900123");
    assert_eq!(spelt(&nowhere, "+44 7700 900123"), "+447700900123");
}

#[test]
fn what_is_not_asked_for_is_not_found() {
    let mails = Scrub::new(None).find(Detector::Email, KindId(0));
    let mut hits = Vec::new();
    let owns = owns(&[("SUB-00000001", None)]);
    mails.look("SUB-00000001 +447700900123 a@example.org", &owns, &mut hits);
    assert_eq!(hits.len(), 1);
    assert_eq!(mails.detectors().collect::<Vec<_>>(), [Detector::Email]);
}

#[test]
fn there_is_room_for_so_many_identifiers() {
    let mut owns = Owns::default();
    let values = (0..crate::limits::OWN_IDENTIFIERS).map(|n| format!("SUB-{n:08}"));
    assert!(
        values
            .into_iter()
            .all(|value| owns.add(&value, None).is_some())
    );
    assert!(owns.add("SUB-99999998", None).is_none());
}

proptest! {
    /// Hits are characters' runs, in order and apart, whatever the text.
    #[test]
    fn hits_stand_in_order_and_apart(
        text in "([ -~]|[0-9 +().@:-]|[a-zA-Z]|\u{e9}|\u{1d7d8}|\u{130}|\u{feff}|\u{200d}|\u{df}){0,80}",
        value in "[ -~\u{e9}\u{130}]{0,20}",
    ) {
        let owns = owns(&[(value.as_str(), None), ("Ann Lee", Some(Normaliser::Name))]);
        let mut hits = Vec::new();
        all().look(&text, &owns, &mut hits);
        let mut done = 0;
        for hit in &hits {
            prop_assert!(hit.start >= done && hit.end > hit.start, "{:?}", hits);
            prop_assert!(text.get(hit.start..hit.end).is_some(), "{:?}", hits);
            done = hit.end;
        }
        prop_assert!(done <= text.len());
    }

    /// An identifier among words is found, whatever stands around it.
    #[test]
    fn an_identifier_is_found_between_words(before in "[a-z ,;]{0,20}[ ,;]", after in "[ ,;][a-z ,;]{0,20}") {
        for (value, detector) in [
            ("amelia.smith12@example.org", Detector::Email),
            ("9434765919", Detector::NhsNumber),
            ("+447700900123", Detector::Phone),
            ("4929123412341232", Detector::Card),
            ("GB82WEST12345698765432", Detector::Iban),
            ("198.51.100.7", Detector::Ip),
            ("LS1 4AP", Detector::Postcode),
        ] {
            let text = format!("{before}{value}{after}");
            let mut hits = Vec::new();
            all().look(&text, &Owns::default(), &mut hits);
            let expected = hit(detector, before.len(), before.len() + value.len());
            prop_assert!(hits.contains(&expected), "{}: {:?}", detector.name(), hits);
        }
    }
}
