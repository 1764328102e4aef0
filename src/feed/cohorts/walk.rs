//! One output, looked at: each record's values at the places asked for, as one hash.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Count;
use crate::config::Format;
use crate::feed::place::{Input, Item};
use crate::feed::progress::Progress;
use crate::feed::source::Source;
use crate::feed::stop::Stop;
use crate::format::{Csv, Found, Json, Ndjson, Options, Scanner, Slot, Tsv};
use crate::limits;
use crate::secret::Key32;

/// Of a record's values: 128 bits of HMAC-SHA256 under the run's own key.
pub type Hash = [u8; 16];

/// Whole records, and what they hold.
pub struct Looked<'a> {
    pub scanner: &'a dyn Scanner,
    pub bytes: &'a [u8],
    pub slots: &'a [Slot],
    /// Index of the first record in its file.
    pub first: u64,
    /// One a record.
    pub hashes: &'a [Hash],
    /// The bytes begin with the header row.
    pub header: bool,
}

/// Goes over one output; `false`: `each` has ended it.
pub fn walk(
    count: &Count<'_>,
    at: usize,
    progress: &mut Progress,
    mut each: impl FnMut(&Looked<'_>) -> Result<bool, Stop>,
) -> Result<bool, Stop> {
    let item = &count.items[at];
    let options = Options {
        record: count.record.saturating_mul(2),
        value: limits::VALUE,
        depth: count.depth,
    };
    let policy = count.policy.clone();
    let (mut scanner, mut header): (Box<dyn Scanner>, bool) = match item.format {
        Format::Ndjson => (Box::new(Ndjson::new(policy, options)), false),
        Format::Csv(d) => (Box::new(Csv::new(policy, options, d)), d.header),
        Format::Tsv { header } => (Box::new(Tsv::new(policy, options, header)), header),
        Format::Json | Format::Form | Format::EventStream => {
            (Box::new(Json::new(policy, options)), false)
        }
    };
    let mut source = Source::open(&Item {
        input: Input::File(count.parts[at].clone()),
        name: item.output_name(),
        decode: item.encode,
        ..item.clone()
    })?;
    let mut values = vec![Vec::new(); count.policy.rules.len()];
    let (mut window, mut chunk, mut scratch) = (Vec::new(), Vec::new(), Vec::new());
    let (mut found, mut hashes, mut records) = (Found::default(), Vec::new(), 0);
    let failed = |fault| Stop::fault(&item.output_name(), &fault);
    loop {
        source.next(&mut chunk)?;
        progress.read(at, source.read(), source.size);
        window.extend_from_slice(&chunk);
        scanner
            .scan(&window, source.ended(), &mut found)
            .map_err(failed)?;
        let (ready, released) = (found.ready(), found.released);
        let slots = &found.slots[..ready];
        hashes.clear();
        let mut next = slots.iter().peekable();
        for record in records..found.records {
            values.iter_mut().for_each(Vec::clear);
            while let Some(slot) = next.next_if(|slot| slot.record == record) {
                let value = &mut values[usize::from(slot.rule.0)];
                let raw = &window[slot.start..slot.end];
                let text = scanner.value(raw, slot.shape, &mut scratch);
                value.extend_from_slice(&(text.len() as u64).to_be_bytes());
                value.extend_from_slice(text);
            }
            hashes.push(hash(&count.key, &values));
        }
        let looked = Looked {
            scanner: &*scanner,
            bytes: &window[..released],
            slots,
            first: records,
            hashes: &hashes,
            header: header && released > 0,
        };
        let go_on = each(&looked)?;
        // The first rows that are released have the header before them.
        header &= released == 0;
        records = found.records;
        found.advance(ready);
        window.drain(..released);
        if !go_on || source.ended() {
            return Ok(go_on);
        }
    }
}

/// Values in the order of the places, each with its length; so that no two records that differ are
/// written alike.
pub fn hash(key: &Key32, values: &[Vec<u8>]) -> Hash {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("any key length is good");
    for value in values {
        mac.update(&(value.len() as u64).to_be_bytes());
        mac.update(value);
    }
    let full = mac.finalize().into_bytes();
    let mut hash = [0; 16];
    hash.copy_from_slice(&full[..16]);
    hash
}
