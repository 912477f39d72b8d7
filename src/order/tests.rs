//! The state machine against a naive model: the rules written down in the most direct way, looked at after every step.

use proptest::prelude::*;

use super::node::some;
use super::*;

const FILES: [FileKey; 2] = [FileKey { device: 1, inode: 10 }, FileKey { device: 1, inode: 11 }];

/// Three descriptors of two files, and a stream.
fn target(fd: i32) -> Target {
    match fd {
        3 | 4 => Target::File(FILES[0]),
        5 => Target::File(FILES[1]),
        _ => Target::Stream,
    }
}

const STREAM: i32 = 6;

fn identity(fd: i32) -> FileKey {
    match target(fd) {
        Target::File(key) => key,
        _ => FileKey { device: 2, inode: u64::try_from(fd).unwrap() },
    }
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Submit {
        fd: i32,
        kind: Kind,
        position: u64,
        length: u64,
        priority: u8,
        queued_write: bool,
        refused: bool,
    },
    /// A worker, or the poller, takes its next request.
    Start,
    StartStream,
    /// The kernel takes, or refuses, its next request.
    StartDirect,
    /// A worker takes the write that stands in line behind the n-th running one.
    TakeInLine {
        which: usize,
    },
    /// The n-th running read or write of a file was not started after all.
    PutBack {
        which: usize,
    },
    /// The n-th running request ends, well or not.
    Finish {
        which: usize,
        fails: bool,
    },
    /// The n-th unfinished request is cancelled.
    Cancel {
        which: usize,
    },
    /// A descriptor is closed.
    Detach {
        fd: i32,
    },
}

/// A request as the model sees it.
#[derive(Clone, Debug)]
struct Known {
    id: Id,
    seq: u64,
    fd: i32,
    target: Target,
    kind: Kind,
    range: (u64, u64),
    priority: u8,
    queued_write: bool,
    direct: bool,
    running: bool,
    /// It was taken in line behind this one, and runs when that has ended.
    behind: Option<u64>,
    error: i32,
}

struct World {
    order: Order<u64>,
    policy: Policy,
    known: Vec<Known>,
    submitted: u64,
    ended: u64,
    next_private: i32,
}

impl World {
    fn new(policy: Policy) -> World {
        let order = Order::new(policy, true);
        World { order, policy, known: Vec::new(), submitted: 0, ended: 0, next_private: 100 }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Submit { refused: true, fd, kind, priority, .. } => {
                self.submit((fd, Target::Nothing), kind, (0, 0), priority, false)
            }
            Action::Submit { fd, kind, position, length, priority, queued_write, .. } => {
                self.submit((fd, target(fd)), kind, (position, length), priority, queued_write)
            }
            Action::Start => self.start(),
            Action::StartStream => self.start_stream(),
            Action::StartDirect => self.start_direct(),
            Action::TakeInLine { which } => self.take_in_line(which),
            Action::PutBack { which } => self.put_back(which),
            Action::Finish { which, fails } => self.finish(which, fails),
            Action::Cancel { which } => self.cancel(which),
            Action::Detach { fd } => self.detach(fd),
        }
        self.check();
    }

    fn submit(
        &mut self,
        (fd, target): (i32, Target),
        kind: Kind,
        (position, length): (u64, u64),
        priority: u8,
        queued_write: bool,
    ) {
        let stream = target == Target::Stream;
        let queued_write = queued_write && !stream && !kind.is_barrier();
        let barrier = kind.is_barrier() && target == Target::Nothing;
        if barrier || stream && (kind.is_barrier() || kind == Kind::Append) {
            return;
        }
        self.submitted += 1;
        let length = if kind == Kind::Append { u64::MAX } else { length };
        let payload = self.submitted;
        let direct = position % 2 == 1 && !queued_write && target != Target::Nothing && !stream;
        let direct = direct && matches!(kind, Kind::Read | Kind::Write);
        let identity = identity(fd);
        let new = Admission { fd, target, identity, kind, position, length, priority, queued_write, direct, payload };
        let id = self.order.admit(&new).unwrap();
        // What has to wait goes to a worker.
        let direct = direct && self.order.state(id) == State::Ready;
        let range = (position, position.saturating_add(length));
        let priority = if kind.is_barrier() { 0 } else { priority };
        let seq = payload;
        let (running, behind, error) = (false, None, 0);
        let known = Known { id, seq, fd, target, kind, range, priority, queued_write, direct, running, behind, error };
        self.known.push(known);
    }

    /// The rule for two requests of one descriptor.
    fn conflict(&self, old: &Known, new: &Known) -> bool {
        let nothing = old.target == Target::Nothing || new.target == Target::Nothing;
        if nothing || old.fd != new.fd || old.kind.is_barrier() || new.kind.is_barrier() {
            return false;
        }
        let reads = (old.kind == Kind::Read, new.kind == Kind::Read);
        if new.target == Target::Stream {
            return reads.0 == reads.1;
        }
        if self.policy == Policy::Strict {
            return true;
        }
        let appends = old.kind == Kind::Append && new.kind == Kind::Append;
        let overlap = old.range.0 < new.range.1 && new.range.0 < old.range.1;
        let empty = old.range.0 == old.range.1 || new.range.0 == new.range.1;
        let ordered = !empty && overlap && reads != (true, true);
        if self.policy == Policy::Posix { appends && ordered } else { ordered }
    }

    fn expected(&self, of: &Known) -> State {
        let older = self.known.iter().filter(|other| other.seq < of.seq);
        let waits = match of.kind.is_barrier() {
            true => older.clone().any(|other| !other.kind.is_barrier() && other.target == of.target),
            false => older.clone().any(|other| self.conflict(other, of)),
        };
        match (of.running, waits) {
            (true, _) if self.is_behind(of) => State::Running,
            (true, false) => State::Running,
            (true, true) => panic!("{of:?} runs although something older holds it"),
            (false, true) => State::Waiting,
            (false, false) => State::Ready,
        }
    }

    fn check(&self) {
        for known in &self.known {
            let (state, expected) = (self.order.state(known.id), self.expected(known));
            // One that stands in line is not asked whether it waits for the one before it.
            let in_line = known.queued_write && state == State::Ready && expected == State::Waiting;
            assert!(state == expected || in_line, "{known:?} is {state:?} among {:#?}", self.known);
            assert_eq!(*self.order.payload(known.id), known.seq);
        }
        assert_eq!(self.order.len(), self.known.len());
        let waiting = |known: &&Known| self.order.state(known.id) == State::Waiting;
        assert_eq!(self.order.blocked_count(), self.known.iter().filter(waiting).count());
        let for_workers = |known: &&Known| known.target != Target::Stream && !known.direct;
        let ready = self.known.iter().filter(for_workers).filter(|known| self.can_start(known)).count();
        assert_eq!(self.order.first_ready().is_some(), ready > 0, "{ready} requests could start: {:#?}", self.known);
        let stream = self.known.iter().any(|known| known.target == Target::Stream && self.can_start(known));
        assert_eq!(self.order.has_stream_work(), stream);
        let direct = self.known.iter().any(|known| known.direct && self.can_start(known));
        assert_eq!(self.order.has_direct_work(), direct);
        #[cfg(libaio)]
        self.check_unfinished();
    }

    #[cfg(libaio)]
    fn check_unfinished(&self) {
        for known in &self.known {
            let Target::File(key) = known.target else { continue };
            let of_file = self.known.iter().filter(|other| other.target == known.target);
            let oldest = of_file.map(|other| self.order.seq(other.id)).min().unwrap();
            assert!(self.order.has_unfinished_up_to(key, oldest), "{:#?}", self.known);
            assert!(!self.order.has_unfinished_up_to(key, oldest - 1), "{:#?}", self.known);
        }
    }

    /// Ready, and for a barrier: no other fsync of the file runs; for one that takes turns: no other such one.
    fn can_start(&self, known: &Known) -> bool {
        let running = || self.known.iter().filter(|other| other.running && other.target == known.target);
        let syncing = known.kind.is_barrier() && running().any(|other| other.kind.is_barrier());
        let in_turn = known.queued_write && running().any(|other| other.queued_write);
        self.expected(known) == State::Ready && !syncing && !in_turn
    }

    fn start(&mut self) {
        let startable = |known: &&Known| known.target != Target::Stream && !known.direct && self.can_start(known);
        let best = self.known.iter().filter(startable).map(|known| known.priority).min();
        let Some(run) = self.order.next_ready() else {
            assert_eq!(best, None, "nothing to start");
            return;
        };
        let leader = self.known.iter().find(|known| known.id == run.id).unwrap().clone();
        assert!(self.can_start(&leader), "{leader:?} must not start");
        assert_eq!(Some(leader.priority), best, "a higher priority waits");
        assert_eq!(run.fd, leader.fd);
        if leader.kind.is_barrier() {
            return self.start_group(run, &leader);
        }
        assert_eq!(run.kind, leader.kind);
        self.mark_running(run.id);
    }

    fn start_group(&mut self, run: Run, leader: &Known) {
        let expected: Vec<Id> = self
            .known
            .iter()
            .filter(|known| known.kind.is_barrier() && known.target == leader.target && self.can_start(known))
            .map(|known| known.id)
            .collect();
        let mut group = vec![run.id];
        while let Some(next) = self.order.group_next(group[group.len() - 1]) {
            group.push(next);
        }
        assert_eq!(group, expected, "all barriers of the file that are ready run together");
        let sync = self.known.iter().any(|known| group.contains(&known.id) && known.kind == Kind::Sync);
        assert_eq!(run.kind, if sync { Kind::Sync } else { Kind::DataSync });
        group.into_iter().for_each(|id| self.mark_running(id));
    }

    fn start_stream(&mut self) {
        let Some(run) = self.order.next_stream() else { return };
        let known = self.known.iter().find(|known| known.id == run.id).unwrap();
        assert!(known.target == Target::Stream && self.can_start(known));
        self.mark_running(run.id);
    }

    /// Every other one is refused by the kernel, and goes to the workers.
    fn start_direct(&mut self) {
        let Some(id) = some(self.order.direct.head) else { return };
        let run = self.order.start_direct(id, self.order.seq(id)).unwrap();
        let known = self.known.iter_mut().find(|known| known.id == run.id).unwrap();
        assert!(known.direct && !known.running);
        if known.seq % 2 == 0 {
            known.direct = false;
            return self.order.send_to_worker(run.id);
        }
        assert!(self.can_start(&self.known.iter().find(|known| known.id == run.id).unwrap().clone()));
        self.mark_running(run.id);
    }

    fn is_behind(&self, known: &Known) -> bool {
        known.behind.is_some_and(|seq| self.known.iter().any(|other| other.seq == seq))
    }

    fn has_followers(&self, known: &Known) -> bool {
        self.known.iter().any(|other| other.behind == Some(known.seq))
    }

    fn take_in_line(&mut self, which: usize) {
        let suits = |known: &&Known| known.running && known.queued_write && !self.has_followers(known);
        let holders: Vec<_> = self.known.iter().filter(suits).cloned().collect();
        let Some(holder) = holders.get(which % holders.len().max(1)) else { return };
        let stands = |known: &&Known| {
            let ready = self.order.state(known.id) == State::Ready;
            known.queued_write && known.target == holder.target && ready
        };
        let best = self.known.iter().filter(stands).map(|known| known.priority).min();
        let startable = |known: &&Known| known.target != Target::Stream && !known.direct && self.can_start(known);
        let urgent = self.known.iter().filter(startable).map(|known| known.priority).min();
        let goes_along = best.filter(|best| urgent.is_none_or(|urgent| *best <= urgent));
        let Some(run) = self.order.next_queued_write(holder.id) else {
            assert_eq!(goes_along, None, "somebody stands in line");
            return;
        };
        let next = self.known.iter().find(|known| known.id == run.id).unwrap().clone();
        assert!(next.queued_write && next.target == holder.target && !next.running);
        assert_eq!(Some(next.priority), goes_along, "a higher priority waits");
        let overtaken = |other: &&Known| other.seq < next.seq && !other.running && self.conflict(other, &next);
        assert_eq!(self.known.iter().find(overtaken).map(|other| other.seq), None, "{next:?} overtakes");
        self.mark_running(run.id);
        self.known.iter_mut().find(|known| known.id == run.id).unwrap().behind = Some(holder.seq);
    }

    fn put_back(&mut self, which: usize) {
        let of_worker = |known: &Known| known.target != Target::Stream && !known.direct && !known.kind.is_barrier();
        let put_back = |known: &Known| !known.queued_write || !self.has_followers(known);
        let in_turn = |known: &Known| known.kind == Kind::Read || known.queued_write;
        let suits = |known: &Known| known.running && in_turn(known) && of_worker(known) && put_back(known);
        let suiting: Vec<usize> = (0..self.known.len()).filter(|at| suits(&self.known[*at])).collect();
        let Some(at) = suiting.get(which % suiting.len().max(1)) else { return };
        let known = self.known[*at].clone();
        // What a worker has taken before may as well be of another file.
        let taken_before = |other: &&Known| match self.is_behind(&known) {
            true => Some(other.seq) == known.behind,
            false => other.running && other.target != known.target,
        };
        let before = self.known.iter().find(taken_before).map(|other| other.id);
        (self.known[*at].running, self.known[*at].behind) = (false, None);
        self.order.put_back(known.id, before);
    }

    fn mark_running(&mut self, id: Id) {
        let known = self.known.iter_mut().find(|known| known.id == id).unwrap();
        assert!(!known.running, "run twice");
        known.running = true;
    }

    fn finish(&mut self, which: usize, fails: bool) {
        let runs = |known: &Known| known.running && !self.is_behind(known);
        let running: Vec<usize> = (0..self.known.len()).filter(|at| runs(&self.known[*at])).collect();
        let Some(at) = running.get(which % running.len().max(1)) else { return };
        // A group ends as a whole.
        let known = self.known[*at].clone();
        let members: Vec<Known> = match known.kind.is_barrier() {
            false => vec![known],
            true => {
                let same = |other: &&Known| other.running && other.kind.is_barrier() && other.target == known.target;
                self.known.iter().filter(same).cloned().collect()
            }
        };
        for member in members {
            let error = fails.then_some(Errno(5 + i32::try_from(member.seq).unwrap()));
            let finished = self.order.finish(member.id, error);
            self.ended(&member, finished, error);
        }
    }

    fn cancel(&mut self, which: usize) {
        if self.known.is_empty() {
            return;
        }
        let known = self.known[which % self.known.len()].clone();
        let head_write =
            known.target == Target::Stream && known.kind == Kind::Write && self.expected(&known) != State::Waiting;
        let finished = self.order.withdraw(known.id);
        assert_eq!(finished.is_none(), known.running || head_write);
        if let Some(finished) = finished {
            self.ended(&known, finished, None);
        }
    }

    fn ended(&mut self, known: &Known, finished: Finished<u64>, error: Option<Errno>) {
        assert_eq!(finished.payload, known.seq);
        assert_eq!(finished.covered_error, known.error, "of {known:?}");
        self.known.retain(|other| other.id != known.id);
        self.ended += 1;
        let last_of_private = known.fd >= 100 && !self.known.iter().any(|other| other.fd == known.fd);
        assert_eq!(finished.retired, last_of_private.then_some(known.fd));
        let Some(error) = error.filter(|_| !known.kind.is_barrier()) else { return };
        for barrier in self.known.iter_mut().filter(|other| other.kind.is_barrier()) {
            if barrier.target == known.target && barrier.seq > known.seq && barrier.error == 0 {
                barrier.error = error.0;
            }
        }
    }

    fn detach(&mut self, fd: i32) {
        let concerned = |known: &Known| known.fd == fd && known.target != Target::Nothing;
        let has_requests = self.known.iter().any(concerned);
        assert_eq!(self.order.has_requests(fd), has_requests);
        self.walk(fd);
        if !has_requests {
            return;
        }
        self.next_private += 1;
        self.order.detach(fd, self.next_private);
        for known in self.known.iter_mut().filter(|known| concerned(known)) {
            known.fd = self.next_private;
            assert_eq!(self.order.fd(known.id), self.next_private);
        }
        assert!(!self.order.has_requests(fd) && self.order.is_private(self.next_private));
        self.walk(self.next_private);
    }

    /// All requests of a number are found, whatever else was asked of it.
    fn walk(&mut self, fd: i32) {
        let mut found = Vec::new();
        for mut walk in [self.order.walk(fd), self.order.walk_refused(fd)].into_iter().flatten() {
            while let Some(id) = self.order.step(&mut walk) {
                found.push(id);
            }
        }
        let mut expected: Vec<Id> = self.known.iter().filter(|known| known.fd == fd).map(|known| known.id).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }

    /// Everything that was submitted ends exactly once, and the tables are empty.
    fn drain(&mut self) {
        while !self.known.is_empty() {
            let before = self.known.len();
            self.act(Action::StartDirect);
            self.act(Action::Start);
            self.act(Action::StartStream);
            self.act(Action::Finish { which: 0, fails: false });
            assert!(
                self.known.len() < before || self.known.iter().any(|known| known.running),
                "stranded: {:#?}",
                self.known
            );
        }
        assert_eq!(self.submitted, self.ended);
        assert_eq!((self.order.descs.len(), self.order.files.len()), (0, 0));
        assert_eq!(self.order.blocked_count(), 0);
    }
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let kind = prop_oneof![
        4 => Just(Kind::Read), 4 => Just(Kind::Write), 2 => Just(Kind::Append),
        1 => Just(Kind::DataSync), 1 => Just(Kind::Sync)
    ];
    let refused = prop_oneof![9 => Just(false), 1 => Just(true)];
    let submit = (3..=STREAM, kind, 0..12u64, 0..5u64, 0..3u8, any::<bool>(), refused).prop_map(
        |(fd, kind, position, length, priority, queued_write, refused)| Action::Submit {
            fd,
            kind,
            position,
            length,
            priority,
            queued_write,
            refused,
        },
    );
    let action = prop_oneof![
        8 => submit,
        4 => Just(Action::Start),
        2 => Just(Action::StartStream),
        2 => Just(Action::StartDirect),
        2 => (0..8usize).prop_map(|which| Action::TakeInLine { which }),
        1 => (0..8usize).prop_map(|which| Action::PutBack { which }),
        5 => (0..8usize, any::<bool>()).prop_map(|(which, fails)| Action::Finish { which, fails }),
        2 => (0..16usize).prop_map(|which| Action::Cancel { which }),
        1 => (3..=STREAM).prop_map(|fd| Action::Detach { fd }),
    ];
    prop::collection::vec(action, 1..120)
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::Overlap), Just(Policy::Strict), Just(Policy::Posix)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_requests_follow_the_model(policy in policies(), actions in actions()) {
        let mut world = World::new(policy);
        actions.into_iter().for_each(|action| world.act(action));
        world.drain();
    }
}

/// Every sequence of five actions out of these, on two descriptors of one file.
#[test]
fn all_short_sequences_follow_the_model() {
    let submit = |fd, kind, position| {
        let queued_write = kind == Kind::Write || kind == Kind::Append;
        Action::Submit { fd, kind, position, length: 4, priority: 0, queued_write, refused: false }
    };
    let alphabet = [
        submit(3, Kind::Write, 0),
        submit(3, Kind::Read, 2),
        submit(4, Kind::Append, 8),
        submit(3, Kind::DataSync, 0),
        submit(4, Kind::Sync, 0),
        Action::Start,
        Action::TakeInLine { which: 0 },
        Action::PutBack { which: 0 },
        Action::Finish { which: 0, fails: true },
        Action::Cancel { which: 0 },
    ];
    const LENGTH: u32 = 5;
    for number in 0..alphabet.len().pow(LENGTH) {
        let mut world = World::new(Policy::Overlap);
        let mut rest = number;
        for _ in 0..LENGTH {
            world.act(alphabet[rest % alphabet.len()]);
            rest /= alphabet.len();
        }
        world.drain();
    }
}

/// Each of very many files comes to have a line only when a request ends: there is room for all of them.
#[test]
fn every_file_may_get_a_line_without_an_admission() {
    const FILES: i32 = 1_000;
    let mut order: Order<u64> = Order::new(Policy::Overlap, true);
    let mut admit = |fd: i32, kind, position, queued_write| {
        let target = Target::File(FileKey { device: 1, inode: u64::try_from(fd).unwrap() });
        let (identity, length, priority, direct, payload) = (identity(fd), 10, 0, false, 0);
        let new = Admission { fd, target, identity, kind, position, length, priority, queued_write, direct, payload };
        order.admit(&new).unwrap()
    };
    let mut first = Vec::new();
    for fd in 0..FILES {
        first.push(admit(fd, Kind::Read, 0, false));
        admit(fd, Kind::Write, 0, true);
        admit(fd, Kind::Write, 100, true);
    }
    for id in first {
        assert!(order.withdraw(id).is_some());
    }
    assert_eq!(order.write_queues.len(), 1_000);
}

/// A hundred thousand requests cost each about as much as a hundred: the treaps stay shallow, whatever the ranges.
#[test]
fn treaps_stay_shallow() {
    for stride in [0, 1, 512] {
        let mut order = Order::new(Policy::Overlap, true);
        for number in 0..100_000u64 {
            let (position, target) = (number * stride, Target::File(FILES[0]));
            let (fd, kind, priority, payload) = (3, Kind::Write, 0, number);
            let new = Admission {
                fd,
                target,
                identity: identity(fd),
                kind,
                position,
                length: 512,
                priority,
                queued_write: stride == 0,
                direct: false,
                payload,
            };
            order.admit(&new).unwrap();
        }
        let desc = order.desc_of_fd(3).unwrap();
        let depth = depth(&order, order.descs[desc].trees.writes);
        assert!(depth < 64, "{depth} levels at stride {stride}");
        for number in 0..100_000u64 {
            let run = order.next_ready().unwrap();
            assert!(stride == 512 || order.finish(run.id, None).payload == number, "overlapping writes out of order");
            if stride == 512 {
                order.finish(run.id, None);
            }
        }
        assert_eq!(order.len(), 0);
    }
}

fn depth(order: &Order<u64>, at: Id) -> usize {
    if at == NONE {
        return 0;
    }
    let tree = order.nodes[at].tree_links;
    1 + depth(order, tree.left).max(depth(order, tree.right))
}

/// What 256 bytes per request have to pay for: the node, its bucket in the index, the queue slot of its notification.
#[test]
fn a_request_fits_its_budget() {
    type Node = super::Node<crate::request::Request>;
    assert!(size_of::<Node>() <= 208, "{} bytes", size_of::<Node>());
}
