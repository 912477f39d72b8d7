//! What must hold on a file system whose operations hang and fail, one function a promise.
//! Slots are the client's descriptors, requests its aiocbs; offsets name operations at the file system.

use std::time::Duration;

use crate::SYNCS_AGAIN;
use crate::fs::{Op, Rule};
use crate::lab::{Done, Lab, Outcome, SKIP, ensure};

const EIO: i32 = libc::EIO;

fn hold(lab: &Lab, file: u64, offset: u64) {
    lab.control.rule(file, offset, Rule::HOLD);
}

/// Request 0 on slot 0 hangs in the file system, at offset 0 of name 0 of file 1.
fn with_hung(lab: &mut Lab, rule: Rule, submit: fn(&mut Lab) -> Outcome) -> Outcome {
    lab.open(0, 1, 0)?;
    lab.control.rule(1, 0, rule);
    submit(lab)?;
    lab.expect_arrival(1, 0)
}

fn with_hung_write(lab: &mut Lab) -> Outcome {
    with_hung(lab, Rule::HOLD, |lab| lab.write(0, 0, 0))
}

/// A write of 1024 bytes, behind which others have to wait.
fn with_long_hung_write(lab: &mut Lab) -> Outcome {
    with_hung(lab, Rule::HOLD, |lab| lab.write_as(0, 0, 0, 1024, 0))
}

fn with_hung_read(lab: &mut Lab) -> Outcome {
    with_hung(lab, Rule::HOLD, |lab| lab.read(0, 0, 0))
}

fn with_hung_write_that_fails(lab: &mut Lab, errno: i32) -> Outcome {
    with_hung(lab, Rule::hold_and_fail(errno), |lab| lab.write(0, 0, 0))
}

/// A barrier waits, though the client had the time to issue its fsync.
fn barrier_waits(lab: &mut Lab, barrier: usize) -> Outcome {
    lab.elsewhere(9, 9, 9)?;
    lab.expect_in_progress(barrier)?;
    lab.expect_nobody_in_fsync()
}

/// A barrier succeeds when the last of what it covers is answered, and its FSYNC came after all the answers.
fn barrier_follows(lab: &mut Lab, barrier: usize, covered: &[u64]) -> Outcome {
    let last = covered.last().copied().ok_or("nothing is covered")?;
    lab.control.release_at(1, last);
    lab.expect(barrier, Done::with(0))?;
    lab.expect_sync_after(1, covered)
}

/// An fsync of this slot waits for the hung request 0.
fn fsync_waits_and_follows(lab: &mut Lab, slot: usize) -> Outcome {
    lab.fsync(1, slot)?;
    barrier_waits(lab, 1)?;
    barrier_follows(lab, 1, &[0])
}

pub fn fsync_waits_for_a_running_write(lab: &mut Lab) -> Outcome {
    with_hung_write(lab)?;
    fsync_waits_and_follows(lab, 0)?;
    lab.expect(0, Done::with(512))
}

pub fn fsync_waits_for_a_running_read(lab: &mut Lab) -> Outcome {
    with_hung_read(lab)?;
    lab.fdatasync(1, 0)?;
    barrier_waits(lab, 1)?;
    barrier_follows(lab, 1, &[0])?;
    lab.expect(0, Done::with(512))
}

/// The write in the queue overlaps the one that hangs, so that it cannot start before.
pub fn fsync_does_not_overtake_a_less_urgent_write(lab: &mut Lab) -> Outcome {
    with_long_hung_write(lab)?;
    hold(lab, 1, 512);
    lab.write_as(1, 0, 512, 512, 20)?;
    lab.fsync(2, 0)?;
    lab.control.release_at(1, 0);
    lab.expect_arrival(1, 512)?;
    barrier_waits(lab, 2)?;
    barrier_follows(lab, 2, &[0, 512])
}

pub fn fsync_covers_a_dup(lab: &mut Lab) -> Outcome {
    with_hung_read(lab)?;
    lab.dup(1, 0)?;
    fsync_waits_and_follows(lab, 1)
}

pub fn fsync_covers_a_second_open(lab: &mut Lab) -> Outcome {
    with_hung_write(lab)?;
    lab.open(1, 1, 1)?;
    fsync_waits_and_follows(lab, 1)
}

pub fn fsync_of_a_read_only_descriptor_covers_the_file(lab: &mut Lab) -> Outcome {
    with_hung_write(lab)?;
    lab.open_read_only(1, 1, 1)?;
    fsync_waits_and_follows(lab, 1)
}

pub fn fsync_does_not_cover_other_files(lab: &mut Lab) -> Outcome {
    with_hung_write(lab)?;
    lab.open(1, 2, 0)?;
    lab.fsync(1, 1)?;
    lab.expect(1, Done::with(0))?;
    lab.expect_in_progress(0)?;
    lab.control.release_at(1, 0);
    lab.expect(0, Done::with(512))
}

/// Across names of the file, so that the kernel lets the FSYNC through beside the later write.
pub fn fsync_does_not_wait_for_later_requests(lab: &mut Lab) -> Outcome {
    lab.open(1, 1, 1)?;
    with_hung_write(lab)?;
    lab.fsync(1, 1)?;
    for (request, offset) in [(2, 4096), (3, 8192)] {
        hold(lab, 1, offset);
        lab.read(request, 0, offset)?;
    }
    barrier_waits(lab, 1)?;
    barrier_follows(lab, 1, &[0])?;
    lab.expect_in_progress(2)?;
    lab.control.release_all();
    lab.expect_all([2, 3], Done::with(512))
}

pub fn later_requests_run_past_a_waiting_fsync(lab: &mut Lab) -> Outcome {
    with_hung_write(lab)?;
    lab.fsync(1, 0)?;
    lab.write(2, 0, 4096)?;
    lab.read(3, 0, 8192)?;
    lab.expect_all([2, 3], Done::with(512))?;
    lab.expect_in_progress(1)?;
    barrier_follows(lab, 1, &[0])
}

pub fn lists_with_an_fsync_keep_its_order(lab: &mut Lab) -> Outcome {
    lab.open(0, 1, 0)?;
    lab.open(1, 1, 1)?;
    hold(lab, 1, 0);
    hold(lab, 1, 4096);
    let list = ["l", "w 0 0 0 512 0", "r 1 0 4096 512 0", "f 2 1 sync 0", "L"];
    let answers = lab.client.ask(&list.map(String::from))?;
    ensure!(answers.iter().all(|answer| answer == "0"), "lio_listio: {answers:?}");
    lab.expect_arrival(1, 0)?;
    lab.control.release_at(1, 0);
    lab.expect_arrival(1, 4096)?;
    barrier_waits(lab, 2)?;
    barrier_follows(lab, 2, &[0, 4096])
}

/// Eight barriers of both kinds, on three descriptors, wait for one write; all are ready when it ends.
fn eight_barriers(lab: &mut Lab) -> Outcome {
    with_hung_write(lab)?;
    lab.dup(1, 0)?;
    lab.open(2, 1, 1)?;
    for request in 1..=8 {
        match request % 2 {
            0 => lab.fsync(request, request % 3)?,
            _ => lab.fdatasync(request, request % 3)?,
        }
    }
    lab.control.release_at(1, 0);
    lab.expect(0, Done::with(512))
}

pub fn one_fsync_serves_all_barriers_that_are_ready(lab: &mut Lab) -> Outcome {
    eight_barriers(lab)?;
    lab.expect_all(1..=8, Done::with(0))?;
    lab.expect_sync_after(1, &[0])?;
    let state = lab.control.lock();
    let mut syncs: Vec<Op> = state.syncs().iter().map(|record| record.op).collect();
    if SYNCS_AGAIN {
        syncs.retain(|op| *op == Op::Fsync);
    }
    ensure!(syncs == [Op::Fsync], "eight barriers were served by {syncs:?}");
    Ok(())
}

/// The fsync runs on the descriptor of one of them; the others need theirs no more.
pub fn close_waits_for_no_fsync_that_runs_on_another_descriptor(lab: &mut Lab) -> Outcome {
    with_hung_write(lab)?;
    for slot in 1..=3 {
        lab.open(slot, 1, slot as u64)?;
        lab.fsync(slot, slot)?;
    }
    lab.control.next_sync(Rule::HOLD);
    lab.control.release_at(1, 0);
    lab.expect_syncs(1)?;
    let name = lab.control.lock().syncs().first().map_or(0, |record| record.name);
    for slot in (1..=3).filter(|slot| *slot as u64 != name) {
        lab.close(slot)?;
    }
    for barrier in 1..=3 {
        lab.expect_in_progress(barrier)?;
    }
    lab.control.release_all();
    lab.expect_all(1..=3, Done::with(0))
}

pub fn a_failed_fsync_is_reported_to_every_barrier_it_served(lab: &mut Lab) -> Outcome {
    lab.control.next_sync(Rule::fail(EIO));
    eight_barriers(lab)?;
    lab.expect_all(1..=8, Done::failed(EIO))
}

/// Barriers that become ready while an fsync runs must not be served by it: it may have missed their writes.
pub fn a_running_fsync_serves_no_later_barrier(lab: &mut Lab) -> Outcome {
    lab.open(0, 1, 0)?;
    lab.open(1, 1, 1)?;
    lab.control.next_sync(Rule::HOLD);
    lab.fsync(0, 1)?;
    lab.expect_syncs(1)?;
    lab.write(1, 0, 0)?;
    lab.expect(1, Done::with(512))?;
    lab.open(2, 1, 2)?;
    lab.fsync(2, 2)?;
    lab.elsewhere(9, 9, 9)?;
    lab.expect_in_progress(0)?;
    lab.control.release_all();
    lab.expect_all([0, 2], Done::with(0))?;
    ensure!(lab.control.lock().syncs().len() == 2, "the second barrier was not served by an fsync of its own");
    Ok(())
}

pub fn a_barrier_that_still_waits_is_not_served_with_one_that_is_ready(lab: &mut Lab) -> Outcome {
    lab.open(1, 1, 1)?;
    with_hung_write(lab)?;
    lab.fsync(1, 1)?;
    hold(lab, 1, 4096);
    lab.write(2, 0, 4096)?;
    lab.fsync(3, 1)?;
    barrier_follows(lab, 1, &[0])?;
    barrier_waits(lab, 3)?;
    lab.control.release_all();
    lab.expect(3, Done::with(0))?;
    let syncs = lab.control.lock().syncs().len();
    ensure!(syncs == 2, "two barriers that were ready one after the other were served by {syncs} fsyncs");
    Ok(())
}

pub fn an_fsync_succeeds_after_one_that_failed(lab: &mut Lab) -> Outcome {
    lab.open(0, 1, 0)?;
    lab.control.next_sync(Rule::fail(EIO));
    lab.fsync(0, 0)?;
    lab.expect(0, Done::failed(EIO))?;
    lab.fsync(1, 0)?;
    lab.expect(1, Done::with(0))
}

fn fsync_reports_the_error_of_a_covered_write(lab: &mut Lab, errno: i32) -> Outcome {
    with_hung_write_that_fails(lab, errno)?;
    lab.fsync(1, 0)?;
    lab.control.release_at(1, 0);
    lab.expect_all([0, 1], Done::failed(errno))
}

pub fn fsync_reports_a_covered_write_that_found_no_space(lab: &mut Lab) -> Outcome {
    fsync_reports_the_error_of_a_covered_write(lab, libc::ENOSPC)
}

pub fn fsync_reports_a_covered_write_that_failed(lab: &mut Lab) -> Outcome {
    fsync_reports_the_error_of_a_covered_write(lab, EIO)
}

/// The write's error is the write's alone, and the FSYNC is issued all the same.
#[cfg(libaio)]
pub fn an_fsync_by_libaio_tells_only_its_own_error(lab: &mut Lab) -> Outcome {
    with_hung_write_that_fails(lab, libc::ENOSPC)?;
    lab.fsync(1, 0)?;
    barrier_waits(lab, 1)?;
    lab.control.release_at(1, 0);
    lab.expect(0, Done::failed(libc::ENOSPC))?;
    lab.expect(1, Done::with(0))?;
    lab.expect_sync_after(1, &[0])?;
    hold(lab, 1, 4096);
    lab.write(2, 0, 4096)?;
    lab.control.next_sync(Rule::fail(EIO));
    lab.fsync(3, 0)?;
    lab.control.release_at(1, 4096);
    lab.expect(2, Done::with(512))?;
    lab.expect(3, Done::failed(EIO))
}

/// The library must not sync for itself while it waits: it would take the file's error away.
#[cfg(libaio)]
pub fn an_fsync_by_libaio_waits_for_aio_write_without_another(lab: &mut Lab) -> Outcome {
    lab.open(1, 1, 1)?;
    with_hung(lab, Rule::HOLD, |lab| lab.posix_write(0, 0, 0))?;
    lab.control.next_sync(Rule::fail(EIO));
    lab.fsync(1, 1)?;
    lab.elsewhere(9, 9, 9)?;
    lab.expect_in_progress(1)?;
    lab.control.release_at(1, 0);
    lab.expect(1, Done::failed(EIO))?;
    lab.expect_sync_after(1, &[0])?;
    let syncs = lab.control.lock().syncs().len();
    ensure!(syncs == 1, "one fsync was carried out as {syncs}");
    Ok(())
}

/// Two barriers cover the write that fails; a third, called when it has ended, does not.
pub fn every_barrier_reports_a_failed_write_it_covers(lab: &mut Lab) -> Outcome {
    with_hung_write_that_fails(lab, libc::ENOSPC)?;
    lab.open(1, 1, 1)?;
    lab.fsync(1, 0)?;
    lab.fdatasync(2, 1)?;
    lab.control.release_at(1, 0);
    lab.expect_all(0..=2, Done::failed(libc::ENOSPC))?;
    lab.fsync(3, 0)?;
    lab.expect(3, Done::with(0))
}

pub fn a_write_that_failed_before_is_not_reported(lab: &mut Lab) -> Outcome {
    lab.open(0, 1, 0)?;
    lab.control.rule(1, 0, Rule::fail(EIO));
    lab.write(0, 0, 0)?;
    lab.expect(0, Done::failed(EIO))?;
    lab.fsync(1, 0)?;
    lab.expect(1, Done::with(0))
}

/// The cancelled write overlaps the one that hangs: it waits behind it.
pub fn a_cancelled_write_is_no_failure(lab: &mut Lab) -> Outcome {
    with_long_hung_write(lab)?;
    lab.write(1, 0, 512)?;
    lab.write(2, 0, 768)?;
    lab.fsync(3, 0)?;
    lab.expect_cancel(1, "canceled")?;
    lab.expect(1, Done::failed(libc::ECANCELED))?;
    lab.control.release_at(1, 0);
    lab.expect(0, Done::with(1024))?;
    lab.expect(2, Done::with(512))?;
    lab.expect(3, Done::with(0))?;
    lab.expect_sync_after(1, &[0, 768])?;
    ensure!(lab.control.lock().at(1, 512).is_none(), "the cancelled write was carried out");
    Ok(())
}

pub fn a_waiting_fsync_can_be_cancelled_and_is_not_issued(lab: &mut Lab) -> Outcome {
    with_hung_write(lab)?;
    lab.fsync(1, 0)?;
    lab.expect_cancel(1, "canceled")?;
    lab.expect(1, Done::failed(libc::ECANCELED))?;
    lab.expect_cancel(0, "notcanceled")?;
    lab.control.release_at(1, 0);
    lab.expect(0, Done::with(512))?;
    lab.elsewhere(9, 9, 9)?;
    ensure!(lab.control.lock().syncs().is_empty(), "the cancelled fsync was carried out");
    Ok(())
}

pub fn results_are_those_of_the_file_system(lab: &mut Lab) -> Outcome {
    lab.open(0, 1, 0)?;
    lab.control.rule(1, 0, Rule { at_most: Some(100), ..Rule::default() });
    lab.control.rule(1, 4096, Rule { at_most: Some(100), ..Rule::default() });
    lab.control.rule(1, 8192, Rule::fail(libc::ENOSPC));
    lab.control.rule(1, 12288, Rule::fail(EIO));
    lab.write(0, 0, 0)?;
    lab.read(1, 0, 4096)?;
    lab.write(2, 0, 8192)?;
    lab.read(3, 0, 12288)?;
    lab.expect_all([0, 1], Done::with(100))?;
    lab.expect(2, Done::failed(libc::ENOSPC))?;
    lab.expect(3, Done::failed(EIO))?;
    let bad = lab.records().into_iter().find(|record| record.bad_data);
    ensure!(bad.is_none(), "wrong data reached the file system: {bad:?}");
    Ok(())
}

pub fn a_hung_read_delays_nothing_else(lab: &mut Lab) -> Outcome {
    with_hung_read(lab)?;
    lab.write(1, 0, 4096)?;
    lab.read(2, 0, 8192)?;
    lab.expect_all([1, 2], Done::with(512))?;
    lab.control.release_at(1, 0);
    lab.expect(0, Done::with(512))
}

/// The server may stand still: whoever submits does not wait for it.
pub fn submitting_asks_the_server_nothing(lab: &mut Lab) -> Outcome {
    with_long_hung_write(lab)?;
    let before = lab.control.lock().asked;
    lab.write(1, 0, 512)?;
    lab.fsync(2, 0)?;
    let asked = lab.control.lock().asked;
    ensure!(asked == before, "asked {} times", asked - before);
    lab.control.release_at(1, 0);
    lab.expect(0, Done::with(1024))?;
    lab.expect(1, Done::with(512))?;
    lab.expect(2, Done::with(0))
}

/// More requests hang than libc has threads (20).
pub fn other_files_run_on_beside_many_hung_writes(lab: &mut Lab) -> Outcome {
    const HUNG: usize = 30;
    lab.open_ordinary(50)?;
    for number in 0..HUNG {
        let file = number as u64 + 1;
        hold(lab, file, 0);
        lab.open(number, file, 0)?;
        lab.write(number, number, 0)?;
    }
    for request in 100..200 {
        lab.write(request, 50, request as u64 * 512)?;
    }
    lab.expect_all(100..200, Done::with(512))?;
    lab.fsync(200, 50)?;
    lab.expect(200, Done::with(0))?;
    lab.control.release_all();
    lab.expect_all(0..HUNG, Done::with(512))
}

pub fn what_waits_behind_a_hung_write_can_be_cancelled(lab: &mut Lab) -> Outcome {
    with_long_hung_write(lab)?;
    lab.write(1, 0, 256)?;
    lab.write(2, 0, 512)?;
    lab.read(3, 0, 768)?;
    lab.fsync(4, 0)?;
    let answers = lab.client.ask(&["X 0".to_string()])?;
    ensure!(answers == ["notcanceled"], "aio_cancel of all: {answers:?}");
    lab.expect_all(1..=4, Done::failed(libc::ECANCELED))?;
    lab.control.release_at(1, 0);
    lab.expect(0, Done::with(1024))?;
    // The descriptor works on.
    lab.write(5, 0, 512)?;
    lab.expect(5, Done::with(512))?;
    let arrived = lab.records().len();
    ensure!(arrived == 2, "{arrived} operations reached the file system, not 2");
    Ok(())
}

/// Requests of every kind and state: running, waiting behind another, waiting as a barrier.
fn all_kinds_in_flight(lab: &mut Lab) -> Outcome {
    for (slot, name) in [(0, 0), (1, 1)] {
        lab.open(slot, 1, name)?;
    }
    lab.open(2, 2, 0)?;
    // The second of them waits behind the first; by libaio it does not.
    for offset in [0, 512, 4096] {
        hold(lab, 1, offset);
    }
    lab.control.all_syncs(Rule::HOLD);
    lab.fsync(5, 2)?;
    lab.expect_syncs(1)?;
    lab.read(1, 0, 4096)?;
    lab.expect_arrival(1, 4096)?;
    lab.write_as(0, 1, 0, 1024, 0)?;
    lab.expect_arrival(1, 0)?;
    lab.write(2, 1, 512)?;
    lab.fsync(3, 0)?;
    lab.fdatasync(4, 1)
}

const IN_FLIGHT: usize = 6;

pub fn everything_ends_when_the_file_system_goes_away(lab: &mut Lab) -> Outcome {
    all_kinds_in_flight(lab)?;
    if let Err(error) = lab.fs().abort() {
        ensure!(error.kind() != std::io::ErrorKind::PermissionDenied, "{SKIP}umount -f: {error}");
        return Err(format!("umount -f: {error}"));
    }
    for request in 0..IN_FLIGHT {
        let done = lab.wait(request)?;
        let expected = [libc::ENOTCONN, libc::ECONNABORTED, EIO];
        ensure!(expected.contains(&done.errno) && done.result == -1, "request {request} ended with {done:?}");
    }
    // New requests fail as well, at once or later, and other files work.
    if lab.write(6, 0, 0).is_ok() {
        let done = lab.wait(6)?;
        ensure!(done.errno != 0 && done.result == -1, "a write to a file system that is gone: {done:?}");
    }
    lab.open_ordinary(9)?;
    lab.write(7, 9, 0)?;
    lab.fsync(8, 9)?;
    lab.expect(7, Done::with(512))?;
    lab.expect(8, Done::with(0))
}

pub fn everything_ends_after_a_lazy_unmount(lab: &mut Lab) -> Outcome {
    all_kinds_in_flight(lab)?;
    lab.fs().detach().map_err(|error| format!("umount -l: {error}"))?;
    lab.control.release_all();
    let sizes = [1024, 512, 512, 0, 0, 0];
    for (request, size) in sizes.into_iter().enumerate() {
        lab.expect(request, Done::with(size))?;
    }
    Ok(())
}

/// A thread whose operation the file system has begun stays in the kernel until it is answered, and its process
/// with it: also one that never heard of AIO. The library must add nothing to that: the main thread exits at once.
pub fn exit_with_a_hung_write_waits_only_in_the_kernel(lab: &mut Lab) -> Outcome {
    for plain in [true, false] {
        lab.control.reset();
        if plain {
            with_hung(lab, Rule::HOLD, |lab| lab.plain_write(0, 0))?;
        } else {
            with_long_hung_write(lab)?;
            lab.write(1, 0, 512)?;
            lab.fsync(2, 0)?;
        }
        lab.quit()?;
        ensure!(lab.is_running(), "the process is gone although its write hangs (plain: {plain})");
        lab.control.release_all();
        let code = lab.exit_code()?;
        ensure!(code == 0, "exit code {code} (plain: {plain})");
        if plain {
            lab.restart();
        }
    }
    Ok(())
}

/// Every request that is accepted ends, though there are far more of them than workers and some hang for a while.
pub fn few_workers_serve_many_requests(lab: &mut Lab) -> Outcome {
    const MANY: usize = 300;
    lab.patience = lab.patience.max(Duration::from_secs(10));
    lab.open(0, 1, 0)?;
    hold(lab, 1, 0);
    for request in 0..MANY {
        match request % 10 {
            9 => lab.fsync(request, 0)?,
            8 => lab.read(request, 0, request as u64 * 512)?,
            _ => lab.write(request, 0, request as u64 * 512)?,
        }
    }
    lab.expect_arrival(1, 0)?;
    lab.control.release_all();
    for request in 0..MANY {
        lab.expect(request, Done::with(if request % 10 == 9 { 0 } else { 512 }))?;
    }
    Ok(())
}
