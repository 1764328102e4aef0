//! What is done to the bytes of a body: the five steps of `crate::rewrite`.

use crate::error::Fault;
use crate::rewrite::{Job, Rewriter, Summary};

/// The rewriting of one body. Tests put simple ones in its place, to fail where they choose.
pub enum BodyRewrite {
    Policy(Box<Rewriter>),
    #[cfg(test)]
    Test(super::super::tests::TestRewrite),
}

impl BodyRewrite {
    pub fn new(job: Job) -> Self {
        Self::Policy(Box::new(Rewriter::new(job)))
    }

    /// # Errors
    /// As [`Rewriter::push`].
    pub async fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        match self {
            Self::Policy(rewriter) => rewriter.push(chunk, out).await,
            #[cfg(test)]
            Self::Test(rewrite) => rewrite.push(chunk, out).await,
        }
    }

    /// # Errors
    /// As [`Rewriter::finish`].
    pub async fn finish(&mut self, out: &mut Vec<u8>) -> Result<Summary, Fault> {
        match self {
            Self::Policy(rewriter) => rewriter.finish(out).await,
            #[cfg(test)]
            Self::Test(rewrite) => rewrite.finish(out),
        }
    }

    /// A whole body at once.
    ///
    /// # Errors
    /// As the two above.
    pub async fn whole(mut self, body: &[u8]) -> Result<(Vec<u8>, Summary), Fault> {
        // Pseudonyms are often longer than what they stand for; an eighth saves most regrowths.
        let mut out = Vec::with_capacity(body.len() + body.len() / 8 + 64);
        self.push(body, &mut out).await?;
        let summary = self.finish(&mut out).await?;
        Ok((out, summary))
    }
}
