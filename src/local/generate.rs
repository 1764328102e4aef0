//! Generated people, orders and laboratory results: nobody real, always the same for a seed.
//!
//! What enters: a seed and an index. What leaves: one record of that index, alone or in any
//! order. What can never happen: an identifier that somebody holds. NHS numbers start with 999
//! (never issued), telephone numbers lie in Ofcom's range for drama (07700 900000 to 900999),
//! addresses of machines in RFC 5737's documentation ranges, mailboxes under example.org (RFC 2606).
//!
//! Subjects recur: record `i` belongs to one of the first `i / 3 + 1` subjects, so that counts
//! per subject and joins between results, orders and laboratory lines mean something.

use serde::Serialize;

use super::random::SplitMix64;

/// Analytes of one blood count: laboratory lines `6 * i` to `6 * i + 5` belong to result record `i`.
pub const ANALYTES: usize = 6;

/// Makes records. Copying it costs nothing; it keeps no state but the seed.
#[derive(Clone, Copy)]
pub struct Generator {
    seed: u64,
}

/// The person behind the records, as the platform knows them.
#[derive(Clone, Serialize)]
pub struct Subscriber {
    pub subscriber_id: String,
    pub name: String,
    pub email: String,
    pub nhs_number: String,
    pub date_of_birth: String,
    pub sex: &'static str,
    pub ethnicity: &'static str,
    pub postcode: String,
    pub phone: String,
}

/// One home blood test: the person, the kit, and what was measured.
#[derive(Clone, Serialize)]
pub struct ResultRecord {
    #[serde(flatten)]
    pub subscriber: Subscriber,
    pub kit_id: String,
    pub provider_id: String,
    pub collected_at: String,
    pub ip: String,
    pub results: Vec<Measured>,
}

#[derive(Clone, Serialize)]
pub struct Measured {
    pub code: &'static str,
    pub value: Value,
    pub unit: &'static str,
}

/// Haemoglobin is reported whole, the rest with decimals: JSON keeps the difference.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    Whole(u64),
    Decimal(f64),
}

/// What a healthcare professional sends to have a test done for a subscriber they know.
#[derive(Clone, Serialize)]
pub struct ProviderOrder {
    pub order_id: String,
    pub provider_id: String,
    pub provider_name: String,
    pub subscriber_id: String,
    pub name: String,
    pub gender: &'static str,
    pub date_of_birth: String,
    pub email: String,
    pub phone: String,
    pub address: Address,
    pub health: Health,
    pub test: &'static str,
    pub ordered_at: String,
}

#[derive(Clone, Serialize)]
pub struct Address {
    pub street: String,
    pub town: &'static str,
    pub postcode: String,
}

#[derive(Clone, Serialize)]
pub struct Health {
    pub weight_kg: u64,
    pub height_cm: u64,
    pub allergies: Vec<&'static str>,
    pub medications: Vec<&'static str>,
}

/// One line from the laboratory: it knows the kit, not the person.
#[derive(Clone, Serialize)]
pub struct LabResult {
    pub kit_id: String,
    pub laboratory: String,
    pub analyte: &'static str,
    pub value: Value,
    pub unit: &'static str,
    pub analysed_at: String,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Subject number `index`. Subscriber ids differ below 100 million subjects, NHS numbers
    /// below 899 991, mailboxes always.
    pub fn subscriber(&self, index: u64) -> Subscriber {
        let mut random = self.random(Stream::Subscriber, index);
        let first = random.pick(FIRST_NAMES);
        let last = random.pick(LAST_NAMES);
        let year = random.between(1935, 2006);
        Subscriber {
            subscriber_id: self.subscriber_id(index),
            name: format!("{first} {last}"),
            email: format!("{}.{}{index}@example.org", plain(first), plain(last)),
            nhs_number: self.nhs_number(index),
            date_of_birth: day_of(&mut random, year),
            sex: random.pick(&["F", "M"]),
            ethnicity: random.pick(ETHNICITIES),
            postcode: postcode(&mut random),
            phone: format!("+447700900{:03}", random.below(1000)),
        }
    }

    /// Home blood test number `index`.
    pub fn result_record(&self, index: u64) -> ResultRecord {
        let mut random = self.random(Stream::Result, index);
        let (net, host) = (random.pick(DOCUMENTATION_NETS), random.between(1, 254));
        ResultRecord {
            subscriber: self.subscriber(self.subject_of_record(index)),
            kit_id: self.kit_id(index),
            provider_id: format!("PRV-{:03}", random.below(400)),
            collected_at: moment(&mut random, "2026-10"),
            ip: format!("{net}.{host}"),
            results: (0..ANALYTES).map(|a| self.measured(index, a)).collect(),
        }
    }

    /// Order number `index`, for a subject that has, or will have, results.
    pub fn provider_order(&self, index: u64) -> ProviderOrder {
        let mut random = self.random(Stream::Order, index);
        let subject = self.subscriber(self.subject_of_order(index));
        let provider = random.below(400);
        ProviderOrder {
            order_id: format!("ORD-{index:08}"),
            provider_id: format!("PRV-{provider:03}"),
            provider_name: self.provider_name(provider),
            subscriber_id: subject.subscriber_id,
            name: subject.name,
            gender: if subject.sex == "F" { "female" } else { "male" },
            date_of_birth: subject.date_of_birth,
            email: subject.email,
            phone: subject.phone,
            address: Address {
                street: format!("{} {}", random.between(1, 180), random.pick(STREETS)),
                town: random.pick(TOWNS),
                postcode: subject.postcode,
            },
            health: Health {
                weight_kg: random.between(45, 120),
                height_cm: random.between(150, 200),
                allergies: some_of(&mut random, &["penicillin", "peanuts", "latex", "pollen"]),
                medications: some_of(&mut random, &["metformin", "statin", "levothyroxine"]),
            },
            test: random.pick(&["full blood count", "vitamin D", "thyroid panel"]),
            ordered_at: moment(&mut random, "2026-09"),
        }
    }

    /// Laboratory line number `index`: analyte `index % 6` of the kit of result record `index / 6`.
    pub fn lab_result(&self, index: u64) -> LabResult {
        let mut random = self.random(Stream::Laboratory, index);
        let kit = index / ANALYTES as u64;
        let measured = self.measured(kit, (index % ANALYTES as u64) as usize);
        LabResult {
            kit_id: self.kit_id(kit),
            laboratory: format!("LAB-{:02}", random.below(12)),
            analyte: measured.code,
            value: measured.value,
            unit: measured.unit,
            analysed_at: moment(&mut random, "2026-11"),
        }
    }

    /// Which subject result record `index` belongs to.
    pub fn subject_of_record(&self, index: u64) -> u64 {
        self.random(Stream::Subject, index).below(index / 3 + 1)
    }

    /// Which subject order `index` belongs to.
    pub fn subject_of_order(&self, index: u64) -> u64 {
        self.random(Stream::OrderSubject, index)
            .below(index / 2 + 1)
    }

    fn random(&self, stream: Stream, index: u64) -> SplitMix64 {
        SplitMix64::item(self.seed, stream as u64, index)
    }

    /// A walk through all 10^8 ids: the step shares no factor with 10^8.
    fn subscriber_id(&self, index: u64) -> String {
        const ALL: u64 = 100_000_000;
        let start = self.random(Stream::Start, 0).below(ALL);
        format!("SUB-{:08}", (start + index % ALL * 38_196_601) % ALL)
    }

    fn kit_id(&self, index: u64) -> String {
        let start = self.random(Stream::Start, 1).draw() as u32;
        format!(
            "KIT-{:08X}",
            start.wrapping_add((index as u32).wrapping_mul(0x9E37_79B1))
        )
    }

    /// `999`, five digits of a walk through all but 99999, one digit that leaves a valid check
    /// digit, and the check digit (NHS Data Dictionary, "NHS NUMBER": modulus 11, 10 is not
    /// issued). At least nine digits fit in the ninth place. Without 99999 there is no
    /// 9999999999, which stands for 'no number' in many systems and is refused.
    fn nhs_number(&self, index: u64) -> String {
        const WALK: u64 = 99_999;
        let start = self.random(Stream::Start, 2).below(WALK);
        let five = (start + index % WALK * 61_801) % WALK;
        let eight = format!("999{five:05}");
        let mut fitting =
            (0..10).filter_map(|d| Some((d, nhs_check_digit(&format!("{eight}{d}"))?)));
        let nth = (index / WALK % 9) as usize;
        let (ninth, check) = fitting.nth(nth).expect("nine of the ten digits fit");
        format!("{eight}{ninth}{check}")
    }

    fn provider_name(&self, provider: u64) -> String {
        let mut random = self.random(Stream::Provider, provider);
        format!(
            "Dr {} {}",
            random.pick(FIRST_NAMES),
            random.pick(LAST_NAMES)
        )
    }

    fn measured(&self, record: u64, analyte: usize) -> Measured {
        let (code, low, high, decimals, unit) = PANEL[analyte];
        let steps = 10u64.pow(decimals);
        let mut random = self.random(Stream::Measured, record * ANALYTES as u64 + analyte as u64);
        let scaled = random.between(low, high);
        Measured {
            code,
            value: if decimals == 0 {
                Value::Whole(scaled)
            } else {
                Value::Decimal(scaled as f64 / steps as f64)
            },
            unit,
        }
    }
}

/// The check digit behind nine digits; `None` where it would be 10.
fn nhs_check_digit(nine: &str) -> Option<u32> {
    let sum: u32 = nine
        .bytes()
        .zip((2..=10).rev())
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    match 11 - sum % 11 {
        11 => Some(0),
        10 => None,
        check => Some(check),
    }
}

/// One stream of numbers a duty, so that adding a field to one does not change the others.
#[derive(Clone, Copy)]
enum Stream {
    Start = 1,
    Subscriber,
    Subject,
    Result,
    Measured,
    Order,
    OrderSubject,
    Provider,
    Laboratory,
}

fn day_of(random: &mut SplitMix64, year: u64) -> String {
    format!(
        "{year}-{:02}-{:02}",
        random.between(1, 12),
        random.between(1, 28)
    )
}

fn moment(random: &mut SplitMix64, month: &str) -> String {
    let (day, hour, minute) = (
        random.between(1, 28),
        random.between(6, 20),
        random.below(60),
    );
    format!("{month}-{day:02}T{hour:02}:{minute:02}:00Z")
}

fn postcode(random: &mut SplitMix64) -> String {
    let (area, district) = (random.pick(POSTCODE_AREAS), random.between(1, 19));
    let (sector, one, two) = (
        random.between(1, 9),
        random.pick(&["A", "B", "D", "E", "F"]),
        random.pick(&["G", "H", "J", "L", "N"]),
    );
    format!("{area}{district} {sector}{one}{two}")
}

fn some_of(random: &mut SplitMix64, from: &[&'static str]) -> Vec<&'static str> {
    from.iter()
        .copied()
        .filter(|_| random.below(3) == 0)
        .collect()
}

/// The local part of a mailbox: letters of ASCII only.
fn plain(name: &str) -> String {
    name.chars()
        .filter_map(|c| match c {
            'á' => Some('a'),
            'Ł' => Some('l'),
            c if c.is_ascii_alphabetic() => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

/// Code, lowest and highest value in steps of the last decimal, decimals, unit.
const PANEL: [(&str, u64, u64, u32, &str); ANALYTES] = [
    ("WBC", 400, 1100, 2, "10*9/L"),
    ("RBC", 390, 570, 2, "10*12/L"),
    ("HGB", 115, 170, 0, "g/L"),
    ("HCT", 360, 500, 3, "L/L"),
    ("PLT", 150, 410, 0, "10*9/L"),
    ("MCV", 800, 1000, 1, "fL"),
];

#[rustfmt::skip]
const FIRST_NAMES: &[&str] = &[
    "Amelia", "Oliver", "Isla", "George", "Ava", "Noah", "Mia", "Arthur", "Zara", "Mohammed",
    "Priya", "Chidi", "Siobhán", "Łukasz", "Mei", "Aisha",
];

#[rustfmt::skip]
const LAST_NAMES: &[&str] = &[
    "Smith", "Patel", "O'Connor", "Khan", "Williams", "Nowak", "Adeyemi", "Chen", "Begum",
    "Jones", "Taylor", "Hughes", "Singh", "Murphy",
];

#[rustfmt::skip]
const ETHNICITIES: &[&str] = &[
    "White British", "White Irish", "Indian", "Pakistani", "Bangladeshi", "Chinese",
    "Black African", "Black Caribbean", "Mixed White and Asian", "Any other ethnic group",
    "Not stated",
];

const STREETS: &[&str] = &["Mill Lane", "Station Road", "Church Street", "Park View"];
const TOWNS: &[&str] = &["Leeds", "Manchester", "Edinburgh", "Cardiff", "Belfast"];
const POSTCODE_AREAS: &[&str] = &["LS", "SW", "M", "EH", "CF", "BT"];
const DOCUMENTATION_NETS: &[&str] = &["192.0.2", "198.51.100", "203.0.113"];

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_record_and_another_seed_another() {
        let text = |seed| serde_json::to_string(&Generator::new(seed).result_record(77)).unwrap();
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn nhs_numbers_are_of_the_test_range_and_valid() {
        let generator = Generator::new(3);
        for index in (0..2000).chain([99_998, 99_999, 100_000, 899_990]) {
            let number = generator.nhs_number(index);
            assert_eq!(number.len(), 10);
            assert!(number.starts_with("999"));
            let check: u32 = number[9..].parse().unwrap();
            assert_eq!(nhs_check_digit(&number[..9]), Some(check));
        }
        // A number outside the test range whose check digit is known: 943 476 5919.
        assert_eq!(nhs_check_digit("943476591"), Some(9));
    }

    #[test]
    fn identifiers_of_different_subjects_differ() {
        let generator = Generator::new(9);
        let (mut ids, mut numbers, mut mails) = (HashSet::new(), HashSet::new(), HashSet::new());
        for index in 0..120_000 {
            assert!(ids.insert(generator.subscriber_id(index)));
            assert!(numbers.insert(generator.nhs_number(index)));
        }
        for index in 0..2000 {
            assert!(mails.insert(generator.subscriber(index).email));
        }
    }

    #[test]
    fn every_identifier_has_a_normal_form() {
        use crate::pseudonym::Normaliser as N;
        let generator = Generator::new(20_261_122);
        let mut out = Vec::new();
        let mut check = |normaliser: N, value: &str| {
            let normal = normaliser.normalise(value.as_bytes(), &mut out);
            assert!(normal.is_ok(), "{value}: {normal:?}");
        };
        for index in (0..10_000).chain(75_000..80_000) {
            let record = generator.result_record(index);
            check(N::Name, &record.subscriber.name);
            check(N::Email, &record.subscriber.email);
            check(N::Phone, &record.subscriber.phone);
            check(N::Kit, &record.kit_id);
            check(N::Provider, &record.provider_id);
        }
        for index in 0..100_000 {
            check(N::NhsNumber, &generator.nhs_number(index));
            check(N::Subscriber, &generator.subscriber_id(index));
        }
    }

    #[test]
    fn subjects_recur_over_records_and_orders() {
        let generator = Generator::new(4);
        let mut count: HashMap<String, u32> = HashMap::new();
        for index in 0..3000 {
            let record = generator.result_record(index);
            *count.entry(record.subscriber.subscriber_id).or_default() += 1;
        }
        assert!(count.len() > 500);
        assert!(count.values().any(|&n| n >= 5));
        let known = (0..500)
            .filter(|&i| count.contains_key(&generator.provider_order(i).subscriber_id))
            .count();
        assert!(known > 250, "orders must join with results, {known} do");
    }

    #[test]
    fn laboratory_lines_carry_what_the_kit_measured() {
        let generator = Generator::new(5);
        let record = generator.result_record(10);
        for (line, measured) in (60..66).zip(&record.results) {
            let lab = generator.lab_result(line);
            assert_eq!(lab.kit_id, record.kit_id);
            assert_eq!(lab.analyte, measured.code);
            assert!(lab.value == measured.value);
        }
    }

    #[test]
    fn a_record_is_written_flat_with_the_person_first() {
        let text = serde_json::to_string(&Generator::new(6).result_record(0)).unwrap();
        assert!(text.starts_with(r#"{"subscriber_id":"SUB-"#), "{text}");
        assert!(
            text.contains(r#""results":[{"code":"WBC","value":"#),
            "{text}"
        );
    }
}
