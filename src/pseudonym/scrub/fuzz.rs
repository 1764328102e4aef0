//! The fuzz body of free text: any bytes in, a panic only for a defect of ours.

use super::{Detector, KindId, Owns, Scrub, What};

/// The first line holds own identifiers, with tabs between; the rest is the text.
///
/// Asserted: hits are runs of characters, in order and apart; the same text again gives the same
/// hits; no spelling is much longer than what it is of.
pub fn scrub(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (line, text) = text.split_once('\n').unwrap_or(("", &text));
    let mut owns = Owns::default();
    for value in line.split('\t').take(crate::limits::OWN_IDENTIFIERS) {
        owns.add(value, None);
    }
    owns.ready();
    let detectors = Detector::ALL.iter().filter(|d| **d != Detector::Own);
    let all = detectors.fold(Scrub::new(Some("44".into())).own(), |scrub, detector| {
        scrub.find(*detector, KindId(0))
    });
    let (mut hits, mut again) = (Vec::new(), Vec::new());
    all.look(text, &owns, &mut hits);
    all.look(text, &owns, &mut again);
    assert_eq!(hits, again);
    let (mut done, mut spelling) = (0, Vec::new());
    for hit in &hits {
        assert!(hit.start >= done && hit.start < hit.end, "{hits:?}");
        let found = text.get(hit.start..hit.end);
        let found = found.unwrap_or_else(|| panic!("not at characters: {hits:?}"));
        if let What::Found(detector) = hit.what {
            all.spelling(detector, found, &mut spelling);
            assert!(spelling.len() <= found.len() + 4, "{hits:?}");
        }
        done = hit.end;
    }
    assert!(done <= text.len());
}
