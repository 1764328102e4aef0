//! A bounded number of places, and a bounded queue before them.
//!
//! What enters: who wants a place. What leaves: a place, or that there is none in time. What can
//! never happen: more are inside than may be, a place is lost because somebody stopped waiting,
//! or a newcomer overtakes who waits.
//!
//! One word counts who is inside and who ever was: entering and leaving are one atomic operation
//! each as long as nobody waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// One entrance, in the upper half of the word.
const EVER: u64 = 1 << 32;
const INSIDE: u64 = EVER - 1;

pub struct Gate {
    /// Low half: inside now. High half: entrances ever, which wrap.
    count: AtomicU64,
    most: u64,
    waiting: AtomicUsize,
    most_waiting: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    next: u64,
    waiters: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// There is no place, and none came in time.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Gate {
    pub fn new(most: usize, most_waiting: usize) -> Self {
        Self {
            count: AtomicU64::new(0),
            most: (most as u64).min(INSIDE - 1),
            waiting: AtomicUsize::new(0),
            most_waiting,
            queue: Mutex::default(),
        }
    }

    /// A place, if there is one and nobody waits for it. Whoever has it must [`Gate::leave`].
    pub fn try_enter(&self) -> bool {
        self.waiting.load(Relaxed) == 0 && self.take()
    }

    /// Waits for a place. Whoever has it must [`Gate::leave`].
    ///
    /// # Errors
    /// None came in time, or too many wait already.
    pub async fn enter(&self, time: Duration) -> Result<(), Full> {
        let Some(mut waiter) = self.queue()? else {
            return Ok(());
        };
        match tokio::time::timeout(time, &mut waiter.turn).await {
            Ok(Ok(())) => {
                waiter.served = true;
                Ok(())
            }
            _ => Err(Full),
        }
    }

    pub fn leave(&self) {
        self.count.fetch_sub(1, SeqCst);
        // Whoever queues says so before looking once more whether there is a place.
        if self.waiting.load(SeqCst) > 0 {
            self.hand_over(&mut self.lock());
        }
    }

    pub fn inside(&self) -> usize {
        (self.count.load(Relaxed) & INSIDE) as usize
    }

    /// Entrances since the beginning; wraps.
    pub fn ever(&self) -> u32 {
        (self.count.load(Relaxed) >> 32) as u32
    }

    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    fn take(&self) -> bool {
        let more = |count: u64| {
            let room = count & INSIDE < self.most;
            room.then(|| count.wrapping_add(EVER + 1))
        };
        self.count.fetch_update(SeqCst, Relaxed, more).is_ok()
    }

    /// `None`: there was a place after all.
    fn queue(&self) -> Result<Option<Waiter<'_>>, Full> {
        let mut queue = self.lock();
        if queue.waiters.is_empty() && self.take() {
            return Ok(None);
        }
        if queue.waiters.len() >= self.most_waiting {
            return Err(Full);
        }
        let (call, turn) = oneshot::channel();
        let number = queue.next;
        queue.next += 1;
        queue.waiters.push_back((number, call));
        self.waiting.store(queue.waiters.len(), SeqCst);
        self.hand_over(&mut queue);
        Ok(Some(Waiter {
            gate: self,
            number,
            turn,
            served: false,
        }))
    }

    /// Gives free places to those who wait, first come, first served.
    fn hand_over(&self, queue: &mut Queue) {
        while !queue.waiters.is_empty() && self.take() {
            if let Some((_, call)) = queue.waiters.pop_front() {
                // A waiter leaves the queue before its receiver is dropped: somebody is there.
                let _ = call.send(());
            }
        }
        self.waiting.store(queue.waiters.len(), SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that waits; dropped, it leaves the queue, or gives back the place that came too late.
struct Waiter<'a> {
    gate: &'a Gate,
    number: u64,
    turn: oneshot::Receiver<()>,
    served: bool,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.served {
            return;
        }
        let mut queue = self.gate.lock();
        let at = queue.waiters.iter().position(|(n, _)| *n == self.number);
        match at {
            Some(at) => {
                queue.waiters.remove(at);
                self.gate.waiting.store(queue.waiters.len(), SeqCst);
            }
            None => {
                drop(queue);
                self.gate.leave();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn places_are_bounded_and_given_in_turn() {
        let gate = Arc::new(Gate::new(2, 2));
        assert!(gate.try_enter() && gate.try_enter() && !gate.try_enter());
        let wait = |gate: Arc<Gate>| tokio::spawn(async move { gate.enter(LONG).await });
        let first = wait(gate.clone());
        while gate.waiting() < 1 {
            tokio::task::yield_now().await;
        }
        let second = wait(gate.clone());
        while gate.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.enter(LONG).await, Err(Full), "the queue has an end");
        gate.leave();
        first.await.unwrap().unwrap();
        assert!(!second.is_finished());
        // Nobody overtakes.
        assert!(!gate.try_enter());
        gate.leave();
        second.await.unwrap().unwrap();
        assert_eq!((gate.inside(), gate.ever(), gate.waiting()), (2, 4, 0));
        gate.leave();
        gate.leave();
        assert_eq!(gate.inside(), 0);
    }

    #[tokio::test]
    async fn who_stops_waiting_takes_no_place_along() {
        let gate = Gate::new(1, 8);
        assert!(gate.try_enter());
        assert_eq!(gate.enter(Duration::from_millis(20)).await, Err(Full));
        assert_eq!(gate.waiting(), 0);
        // One that has been called, and never looked.
        let waiter = gate.queue().unwrap().unwrap();
        gate.leave();
        assert_eq!((gate.inside(), gate.waiting()), (1, 0));
        drop(waiter);
        assert_eq!(gate.inside(), 0);
        assert!(gate.try_enter());
    }

    /// Threads enter and leave at random; the count is never above, and at the end zero.
    #[test]
    fn many_threads_leave_nothing_behind() {
        let gate = Arc::new(Gate::new(3, 64));
        let inside = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (gate, inside) = (gate.clone(), inside.clone());
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        let mut served = 0;
                        for n in 0..2000u64 {
                            let time = Duration::from_micros((n * 7 + thread) % 50);
                            if !gate.try_enter() && gate.enter(time).await.is_err() {
                                continue;
                            }
                            assert!(inside.fetch_add(1, SeqCst) < 3);
                            if n % 3 == 0 {
                                tokio::task::yield_now().await;
                            }
                            inside.fetch_sub(1, SeqCst);
                            gate.leave();
                            served += 1;
                        }
                        served
                    })
                })
            })
            .collect();
        let served: u32 = threads.into_iter().map(|t| t.join().unwrap()).sum();
        assert!(served > 0);
        assert_eq!((gate.inside(), gate.waiting()), (0, 0));
        // Some were called too late, and went again.
        assert!(gate.ever() >= served);
    }
}
