//! One file, rewritten.
//!
//! What enters: decoded chunks. What leaves: their records in the sink, faults in the rejects, and a
//! checkpoint wherever the input has come so far. What can never happen: a byte reaches the sink
//! before its records are durable; a record counts twice, or not at all; a checkpoint stands at
//! another place because of how often the run was killed.
//!
//! ```text
//!            ┌──────────────── the next chunk ────────────────┐
//!  fast: the rewriter takes chunks ── a fault ──▶ slow: record by record, a new rewriter
//!            ▲                                    behind each one that is left out
//!            └── a chunk's last, unfinished record is taken ──┘
//! ```

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use super::counts::Counts;
use super::cut::Cutter;
use super::journal::{Checkpoint, Done, Journal};
use super::place::{Item, Written};
use super::progress::Progress;
use super::rejects::{Rejects, Spot};
use super::sink::Sink;
use super::source::Source;
use super::stop::{Stop, Why};
use crate::config::Format;
use crate::error::{Code, Fault, Side, Stage};
use crate::rewrite::tally::RuleCounts;
use crate::rewrite::{Ahead, Held, Job, Rewriter, Summary};

mod recover;

/// What all files of a run have in common.
pub struct Work {
    /// Of any format.
    pub job: Job,
    /// Of CSV.
    pub delimiter: u8,
    /// Decoded bytes between two checkpoints; a multiple of [`limits::FEED_CHUNK`].
    pub every: u64,
    /// Bytes of a record.
    pub longest: usize,
}

/// What a file is written to, beside its own sink.
pub struct Beside<'a> {
    pub rejects: Option<&'a mut Rejects>,
    pub journal: Option<&'a mut Journal>,
    pub progress: &'a mut Progress,
}

pub struct Pump<'a> {
    work: &'a Work,
    item: &'a Item,
    source: Source,
    sink: Sink,
    beside: Beside<'a>,
    file: usize,
    job: Job,
    rules: Arc<RuleCounts>,
    /// Of the run that was killed.
    base: Counts,
    /// Of rewriters that are gone.
    gone: Summary,
    rejected: u64,
    rewriter: Rewriter,
    /// What the rewriter had seen when it was given [`Pump::first`], and last.
    began: Summary,
    last: Summary,
    /// Where in the input the rewriter's own bytes begin, behind this many that it was given first.
    start: u64,
    given: u64,
    ahead: Ahead,
    /// Bytes of input so far.
    seen: u64,
    /// The row that says how rows are written (names, line ends), and where it stands.
    first: Option<(u64, Vec<u8>)>,
    /// Bytes of a first row that is not whole yet.
    head: Vec<u8>,
    cutter: Option<Cutter>,
    /// The record that is not whole yet, where records may be left out.
    tail: Vec<u8>,
    /// The rewriter has not been given it.
    unseen: bool,
    /// Behind a record whose end is not in sight.
    skipping: bool,
    /// Behind a row that broke the quoting: only a row of all columns is one again.
    suspect: bool,
}

impl<'a> Pump<'a> {
    /// From the file's beginning, or from where `from` stands.
    ///
    /// # Errors
    /// The file cannot be read, or is another than it was.
    pub fn new(
        work: &'a Work,
        (file, item): (usize, &'a Item),
        sink: Sink,
        from: Option<&Checkpoint>,
        beside: Beside<'a>,
    ) -> Result<Self, Stop> {
        let source = Source::open(item)?;
        let job = Job {
            format: item.format,
            ..work.job.clone()
        };
        let leaves_out = beside.rejects.is_some();
        let cutter = Cutter::new(item.written, work.delimiter).filter(|_| leaves_out);
        let rules = Arc::new(RuleCounts::new(job.policy.rules.len()));
        let mut pump = Self {
            // Names in a header row are no values.
            rewriter: match has_header(item.format) {
                true => uncounted(&job),
                false => Rewriter::new(job.clone()).counting(rules.clone()),
            },
            work,
            item,
            source,
            sink,
            beside,
            file,
            job,
            rules,
            base: Counts::default(),
            gone: Summary::default(),
            rejected: 0,
            began: Summary::default(),
            last: Summary::default(),
            start: 0,
            given: 0,
            ahead: Ahead::default(),
            seen: 0,
            first: None,
            head: Vec::new(),
            cutter,
            tail: Vec::new(),
            unseen: false,
            skipping: false,
            suspect: false,
        };
        if let Some(from) = from {
            pump.wind(from)?;
        }
        Ok(pump)
    }

    /// Reads up to where a run before has come.
    fn wind(&mut self, to: &Checkpoint) -> Result<(), Stop> {
        let (at, length) = to.first;
        let mut first = Vec::new();
        let mut chunk = Vec::new();
        while self.source.decoded() < to.taken && !self.source.ended() {
            let start = self.source.decoded();
            self.source.next(&mut chunk)?;
            let part = |from: u64, to: u64| {
                let within = |offset: u64| {
                    usize::try_from(offset.saturating_sub(start))
                        .map_or(chunk.len(), |offset| offset.min(chunk.len()))
                };
                &chunk[within(from)..within(to).max(within(from))]
            };
            first.extend_from_slice(part(at, at + length));
            self.tail.extend_from_slice(part(to.boundary, to.taken));
            let (read, size) = (self.source.read(), self.source.size);
            self.beside.progress.read(self.file, read, size);
        }
        let same = self.source.decoded() == to.taken
            && self.source.read() == to.read
            && self.source.digest() == to.read_sha256;
        if !same {
            let what = format!(
                "{} has changed since the run was interrupted",
                self.item.name
            );
            let next = "Put the file back as it was, or begin again with --force.";
            return Err(Stop::new(Why::No, what, next));
        }
        self.base = to.counts.clone();
        self.first = (length > 0).then_some((at, first));
        self.seen = to.boundary;
        self.renew(to.boundary)
    }

    /// All of the file.
    ///
    /// # Errors
    /// The first thing that keeps it from being whole.
    pub async fn run(mut self) -> Result<Done, Stop> {
        // What the run before had read behind its last whole record.
        let tail = std::mem::take(&mut self.tail);
        self.take(&tail).await?;
        let mut chunk = Vec::new();
        while !self.source.ended() {
            self.source.next(&mut chunk)?;
            self.take(&chunk).await?;
            self.settle(false).await?;
            let (read, size) = (self.source.read(), self.source.size);
            self.beside.progress.read(self.file, read, size);
            if !self.source.ended() && self.source.decoded().is_multiple_of(self.work.every) {
                self.checkpoint().await?;
            }
        }
        self.end().await?;
        self.settle(true).await?;
        self.sink.finish()?;
        let (rejects, rejects_sha256) = self.rejects_so_far()?;
        let done = Done {
            file: self.file,
            read: self.source.read(),
            read_sha256: self.source.digest(),
            written: self.sink.bytes(),
            written_sha256: self.sink.digest(),
            rejects,
            rejects_sha256,
            counts: self.counts(),
        };
        if let Some(journal) = &mut self.beside.journal {
            journal.done(done.clone())?;
        }
        Ok(done)
    }

    /// A JSON document is one record to whoever begins in its middle, and rows that end with a
    /// carriage return alone do not show where they end: both begin again.
    fn can_go_on(&self) -> bool {
        match self.item.written {
            Written::Json => false,
            Written::Ndjson => true,
            Written::Csv | Written::Tsv => {
                let first = self.first.as_ref();
                first.is_some_and(|(_, row)| row.ends_with(b"\n"))
            }
        }
    }

    async fn checkpoint(&mut self) -> Result<(), Stop> {
        if self.skipping || self.suspect || !self.can_go_on() {
            return Ok(());
        }
        self.settle(true).await?;
        self.sink.checkpoint()?;
        let (rejects, rejects_sha256) = self.rejects_so_far()?;
        let first = self.first.as_ref();
        let checkpoint = Checkpoint {
            file: self.file,
            taken: self.source.decoded(),
            boundary: self.boundary(),
            read: self.source.read(),
            read_sha256: self.source.digest(),
            written: self.sink.bytes(),
            written_sha256: self.sink.digest(),
            rejects,
            rejects_sha256,
            first: first.map_or((0, 0), |(at, row)| (*at, row.len() as u64)),
            counts: self.counts(),
        };
        match &mut self.beside.journal {
            Some(journal) => journal.checkpoint(checkpoint),
            None => Ok(()),
        }
    }

    fn rejects_so_far(&mut self) -> Result<(u64, String), Stop> {
        match &mut self.beside.rejects {
            Some(rejects) => {
                rejects.0.checkpoint()?;
                Ok((rejects.0.bytes(), rejects.0.digest()))
            }
            None => Ok((0, String::new())),
        }
    }

    /// Everything before is in the output, or in the rejects.
    fn boundary(&self) -> u64 {
        if self.unseen {
            return self.seen - self.tail.len() as u64;
        }
        self.start + self.rewriter.released().saturating_sub(self.given)
    }

    /// Of the whole file, also of what earlier runs have done.
    fn counts(&self) -> Counts {
        let of = |what: fn(&Summary) -> u64| {
            what(&self.gone) + what(&self.last).saturating_sub(what(&self.began))
        };
        let mut counts = Counts {
            records: of(|s| s.records),
            rejected: self.rejected,
            replaced: of(|s| s.replaced),
            first_sights: of(|s| s.first_sights),
            rules: self.rules.sums(),
        };
        counts.add(&self.base);
        counts
    }

    /// A rewriter that goes on at `at`, as one that had seen everything before.
    fn renew(&mut self, at: u64) -> Result<(), Stop> {
        let since = |now: u64, then: u64| now.saturating_sub(then);
        self.gone.records += since(self.last.records, self.began.records);
        self.gone.replaced += since(self.last.replaced, self.began.replaced);
        self.gone.first_sights += since(self.last.first_sights, self.began.first_sights);
        let mut rewriter = uncounted(&self.job);
        let first: &[u8] = match (&self.first, self.item.written) {
            // A line feed: what follows is no body's beginning.
            (_, Written::Ndjson) => b"\n",
            (Some((_, row)), _) => row,
            (None, _) => b"",
        };
        if !first.is_empty() {
            // It has left once, and is not sent again.
            let again = rewriter.push_ahead(first);
            again.map_err(|fault| Stop::fault(&self.item.name, &fault))?;
        }
        (self.start, self.given) = (at, first.len() as u64);
        self.began = rewriter.summary();
        self.last = self.began;
        self.rewriter = rewriter.counting(self.rules.clone());
        self.head.clear();
        Ok(())
    }

    /// Takes the next bytes of the input.
    async fn take(&mut self, chunk: &[u8]) -> Result<(), Stop> {
        self.seen += chunk.len() as u64;
        let mut chunk = chunk;
        if self.skipping {
            let Some(at) = memchr::memchr(b'\n', chunk) else {
                return Ok(());
            };
            self.skipping = false;
            chunk = &chunk[at + 1..];
            self.renew(self.seen - chunk.len() as u64)?;
        }
        if self.unseen || self.suspect {
            let mut bytes = std::mem::take(&mut self.tail);
            bytes.extend_from_slice(chunk);
            return self.slowly(bytes, false).await;
        }
        let rows = matches!(self.item.format, Format::Csv(_) | Format::Tsv { .. });
        while rows && self.first.is_none() && !chunk.is_empty() {
            let piece = line(chunk);
            if !self.fast(piece, chunk).await? {
                return Ok(());
            }
            self.head.extend_from_slice(piece);
            chunk = &chunk[piece.len()..];
            let mark = if self.head.starts_with(b"\xEF\xBB\xBF") {
                3
            } else {
                0
            };
            let released = usize::try_from(self.rewriter.released()).unwrap_or(usize::MAX);
            if released > mark && released <= self.head.len() {
                let mut row = std::mem::take(&mut self.head);
                row.truncate(released);
                self.first = Some((self.start, row));
                let rewriter = std::mem::replace(&mut self.rewriter, uncounted(&self.job));
                self.rewriter = rewriter.counting(self.rules.clone());
            }
        }
        if !chunk.is_empty() {
            self.fast(chunk, chunk).await?;
        }
        Ok(())
    }

    /// Gives the rewriter `piece`, with which `rest` begins. `false`: a record in it could not be
    /// rewritten, and all of `rest` has been taken another way.
    async fn fast(&mut self, piece: &[u8], rest: &[u8]) -> Result<bool, Stop> {
        match self.rewriter.push_ahead(piece) {
            Ok(held) => {
                let end = self.seen - rest.len() as u64 + piece.len() as u64;
                self.good(held, piece, end);
                Ok(true)
            }
            Err(fault) => {
                self.may_leave_out(&fault)?;
                let mut bytes = std::mem::take(&mut self.tail);
                bytes.extend_from_slice(rest);
                self.slowly(bytes, false).await?;
                Ok(false)
            }
        }
    }

    /// The rewriter has taken `piece`, which ends at `end`.
    fn good(&mut self, held: Held, piece: &[u8], end: u64) {
        self.ahead.push(held);
        self.last = self.rewriter.summary();
        if self.cutter.is_none() {
            return;
        }
        let open = usize::try_from(end - self.boundary()).unwrap_or(usize::MAX);
        if open <= piece.len() {
            self.tail.clear();
            self.tail.extend_from_slice(&piece[piece.len() - open..]);
        } else {
            self.tail.extend_from_slice(piece);
        }
    }

    /// The input has ended.
    async fn end(&mut self) -> Result<(), Stop> {
        if self.skipping {
            return Ok(());
        }
        let tail = std::mem::take(&mut self.tail);
        if self.unseen || self.suspect {
            return self.slowly(tail, true).await;
        }
        match self.rewriter.finish_ahead() {
            Ok(held) => {
                self.ahead.push(held);
                self.last = self.rewriter.summary();
                Ok(())
            }
            Err(fault) => {
                self.may_leave_out(&fault)?;
                self.slowly(tail, true).await
            }
        }
    }

    /// Writes what may leave; waits until there is room for more, or for `all`.
    async fn settle(&mut self, all: bool) -> Result<(), Stop> {
        while !self.ahead.is_empty() {
            let ahead = &mut self.ahead;
            let wait = all || !ahead.has_room();
            let first = poll_fn(|cx| match ahead.poll_first(cx) {
                Poll::Ready(end) => Poll::Ready(Some(end)),
                Poll::Pending if wait => Poll::Pending,
                Poll::Pending => Poll::Ready(None),
            });
            match first.await {
                None => return Ok(()),
                Some(Ok(bytes)) => self.sink.write(&bytes)?,
                Some(Err(fault)) => return Err(Stop::fault(&self.item.name, &fault)),
            }
        }
        Ok(())
    }
}

/// What it is given first counts nowhere.
fn uncounted(job: &Job) -> Rewriter {
    let nowhere = RuleCounts::new(job.policy.rules.len());
    Rewriter::new(job.clone()).counting(Arc::new(nowhere))
}

fn has_header(format: Format) -> bool {
    match format {
        Format::Csv(dialect) => dialect.header,
        Format::Tsv { header } => header,
        _ => false,
    }
}

/// The first line, with its end; else all.
fn line(chunk: &[u8]) -> &[u8] {
    match memchr::memchr2(b'\n', b'\r', chunk) {
        Some(at) if chunk[at] == b'\r' && chunk.get(at + 1) == Some(&b'\n') => &chunk[..at + 2],
        Some(at) => &chunk[..=at],
        None => chunk,
    }
}

/// Opens what a file is written to.
///
/// # Errors
/// The disk, or a file that is not what the journal says.
pub fn sink(item: &Item, part: Option<&Path>, from: Option<&Checkpoint>) -> Result<Sink, Stop> {
    match (part, from) {
        (None, _) => Ok(Sink::stdout(item.encode)),
        (Some(part), Some(from)) => {
            Sink::reopen(part, item.encode, from.written, &from.written_sha256)
        }
        (Some(part), None) => Sink::create(part, item.encode),
    }
}
