//! Normal forms, total per kind: a normal form or a refusal, never a repair.
//!
//! What enters: the raw spelling of a value (a JSON string unescaped, a number as it is written).
//! What leaves: the bytes that are derived from, or why there are none. What can never happen: a
//! value is changed into one that its sender might not have meant. Only spellings that the kind
//! itself treats as one (letter case, the separators of a telephone number) share a normal form.
//!
//! The forms belong to an epoch: a change of any of them needs [`Normaliser::VERSION`] raised,
//! and is seen by the golden vectors in `docs/policies.md`.

use crate::limits;

use super::text;

mod address;
mod card;
mod code;
mod email;
mod iban;
mod name;
mod nhs;
mod phone;
mod postcode;
mod sentinel;

macro_rules! normalisers {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The normalisers of version 1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Normaliser { $($(#[$doc])* $variant,)* }

        impl Normaliser {
            pub const ALL: &'static [Normaliser] = &[$(Normaliser::$variant,)*];

            /// The name used in configuration.
            pub fn name(self) -> &'static str { match self { $(Normaliser::$variant => $name,)* } }

            pub fn parse(name: &str) -> Option<Self> { match name { $($name => Some(Normaliser::$variant),)* _ => None } }
        }
    };
}

normalisers! {
    /// `SUB-00000001`: letters, digits, single hyphens; case does not count.
    Subscriber = "subscriber",
    /// A mailbox (RFC 5321); ASCII case does not count.
    Email = "email",
    /// Ten digits with a right check digit, perhaps written 3-3-4.
    NhsNumber = "nhs-number",
    /// E.164 with its `+`; separators do not count.
    Phone = "phone",
    /// As `subscriber`.
    Kit = "kit",
    /// As `subscriber`.
    Provider = "provider",
    /// A person's name; letter case and the width of inner white space do not count.
    Name = "name",
    /// A payment card's number with a right check digit; separators do not count.
    Card = "card",
    /// A bank account's number (ISO 13616) with right check digits; spaces and case do not count.
    Iban = "iban",
    /// A United Kingdom postcode; case and the space inside do not count.
    Postcode = "postcode",
    /// An address of IPv4 or IPv6; how it is spelt does not count.
    Ip = "ip",
    /// Any text: Unicode as it comes, only outer white space is refused. For vocabularies.
    Text = "text",
}

/// Why a value has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNormal {
    /// It is not of this kind's form.
    Form,
    /// It stands for 'no value' (`N/A`, `0000000000`): never a subject.
    Sentinel,
    /// It already looks like a pseudonym.
    Pseudonym,
}

impl Normaliser {
    /// The version that belongs to an epoch: a later one needs a new epoch.
    pub const VERSION: u16 = 1;

    /// Writes the normal form of `value` to `out` (cleared first; empty after a refusal).
    /// A value has the shape of a pseudonym whatever its prefix: where the kinds are known, ask
    /// [`text::looks_like_pseudonym`] too, which sees more.
    pub fn normalise(self, value: &[u8], out: &mut Vec<u8>) -> Result<(), NotNormal> {
        out.clear();
        let result = self.write(value, out);
        let result = match result {
            // Lower case can take more bytes than upper case.
            Ok(()) if out.len() > limits::IDENTIFIER => Err(NotNormal::Form),
            other => other,
        };
        if result.is_err() {
            out.clear();
        }
        result
    }

    fn write(self, value: &[u8], out: &mut Vec<u8>) -> Result<(), NotNormal> {
        if value.len() > limits::IDENTIFIER {
            return Err(NotNormal::Form);
        }
        // Most values are ASCII, where every byte is a character.
        let has_outer_space = if value.is_ascii() {
            let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'..=b'\r'));
            is_space(value.first()) || is_space(value.last())
        } else {
            let value = simdutf8::basic::from_utf8(value).map_err(|_| NotNormal::Form)?;
            value.starts_with(char::is_whitespace) || value.ends_with(char::is_whitespace)
        };
        if text::is_shaped(value) {
            return Err(NotNormal::Pseudonym);
        }
        if self.is_sentinel(value) {
            return Err(NotNormal::Sentinel);
        }
        if has_outer_space {
            return Err(NotNormal::Form);
        }
        let normal = match self {
            Normaliser::Subscriber | Normaliser::Kit | Normaliser::Provider => {
                code::write(value, out)
            }
            Normaliser::Email => email::write(value, out),
            Normaliser::NhsNumber => nhs::write(value, out),
            Normaliser::Phone => phone::write(value, out),
            Normaliser::Name => name::write(value, out),
            Normaliser::Card => card::write(value, out),
            Normaliser::Iban => iban::write(value, out),
            Normaliser::Postcode => postcode::write(value, out),
            Normaliser::Ip => address::write(value, out),
            Normaliser::Text => {
                out.extend_from_slice(value);
                Some(())
            }
        };
        normal.ok_or(NotNormal::Form)?;
        // `Not  Known` and `+1 111 111 1111` only say so in their normal form, and a K that is a
        // Kelvin sign becomes one there: what is recorded is looked at as what is sent.
        if out.as_slice() != value {
            if text::is_shaped(out) {
                return Err(NotNormal::Pseudonym);
            }
            if self.is_sentinel(out) {
                return Err(NotNormal::Sentinel);
            }
        }
        Ok(())
    }

    /// Whether the value says 'no value'. A vocabulary value is never a subject, so `unknown` is
    /// one of its values like any other; only the empty one is none.
    fn is_sentinel(self, value: &[u8]) -> bool {
        match self {
            Normaliser::Subscriber | Normaliser::Kit | Normaliser::Provider => {
                sentinel::is_word(value) || code::is_sentinel(value)
            }
            Normaliser::Email => sentinel::is_word(value) || email::is_sentinel(value),
            Normaliser::NhsNumber => sentinel::is_word(value) || nhs::is_sentinel(value),
            Normaliser::Phone => sentinel::is_word(value) || phone::is_sentinel(value),
            Normaliser::Card => sentinel::is_word(value) || card::is_sentinel(value),
            Normaliser::Ip => address::is_sentinel(value) || sentinel::is_word(value),
            Normaliser::Name | Normaliser::Iban | Normaliser::Postcode => sentinel::is_word(value),
            Normaliser::Text => value.is_empty(),
        }
    }
}

/// The characters of a value, which has been found to be UTF-8.
fn text_of(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or_default()
}

/// Characters that nobody sees and that make two spellings of what looks like one value: soft
/// hyphen, zero-width space, joiner and mark, and the directional ones. Zero-width joiner and
/// non-joiner are letters' business in Persian and in Indic scripts, and stay.
fn is_invisible(char: char) -> bool {
    matches!(
        char,
        '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(normaliser: Normaliser, value: &[u8]) -> Result<Vec<u8>, NotNormal> {
        let mut out = b"left over".to_vec();
        let result = normaliser.normalise(value, &mut out);
        if result.is_err() {
            assert!(out.is_empty());
        }
        result.map(|()| out)
    }

    #[test]
    fn names_are_read_back() {
        for normaliser in Normaliser::ALL {
            assert_eq!(Normaliser::parse(normaliser.name()), Some(*normaliser));
        }
        assert_eq!(Normaliser::parse("Email"), None);
    }

    proptest! {
        /// White space outside is what `char` says, whichever way a value is looked at.
        #[test]
        fn bytes_and_characters_see_the_same_white_space(first: char, inside in "[a-z]{1,4}", last: char) {
            let value = format!("{first}{inside}{last}");
            let spaced = first.is_whitespace() || last.is_whitespace();
            let refused = normal(Normaliser::Text, value.as_bytes()) == Err(NotNormal::Form);
            prop_assert_eq!(refused, spaced);
            for ascii in 0..128u8 {
                let value = [b'a', ascii];
                let refused = normal(Normaliser::Text, &value).is_err();
                prop_assert_eq!(refused, char::from(ascii).is_whitespace());
            }
        }
    }

    #[test]
    fn invalid_utf8_and_overlong_values_are_refused_by_all() {
        for normaliser in Normaliser::ALL {
            assert_eq!(normal(*normaliser, b"SUB-1\xff"), Err(NotNormal::Form));
            let long = "1".repeat(limits::IDENTIFIER + 1);
            assert_eq!(normal(*normaliser, long.as_bytes()), Err(NotNormal::Form));
            assert_eq!(normal(*normaliser, b""), Err(NotNormal::Sentinel));
        }
    }

    #[test]
    fn a_name_that_grows_beyond_the_bound_is_refused() {
        // U+0130 takes two bytes, its lower case three.
        let long = "\u{130}".repeat(limits::IDENTIFIER / 2);
        assert_eq!(
            normal(Normaliser::Name, long.as_bytes()),
            Err(NotNormal::Form)
        );
    }

    #[test]
    fn pseudonyms_are_refused_by_all() {
        let mut text = String::new();
        let form = super::super::TextForm::new("sub", 1);
        form.write(&super::super::Pseudonym([7; 16]), &mut text);
        for normaliser in Normaliser::ALL {
            for value in [text.clone(), text.to_uppercase()] {
                assert_eq!(
                    normal(*normaliser, value.as_bytes()),
                    Err(NotNormal::Pseudonym)
                );
            }
        }
    }

    #[test]
    fn a_normal_form_that_says_no_value_is_refused_however_it_was_spelt() {
        for (normaliser, value) in [
            (Normaliser::Phone, "+1 111 111 1111"),
            (Normaliser::Phone, "+1 (111) 111-1111"),
            (Normaliser::Name, "Not  Known"),
            (Normaliser::Name, "not\u{a0}known"),
            (Normaliser::Name, "un\u{212a}nown"),
        ] {
            assert_eq!(
                normal(normaliser, value.as_bytes()),
                Err(NotNormal::Sentinel),
                "{value}"
            );
        }
    }

    /// Spellings whose normal form may be one that is refused.
    fn disguised() -> impl Strategy<Value = String> {
        let words = "(unknown|not known|n/a|none|null|test|0000000000|1111111111)";
        (words, "[ \u{a0}()-]{0,3}", any::<u8>(), any::<bool>()).prop_map(
            |(word, space, at, kelvin)| {
                let word = word.replace(' ', &format!(" {space}"));
                let word = if kelvin {
                    word.replace('k', "\u{212a}")
                } else {
                    word
                };
                let at = usize::from(at) % (word.chars().count() + 1);
                let (head, tail): (Vec<_>, Vec<_>) =
                    word.chars().enumerate().partition(|(n, _)| *n < at);
                let text = |part: Vec<(usize, char)>| part.into_iter().map(|(_, c)| c).collect();
                let (head, tail): (String, String) = (text(head), text(tail));
                head + &space + &tail
            },
        )
    }

    fn spelling() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            disguised(),
            "[A-Za-z0-9-]{3,16}",
            "[+0-9 ().-]{8,18}",
            "[A-Za-z0-9.]{1,8}@[A-Za-z0-9]{1,8}\\.[A-Za-z]{2,3}",
            "[A-ZÀ-Ýa-zà-ý \u{3a3}\u{3c2}]{1,12}",
            "999[0-9]{7}",
        ]
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own_normal_form(value in spelling()) {
            for normaliser in Normaliser::ALL {
                if let Ok(once) = normal(*normaliser, value.as_bytes()) {
                    prop_assert!(!once.is_empty());
                    prop_assert_eq!(normal(*normaliser, &once), Ok(once));
                }
            }
        }

        #[test]
        fn any_bytes_have_an_answer(value in proptest::collection::vec(any::<u8>(), 0..80)) {
            for normaliser in Normaliser::ALL {
                let _ = normal(*normaliser, &value);
            }
        }

        #[test]
        fn outer_white_space_is_refused(value in spelling(), space in "[ \t\n\u{a0}\u{2003}]") {
            for normaliser in Normaliser::ALL {
                for outer in [format!("{value}{space}"), format!("{space}{value}")] {
                    prop_assert!(normal(*normaliser, outer.as_bytes()).is_err());
                }
            }
        }
    }
}
