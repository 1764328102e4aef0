//! Names of persons.

use super::{is_invisible, text_of};

/// Unicode text with at least one letter. Letter case and the width of inner white space do not
/// count: every character in its lower case (the final sigma as any sigma), every run of white
/// space as one space. All else counts: accents, hyphens, apostrophes, the order of names, and
/// whether an accented letter is one character or two. Control characters, tabs and line ends
/// among them, and invisible ones are refused.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut letters = false;
    let mut space = false;
    for char in text_of(value).chars() {
        if char.is_control() || is_invisible(char) {
            return None;
        }
        if char.is_whitespace() {
            space = true;
            continue;
        }
        if std::mem::take(&mut space) {
            out.push(b' ');
        }
        letters |= char.is_alphabetic();
        if char.is_ascii() {
            out.push(char.to_ascii_lowercase() as u8);
        } else if char == '\u{3c2}' {
            push('\u{3c3}', out);
        } else {
            char.to_lowercase().for_each(|lower| push(lower, out));
        }
    }
    letters.then_some(())
}

fn push(char: char, out: &mut Vec<u8>) {
    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(value: &str) -> Option<String> {
        let mut out = Vec::new();
        write(value.as_bytes(), &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn case_and_width_of_space_do_not_count() {
        assert_eq!(
            normal("Siobhán  O'Connor").as_deref(),
            Some("siobhán o'connor")
        );
        assert_eq!(
            normal("ŁUKASZ\u{a0}\u{2003}NOWAK").as_deref(),
            Some("łukasz nowak")
        );
        assert_eq!(normal("ΣΟΦΙΑΣ"), normal("Σοφιας"));
        assert_eq!(normal("Σοφιας"), normal("Σοφιασ"));
    }

    #[test]
    fn all_else_counts() {
        assert_ne!(normal("Jose"), normal("José"));
        assert_ne!(normal("Jos\u{e9}"), normal("Jose\u{301}"));
        assert_ne!(normal("Ann-Lee"), normal("Ann Lee"));
        assert_ne!(normal("Straße"), normal("Strasse"));
        assert_ne!(normal("Ann Lee"), normal("Lee Ann"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for value in [
            "",
            "12",
            "Ann\tLee",
            "Ann\nLee",
            "Ann\u{0}",
            "Ann\u{200b}Lee",
            "\u{202e}Ann",
        ] {
            assert_eq!(normal(value), None, "{value:?}");
        }
    }
}
