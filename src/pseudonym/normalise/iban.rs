//! International bank account numbers (ISO 13616-1).

/// Characters of an IBAN: the shortest in use has fifteen (Norway), the standard allows 34.
const LENGTH: std::ops::RangeInclusive<usize> = 15..=34;

/// Two letters, two check digits, letters and digits; together, or with one space between groups.
/// Case does not count (normal form: upper, without spaces). The check digits must be right.
pub(super) fn write(value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    let mut before = b' ';
    for &byte in value {
        match byte {
            b' ' if before != b' ' => {}
            byte if byte.is_ascii_alphanumeric() => out.push(byte.to_ascii_uppercase()),
            _ => return None,
        }
        before = byte;
    }
    let iban = &out[start..];
    let [a, b, c, d, ..] = iban else { return None };
    let head = a.is_ascii_alphabetic()
        && b.is_ascii_alphabetic()
        && c.is_ascii_digit()
        && d.is_ascii_digit();
    (head && before != b' ' && LENGTH.contains(&iban.len()) && is_right(iban)).then_some(())
}

/// ISO/IEC 7064, MOD 97-10, over the account number and then the head; letters count as 10 to 35.
fn is_right(iban: &[u8]) -> bool {
    let (head, account) = iban.split_at(4);
    let rest = account.iter().chain(head).fold(0u32, |rest, byte| {
        let value = char::from(*byte).to_digit(36).unwrap_or(0);
        (if value < 10 { rest * 10 } else { rest * 100 } + value) % 97
    });
    rest == 1
}
