//! Blood-test records of the shape that the rig sends, from a seed of their own. Identifiers come
//! from ranges reserved for tests (999 NHS numbers, Ofcom drama phones, RFC 5737 addresses).

/// A small deterministic generator (xorshift64*): records need variety, not quality.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }
}

const FIRST: &[&str] = &[
    "Amelia", "Oliver", "Isla", "George", "Ava", "Noah", "Mia", "Arthur", "Zara", "Mohammed",
    "Priya", "Chidi", "Siobhán", "Łukasz", "Mei", "Aisha",
];
const LAST: &[&str] = &[
    "Smith", "Patel", "O'Connor", "Khan", "Williams", "Nowak", "Adeyemi", "Chen", "Begum", "Jones",
    "Taylor", "Hughes", "Singh", "Murphy",
];
const ETHNIC: &[&str] = &[
    "White British",
    "White Irish",
    "Indian",
    "Pakistani",
    "Bangladeshi",
    "Chinese",
    "Black African",
    "Black Caribbean",
    "Mixed White and Asian",
    "Any other ethnic group",
    "Not stated",
];
/// Code, lowest, highest, digits behind the dot, unit.
const ANALYTES: &[(&str, u64, u64, usize, &str)] = &[
    ("WBC", 400, 1100, 2, "10*9/L"),
    ("RBC", 390, 570, 2, "10*12/L"),
    ("HGB", 115, 170, 0, "g/L"),
    ("HCT", 360, 500, 3, "L/L"),
    ("PLT", 150, 410, 0, "10*9/L"),
    ("MCV", 800, 1000, 1, "fL"),
];

/// Records that together have at least so many bytes.
pub fn records(bytes: usize) -> Vec<String> {
    let mut random = Random(20_261_001);
    let (mut all, mut size) = (Vec::new(), 2);
    while size < bytes {
        let record = record(&mut random, all.len());
        size += record.len() + 1;
        all.push(record);
    }
    all
}

fn record(r: &mut Random, n: usize) -> String {
    let (first, last) = (r.pick(FIRST), r.pick(LAST));
    let email = format!("{first}.{last}{}@example.org", n % 997)
        .to_lowercase()
        .replace('\'', "");
    let results: Vec<String> = ANALYTES
        .iter()
        .map(|(code, low, high, digits, unit)| {
            let value = low + r.below(high - low);
            let power = 10u64.pow(*digits as u32);
            let value = match digits {
                0 => value.to_string(),
                _ => format!("{}.{:0digits$}", value / power, value % power),
            };
            format!(r#"{{"code":"{code}","value":{value},"unit":"{unit}"}}"#)
        })
        .collect();
    let fields = [
        ("subscriber_id", format!("SUB-{:08}", r.below(100_000_000))),
        ("name", format!("{first} {last}")),
        ("email", email),
        ("nhs_number", format!("999{:07}", r.below(10_000_000))),
        (
            "date_of_birth",
            format!(
                "{}-{:02}-{:02}",
                1935 + r.below(72),
                1 + r.below(12),
                1 + r.below(28)
            ),
        ),
        ("sex", r.pick(&["F", "M"]).into()),
        ("ethnicity", r.pick(ETHNIC).into()),
        (
            "postcode",
            format!(
                "{}{} {}{}{}",
                r.pick(&["LS", "SW", "M", "EH", "CF", "BT"]),
                1 + r.below(19),
                1 + r.below(9),
                r.pick(&["A", "B", "D", "E", "F"]),
                r.pick(&["G", "H", "J", "L", "N"])
            ),
        ),
        ("phone", format!("+447700900{:03}", r.below(1000))),
        ("kit_id", format!("KIT-{:08X}", r.below(1 << 31))),
        ("provider_id", format!("PRV-{:03}", r.below(400))),
        (
            "collected_at",
            format!(
                "2026-10-{:02}T{:02}:{:02}:00Z",
                1 + r.below(28),
                6 + r.below(15),
                r.below(60)
            ),
        ),
        ("ip", format!("198.51.100.{}", r.below(256))),
    ];
    let fields: Vec<String> = fields
        .iter()
        .map(|(k, v)| format!("\"{k}\":\"{v}\""))
        .collect();
    format!(
        "{{{},\"results\":[{}]}}",
        fields.join(","),
        results.join(",")
    )
}

/// The same values on many lines, indented by two.
pub fn pretty(json: &[u8]) -> Vec<u8> {
    let (mut out, mut depth, mut text) = (Vec::new(), 0usize, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    for byte in json {
        match byte {
            b'"' => text = !text, // These records have no escapes.
            b'}' | b']' if !text => {
                depth -= 1;
                line(&mut out, depth);
            }
            _ => {}
        }
        out.push(*byte);
        match byte {
            b'{' | b'[' if !text => {
                depth += 1;
                line(&mut out, depth);
            }
            b',' if !text => line(&mut out, depth),
            b':' if !text => out.push(b' '),
            _ => {}
        }
    }
    out
}
