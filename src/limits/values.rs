//! Values that depend on their record.

/// Days by which `date-shift` moves dates at most, unless a rule says how many: half a year hides
/// the season.
pub const SHIFT_DAYS: u16 = 183;

/// A rule may not say fewer: a week is a guess away from the truth.
pub const SHIFT_DAYS_LEAST: u16 = 7;

/// Nor more: ten years. Ages and eras would mean nothing any more.
pub const SHIFT_DAYS_MOST: u16 = 3650;

/// What sealed values are padded to, at least; beyond, to the next power of two. Names, dates and
/// numbers all look alike.
pub const SEAL_LEAST: usize = 32;

/// Digits of the time in milliseconds that an event stream tells its readers to wait (`retry`): a
/// minute and a half, and fewer than a date of birth or any number that people carry.
pub const EVENT_RETRY: usize = 5;

/// Bytes of an event's name: a word or two of a program, no text.
pub const EVENT_NAME: usize = 64;
