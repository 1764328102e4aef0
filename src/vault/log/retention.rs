//! Forgetting: when a month's retention has ended its key is destroyed. Its entries' details and
//! salts cannot be opened again by anybody; their leaves stay, and with them the tree.
//!
//! What enters: the retention and the clock. What leaves: destroyed keys, each with an entry
//! `log-forgotten` in the same transaction. What can never happen: the present month's key goes,
//! or an entry that a living reveal is counted by (a reveal lives for a day at most).

use time::OffsetDateTime;

use super::Event;
use crate::vault::sequencer::Tx;
use crate::vault::store::StoreError;

/// The month that an entry of a moment belongs to, `YYYYMM`.
pub fn period(at: OffsetDateTime) -> u32 {
    at.year().unsigned_abs() * 100 + u32::from(u8::from(at.month()))
}

/// Destroys the keys of the months that ended more than `months` months ago; gives those months.
pub fn forget(tx: &mut Tx<'_>, months: u32) -> Result<Vec<u32>, StoreError> {
    let now = tx.now;
    let periods = tx.store.log_periods()?;
    let kept = periods.into_iter().filter(|(_, key)| key.is_some());
    let ended: Vec<u32> = kept
        .map(|(period, _)| period)
        .filter(|period| is_over(*period, now, months))
        .collect();
    for &period in &ended {
        tx.store.forget_log_period(period)?;
        tx.log(&Event {
            reason: Some(format!("the details of {} are gone", name(period))),
            ..Event::new("log-forgotten", now)
        })?;
    }
    Ok(ended)
}

/// Whether `months` whole months lie between a month and the present one.
fn is_over(period: u32, now: OffsetDateTime, months: u32) -> bool {
    let count = |period: u32| u64::from(period / 100) * 12 + u64::from(period % 100);
    count(period) + u64::from(months) < count(self::period(now))
}

fn name(period: u32) -> String {
    format!("{:04}-{:02}", period / 100, period % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn vault_05_a_month_is_over_when_its_last_day_is() {
        let now = datetime!(2026-03-01 00:00 UTC);
        assert_eq!(period(now), 202_603);
        assert_eq!(name(202_603), "2026-03");
        // Kept for one month: on the first of March everything of January is old enough.
        assert!(is_over(202_601, now, 1));
        assert!(!is_over(202_602, now, 1));
        assert!(!is_over(202_603, now, 1));
        assert!(is_over(202_502, now, 12));
        assert!(!is_over(202_503, now, 12));
        // A clock that was wrong: months of the future stay.
        assert!(!is_over(203_001, now, 1));
    }
}
