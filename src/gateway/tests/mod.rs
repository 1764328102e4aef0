//! A gateway over real sockets, with rewritings that fail where the test wants.

use crate::error::{Code, Fault, Stage};
use crate::rewrite::Summary;

/// Upper case, or a fault once this many bytes have come.
#[derive(Clone)]
pub struct TestRewrite {
    pub fails_after: Option<usize>,
    pub seen: usize,
}

impl TestRewrite {
    pub async fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        self.seen += chunk.len();
        if self.fails_after.is_some_and(|at| self.seen > at) {
            let at = self.seen as u64;
            return Err(Fault::new(Code::RejectedPlace, Stage::Scan)
                .at(at)
                .place("$.x"));
        }
        // As a round trip to the vault would.
        tokio::task::yield_now().await;
        out.extend(chunk.iter().map(u8::to_ascii_uppercase));
        Ok(())
    }

    pub fn finish(&mut self, _out: &mut Vec<u8>) -> Result<Summary, Fault> {
        let records = 1;
        Ok(Summary {
            records,
            ..Summary::default()
        })
    }
}
