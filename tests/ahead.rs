//! Segments of one body whose records become durable while the next are rewritten.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use cryptonym::config::{Format, Limits};
use cryptonym::error::{Code, Fault, Stage};
use cryptonym::format::fuzz::policy;
use cryptonym::limits;
use cryptonym::policy::{Action, RecordUnit, Scope, Unlisted};
use cryptonym::pseudonym::{Class, DomainKey, Kind, KindId, KindKey, Kinds, Normaliser, Pseudonym};
use cryptonym::rewrite::{Ahead, Job, Keeper, Rewriter};
use cryptonym::secret::Key32;
use cryptonym::vault_link::FirstSight;
use tokio::sync::oneshot;

type Answer = Result<(), Fault>;

#[test]
fn path_08_segments_leave_in_order_each_when_it_and_all_before_it_are_durable() {
    let keeper = TestKeeper::new();
    let mut rewriter = rewriter(&keeper);
    let mut ahead = Ahead::default();
    for n in 0..4 {
        ahead.push(rewriter.push_ahead(&record(n)).unwrap());
    }
    // Known durable, so its segment asks for nothing.
    keeper.known.lock().unwrap().push(keeper.of(9));
    ahead.push(rewriter.push_ahead(&record(9)).unwrap());
    assert!(first(&mut ahead).is_pending());
    assert_eq!(keeper.asked(), 4, "all are on their way at once");
    // The last ones first, and the one that waits for nothing.
    for n in [3, 2, 1] {
        keeper.answer(n, Ok(()));
        assert!(first(&mut ahead).is_pending(), "{n} overtook");
    }
    keeper.answer(0, Ok(()));
    let left: Vec<Vec<u8>> = (0..5).map(|_| leave(&mut ahead)).collect();
    let expected: Vec<Vec<u8>> = [0, 1, 2, 3, 9].map(|n| keeper.rewritten(n)).into();
    assert_eq!(left, expected);
    assert!(ahead.is_empty() && first(&mut ahead).is_pending());
}

#[test]
fn path_08_behind_a_refused_segment_nothing_leaves() {
    for code in [Code::VaultUnreachable, Code::VaultConflict, Code::Budget] {
        let keeper = TestKeeper::new();
        let mut rewriter = rewriter(&keeper);
        let mut ahead = Ahead::default();
        for n in 0..3 {
            ahead.push(rewriter.push_ahead(&record(n)).unwrap());
        }
        assert!(first(&mut ahead).is_pending());
        keeper.answer(2, Ok(()));
        keeper.answer(1, Err(Fault::new(code, Stage::Resolve)));
        assert!(first(&mut ahead).is_pending());
        keeper.answer(0, Ok(()));
        assert_eq!(leave(&mut ahead), keeper.rewritten(0));
        let Poll::Ready(Err(fault)) = first(&mut ahead) else {
            panic!("the refusal did not come");
        };
        assert_eq!(fault.code, code);
        assert!(first(&mut ahead).is_pending(), "the third was let out");
    }
}

#[test]
fn path_03_what_waits_is_bounded_for_each_body_and_for_all() {
    let keeper = TestKeeper::new();
    let mut bodies = Vec::new();
    let (mut all, mut n) = (0, 0);
    for _ in 0..10 {
        let mut rewriter = rewriter(&keeper);
        let mut ahead = Ahead::default();
        let (mut waiting, mut segments) = (0, 0);
        while ahead.has_room() {
            assert!(waiting < limits::AHEAD);
            let chunk: Vec<u8> = (0..100).flat_map(|i| padded(n + i)).collect();
            n += 100;
            ahead.push(rewriter.push_ahead(&chunk).unwrap());
            waiting += chunk.len();
            segments += 1;
        }
        assert!(segments >= 1, "one segment may always wait");
        all += waiting;
        bodies.push(ahead);
    }
    // Pseudonyms are longer than the identifiers here, so `all` is below what waits.
    let segment = 100 * padded(0).len();
    assert!(all <= limits::AHEAD_ALL + 10 * 2 * segment, "{all}");
    assert!(all >= limits::AHEAD_ALL / 2, "{all}");
    // What is over gives its share back.
    drop(bodies);
    let mut ahead = Ahead::default();
    let mut rewriter = rewriter(&keeper);
    for n in 0..2 {
        ahead.push(rewriter.push_ahead(&record(n)).unwrap());
    }
    assert!(ahead.has_room());
}

#[test]
fn path_03_a_body_in_tiny_pieces_makes_few_segments() {
    let keeper = TestKeeper::new();
    let mut rewriter = rewriter(&keeper);
    let mut ahead = Ahead::default();
    ahead.push(rewriter.push_ahead(&record(1)).unwrap());
    // One long record, a byte at a time: nothing of it may leave, so nothing of it waits.
    for byte in b"{\"id\":null,\"x\":\"" {
        ahead.push(rewriter.push_ahead(&[*byte]).unwrap());
    }
    for _ in 0..10_000 {
        ahead.push(rewriter.push_ahead(b"y").unwrap());
    }
    assert!(ahead.has_room(), "empty segments were counted");
    ahead.push(rewriter.push_ahead(b"\"}\n").unwrap());
    // And records that come one by one, each with somebody new.
    let mut segments = 2;
    while ahead.has_room() {
        ahead.push(rewriter.push_ahead(&record(10 + segments)).unwrap());
        segments += 1;
    }
    assert_eq!(segments, limits::AHEAD_SEGMENTS);
}

#[test]
fn path_08_what_was_durable_in_another_store_does_not_leave() {
    let keeper = TestKeeper::new();
    let mut rewriter = rewriter(&keeper);
    let mut ahead = Ahead::default();
    keeper.known.lock().unwrap().push(keeper.of(1));
    for n in [0, 1, 1] {
        ahead.push(rewriter.push_ahead(&record(n)).unwrap());
    }
    assert!(first(&mut ahead).is_pending());
    keeper.answer(0, Ok(()));
    assert_eq!(leave(&mut ahead), keeper.rewritten(0));
    keeper.retired.store(true, Relaxed);
    let Poll::Ready(Err(fault)) = first(&mut ahead) else {
        panic!("it left, or waits");
    };
    assert_eq!(fault.code, Code::NotReady);
    assert!(ahead.is_empty());
}

#[test]
fn path_08_the_way_ahead_gives_the_same_bytes_for_any_chunks() {
    let body: Vec<u8> = (0..300).flat_map(|n| record(n % 50)).collect();
    let keeper = TestKeeper::new();
    let expected: Vec<u8> = (0..300).flat_map(|n| keeper.rewritten(n % 50)).collect();
    for cut in [1, 7, 64, 1000, 100_000] {
        let keeper = TestKeeper::new();
        let mut rewriter = rewriter(&keeper);
        let mut ahead = Ahead::default();
        let mut out = Vec::new();
        for chunk in body.chunks(cut) {
            ahead.push(rewriter.push_ahead(chunk).unwrap());
        }
        ahead.push(rewriter.finish_ahead().unwrap());
        assert_eq!(rewriter.summary().records, 300);
        while !ahead.is_empty() {
            match first(&mut ahead) {
                Poll::Ready(bytes) => out.extend(bytes.unwrap()),
                Poll::Pending => keeper.answer_all(),
            }
        }
        assert!(out == expected, "cut into {cut}");
    }
}

#[test]
fn a_body_with_a_fault_gives_no_further_segment() {
    let keeper = TestKeeper::new();
    let mut rewriter = rewriter(&keeper);
    rewriter.push_ahead(&record(1)).unwrap();
    assert!(rewriter.push_ahead(b"{\"id\":\"N/A\"}\n").is_err());
    assert!(rewriter.push_ahead(&record(2)).is_err());
    assert!(rewriter.finish_ahead().is_err());
}

/// Looks once whether the first segment may leave.
fn first(ahead: &mut Ahead) -> Poll<Result<Vec<u8>, Fault>> {
    ahead.poll_first(&mut Context::from_waker(Waker::noop()))
}

fn leave(ahead: &mut Ahead) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let wait = poll_fn(|cx| ahead.poll_first(cx));
    let time = std::time::Duration::from_secs(5);
    let waited = runtime.block_on(async { tokio::time::timeout(time, wait).await });
    waited.expect("it should leave").unwrap()
}

fn record(n: usize) -> Vec<u8> {
    format!("{{\"id\":\"SUB-1{n:07}\"}}\n").into_bytes()
}

fn padded(n: usize) -> Vec<u8> {
    format!("{{\"id\":\"SUB-1{n:07}\",\"x\":\"{}\"}}\n", "x".repeat(500)).into_bytes()
}

/// Answers each call when the test says so.
struct TestKeeper {
    key: KindKey,
    known: Mutex<Vec<Pseudonym>>,
    asked: Mutex<Vec<Option<oneshot::Sender<Answer>>>>,
    retired: AtomicBool,
}

impl TestKeeper {
    fn new() -> Arc<Self> {
        let domain = DomainKey::new([1; 16], 1, Key32::new([7; 32]));
        Arc::new(Self {
            key: domain.kind(kinds().get(KindId(0))),
            known: Mutex::default(),
            asked: Mutex::default(),
            retired: AtomicBool::new(false),
        })
    }

    fn of(&self, n: usize) -> Pseudonym {
        self.key.derive(format!("SUB-1{n:07}").as_bytes())
    }

    fn rewritten(&self, n: usize) -> Vec<u8> {
        let mut text = String::new();
        self.key.write(&self.of(n), &mut text);
        format!("{{\"id\":\"{text}\"}}\n").into_bytes()
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn answer(&self, call: usize, answer: Answer) {
        let sender = self.asked.lock().unwrap()[call].take();
        sender.unwrap().send(answer).unwrap();
    }

    fn answer_all(&self) {
        for sender in self
            .asked
            .lock()
            .unwrap()
            .iter_mut()
            .filter_map(Option::take)
        {
            sender.send(Ok(())).unwrap();
        }
    }
}

impl Keeper for TestKeeper {
    fn kind(&self, _: KindId) -> &KindKey {
        &self.key
    }

    fn is_durable(&self, pseudonym: &Pseudonym) -> bool {
        self.known.lock().unwrap().contains(pseudonym)
    }

    fn is_current(&self) -> bool {
        !self.retired.load(Relaxed)
    }

    fn make_durable<'a>(
        &'a self,
        _: Vec<FirstSight>,
    ) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
        Box::pin(async move {
            let (sender, answer) = oneshot::channel();
            self.asked.lock().unwrap().push(Some(sender));
            answer.await.unwrap()
        })
    }
}

fn kinds() -> Kinds {
    Kinds::new(vec![Kind {
        name: "subscriber".into(),
        class: Class::Person,
        prefix: "sub".into(),
        normaliser: Normaliser::Subscriber,
    }])
}

fn rewriter(keeper: &Arc<TestKeeper>) -> Rewriter {
    let action = Action::Pseudonym {
        kind: KindId(0),
        scope: Scope::Domain,
    };
    Rewriter::new(Job {
        policy: policy(Unlisted::Keep, RecordUnit::Auto, &[("$.id", action)]),
        kinds: Arc::new(kinds()),
        format: Format::Ndjson,
        keeper: Some(keeper.clone()),
        limits: Arc::new(Limits::default()),
        own: None,
    })
}
