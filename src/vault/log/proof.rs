//! Inclusion and consistency proofs (RFC 9162, sections 2.1.3 and 2.1.4).
//!
//! What enters: hashes of leaves, by range. What leaves: proofs, and whether one holds. What can
//! never happen: a proof that holds for another tree; work that grows with the square of anything.
//! The hashes of full chunks of [`CHUNK`] leaves are kept, so that a proof reads the leaves of at
//! most a few chunks: a million entries are 4096 hashes, 128 KiB.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::merkle::{Hash, Tree, node};

/// Leaves of a chunk whose hash is kept.
pub const CHUNK: u64 = 256;

/// Gives the hashes of the leaves `start..end`, all of them.
pub type Leaves<'a, E> = &'a mut dyn FnMut(u64, u64) -> Result<Vec<Hash>, E>;

/// The hashes of a log's full chunks. Leaves never change, so neither do these.
#[derive(Debug, Default)]
pub struct Chunks(Mutex<Vec<Hash>>);

impl Chunks {
    /// The proof that leaf `index` is in the tree of the first `size` leaves.
    ///
    /// # Errors
    /// What `leaves` returned.
    pub fn inclusion<E>(
        &self,
        index: u64,
        size: u64,
        leaves: Leaves<'_, E>,
    ) -> Result<Vec<Hash>, E> {
        let mut view = self.view(size, leaves)?;
        let (mut start, mut end) = (0, size);
        let mut path = Vec::new();
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                path.push(view.root(middle, end)?);
                end = middle;
            } else {
                path.push(view.root(start, middle)?);
                start = middle;
            }
        }
        path.reverse();
        Ok(path)
    }

    /// The proof that the first `old` leaves of the first `size` are the tree that they were.
    /// Empty for `old` 0, of which everything is a continuation, and for `old` = `size`.
    ///
    /// # Errors
    /// What `leaves` returned.
    pub fn consistency<E>(
        &self,
        old: u64,
        size: u64,
        leaves: Leaves<'_, E>,
    ) -> Result<Vec<Hash>, E> {
        if old == 0 {
            return Ok(Vec::new());
        }
        let mut view = self.view(size, leaves)?;
        let (mut start, mut end) = (0, size);
        let mut path = Vec::new();
        while old != end {
            let middle = start + split(end - start);
            if old <= middle {
                path.push(view.root(middle, end)?);
                end = middle;
            } else {
                path.push(view.root(start, middle)?);
                start = middle;
            }
        }
        // The old tree itself needs no hash: who asks for the proof has its root.
        if start > 0 {
            path.push(view.root(start, end)?);
        }
        path.reverse();
        Ok(path)
    }

    /// Reads the chunks that are full by now and not kept yet.
    fn view<'a, E>(&self, size: u64, leaves: Leaves<'a, E>) -> Result<View<'a, E>, E> {
        let full = size / CHUNK;
        let mut chunks = self.kept().clone();
        for chunk in chunks.len() as u64..full {
            let hashes = leaves(chunk * CHUNK, (chunk + 1) * CHUNK)?;
            chunks.push(root_of(&hashes));
        }
        let mut kept = self.kept();
        if kept.len() < chunks.len() {
            kept.clone_from(&chunks);
        }
        drop(kept);
        Ok(View { chunks, leaves })
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Hash>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One look at a tree.
struct View<'a, E> {
    chunks: Vec<Hash>,
    leaves: Leaves<'a, E>,
}

impl<E> View<'_, E> {
    /// The root over `start..end`: `start` is a multiple of the largest power of two in it.
    fn root(&mut self, start: u64, end: u64) -> Result<Hash, E> {
        let mut tree = None;
        let mut at = start;
        // Whole chunks first: they are full subtrees of one size, and grow as leaves do.
        if start.is_multiple_of(CHUNK) {
            let mut chunks = Tree::default();
            while at + CHUNK <= end {
                chunks.push(self.chunks[(at / CHUNK) as usize]);
                at += CHUNK;
            }
            tree = (chunks.size() > 0).then_some(chunks);
        }
        let rest = (at < end)
            .then(|| (self.leaves)(at, end).map(|hashes| root_of(&hashes)))
            .transpose()?;
        Ok(match (tree, rest) {
            (Some(chunks), None) => chunks.root(),
            (None, Some(rest)) => rest,
            // What is left over is the right end of the tree: it joins the last peak first.
            (Some(chunks), Some(rest)) => chunks.root_with(rest),
            (None, None) => Tree::default().root(),
        })
    }
}

fn root_of(leaves: &[Hash]) -> Hash {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.push(*leaf));
    tree.root()
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// Whether a leaf's hash is at `index` of the tree of `size` leaves with this root
/// (RFC 9162, section 2.1.3.2).
pub fn includes(leaf: &Hash, index: u64, size: u64, root: &Hash, path: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for other in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(other, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, other);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether the tree of `size` leaves begins with the tree of `old` leaves
/// (RFC 9162, section 2.1.4.2).
pub fn continues((old, old_root): (u64, &Hash), (size, root): (u64, &Hash), path: &[Hash]) -> bool {
    if old == 0 {
        return path.is_empty() && *old_root == Tree::default().root();
    }
    if old == size {
        return path.is_empty() && old_root == root;
    }
    if old > size {
        return false;
    }
    let (mut at, mut last) = (old - 1, size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let mut path = path.iter();
    // A full tree is its own first node.
    let first = if old.is_power_of_two() {
        Some(old_root)
    } else {
        path.next()
    };
    let Some(first) = first else { return false };
    let (mut before, mut after) = (*first, *first);
    for other in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            before = node(other, &before);
            after = node(other, &after);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            after = node(&after, other);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && before == *old_root && after == *root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::log::merkle::leaf;
    use std::convert::Infallible;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf(&n.to_be_bytes())).collect()
    }

    fn root(leaves: &[Hash]) -> Hash {
        root_of(leaves)
    }

    /// PATH and SUBPROOF as RFC 9162 writes them.
    fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = leaves.len().next_power_of_two() / 2;
        if m < k {
            let mut out = path(m, &leaves[..k]);
            out.push(root(&leaves[k..]));
            out
        } else {
            let mut out = path(m - k, &leaves[k..]);
            out.push(root(&leaves[..k]));
            out
        }
    }

    fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if whole {
                Vec::new()
            } else {
                vec![root(leaves)]
            };
        }
        let k = leaves.len().next_power_of_two() / 2;
        if m <= k {
            let mut out = subproof(m, &leaves[..k], whole);
            out.push(root(&leaves[k..]));
            out
        } else {
            let mut out = subproof(m - k, &leaves[k..], false);
            out.push(root(&leaves[..k]));
            out
        }
    }

    type Asked = Result<Vec<Hash>, Infallible>;

    /// Every size up to 70, and sizes about the edges of chunks.
    #[test]
    fn vault_05_proofs_are_those_of_the_rfc_and_hold() {
        let all = leaves(3 * CHUNK + 2);
        let chunks = Chunks::default();
        let mut read =
            |start: u64, end: u64| -> Asked { Ok(all[start as usize..end as usize].to_vec()) };
        let edges = [255, 256, 257, 300, 511, 512, 513, 700, 768, 769, 770];
        for size in (1..70).chain(edges) {
            let tree = &all[..size as usize];
            let now = root(tree);
            let olds = (1..=size).filter(|n| size < 70 || n % 17 == 0 || size - n < 3);
            for at in olds {
                let proof = chunks.inclusion(at - 1, size, &mut read).unwrap();
                let m = at as usize - 1;
                assert_eq!(proof, path(m, tree), "leaf {m} of {size}");
                assert!(includes(&all[m], at - 1, size, &now, &proof));
                let proof = chunks.consistency(at, size, &mut read).unwrap();
                assert_eq!(proof, subproof(at as usize, tree, true), "{at} of {size}");
                let old = root(&all[..at as usize]);
                assert!(continues((at, &old), (size, &now), &proof), "{at} {size}");
            }
        }
        let empty = Tree::default().root();
        assert!(continues((0, &empty), (5, &root(&all[..5])), &[]));
    }

    #[test]
    fn vault_05_a_bent_proof_does_not_hold() {
        let all = leaves(100);
        let chunks = Chunks::default();
        let mut read =
            |start: u64, end: u64| -> Asked { Ok(all[start as usize..end as usize].to_vec()) };
        for (old, size) in [
            (1, 2),
            (3, 7),
            (6, 8),
            (8, 9),
            (31, 100),
            (64, 100),
            (99, 100),
        ] {
            let now = root(&all[..size as usize]);
            let before = root(&all[..old as usize]);
            let good = chunks.consistency(old, size, &mut read).unwrap();
            let mut wrong: Vec<Vec<Hash>> = (0..good.len())
                .map(|at| {
                    let mut bent = good.clone();
                    bent[at][5] ^= 1;
                    bent
                })
                .collect();
            wrong.push([good.clone(), vec![[0; 32]]].concat());
            wrong.push(good[..good.len() - 1].to_vec());
            for bent in &wrong {
                assert!(
                    !continues((old, &before), (size, &now), bent),
                    "{old} {size}"
                );
            }
            // Another history, an older root, a smaller tree.
            let other = root(&all[1..=old as usize]);
            assert!(!continues((old, &other), (size, &now), &good));
            assert!(!continues((size, &now), (old, &before), &good));
            assert!(!continues((old, &before), (size, &before), &good));

            let good = chunks.inclusion(old - 1, size, &mut read).unwrap();
            let leaf = all[old as usize - 1];
            assert!(includes(&leaf, old - 1, size, &now, &good));
            assert!(!includes(&leaf, old, size, &now, &good));
            assert!(!includes(&all[old as usize], old - 1, size, &now, &good));
            assert!(!includes(&leaf, size, size, &now, &good));
            for at in 0..good.len() {
                let mut bent = good.clone();
                bent[at][0] ^= 1;
                assert!(!includes(&leaf, old - 1, size, &now, &bent));
            }
            let long = [good.clone(), vec![[0; 32]]].concat();
            assert!(!includes(&leaf, old - 1, size, &now, &long));
        }
    }

    #[test]
    fn full_chunks_are_read_once() {
        let all = leaves(10 * CHUNK + 7);
        let chunks = Chunks::default();
        let mut count = 0;
        let mut read = |start: u64, end: u64| -> Asked {
            count += end - start;
            Ok(all[start as usize..end as usize].to_vec())
        };
        chunks.consistency(5, 10 * CHUNK + 7, &mut read).unwrap();
        let first = chunks.inclusion(1234, 10 * CHUNK + 7, &mut read).unwrap();
        assert!(includes(
            &all[1234],
            1234,
            10 * CHUNK + 7,
            &root(&all),
            &first
        ));
        assert!(count < 13 * CHUNK, "{count}");
    }
}
