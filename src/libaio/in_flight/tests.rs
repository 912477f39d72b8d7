//! Records against what is really in flight, with a ring that is filled, taken from and gone round in any order; and threads
//! that submit on one context.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::sys::memory;

/// The kernel's part: completes what is in flight, in any order, and never has more than there is room for.
struct Kernel {
    ring: FakeRing,
    in_flight: Vec<u64>,
}

struct FakeRing {
    /// Where the program has taken up to.
    head: AtomicU32,
    tail: AtomicU32,
    events: Vec<AtomicU64>,
}

impl Ring for FakeRing {
    fn id(&self) -> u32 {
        7
    }

    fn size(&self) -> u32 {
        u32::try_from(self.events.len()).unwrap()
    }

    fn tail(&self) -> u32 {
        self.tail.load(Ordering::Acquire)
    }

    fn object(&self, place: u32) -> u64 {
        self.events[usize::try_from(place).unwrap()].load(Ordering::Relaxed)
    }

    fn filled(&self) -> u32 {
        (self.tail() + self.size() - self.head.load(Ordering::Relaxed)) % self.size()
    }

    fn is_marked(&self) -> bool {
        true
    }

    fn mark(&self) {}
}

impl Kernel {
    fn new(size: u32, tail: u32) -> Kernel {
        let events = (0..size).map(|_| AtomicU64::new(0)).collect();
        let ring = FakeRing { head: AtomicU32::new(tail), tail: AtomicU32::new(tail), events };
        Kernel { ring, in_flight: Vec::new() }
    }

    fn untaken(&self) -> u32 {
        self.ring.filled()
    }

    fn accepts(&mut self, object: u64) -> bool {
        let used = self.in_flight.len() + usize::try_from(self.untaken()).unwrap();
        let room = used < self.ring.events.len() - 1;
        if room {
            self.in_flight.push(object);
        }
        room
    }

    fn completes(&mut self, which: usize) {
        if self.in_flight.is_empty() {
            return;
        }
        let object = self.in_flight.remove(which % self.in_flight.len());
        let tail = self.ring.tail();
        self.ring.events[usize::try_from(tail).unwrap()].store(object, Ordering::Relaxed);
        self.ring.tail.store((tail + 1) % self.ring.size(), Ordering::Release);
    }

    fn takes(&mut self, most: u32) {
        let head = self.ring.head.load(Ordering::Relaxed);
        self.ring.head.store((head + self.untaken().min(most)) % self.ring.size(), Ordering::Relaxed);
    }
}

#[derive(Clone, Debug)]
enum Action {
    /// Of iocbs with these addresses, which may be in flight already.
    Submit(Vec<u64>),
    /// The same by another thread, which then stands still before it calls the kernel.
    Prepare(Vec<u64>),
    /// The n-th of those goes on.
    GoOn(usize),
    Complete(usize),
    Take(u32),
    /// Whoever comes along.
    Look,
    Close(i32),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => prop::collection::vec((1u64..12).prop_map(|object| object * 64), 1..9).prop_map(Action::Submit),
        1 => prop::collection::vec((1u64..12).prop_map(|object| object * 64), 1..9).prop_map(Action::Prepare),
        1 => any::<usize>().prop_map(Action::GoOn),
        6 => any::<usize>().prop_map(Action::Complete),
        3 => (1u32..9).prop_map(Action::Take),
        1 => Just(Action::Look),
        1 => (0i32..4).prop_map(Action::Close),
    ]
}

fn made(size: u32, tail: u32) -> (Kernel, &'static InFlight) {
    let kernel = Kernel::new(size, tail % size);
    let places = InFlight::places_for(size);
    // SAFETY: as many zeroed bytes as it needs, never unmapped.
    let in_flight = unsafe { InFlight::lay_out(memory::map(InFlight::bytes(places)).unwrap(), places) };
    in_flight.begin(0x1000, &kernel.ring);
    (kernel, in_flight)
}

type Prepared = Vec<(u64, u64)>;

/// The first half of `queue::submit`.
fn prepare(kernel: &Kernel, in_flight: &InFlight, objects: &[u64], seq: &mut u64) -> Prepared {
    let look = || in_flight.look(&kernel.ring, &AtomicU64::new(0));
    let reserve = || {
        in_flight.reserve() || {
            look();
            in_flight.reserve()
        }
    };
    let reserved = objects.iter().take_while(|_| reserve());
    let enter = |&object| {
        *seq += 1;
        assert!(in_flight.enter(object, *seq, Target::Descriptor(i32::try_from(object % 4).unwrap())).is_some());
        (object, *seq)
    };
    reserved.map(enter).collect()
}

/// The second.
fn submit_as(kernel: &mut Kernel, in_flight: &InFlight, records: &Prepared) {
    let refused = records.iter().position(|(object, _)| !kernel.accepts(*object)).unwrap_or(records.len());
    records[refused..].iter().for_each(|(object, seq)| in_flight.withdraw(*object, *seq));
    in_flight.look(&kernel.ring, &AtomicU64::new(0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// After a look exactly what is in flight has records, whatever came between two looks; and every place is free again when
    /// all has ended.
    #[test]
    fn records_are_what_is_in_flight(size in 2u32..20, tail in 0u32..20, actions in prop::collection::vec(action(), 1..200)) {
        let (mut kernel, in_flight) = made(size, tail);
        let (mut seq, mut prepared) = (0, Vec::new());
        for action in actions {
            match action {
                Action::Submit(objects) => {
                    let records = prepare(&kernel, in_flight, &objects, &mut seq);
                    submit_as(&mut kernel, in_flight, &records);
                }
                Action::Prepare(objects) => prepared.push(prepare(&kernel, in_flight, &objects, &mut seq)),
                Action::GoOn(which) if !prepared.is_empty() => {
                    let records = prepared.remove(which % prepared.len());
                    submit_as(&mut kernel, in_flight, &records);
                }
                Action::GoOn(_) => {}
                Action::Complete(which) => kernel.completes(which),
                Action::Take(most) => kernel.takes(most),
                Action::Look => in_flight.look(&kernel.ring, &AtomicU64::new(0)),
                Action::Close(fd) => in_flight.closes(fd, FileKey { device: 1, inode: 2 }),
            }
            // Without a look there may be more, never fewer.
            prop_assert!(in_flight.count() >= kernel.in_flight.len());
            prop_assert_eq!(in_flight.count(), in_flight.records().count());
        }
        prepared.iter().for_each(|records| submit_as(&mut kernel, in_flight, records));
        in_flight.look(&kernel.ring, &AtomicU64::new(0));
        prop_assert_eq!(in_flight.count(), kernel.in_flight.len());
        let mut objects: Vec<u64> = in_flight.places.iter().map(|place| place.object.load(Ordering::Relaxed)).collect();
        objects.retain(|object| *object != FREE);
        objects.sort_unstable();
        kernel.in_flight.sort_unstable();
        prop_assert_eq!(&objects, &kernel.in_flight);
        while !kernel.in_flight.is_empty() {
            kernel.completes(0);
        }
        in_flight.look(&kernel.ring, &AtomicU64::new(0));
        prop_assert!(in_flight.is_empty());
        prop_assert!(in_flight.places.iter().all(|place| place.object.load(Ordering::Relaxed) == FREE));
        prop_assert!(in_flight.occupied.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }
}

fn submit(kernel: &mut Kernel, in_flight: &InFlight, object: u64, seq: &mut u64) -> Record {
    let records = prepare(kernel, in_flight, &[object], seq);
    submit_as(kernel, in_flight, &records);
    in_flight.records().map(|(record, _)| record).find(|record| record.seq() == *seq).unwrap()
}

/// A record that a sync waits for ends with its own event, not with another one's at the same address later; and of two at one
/// address the older one is first.
#[test]
fn an_end_is_seen_although_the_place_is_used_again() {
    let (mut kernel, in_flight) = made(8, 3);
    let mut seq = 0;
    let first = submit(&mut kernel, in_flight, 64, &mut seq);
    assert!(!first.has_ended());
    kernel.completes(0);
    kernel.takes(1);
    let second = submit(&mut kernel, in_flight, 64, &mut seq);
    assert!(first.has_ended());
    let third = submit(&mut kernel, in_flight, 64, &mut seq);
    assert_eq!(in_flight.count(), 2);
    kernel.completes(0);
    in_flight.look(&kernel.ring, &AtomicU64::new(0));
    assert!(second.has_ended() && !third.has_ended());
}

/// Threads that submit on one context, while it completes and is taken from.
#[test]
fn threads_share_a_context() {
    const ROUNDS: u64 = 20_000;
    let (kernel, in_flight) = made(16, 0);
    let shared = Arc::new((Mutex::new(kernel), in_flight));
    let seqs = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (shared, seqs) = (Arc::clone(&shared), Arc::clone(&seqs));
            scope.spawn(move || {
                let (kernel, in_flight) = (&shared.0, shared.1);
                // The ring is read without the kernel's lock.
                let ring = std::ptr::from_ref(&kernel.lock().unwrap().ring);
                // SAFETY: the kernel outlives the threads; all fields are atomics, and the vector does not change.
                let ring = unsafe { &*ring };
                for round in 0..ROUNDS {
                    in_flight.look(ring, &AtomicU64::new(0));
                    let object = 64 * (1 + thread * 8 + round % 5);
                    let seq = seqs.fetch_add(1, Ordering::Relaxed) + 1;
                    if in_flight.reserve() {
                        assert!(in_flight.enter(object, seq, Target::Descriptor(3)).is_some());
                        if !kernel.lock().unwrap().accepts(object) {
                            in_flight.withdraw(object, seq);
                        }
                    }
                    let mut kernel = kernel.lock().unwrap();
                    kernel.completes(usize::try_from(round).unwrap());
                    kernel.takes(2);
                }
            });
        }
    });
    let (kernel, in_flight) = (&shared.0, shared.1);
    let mut kernel = kernel.lock().unwrap();
    while !kernel.in_flight.is_empty() {
        kernel.completes(0);
    }
    in_flight.look(&kernel.ring, &AtomicU64::new(0));
    assert!(in_flight.is_empty());
    assert_eq!(in_flight.records().count(), 0);
}

#[test]
fn a_scan_visits_what_is_in_flight() {
    let (mut kernel, in_flight) = made(4096, 0);
    let mut seq = 0;
    let objects: Vec<u64> = (0..4000).map(|number| 64 + number * 64).collect();
    let prepared = prepare(&kernel, in_flight, &objects, &mut seq);
    submit_as(&mut kernel, in_flight, &prepared);
    while kernel.in_flight.len() > 1 {
        kernel.completes(0);
        in_flight.look(&kernel.ring, &AtomicU64::new(0));
        kernel.takes(1);
    }
    // The table was used to its full width, and one place of it is occupied.
    assert!(in_flight.used_places().len() > 4000);
    assert_eq!(in_flight.indices(in_flight.used_places().len()).count(), 1);
    assert_eq!(in_flight.records().count(), 1);
}
