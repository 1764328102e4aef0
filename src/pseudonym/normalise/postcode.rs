//! United Kingdom postcodes (BS 7666).

use crate::pseudonym::generalise::postcode;

/// A full postcode, with one space or none between its halves, in whatever case. Normal form:
/// upper, with the space.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (outward, inward) = postcode::halves(std::str::from_utf8(value).ok()?)?;
    out.extend(outward.bytes().map(|byte| byte.to_ascii_uppercase()));
    out.push(b' ');
    out.extend(inward.bytes().map(|byte| byte.to_ascii_uppercase()));
    Some(())
}
