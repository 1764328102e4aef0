//! The embedded store's records: all of a batch or none, and what is there is never overwritten.

use cryptonym::vault::store::sqlite::Sqlite;
use cryptonym::vault::store::{Added, RecordRow, Store, StoreError};

#[test]
fn path_07_a_batch_is_kept_whole_or_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("vault.sqlite")).unwrap();
    let mut writer = store.writer().unwrap();
    let mut add = |rows: &[RecordRow], most| {
        writer.begin().unwrap();
        writer.savepoint().unwrap();
        let added = writer.add_records(1, rows, most).unwrap();
        writer.release(true).unwrap();
        writer.commit().unwrap();
        let count = store.reader().unwrap().count_records().unwrap();
        (added, count)
    };
    let all = |new| Added::All { new };
    assert_eq!(add(&[row(1, 1), row(2, 2)], 10), (all(2), 2));
    // Known again, new ones among them, one of them twice.
    let mixed = [row(1, 1), row(3, 3), row(3, 3), row(2, 2)];
    assert_eq!(add(&mixed, 1), (all(1), 3));
    // The budget counts what is new.
    assert_eq!(add(&mixed, 0), (all(0), 3));
    assert_eq!(
        add(&[row(4, 4), row(1, 1), row(5, 5)], 1),
        (Added::TooMany, 3)
    );
    // Another tag at a known index, and at one of the same batch.
    assert_eq!(add(&[row(6, 6), row(1, 9)], 10), (Added::Conflict, 3));
    assert_eq!(add(&[row(6, 6), row(6, 7)], 10), (Added::Conflict, 3));
    // A conflict says more than a budget.
    assert_eq!(add(&[row(6, 6), row(1, 9)], 0), (Added::Conflict, 3));
    assert_eq!(add(&[row(4, 4), vocabulary(5)], 2), (all(2), 5));

    let mut reader = store.reader().unwrap();
    for n in 1..=5u8 {
        let record = reader.record(&[n; 16]).unwrap().unwrap();
        assert_eq!(record.sealed, vec![n; 80]);
        assert_eq!(record.epoch, 1);
        let key = (n != 5).then(|| vec![n; 60]);
        assert_eq!(record.subject, key, "each has its own subject's key");
    }
    assert!(reader.record(&[6; 16]).unwrap().is_none());
    let known = reader.known_after(1, 0, 10).unwrap();
    let order: Vec<u8> = known.iter().map(|row| row.index[0]).collect();
    assert_eq!(order, [1, 2, 3, 4, 5]);
}

#[test]
fn path_07_a_store_of_another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault.sqlite");
    drop(Sqlite::open(&path).unwrap());
    // Bytes 60 to 63 of a database are its user version.
    let mut bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes[60..64], 3u32.to_be_bytes(), "the version in the file");
    bytes[63] = 1;
    std::fs::write(&path, bytes).unwrap();
    let refused = Sqlite::open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::Version(1)), "{refused}");
}

fn row(index: u8, tag: u8) -> RecordRow {
    RecordRow {
        index: [index; 16],
        tag: [tag; 16],
        known: vec![index; 44],
        subject: Some(vec![index; 60]),
        sealed: vec![index; 80],
    }
}

fn vocabulary(index: u8) -> RecordRow {
    RecordRow {
        subject: None,
        ..row(index, index)
    }
}
