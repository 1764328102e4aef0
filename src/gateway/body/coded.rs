//! Content codings of a message: which it names, whether they are taken, its bytes decoded.
//!
//! What enters: header fields; coded chunks. What leaves: a stack of codings, or 415 before the
//! body is read; decoded chunks of at most [`limits::CHUNK`]. What can never happen: a body whose
//! codings are not all known and taken is read, or all coded bodies together take more memory for
//! windows than [`limits::CODING_BUDGET`].

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderValue, header};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::coding::{Coding, Decoder};
use crate::error::{Code, Fault, Stage};
use crate::limits;

/// The codings of a body, in the order in which they were done; those that change nothing left
/// out.
///
/// # Errors
/// [`Code::ContentCoding`]: one that `taken` does not have, more than [`limits::CODINGS`], or no
/// list of names.
pub fn of(headers: &HeaderMap, taken: &[Coding]) -> Result<Vec<Coding>, Fault> {
    let refused = || Fault::new(Code::ContentCoding, Stage::Authorise);
    let mut codings = Vec::new();
    for value in headers.get_all(header::CONTENT_ENCODING) {
        let value = value.to_str().map_err(|_| refused())?;
        for name in value.split(',').map(|name| name.trim_matches([' ', '\t'])) {
            if name.eq_ignore_ascii_case("identity") {
                continue;
            }
            let coding = Coding::of(name).filter(|coding| taken.contains(coding));
            codings.push(coding.ok_or_else(refused)?);
        }
    }
    if codings.len() > limits::CODINGS {
        return Err(refused());
    }
    Ok(codings)
}

/// `Content-Encoding` of a body with these codings; `None` for none.
pub fn field(codings: &[Coding]) -> Option<HeaderValue> {
    let names: Vec<&str> = codings.iter().map(|coding| coding.name()).collect();
    let text = (!names.is_empty()).then(|| names.join(", "))?;
    HeaderValue::try_from(text).ok()
}

/// `Accept-Encoding` of an answer to a coding that was refused (RFC 9110, section 15.5.16).
pub fn accepted(taken: &[Coding]) -> HeaderValue {
    field(taken).unwrap_or(const { HeaderValue::from_static("identity") })
}

/// A body that is being decoded.
pub struct Decoding {
    codings: Vec<Coding>,
    /// Made when the first bytes come.
    decoder: Option<Decoder>,
    /// Came, and not decoded.
    coded: Bytes,
    /// The last time, there was more to give than there was room.
    more: bool,
    ended: bool,
    /// Its share of the memory of all; `None` while it counts as a held body.
    room: Option<SemaphorePermit<'static>>,
}

/// Windows and tables of all streamed coded bodies.
static ROOM: Semaphore = Semaphore::const_new(limits::CODING_BUDGET);

impl Decoding {
    pub fn new(codings: Vec<Coding>) -> Self {
        Self {
            codings,
            decoder: None,
            coded: Bytes::new(),
            more: false,
            ended: false,
            room: None,
        }
    }

    pub fn codings(&self) -> &[Coding] {
        &self.codings
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next decoded chunk of what is here; `None`: more must come.
    ///
    /// # Errors
    /// As [`Decoder::new`] and [`Decoder::push`], or [`Code::HoldBudget`] where a later frame wants a larger window
    /// than there is.
    pub fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        if self.coded.is_empty() && !self.more {
            return Ok(None);
        }
        // A small piece that came needs no large one; one that grows fills it and comes again.
        let most = (self.coded.len() * 8).clamp(limits::CODING_STEP, limits::CHUNK);
        let mut out = Vec::new();
        let mut coded = &self.coded[..];
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(Decoder::new(&self.codings)?),
        };
        decoder.push(&mut coded, &mut out, most)?;
        let taken = self.coded.len() - coded.len();
        self.coded.advance(taken);
        self.more = out.len() == most;
        self.grow()?;
        Ok((!out.is_empty()).then(|| out.into()))
    }

    /// Takes what came, once [`Decoding::chunk`] has nothing more.
    pub fn feed(&mut self, coded: Bytes) {
        self.coded = coded;
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// [`Code::Truncated`].
    pub fn finish(&mut self) -> Result<(), Fault> {
        match self.decoder.take() {
            Some(decoder) => decoder.finish()?,
            // Nothing at all is no stream.
            None => return Err(Fault::new(Code::Truncated, Stage::Decode)),
        }
        self.ended = true;
        Ok(())
    }

    /// From now on it streams: takes its share of the memory of all, with `beside` for the
    /// way out. Waits its turn, at most [`limits::HOLD_WAIT`].
    ///
    /// # Errors
    /// [`Code::HoldBudget`].
    pub async fn streams(&mut self, beside: usize) -> Result<(), Fault> {
        let share = permits(self.memory() + beside);
        let share = tokio::time::timeout(limits::HOLD_WAIT, ROOM.acquire_many(share)).await;
        let Ok(Ok(share)) = share else {
            return Err(full());
        };
        self.room = Some(share);
        Ok(())
    }

    /// A later frame of a stream may say that it needs more than the first did.
    fn grow(&mut self) -> Result<(), Fault> {
        if self.room.is_none() {
            return Ok(());
        }
        let wanted = permits(self.memory()) as usize;
        let Some(room) = &mut self.room else {
            return Ok(());
        };
        if let Some(more) = wanted.checked_sub(room.num_permits()).filter(|n| *n > 0) {
            room.merge(ROOM.try_acquire_many(permits(more)).map_err(|_| full())?);
        }
        Ok(())
    }
}

impl Decoding {
    fn memory(&self) -> usize {
        self.decoder.as_ref().map_or(0, Decoder::memory)
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.min(limits::CODING_BUDGET)).unwrap_or(u32::MAX)
}

fn full() -> Fault {
    Fault::new(Code::HoldBudget, Stage::Decode)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(values: &[&'static str], taken: &[Coding]) -> Result<Vec<Coding>, Code> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                header::CONTENT_ENCODING,
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        of(&headers, taken).map_err(|fault| fault.code)
    }

    #[test]
    fn formats_04_codings_are_read_as_a_list() {
        use Coding::{Br, Gzip, Zstd};
        let two = [Gzip, Br];
        for (values, taken, expected) in [
            (&[][..], &[][..], Some(&[][..])),
            (&["identity"], &[], Some(&[])),
            (&["Identity", "identity"], &[], Some(&[])),
            (&["gzip"], &two, Some(&[Gzip])),
            (&["X-GZIP"], &two, Some(&[Gzip])),
            (&["gzip, br"], &two, Some(&[Gzip, Br])),
            (&["gzip", "\tbr "], &two, Some(&[Gzip, Br])),
            (&["gzip ,identity,br"], &two, Some(&[Gzip, Br])),
            (&["gzip"], &[], None),
            (&["gzip"], &[Zstd], None),
            (&["zstd"], &two, None),
            (&["gzip, gzip, gzip"], &two, None),
            (&["gzip;q=1"], &two, None),
            (&["gzip,"], &two, None),
            (&[""], &two, None),
            (&["*"], &two, None),
            (&["g\u{e9}"], &two, None),
        ] {
            let named = named(values, taken);
            let expected = expected.map_or(Err(Code::ContentCoding), |c| Ok(c.to_vec()));
            assert_eq!(named, expected, "{values:?}");
        }
        assert_eq!(field(&two).unwrap(), "gzip, br");
        assert_eq!(field(&[]), None);
        assert_eq!(accepted(&[]), "identity");
    }

    #[tokio::test]
    async fn formats_04_windows_of_streams_share_a_budget() {
        // A frame of two raw bytes that asks for a window of 8 MiB, and no last block.
        let asks = [0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3, 0x10, 0, 0, b'{', b'}'];
        let begun = || {
            let mut decoding = Decoding::new(vec![Coding::Zstd]);
            decoding.feed(Bytes::copy_from_slice(&asks));
            assert_eq!(decoding.chunk().unwrap().unwrap(), "{}");
            decoding
        };
        let mut all = Vec::new();
        let fault = loop {
            let mut one = begun();
            match one.streams(0).await {
                Ok(()) => all.push(one),
                Err(fault) => break fault,
            }
        };
        assert_eq!(fault.code, Code::HoldBudget);
        assert_eq!(all.len(), limits::CODING_BUDGET / (9 << 20));
        all.pop();
        begun().streams(0).await.unwrap();
        // One that asks for little at first and for much later must find room too.
        let mut small = Decoding::new(vec![Coding::Zstd]);
        let first = crate::coding::Encoder::whole(&[Coding::Zstd], b"{}").unwrap();
        small.feed(first.into());
        assert_eq!(small.chunk().unwrap().unwrap(), "{}");
        small.streams(0).await.unwrap();
        let mut one = begun();
        one.streams(0).await.unwrap();
        small.feed(Bytes::copy_from_slice(&asks));
        assert_eq!(small.chunk().unwrap_err().code, Code::HoldBudget);
        drop((all, one));
    }
}
