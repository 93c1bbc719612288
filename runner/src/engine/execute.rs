//! Executes a plan: stages under leases, rows for runs, failures kept apart.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::build::Build;
use super::course::{Course, Entered, Turn};
use super::deaths::Deaths;
use super::plan::{StageDef, StageKind};
use super::train::TrainError;
use super::work::{Product, Work};
use super::{Machine, Plan, record, snapshots};
use crate::calibration::Calibration;
use crate::exit::RunError;
use crate::log::EventLog;
use crate::memory;
use crate::progress::Progress;
use crate::provenance::{Host, ProgramInfo, Source, host_info, program};
use crate::signals::Interrupt;
use crate::store::{Claim, GIVEN_BACK, StageDir, StageManifest, Store, Waiting};
use crate::tensorboard::Board;

/// Time between two looks at a stage that another process computes.
const POLL: Duration = Duration::from_millis(500);
/// Stack of a job's thread, that of a main thread: the backward pass walks its graph by recursion.
const JOB_STACK: usize = 8 << 20;
/// A failed run is tried once more by a later invocation.
const MOST_ATTEMPTS: i64 = 2;

/// Processes that may die at a stage without getting further; then other runs go first.
const MOST_DEATHS: u32 = 2;
/// So many deaths fail the run.
const FATAL_DEATHS: u32 = 10;

/// What execution needs besides the plan.
pub struct Engine {
    /// Finished stages and results.
    pub store: Store,
    /// Terminal.
    pub progress: Progress,
    /// Events of this process.
    pub log: EventLog,
    /// Set by signals.
    pub interrupt: Interrupt,
    /// What computes.
    pub machine: Machine,
    /// Repository of the spec.
    pub source: Source,
    /// Overrides, verbatim.
    pub overrides: String,
    /// Compute stages again that another commit of the program has computed.
    pub rerun_on_code: bool,
    /// Stop at the first failed run; other jobs end the stage that they are at.
    pub fail_fast: bool,
    /// What stages have cost on this machine.
    pub calibration: Mutex<Calibration>,
    /// Curves of trainings under way, if they are asked for.
    pub board: Option<Board>,
}

/// What an execution did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Runs that were asked for.
    pub runs: usize,
    /// Stages that were computed.
    pub computed: usize,
    /// Distinct stages that were there already.
    pub reused: usize,
    /// Runs that failed.
    pub failed: usize,
    /// Those of them that the next invocation does not try again.
    pub given_up: usize,
    /// Runs that were not begun, since one before them had failed.
    pub skipped: usize,
}

impl Summary {
    /// Adds what a further execution did.
    pub fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.computed += other.computed;
        self.reused += other.reused;
        self.failed += other.failed;
        self.given_up += other.given_up;
        self.skipped += other.skipped;
    }
}

/// Why a stage could not be had.
#[derive(Debug)]
enum StageFailure {
    /// The run fails, others go on.
    Run { stage: String, reason: String },
    /// Another process computes the stage, or it has ended several processes: other runs go first.
    Later,
    /// Another job of this process is at the stage, or everything has stopped.
    Elsewhere,
    /// Everything stops; other jobs end the stage that they are at.
    Stop(RunError),
}

impl From<RunError> for StageFailure {
    fn from(error: RunError) -> Self {
        Self::Stop(error)
    }
}

impl Engine {
    /// Computes what is missing and writes a row for each run, [`Machine::jobs`] stages at a time.
    ///
    /// # Errors
    /// If the work was interrupted, the store cannot be used, or results cannot be read; failed runs
    /// are counted, not returned as errors.
    pub fn execute(&self, plan: &Plan) -> Result<Summary, RunError> {
        let here = (program(), host_info());
        let known = record::known_rows(&self.store)?;
        let course = Course::new(plan);
        let job = || {
            let done = self.job(plan, &course, &known, &here);
            if done.is_err() {
                course.end();
            }
            done
        };
        // The work can be done with fewer jobs as well.
        let fewer = |error: &dyn Display| self.progress.warn(format_args!("a job cannot be started: {error}"));
        let other_job = || match reid_backbones::use_own_threads(self.machine.threads) {
            Ok(()) => job(),
            Err(error) => {
                fewer(&error);
                Ok(())
            }
        };
        let named = |number: usize| thread::Builder::new().name(format!("job-{number}")).stack_size(JOB_STACK);
        thread::scope(|scope| {
            let others: Vec<_> = (1..self.machine.jobs)
                .filter_map(|number| named(number).spawn_scoped(scope, other_job).map_err(|error| fewer(&error)).ok())
                .collect();
            let mut ended = vec![job()];
            ended.extend(others.into_iter().map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic))));
            ended.into_iter().collect::<Result<(), RunError>>()
        })?;
        Ok(course.into_summary())
    }

    /// One run after the other, until none is left.
    fn job<'a>(
        &self,
        plan: &'a Plan,
        course: &Course<'a>,
        known: &BTreeMap<String, record::KnownRow>,
        here: &(ProgramInfo, Host),
    ) -> Result<(), RunError> {
        while let Some(turn) = course.next() {
            let Turn { run, .. } = turn;
            let before = known.get(&run.id);
            if before.is_some_and(|row| row.is_failed() && row.attempts >= MOST_ATTEMPTS) {
                self.progress.warn(format_args!(
                    "{}: failed {} times, not tried again ({}); delete its row to try anew: {}",
                    run.id,
                    MOST_ATTEMPTS,
                    before.and_then(|row| row.error.as_deref()).unwrap_or("no reason recorded"),
                    record::row_path(&self.store, &run.id).display()
                ));
                course.count(|summary| {
                    summary.failed += 1;
                    summary.given_up += 1;
                });
                continue;
            }
            let (started, began) = (jiff::Timestamp::now().as_microsecond(), Instant::now());
            let outcome = self.stages(plan, course, turn, here);
            let row = record::RowContext {
                engine: self,
                program: &here.0,
                host: &here.1,
                started,
                seconds: began.elapsed(),
                before,
            };
            match outcome {
                Ok(stages) => row.write_ok(plan, run, &stages)?,
                Err(StageFailure::Stop(error)) => return Err(error),
                Err(StageFailure::Later) => course.later(run),
                Err(StageFailure::Elsewhere) => course.again(turn),
                Err(StageFailure::Run { stage, reason }) => {
                    self.progress.warn(format_args!("{}: {stage} failed: {reason}", run.id));
                    self.log.error(&format!("{}: {stage} failed: {reason}", run.id));
                    row.write_failed(plan, run, &stage, &reason)?;
                    let is_given_up = before.is_some_and(record::KnownRow::is_failed);
                    course.count(|summary| {
                        summary.failed += 1;
                        summary.given_up += usize::from(is_given_up);
                    });
                    if self.fail_fast {
                        course.end();
                    }
                }
            }
        }
        Ok(())
    }

    /// All stages of a run, in order.
    fn stages<'a>(
        &self,
        plan: &'a Plan,
        course: &Course<'a>,
        turn: Turn<'a>,
        here: &(ProgramInfo, Host),
    ) -> Result<Vec<StageDir>, StageFailure> {
        let mut dirs = Vec::with_capacity(turn.run.stages.len());
        for &index in &turn.run.stages {
            let dir = match course.enter(plan, index) {
                Entered::Had(dir) => dir,
                Entered::Failed(stage, reason) => return Err(StageFailure::Run { stage, reason }),
                Entered::Elsewhere => return Err(StageFailure::Elsewhere),
                Entered::Mine(hold, input) => {
                    match self.obtain(plan, &plan.stages[index], input.as_ref(), turn.wait, here) {
                        Ok(Obtained { dir, is_new }) => {
                            hold.had(dir.clone(), |summary| {
                                let count = if is_new { &mut summary.computed } else { &mut summary.reused };
                                *count += 1;
                            });
                            dir
                        }
                        Err(StageFailure::Run { stage, reason }) => {
                            hold.failed(stage.clone(), reason.clone());
                            return Err(StageFailure::Run { stage, reason });
                        }
                        Err(other) => return Err(other),
                    }
                }
            };
            dirs.push(dir);
        }
        Ok(dirs)
    }

    /// A finished stage: found, waited for, or computed.
    fn obtain(
        &self,
        plan: &Plan,
        stage: &StageDef,
        input: Option<&StageDir>,
        wait: bool,
        (program, host): &(ProgramInfo, Host),
    ) -> Result<Obtained, StageFailure> {
        if self.interrupt.requested() {
            return Err(self.interrupted().into());
        }
        if self.rerun_on_code {
            self.retire(stage, program)?;
        }
        let mut lease = match self.claim(stage, wait)? {
            Claim::Busy(_) => return Err(StageFailure::Later),
            Claim::Done(dir) => return Ok(Obtained { dir, is_new: false }),
            Claim::Mine(lease) => lease,
        };
        for notice in lease.notices() {
            self.log.info(&format!("{}: {notice}", stage.label));
            if !notice.ends_with(GIVEN_BACK) {
                self.progress.line(format_args!("{}: {notice}", stage.label));
            }
        }
        if lease.notices().iter().any(|notice| !notice.ends_with(GIVEN_BACK)) {
            let deaths = Deaths::count(&lease)?;
            if deaths >= FATAL_DEATHS {
                // Counted anew when a later invocation tries the failed run once more.
                Deaths::default().write(&lease)?;
                let reason = format!(
                    "{deaths} processes have died at it, perhaps for lack of memory; try fewer `--jobs`, or a smaller batch"
                );
                return Err(StageFailure::Run { stage: stage.label.clone(), reason });
            }
            if deaths >= MOST_DEATHS && !wait {
                let text = "processes have died more than once while they were at it, perhaps for lack of memory; other runs go first";
                self.progress.warn(format_args!("{}: {text}", stage.label));
                return Err(StageFailure::Later);
            }
        }
        let known = self.store.stage(&stage.key).map_err(RunError::from)?;
        if let Some(lacking) = known.as_ref().and_then(|dir| stage.snapshots.lacking(dir)) {
            self.progress.line(format_args!("{}: computed again, since {lacking}; what is there stays", stage.label));
        }
        self.log.info(&format!("{}: begun, key {}", stage.label, stage.key));
        let (started, began) = (crate::log::now_utc(), Instant::now());
        if self.machine.jobs == 1 {
            memory::reset_peak();
        }
        let build = Build { plan, stage, device: &self.machine.device };
        let work = Work { engine: self, stage, build };
        // A panic is a fault of the program, but no reason to lose the other runs of a sweep.
        let made = catch_unwind(AssertUnwindSafe(|| match stage.kind {
            StageKind::Pretrain | StageKind::Train => work.train(&mut lease, input),
            StageKind::Evaluate => work.evaluate(&lease, input),
        }))
        .unwrap_or_else(|panic| Err(fault(&*panic)));
        let peak = memory::peak();
        reid_backbones::release_memory();
        let Product { artefacts, seconds, mut notes } = match made {
            Ok(product) => product,
            Err(TrainError::Interrupted) => return Err(self.interrupted().into()),
            Err(TrainError::Run(error @ RunError::Store(_))) => return Err(error.into()),
            Err(error) => return Err(StageFailure::Run { stage: stage.label.clone(), reason: reason_of(&error) }),
        };
        if known.is_some_and(|known| !snapshots::is_repeated(&known, lease.dir())) {
            let mark = Value::from("encoders of some epochs are of a repetition that ended in other bits");
            notes.insert("marks".to_owned(), Value::from(vec![mark]));
        }
        let manifest = StageManifest {
            label: stage.label.clone(),
            program: program.clone(),
            source: self.source.state.clone(),
            device: self.machine.class.to_owned(),
            instruction_set: host.instruction_set.clone(),
            host: host.name.clone(),
            started,
            seconds: seconds.unwrap_or_else(|| began.elapsed().as_secs_f64()),
            notes,
        };
        let artefacts: Vec<&str> = artefacts.iter().map(String::as_str).collect();
        let dir = lease.commit(&manifest, &artefacts).map_err(RunError::from)?;
        let mut calibration = self.calibration.lock().unwrap_or_else(PoisonError::into_inner);
        // The peak is the process's: beside other jobs it tells nothing of this stage.
        calibration.learn(stage, &self.machine, manifest.seconds, peak.filter(|_| self.machine.jobs == 1));
        Ok(Obtained { dir, is_new: true })
    }

    /// Claims a stage; with `wait`, once the process that computes it is done.
    fn claim(&self, stage: &StageDef, wait: bool) -> Result<Claim, RunError> {
        if !wait {
            return Ok(self.store.claim_with(&stage.key, &stage.snapshots.files())?);
        }
        let mut on_holder = |holder: &crate::store::LeaseInfo| {
            self.progress.line(format_args!("{}: waiting for {holder}", stage.label));
        };
        let stop = || self.interrupt.requested();
        let waiting = Waiting { poll: POLL, patience: None, stop: &stop, on_holder: &mut on_holder };
        self.store.wait_or_skip_with(&stage.key, &stage.snapshots.files(), waiting)?.ok_or_else(|| self.interrupted())
    }

    fn interrupted(&self) -> RunError {
        RunError::Interrupted { cause: self.interrupt.cause().unwrap_or("a signal") }
    }

    /// Moves a stage aside that another commit of the program has computed.
    fn retire(&self, stage: &StageDef, program: &ProgramInfo) -> Result<(), StageFailure> {
        let found = self.store.stage(&stage.key).map_err(RunError::from)?;
        if found.is_some_and(|dir| dir.manifest().program.commit != program.commit) {
            self.store.retire(&stage.key).map_err(RunError::from)?;
            self.progress.line(format_args!("{}: computed by another commit, computed again", stage.label));
        }
        Ok(())
    }
}

/// A finished stage, and whether this execution has computed it.
struct Obtained {
    dir: StageDir,
    is_new: bool,
}

/// A panic as the reason of a failed run.
fn fault(panic: &(dyn std::any::Any + Send)) -> TrainError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("no message");
    RunError::Unexpected(format!("fault of the program, please report it: {text}")).into()
}

/// What an error says, less the backtrace that candle's errors carry.
fn reason_of(error: &TrainError) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("0: "));
    lines.collect::<Vec<_>>().join(" ").trim().to_owned()
}
