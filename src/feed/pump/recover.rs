//! Leaving out what cannot be rewritten.
//!
//! What enters: bytes among which a record has a fault. What leaves: the other records, and a line
//! in the rejects for each one that is left out. What can never happen: a row is begun in the middle
//! of another because quotes could be read in two ways, unless it has as many fields as the first
//! row; then it goes through the policy as every row does.

use super::{Code, Fault, Pump, Side, Spot, Stage, Stop, Why, Written, has_header};

impl Pump<'_> {
    /// Whether the run may go on without the record.
    pub(super) fn may_leave_out(&self, fault: &Fault) -> Result<(), Stop> {
        let stop = || {
            let fault = Fault {
                offset: fault.offset.map(|offset| self.absolute(offset)),
                ..fault.clone()
            };
            Stop::fault(&self.item.name, &fault)
        };
        let of_record = matches!(fault.stage, Stage::Scan | Stage::Resolve);
        if self.beside.rejects.is_none() || fault.side != Side::Client || !of_record {
            return Err(stop());
        }
        let rows = matches!(self.item.written, Written::Csv | Written::Tsv);
        let returns = |row: &[u8]| row.ends_with(b"\r");
        match &self.first {
            _ if self.cutter.is_none() => Err(Stop {
                next: "A JSON document is rewritten whole or not at all: correct it, or give its \
                       records as NDJSON, of which single lines can be left out."
                    .to_owned(),
                ..stop()
            }),
            None if rows && has_header(self.item.format) => Err(Stop {
                next: "It is the header row, without which no row can be read.".to_owned(),
                ..stop()
            }),
            Some((_, row)) if returns(row) => Err(Stop {
                next: "Rows that end with a carriage return alone cannot be left out one by one: \
                       write the file with line feeds."
                    .to_owned(),
                ..stop()
            }),
            _ => Ok(()),
        }
    }

    /// In the input, of an offset in what the rewriter was given.
    fn absolute(&self, offset: u64) -> u64 {
        self.start + offset.saturating_sub(self.given)
    }

    /// Takes the input's last bytes record by record. `last`: nothing follows.
    pub(super) async fn slowly(&mut self, bytes: Vec<u8>, last: bool) -> Result<(), Stop> {
        let base = self.seen - bytes.len() as u64;
        let mut at = 0;
        self.renew(base)?;
        self.unseen = false;
        while at < bytes.len() && !self.skipping {
            let rest = &bytes[at..];
            let end = self.cutter.and_then(|cutter| cutter.end(rest));
            let whole = end.is_some() || last;
            if !whole && rest.len() <= self.work.longest {
                break;
            }
            let row = &rest[..end.unwrap_or(rest.len())];
            at += self
                .one(row, base + at as u64, whole, end.is_none())
                .await?;
        }
        self.tail.clear();
        if self.skipping {
            return Ok(());
        }
        self.tail.extend_from_slice(&bytes[at..]);
        self.unseen = true;
        if self.suspect || last {
            return Ok(());
        }
        // Fast again, if the unfinished record is in order so far.
        match self.rewriter.push_ahead(&self.tail) {
            Ok(held) => {
                self.ahead.push(held);
                self.last = self.rewriter.summary();
                self.unseen = false;
                Ok(())
            }
            Err(_) => self.renew(base + at as u64),
        }
    }

    /// One record; gives how many of its bytes are done with. `ends`: it has no line end.
    async fn one(&mut self, row: &[u8], at: u64, whole: bool, ends: bool) -> Result<usize, Stop> {
        let blank = self.cutter.is_some_and(|cutter| cutter.is_blank(row));
        if self.suspect && whole && !blank {
            let fields = |row: &[u8]| self.cutter.map(|cutter| cutter.fields(row));
            let known = self.first.as_ref().and_then(|(_, first)| fields(first));
            if known.is_some() && known != fields(row) {
                let fault = Fault::new(Code::MalformedCsv, Stage::Scan);
                return self.leave_out(&fault, row, at, at, whole);
            }
            self.suspect = false;
        }
        let before = self.rewriter.released();
        let pushed = self.rewriter.push_ahead(row).and_then(|held| {
            let end = if ends && whole {
                Some(self.rewriter.finish_ahead()?)
            } else {
                None
            };
            Ok((held, end))
        });
        match pushed {
            Ok((held, end)) if self.rewriter.released() - before == row.len() as u64 => {
                self.ahead.push(held);
                if let Some(end) = end {
                    self.ahead.push(end);
                }
                self.last = self.rewriter.summary();
                if self.first.is_none() && self.item.written != Written::Ndjson {
                    self.first = Some((at, row.to_vec()));
                }
                self.settle(false).await?;
                Ok(row.len())
            }
            Ok(_) => {
                let code = if whole {
                    Code::MalformedCsv
                } else {
                    Code::RecordTooLarge
                };
                self.leave_out(&Fault::new(code, Stage::Scan), row, at, at, whole)
            }
            Err(fault) => {
                self.may_leave_out(&fault)?;
                let offset = fault.offset.map_or(at, |offset| self.absolute(offset));
                self.leave_out(&fault, row, at, offset, whole)
            }
        }
    }

    /// Notes it, and goes on behind it.
    fn leave_out(
        &mut self,
        fault: &Fault,
        row: &[u8],
        at: u64,
        offset: u64,
        whole: bool,
    ) -> Result<usize, Stop> {
        let broken = matches!(
            fault.code,
            Code::MalformedCsv | Code::NulInRow | Code::RecordTooLarge | Code::UnclosedQuote
        );
        let mut length = row.len();
        if broken && self.item.written == Written::Csv {
            // Where it ends is open. No further than to the line's end; what follows must look
            // like a row.
            self.suspect = true;
            if fault.code == Code::MalformedCsv {
                let from = usize::try_from(offset.saturating_sub(at)).unwrap_or(length);
                let rest = row.get(from..).unwrap_or_default();
                length = memchr::memchr(b'\n', rest).map_or(length, |end| from + end + 1);
            }
        }
        self.skipping = !whole && length == row.len();
        self.rejected += 1;
        let counts = self.counts();
        let spot = Spot {
            record: counts.records + counts.rejected,
            offset: at,
            bytes: if self.skipping { 0 } else { length as u64 },
        };
        let Some(rejects) = &mut self.beside.rejects else {
            let what = "a record is left out, and nobody notes it";
            return Err(Stop::new(Why::Failed, what, Code::Internal.next()));
        };
        rejects.add(&self.item.name, spot, fault, offset)?;
        self.renew(at + length as u64)?;
        Ok(length)
    }
}
