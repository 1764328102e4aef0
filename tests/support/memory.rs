//! Another process's memory, searched as root can search it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Which of the needles lie in the writable memory of a process: their names, each once.
pub fn holds(process: u32, needles: &[(String, Vec<u8>)]) -> Vec<&str> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let mut found = vec![false; needles.len()];
    let mut searched = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") || line.ends_with("[vvar]") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        searched += search(&memory, number(start), number(end), needles, &mut found);
    }
    assert!(searched > 1 << 20, "only {searched} bytes were read");
    let named = needles.iter().zip(found).filter(|(_, found)| *found);
    named.map(|((name, _), _)| name.as_str()).collect()
}

/// Reads in pieces that overlap by a needle. Gives how many bytes could be read.
fn search(
    memory: &File,
    start: u64,
    end: u64,
    needles: &[(String, Vec<u8>)],
    found: &mut [bool],
) -> usize {
    const PIECE: usize = 4 << 20;
    let overlap = needles.iter().map(|(_, n)| n.len()).max().unwrap_or(1) as u64;
    let mut buffer = vec![0; PIECE];
    let (mut at, mut read) = (start, 0);
    while at < end {
        let length = PIECE.min((end - at) as usize);
        let Ok(count) = memory.read_at(&mut buffer[..length], at) else {
            break; // a guard page
        };
        for ((_, needle), found) in needles.iter().zip(&mut *found) {
            *found |= memchr::memmem::find(&buffer[..count], needle).is_some();
        }
        read += count;
        if count == 0 || at + count as u64 >= end {
            break;
        }
        at += (count as u64).saturating_sub(overlap).max(1);
    }
    read
}
