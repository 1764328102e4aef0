//! Every coding against itself, against damage, and against bodies made to take much.

use proptest::prelude::*;

use super::*;

const STACKS: [&[Coding]; 7] = [
    &[Coding::Gzip],
    &[Coding::Deflate],
    &[Coding::Br],
    &[Coding::Zstd],
    &[Coding::Gzip, Coding::Br],
    &[Coding::Zstd, Coding::Gzip],
    &[Coding::Deflate, Coding::Deflate],
];

fn code(codings: &[Coding], body: &[u8]) -> Vec<u8> {
    Encoder::whole(codings, body).unwrap()
}

/// Decodes what comes in pieces of `piece`, taking `most` at once.
fn undo(codings: &[Coding], coded: &[u8], piece: usize, most: usize) -> Result<Vec<u8>, Code> {
    let mut decoder = Decoder::new(codings).map_err(|f| f.code)?;
    let mut all = Vec::new();
    for mut input in coded.chunks(piece) {
        loop {
            let before = all.len();
            let pushed = decoder.push(&mut input, &mut all, most);
            assert!(all.len() - before <= most);
            pushed.map_err(|f| f.code)?;
            if all.len() - before < most {
                assert!(input.is_empty());
                break;
            }
        }
    }
    decoder.finish().map_err(|f| f.code)?;
    Ok(all)
}

fn at_once(codings: &[Coding], coded: &[u8]) -> Result<Vec<u8>, Code> {
    undo(codings, coded, coded.len().max(1), limits::CHUNK)
}

fn records() -> Vec<u8> {
    (0..2000)
        .flat_map(|n| format!("{{\"id\":\"SUB-{n:05}\",\"n\":{}}}\n", n * 7919 % 1000).into_bytes())
        .collect()
}

proptest! {
    #[test]
    fn formats_04_what_is_coded_comes_back_whatever_the_pieces(
        stack in 0..STACKS.len(),
        seed in proptest::collection::vec(any::<u8>(), 0..300),
        times in 1..200usize,
        pieces in proptest::collection::vec(1..5000usize, 1..8),
        piece in 1..5000usize,
        most in 1..70_000usize,
    ) {
        let body = seed.repeat(times);
        let mut encoder = Encoder::new(STACKS[stack]).unwrap();
        let mut coded = Vec::new();
        let mut rest = &body[..];
        for (turn, size) in pieces.iter().cycle().enumerate() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(rest.len().min(*size));
            rest = later;
            if turn % 3 == 0 {
                encoder.push_now(now, &mut coded).unwrap();
            } else {
                encoder.push(now, &mut coded).unwrap();
            }
        }
        encoder.finish(&mut coded).unwrap();
        // Pieces of one byte would take minutes at this many cases.
        let piece = piece.max(coded.len() / 500);
        let most = most.max(body.len() / 500);
        prop_assert_eq!(undo(STACKS[stack], &coded, piece, most), Ok(body));
    }

    #[test]
    fn formats_04_damage_is_found_or_changes_nothing(
        stack in 0..STACKS.len(),
        at in any::<proptest::sample::Index>(),
        bit in 0..8u8,
    ) {
        let codings = STACKS[stack];
        let body = records();
        let mut coded = code(codings, &body);
        let at = at.index(coded.len());
        coded[at] ^= 1 << bit;
        if let Ok(out) = at_once(codings, &coded) {
            // br has no checksum; the others say what they find.
            prop_assert!(out == body || codings == [Coding::Br]);
        }
    }

    #[test]
    fn formats_04_noise_ends_badly_and_makes_little(
        stack in 0..STACKS.len(),
        noise in proptest::collection::vec(any::<u8>(), 0..3000),
        kept in 0..40usize,
    ) {
        let codings = STACKS[stack];
        let mut coded = code(codings, &records());
        coded.truncate(kept);
        coded.extend(&noise);
        let mut decoder = Decoder::new(codings).unwrap();
        let (mut input, mut out) = (&coded[..], Vec::new());
        let most = 4 << 20;
        let pushed = decoder.push(&mut input, &mut out, most);
        let bound = limits::CODING_GRACE + coded.len() as u64 * limits::CODING_RATIO;
        prop_assert!(out.len() as u64 <= bound + most as u64);
        if pushed.is_ok() && decoder.finish().is_ok() {
            // br alone can take noise for a stream.
            prop_assert!(codings.contains(&Coding::Br));
        }
    }
}

#[test]
fn formats_04_a_stream_that_is_cut_never_ends_well() {
    let body = &records()[..3000];
    for codings in STACKS {
        let coded = code(codings, body);
        assert_eq!(at_once(codings, &coded).as_deref(), Ok(body));
        for cut in 0..coded.len() {
            let ended = at_once(codings, &coded[..cut]);
            assert_eq!(ended, Err(Code::Truncated), "{codings:?} cut at {cut}");
        }
    }
}

#[test]
fn formats_04_nothing_may_follow_the_end() {
    let body = records();
    for codings in STACKS {
        for after in [&b"\0"[..], b"\0\0\0\0\0\0\0\0", b"{\"id\":\"SUB-1\"}"] {
            let mut coded = code(codings, &body);
            coded.extend_from_slice(after);
            for piece in [1, 7, coded.len()] {
                let ended = undo(codings, &coded, piece, 10_000);
                assert!(
                    matches!(ended, Err(Code::CodingBroken | Code::Truncated)),
                    "{codings:?}"
                );
            }
        }
    }
    // Neither in the middle of a stack.
    let mut inner = code(&[Coding::Gzip], &body);
    inner.extend_from_slice(b"SUB-00001");
    let coded = code(&[Coding::Br], &inner);
    let ended = at_once(&[Coding::Gzip, Coding::Br], &coded);
    assert_eq!(ended, Err(Code::CodingBroken));
}

#[test]
fn formats_04_members_and_frames_are_one_body() {
    let body = records();
    let (one, two) = body.split_at(1000);
    for codings in [&[Coding::Gzip][..], &[Coding::Zstd]] {
        let mut coded = code(codings, one);
        coded.extend(code(codings, b""));
        coded.extend(code(codings, two));
        for piece in [1, 13, coded.len()] {
            let ended = undo(codings, &coded, piece, 777);
            assert_eq!(ended.as_deref(), Ok(&body[..]), "{codings:?}");
        }
        // A cut between two of them cannot be seen; in any of them it is.
        let cut = coded.len() - 1;
        assert_eq!(at_once(codings, &coded[..cut]), Err(Code::Truncated));
    }
    for codings in [&[Coding::Deflate][..], &[Coding::Br]] {
        let mut coded = code(codings, one);
        coded.extend(code(codings, two));
        assert_eq!(at_once(codings, &coded), Err(Code::CodingBroken));
    }
}

/// RFC 1952, section 2.3.1; RFC 8878, section 3.1.2.
#[test]
fn formats_04_what_stands_beside_the_data_does_not_come_out() {
    use std::io::Write;
    let mut named = flate2::GzBuilder::new()
        .filename("SUB-00001")
        .comment("ann@example.org")
        .extra(b"SUB".to_vec())
        .write(Vec::new(), flate2::Compression::fast());
    named.write_all(b"{}").unwrap();
    let coded = named.finish().unwrap();
    assert_eq!(at_once(&[Coding::Gzip], &coded).as_deref(), Ok(&b"{}"[..]));

    let mut coded = vec![0x50, 0x2a, 0x4d, 0x18, 9, 0, 0, 0];
    coded.extend_from_slice(b"SUB-00001");
    let skipped = coded.clone();
    coded.extend(code(&[Coding::Zstd], b"{}"));
    coded.extend(&skipped);
    assert_eq!(at_once(&[Coding::Zstd], &coded).as_deref(), Ok(&b"{}"[..]));
    assert_eq!(
        at_once(&[Coding::Zstd], &coded[..skipped.len() - 1]),
        Err(Code::Truncated)
    );
}

#[test]
fn formats_04_other_streams_of_the_same_name_are_refused() {
    use std::io::Write;
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    raw.write_all(&records()).unwrap();
    let raw = raw.finish().unwrap();
    assert_eq!(at_once(&[Coding::Deflate], &raw), Err(Code::CodingBroken));
    // A preset dictionary (RFC 1950, section 2.2).
    let preset = [0x78, 0x20, 1, 2, 3, 4, 3, 0];
    assert_eq!(
        at_once(&[Coding::Deflate], &preset),
        Err(Code::CodingBroken)
    );
    // zlib where gzip is said, and the other way.
    let (gzip, zlib) = (
        code(&[Coding::Gzip], b"{}"),
        code(&[Coding::Deflate], b"{}"),
    );
    assert_eq!(at_once(&[Coding::Gzip], &zlib), Err(Code::CodingBroken));
    assert_eq!(at_once(&[Coding::Deflate], &gzip), Err(Code::CodingBroken));
    // A zstd dictionary (frame header with a dictionary id).
    let dictionary = [0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 2, 0x11, 0, 0, b'{', b'}'];
    assert_eq!(
        at_once(&[Coding::Zstd], &dictionary),
        Err(Code::CodingBroken)
    );
}

#[test]
fn formats_04_windows_are_bounded() {
    use std::io::Write;
    let body = records();
    let br = |window: u32| {
        let mut writer = brotli::CompressorWriter::new(Vec::new(), 4096, 5, window);
        writer.write_all(&body).unwrap();
        writer.into_inner()
    };
    assert_eq!(at_once(&[Coding::Br], &br(22)).as_ref(), Ok(&body));
    assert_eq!(at_once(&[Coding::Br], &br(24)), Err(Code::CodingWindow));
    // "Large Window Brotli", outside of RFC 7932: 30 bits.
    let large = [0x11, 0x1e, 0, 0, 0, 0];
    assert_eq!(at_once(&[Coding::Br], &large), Err(Code::CodingBroken));
    // Frame headers that say 8 MiB and a little more (RFC 8878, section 3.1.1.1.2), one raw block.
    let zstd = |window: u8| {
        let mut coded = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window, 0x11, 0, 0];
        coded.extend_from_slice(b"{}");
        coded
    };
    let eight = (limits::ZSTD_WINDOW as u8 - 10) << 3;
    assert_eq!(
        at_once(&[Coding::Zstd], &zstd(eight)).as_deref(),
        Ok(&b"{}"[..])
    );
    for window in [eight + 1, eight + 8, 0xff] {
        let ended = at_once(&[Coding::Zstd], &zstd(window));
        assert_eq!(ended, Err(Code::CodingWindow), "{window}");
    }
    // What a stream says it needs is known before much of it is there.
    let mut decoder = Decoder::new(&[Coding::Zstd]).unwrap();
    assert!(decoder.memory() < limits::CODING_STATE);
    let (coded, mut out) = (zstd(eight), Vec::new());
    decoder.push(&mut &coded[..], &mut out, 100).unwrap();
    assert!((8 << 20..9 << 20).contains(&decoder.memory()));
    let mut decoder = Decoder::new(&[Coding::Br]).unwrap();
    decoder.push(&mut &br(22)[..], &mut out, 100).unwrap();
    assert!((4 << 20..5 << 20).contains(&decoder.memory()));
}

/// As small as it gets.
fn tightly(body: Vec<u8>, coding: &Coding) -> Vec<u8> {
    use std::io::Write;
    let best = flate2::Compression::best();
    match coding {
        Coding::Gzip => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), best);
            writer.write_all(&body).unwrap();
            writer.finish().unwrap()
        }
        Coding::Deflate => {
            let mut writer = flate2::write::ZlibEncoder::new(Vec::new(), best);
            writer.write_all(&body).unwrap();
            writer.finish().unwrap()
        }
        Coding::Br | Coding::Zstd => code(&[*coding], &body),
    }
}

/// Streams that would become gigabytes stop a little above the grace, of each coding, alone and
/// behind others.
#[test]
fn formats_04_what_grows_too_much_is_stopped() {
    let nothing = vec![b' '; 64 << 20];
    for codings in STACKS {
        let coded = codings.iter().fold(nothing.clone(), tightly);
        let mut decoder = Decoder::new(codings).unwrap();
        let (mut input, mut made) = (&coded[..], 0);
        let mut out = Vec::new();
        let fault = loop {
            out.clear();
            match decoder.push(&mut input, &mut out, limits::CHUNK) {
                Ok(()) if out.is_empty() => panic!("{codings:?}: {made} came out"),
                Ok(()) => made += out.len(),
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault.code, Code::CodingRatio, "{codings:?}");
        let bound = limits::CODING_GRACE + coded.len() as u64 * limits::CODING_RATIO;
        assert!(made as u64 <= bound + limits::CHUNK as u64);
        // It stays stopped.
        assert!(decoder.push(&mut &b""[..], &mut out, 1).is_err());
        assert!(decoder.finish().is_err());
    }
    // What shrinks again behind the first coding is counted there.
    let members = code(&[Coding::Gzip], b"").repeat(1 << 20);
    let coded = code(&[Coding::Zstd], &members);
    let ended = at_once(&[Coding::Gzip, Coding::Zstd], &coded);
    assert_eq!(ended, Err(Code::CodingRatio));
}

#[test]
fn formats_04_what_was_pushed_for_now_can_be_decoded_now() {
    for codings in STACKS {
        let mut encoder = Encoder::new(codings).unwrap();
        let mut decoder = Decoder::new(codings).unwrap();
        let mut coded = Vec::new();
        for n in 0..50 {
            let record = format!("{{\"n\":{n}}}\n");
            coded.clear();
            encoder.push_now(record.as_bytes(), &mut coded).unwrap();
            let mut out = Vec::new();
            decoder.push(&mut &coded[..], &mut out, 1000).unwrap();
            assert_eq!(out, record.as_bytes(), "{codings:?}");
            assert!(decoder.finish().is_err(), "it has not ended");
        }
        coded.clear();
        encoder.finish(&mut coded).unwrap();
        let mut out = Vec::new();
        decoder.push(&mut &coded[..], &mut out, 1000).unwrap();
        assert!(out.is_empty());
        decoder.finish().unwrap();
    }
}

#[test]
fn formats_04_what_codings_are_called() {
    assert_eq!(Coding::of("X-GZip"), Some(Coding::Gzip));
    assert_eq!(Coding::of("ZSTD"), Some(Coding::Zstd));
    for unknown in ["", "identity", "compress", "gzip ", "dcb"] {
        assert_eq!(Coding::of(unknown), None, "{unknown}");
    }
    for coding in Coding::ALL {
        assert_eq!(Coding::of(coding.name()), Some(coding));
    }
}
