//! Random schedules: bursts of reads, writes, appends and barriers on several descriptors of two files, some held, some
//! failing, some cancelled, released in random order. Afterwards the record of the file system is compared with
//! what the client saw.

use std::collections::HashSet;
use std::time::Duration;

use crate::SYNCS_AGAIN;
use crate::fs::{FILE_SIZE, Op, Record, Rule, State, show};
use crate::lab::{Done, Interface, Lab, Library, Outcome, ensure, parse_status};

/// Errors of reads and writes, and errors of fsync: told apart by their numbers.
const DATA_ERRORS: [i32; 2] = [libc::ENOSPC, libc::EDQUOT];
const SYNC_ERRORS: [i32; 2] = [libc::EIO, libc::EROFS];

/// Below the workers of `Plan::settings`, so that held requests never use them all up.
const MOST_REQUESTS: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Reads and writes on some names of a file, barriers on others: the kernel's inode lock, which would keep an
    /// FSYNC behind the WRITEs that run and WRITEs behind an FSYNC, is out of the way.
    Split,
    /// Everything on the same names and descriptors.
    Mixed,
    /// As `Mixed`, with so few workers that requests queue by priority.
    FewWorkers,
}

/// Which requests of one descriptor wait for each other, beside the appends: `order=` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// None.
    Posix,
    /// Those that overlap, with a write among them.
    Overlap,
    /// All.
    Strict,
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub shape: Shape,
    pub policy: Policy,
}

impl Plan {
    fn settings(self) -> String {
        let threads = if self.shape == Shape::FewWorkers { 2 } else { 64 };
        format!("threads={threads},order={:?}", self.policy).to_lowercase()
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    number: usize,
    file: u64,
    /// Which of the file's names it was opened by.
    name: u64,
    data: bool,
    sync: bool,
    /// Open with O_APPEND.
    appends: bool,
}

#[derive(Clone, Debug)]
struct Sent {
    op: Op,
    slot: Slot,
    /// By which the file system knows it; an append lands elsewhere.
    offset: u64,
    length: u32,
    rule: Rule,
    /// The file system's clock before the call and after it.
    called: (u64, u64),
    /// How it ended, and the clock when that was seen.
    seen: Option<(u64, Done)>,
    cancelled: bool,
}

impl Sent {
    /// Whether the one that was submitted later has to wait for the other.
    fn conflicts(&self, other: &Sent, policy: Policy) -> bool {
        if self.slot.number != other.slot.number || self.op.is_sync() || other.op.is_sync() {
            return false;
        }
        match (self.appends(), other.appends()) {
            (true, true) => true,
            (false, false) if policy == Policy::Overlap => self.overlaps(other),
            _ => policy == Policy::Strict,
        }
    }

    fn overlaps(&self, other: &Sent) -> bool {
        let writes = self.op == Op::Write || other.op == Op::Write;
        let end = |sent: &Sent| sent.offset + u64::from(sent.length);
        writes && self.offset < end(other) && other.offset < end(self)
    }

    /// It lands at the end of the file, where no other request's range lies.
    fn appends(&self) -> bool {
        self.op == Op::Write && self.slot.appends
    }

    fn record<'a>(&self, state: &'a State) -> Option<&'a Record> {
        state.records.get(state.at(self.slot.file, self.offset)?)
    }

    fn answered(&self, state: &State) -> Option<u64> {
        self.record(state)?.answered
    }

    fn over(&self, state: &State) -> bool {
        self.cancelled || self.answered(state).is_some()
    }

    fn expected(&self) -> Done {
        match self.rule.errno {
            0 => Done::with(i64::from(self.rule.at_most.unwrap_or(self.length).min(self.length))),
            errno => Done::failed(errno),
        }
    }
}

struct Schedule<'a> {
    lab: &'a mut Lab,
    plan: Plan,
    random: Random,
    slots: Vec<Slot>,
    sent: Vec<Sent>,
    offsets: HashSet<(u64, u64)>,
}

impl Schedule<'_> {
    fn ask(&mut self, commands: &[String]) -> Outcome<Vec<String>> {
        self.lab.client.ask(commands)
    }

    fn all_succeed(&mut self, commands: &[String]) -> Outcome {
        let answers = self.ask(commands)?;
        match commands.iter().zip(&answers).find(|(_, answer)| *answer != "0") {
            Some((command, answer)) => Err(format!("`{command}`: errno {answer}")),
            None => Ok(()),
        }
    }

    /// Up to five descriptors for each of two files: opens of the file's names, and dups.
    fn open_slots(&mut self) -> Outcome {
        let mut commands = Vec::new();
        for file in 1..=2 {
            for _ in 0..2 + self.random.below(4) {
                let slot = self.new_slot(file);
                let uses = |slot: &Slot| (slot.file, slot.data, slot.sync, slot.appends);
                let same: Vec<Slot> = self.slots.iter().filter(|other| uses(other) == uses(&slot)).copied().collect();
                if !same.is_empty() && self.random.percent(40) {
                    let from = self.random.pick(&same);
                    commands.push(format!("d {} {}", slot.number, from.number));
                    self.slots.push(Slot { name: from.name, ..slot });
                } else {
                    let path = self.lab.fs().path(file, slot.name);
                    let mode = if slot.appends { "ap" } else { "rw" };
                    commands.push(format!("o {} {mode} {}", slot.number, path.display()));
                    self.slots.push(slot);
                }
            }
        }
        self.all_succeed(&commands)
    }

    fn new_slot(&mut self, file: u64) -> Slot {
        const OF_APPENDS: u64 = 10;
        let number = self.slots.len();
        let first = !self.slots.iter().any(|slot| slot.file == file);
        let split = self.plan.shape == Shape::Split;
        let (data, sync) = if split && !first && number % 2 == 1 { (false, true) } else { (true, !split) };
        let appends = data && self.random.percent(30);
        let name = match appends {
            // In the kernel an append keeps all other writes of its name out.
            true => OF_APPENDS + number as u64,
            // In the split shape the odd names are for barriers.
            false => self.random.below(2) as u64 * 2 + u64::from(!data),
        };
        Slot { number, file, name, data, sync, appends }
    }

    fn random_slot(&mut self, fits: fn(&Slot) -> bool) -> Option<Slot> {
        let fitting: Vec<Slot> = self.slots.iter().filter(|slot| fits(slot)).copied().collect();
        (!fitting.is_empty()).then(|| self.random.pick(&fitting))
    }

    /// Submits a few requests, one by one or as a list, without a pause between them.
    fn submit(&mut self) -> Outcome {
        let as_list = self.random.percent(25);
        let first = self.sent.len();
        let mut commands = Vec::new();
        for _ in 0..1 + self.random.below(8) {
            if self.sent.len() < MOST_REQUESTS {
                commands.extend(self.new_request());
            }
        }
        if as_list {
            commands.insert(0, "l".into());
            commands.push("L".into());
        }
        let before = self.lab.control.now();
        self.all_succeed(&commands)?;
        let after = self.lab.control.now();
        self.sent.iter_mut().skip(first).for_each(|sent| sent.called = (before, after));
        Ok(())
    }

    fn new_request(&mut self) -> Option<String> {
        let number = self.sent.len();
        if self.random.percent(25) {
            let slot = self.random_slot(|slot| slot.sync)?;
            let (op, word) = self.random.pick(&[(Op::Fsync, "sync"), (Op::Fdatasync, "dsync")]);
            self.sent.push(Sent {
                op,
                slot,
                offset: 0,
                length: 0,
                rule: Rule::default(),
                called: (0, 0),
                seen: None,
                cancelled: false,
            });
            return Some(format!("f {number} {} {word} 0", slot.number));
        }
        let slot = self.random_slot(|slot| slot.data)?;
        let (op, word) = self.random.pick(&[(Op::Write, "w"), (Op::Write, "w"), (Op::Read, "r")]);
        let length = self.random.pick(&[512, 1024, 2048]);
        let offset = self.new_offset(slot);
        let rule = self.new_rule();
        self.lab.control.rule(slot.file, offset, rule);
        self.sent.push(Sent { op, slot, offset, length, rule, called: (0, 0), seen: None, cancelled: false });
        let priority = self.random.below(21);
        Some(format!("{word} {number} {} {offset} {length} {priority}", slot.number))
    }

    /// Mostly far from all others; now and then inside the range of an earlier request. Never twice the same: the
    /// offset tells which request the file system sees.
    fn new_offset(&mut self, slot: Slot) -> u64 {
        let own = self.sent.len() as u64 * 4096;
        let before: Vec<u64> = self.sent.iter().filter(|sent| sent.length > 0).map(|sent| sent.offset).collect();
        let offset = match self.random.percent(25) && !before.is_empty() {
            true => self.random.pick(&before) + 512,
            false => own,
        };
        if self.offsets.insert((slot.file, offset)) {
            return offset;
        }
        self.offsets.insert((slot.file, own));
        own
    }

    fn new_rule(&mut self) -> Rule {
        let failed = self.random.percent(10);
        let short = self.random.percent(5);
        Rule {
            hold: self.random.percent(40),
            errno: if failed { self.random.pick(&DATA_ERRORS) } else { 0 },
            at_most: short.then_some(100),
        }
    }

    fn sync_rules(&mut self) {
        for _ in 0..MOST_REQUESTS {
            let errno = if self.random.percent(15) { self.random.pick(&SYNC_ERRORS) } else { 0 };
            let hold = self.random.percent(30);
            self.lab.control.next_sync(Rule { hold, errno, at_most: None });
        }
    }

    /// Answers some of what is held, in random order.
    fn release(&mut self) {
        let held = self.lab.control.lock().held();
        for _ in 0..held.len().div_ceil(2) {
            let index = self.random.pick(&held);
            self.lab.control.release(index);
        }
    }

    /// Looks at every request that was in progress when last seen.
    fn look(&mut self) -> Outcome {
        let open: Vec<usize> = (0..self.sent.len()).filter(|&index| self.sent[index].seen.is_none()).collect();
        let commands: Vec<String> = open.iter().map(|request| format!("e {request}")).collect();
        let answers = self.ask(&commands)?;
        let now = self.lab.control.now();
        for (index, answer) in open.into_iter().zip(answers) {
            self.sent[index].seen = parse_status(&answer)?.map(|done| (now, done));
        }
        Ok(())
    }

    /// Cancels a random request; the answer must fit its state.
    fn cancel(&mut self) -> Outcome {
        let open: Vec<usize> = (0..self.sent.len()).filter(|&index| self.sent[index].seen.is_none()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let index = self.random.pick(&open);
        let must = self.cancel_must(index);
        let answers = self.ask(&[format!("x {index}"), format!("e {index}")])?;
        let now = self.lab.control.now();
        let status = answers.get(1).map(|answer| parse_status(answer)).transpose()?.flatten();
        let answer = answers.first().map_or("", String::as_str);
        let sent = &mut self.sent[index];
        ensure!(must.is_none_or(|must| must == answer), "aio_cancel of {sent:?}: {answer}, not {must:?}");
        match answer {
            "canceled" => {
                let expected = Done::failed(libc::ECANCELED);
                ensure!(status == Some(expected), "cancelled request {index} has {status:?}");
                sent.cancelled = true;
            }
            "alldone" => ensure!(status.is_some(), "request {index} is all done and in progress"),
            "notcanceled" => {}
            other => return Err(format!("aio_cancel of request {index}: {other}")),
        }
        sent.seen = status.map(|done| (now, done));
        Ok(())
    }

    /// What aio_cancel must answer, where that is certain: only held operations stay as they are.
    fn cancel_must(&self, index: usize) -> Option<&'static str> {
        let state = self.lab.control.lock();
        let held = |sent: &Sent| sent.record(&state).is_some_and(|record| record.answered.is_none());
        let sent = self.sent.get(index)?;
        let waits = self.sent.iter().take(index).any(|older| match sent.op.is_sync() {
            true => !older.op.is_sync() && older.slot.file == sent.slot.file && held(older),
            false => older.conflicts(sent, self.plan.policy) && held(older),
        });
        match () {
            () if !sent.op.is_sync() && held(sent) => Some("notcanceled"),
            () if waits => Some("canceled"),
            () => None,
        }
    }

    /// Waits until all that may run does: later requests pass waiting barriers, barriers pass later requests.
    fn settle(&mut self) -> Outcome {
        if self.plan.shape == Shape::FewWorkers {
            return Ok(());
        }
        let (sent, plan) = (&self.sent, self.plan);
        let mut missing = None;
        let settled = self.lab.control.wait(self.lab.patience, |state| {
            missing = (0..sent.len()).find(|&index| !settled(sent, index, plan, state));
            missing.is_none()
        });
        ensure!(settled, "request {missing:?} could run and does not");
        Ok(())
    }

    fn finish(&mut self) -> Outcome {
        self.lab.control.release_all();
        for index in 0..self.sent.len() {
            if self.sent[index].seen.is_none() {
                let done = self.lab.wait(index)?;
                self.sent[index].seen = Some((self.lab.control.now(), done));
            }
        }
        let commands: Vec<String> = self.slots.iter().map(|slot| format!("c {}", slot.number)).collect();
        self.all_succeed(&commands)
    }

    fn run(&mut self) -> Outcome {
        self.open_slots()?;
        self.sync_rules();
        for _ in 0..3 + self.random.below(8) {
            match self.random.below(10) {
                0..=3 => self.submit()?,
                4..=5 => self.release(),
                6 => self.look()?,
                7..=8 => self.settle()?,
                _ => self.cancel()?,
            }
        }
        self.settle()?;
        self.finish()?;
        verify(&self.sent, self.plan.policy, &self.lab.control.lock())
    }
}

fn older(all: &[Sent], index: usize) -> impl Iterator<Item = &Sent> {
    let file = all[index].slot.file;
    all.iter().take(index).filter(move |sent| !sent.op.is_sync() && sent.slot.file == file)
}

/// Whether a barrier's turn has come.
fn ready(all: &[Sent], barrier: usize, state: &State) -> bool {
    older(all, barrier).all(|sent| sent.over(state))
}

fn settled(all: &[Sent], index: usize, plan: Plan, state: &State) -> bool {
    let sent = &all[index];
    let split = plan.shape == Shape::Split;
    if sent.cancelled || sent.seen.is_some() {
        return true;
    }
    let same_file = |record: &&Record| record.file == sent.slot.file;
    if sent.op.is_sync() {
        // Within one name an FSYNC waits in the kernel for the WRITEs that run. One that is held keeps the next back.
        let served = state.syncs().into_iter().filter(same_file);
        let arrived = served.into_iter().any(|record| record.answered.is_none() || serves(all, index, record, state));
        return !split || !ready(all, index, state) || arrived;
    }
    let blocked = all.iter().take(index).any(|older| older.conflicts(sent, plan.policy) && !older.over(state));
    // Within one name a WRITE waits in the kernel for the FSYNC that runs or waits there.
    let fsync_runs = |barrier: usize| {
        let other = &all[barrier];
        let open = other.op.is_sync() && !other.cancelled && other.slot.file == sent.slot.file;
        open && ready(all, barrier, state)
    };
    let behind_fsync = !split && sent.op == Op::Write && (0..all.len()).any(fsync_runs);
    // And an append for the one that runs.
    let append_runs = |record: &Record| record.appended_at.is_some() && record.answered.is_none();
    let same_name = |record: &&Record| same_file(record) && record.name == sent.slot.name;
    let behind_append = sent.appends() && state.records.iter().filter(same_name).any(append_runs);
    let kernel = behind_fsync || behind_append;
    sent.record(state).is_some() || blocked || kernel
}

/// Whether an FSYNC covers all that this barrier covers, and was issued for it or later.
fn serves(all: &[Sent], barrier: usize, record: &Record, state: &State) -> bool {
    let sent = &all[barrier];
    let kind = record.op == Op::Fsync || sent.op == Op::Fdatasync;
    let covered = |older: &Sent| older.cancelled || older.answered(state).is_some_and(|at| at < record.arrived);
    kind && record.file == sent.slot.file && record.arrived > sent.called.0 && older(all, barrier).all(covered)
}

fn verify(all: &[Sent], policy: Policy, state: &State) -> Outcome {
    for (index, sent) in all.iter().enumerate() {
        let (when, done) = sent.seen.ok_or_else(|| format!("request {index} has not ended"))?;
        let verdict = match sent.op.is_sync() {
            true => verify_barrier(all, index, when, done, state),
            false => verify_transfer(sent, when, done, state).and_then(|()| verify_order(all, index, policy, state)),
        };
        verdict.map_err(|error| format!("request {index}, {sent:?}: {error}"))?;
    }
    for record in state.syncs() {
        let asked = (0..all.len()).any(|index| {
            let sent = &all[index];
            let open = sent.seen.is_some_and(|(when, _)| when > record.arrived);
            sent.op.is_sync() && !sent.cancelled && open && serves_somehow(all, index, record, state)
        });
        ensure!(asked, "no barrier was ready for `{record}`");
    }
    let barriers = all.iter().filter(|sent| sent.op.is_sync() && !sent.cancelled).count();
    let syncs = state.syncs().into_iter().filter(|record| !SYNCS_AGAIN || record.op == Op::Fsync).count();
    ensure!(syncs <= barriers, "{syncs} FSYNCs for {barriers} barriers");
    let bad = state.records.iter().find(|record| record.bad_data);
    ensure!(bad.is_none(), "wrong data reached the file system: {bad:?}");
    Ok(())
}

/// As `serves`, for an operation of either kind.
fn serves_somehow(all: &[Sent], barrier: usize, record: &Record, state: &State) -> bool {
    let record = Record { op: Op::Fsync, ..record.clone() };
    serves(all, barrier, &record, state)
}

fn verify_transfer(sent: &Sent, when: u64, done: Done, state: &State) -> Outcome {
    let same = |record: &&Record| !record.op.is_sync() && record.file == sent.slot.file && record.offset == sent.offset;
    let records: Vec<&Record> = state.records.iter().filter(same).collect();
    if sent.cancelled {
        ensure!(records.is_empty(), "cancelled, yet carried out: {records:?}");
        return Ok(());
    }
    let [record] = records.as_slice() else {
        return Err(format!("carried out {} times", records.len()));
    };
    ensure!(record.op == sent.op && record.length == sent.length, "became `{record}`");
    ensure!(record.answered.is_some_and(|at| at <= when), "ended before it was answered: `{record}`");
    ensure!(done == sent.expected(), "ended with {done:?}");
    let at_the_end = record.appended_at.is_some_and(|at| at >= FILE_SIZE);
    ensure!(at_the_end == sent.appends(), "was written at {:?}", record.appended_at);
    Ok(())
}

/// That all that it had to wait for was answered before it arrived.
fn verify_order(all: &[Sent], index: usize, policy: Policy, state: &State) -> Outcome {
    let sent = &all[index];
    let Some(record) = sent.record(state) else { return Ok(()) };
    for older in all.iter().take(index).filter(|older| older.conflicts(sent, policy) && !older.cancelled) {
        let first = older.answered(state).is_some_and(|at| at < record.arrived);
        ensure!(first, "overtook {older:?}");
    }
    Ok(())
}

fn verify_barrier(all: &[Sent], index: usize, when: u64, done: Done, state: &State) -> Outcome {
    let sent = &all[index];
    if sent.cancelled {
        return Ok(());
    }
    ensure!(done.result == if done.errno == 0 { 0 } else { -1 }, "ended with {done:?}");
    let failed = || older(all, index).filter(|older| !older.cancelled && older.rule.errno != 0);
    // Not yet answered after the call: covered. Seen to have ended before the call: not covered. Else it may be.
    let covered = failed().any(|older| older.answered(state).is_some_and(|at| at > sent.called.1));
    let may_be = |older: &Sent| older.seen.is_none_or(|(seen, _)| seen > sent.called.0);
    let in_time = |record: &&Record| record.answered.is_some_and(|at| at <= when);
    if done.errno == 0 {
        ensure!(!covered, "0, although a request it covers failed");
        let good = |record: &Record| record.errno == 0 && serves(all, index, record, state);
        let synchronised = state.syncs().into_iter().filter(in_time).any(good);
        ensure!(synchronised, "0, although no FSYNC succeeded after all that it covers");
        return Ok(());
    }
    let of_request = failed().any(|older| older.rule.errno == done.errno && may_be(older));
    let bad = |record: &Record| {
        let asked = if SYNCS_AGAIN { serves_somehow } else { serves };
        record.errno == done.errno && asked(all, index, record, state)
    };
    let of_fsync = state.syncs().into_iter().filter(in_time).any(bad);
    ensure!(of_request || of_fsync, "failed with {} for no reason", done.errno);
    ensure!(of_request || !covered || failed().count() == 0, "reports the fsync's error, not the write's");
    Ok(())
}

/// Runs `count` schedules of a plan; the seed of one that fails is in the error.
pub fn run(library: Library, plan: Plan, count: u64) -> Outcome {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let first = number("AIO_RS_FUSE_SEED").unwrap_or(20_240_229);
    let count = number("AIO_RS_FUSE_SCHEDULES").unwrap_or(count);
    let patience = Duration::from_millis(if library == Library::Libc { 300 } else { 10_000 });
    let mut lab = Lab::new(library, Interface::Posix, &plan.settings(), patience);
    for seed in first..first.saturating_add(count) {
        lab.control.reset();
        let mut schedule = Schedule {
            lab: &mut lab,
            plan,
            random: Random(seed),
            slots: Vec::new(),
            sent: Vec::new(),
            offsets: HashSet::new(),
        };
        if let Err(error) = schedule.run() {
            let requests = schedule.sent.iter().enumerate().map(|(index, sent)| format!("  {index:2}: {sent:?}\n"));
            let requests: String = requests.collect();
            return Err(format!(
                "{error}\nTo repeat it: AIO_RS_FUSE_SEED={seed} AIO_RS_FUSE_SCHEDULES=1 ({plan:?})\n\
                 Requests, with the times of the calls:\n{requests}{}",
                show(&lab.records())
            ));
        }
    }
    Ok(())
}
