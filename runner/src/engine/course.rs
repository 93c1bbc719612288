//! What the jobs of one execution share: whose turn it is, which stages are had, and which one of them is computing.
//!
//! ```text
//! queue of runs --next--> job --enter--> Mine: compute --> had or failed
//!       ^                  |             Had, Failed: nothing to do
//!       +------later-------+------------ Elsewhere: another run first
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::execute::Summary;
use super::{Plan, RunPlan};
use crate::store::StageDir;

/// A run whose turn comes.
#[derive(Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) run: &'a RunPlan,
    /// Whether it has met a stage that another process computes, or that has ended several: now it waits for it.
    pub(super) wait: bool,
}

/// The state of an execution, seen by all of its jobs.
pub(super) struct Course<'a> {
    state: Mutex<State<'a>>,
    /// A stage has ended, or everything has.
    ended: Condvar,
}

struct State<'a> {
    queue: VecDeque<Turn<'a>>,
    had: BTreeMap<usize, StageDir>,
    /// Failed stages: label and reason.
    failed: BTreeMap<usize, (String, String)>,
    /// Stages that a job is at.
    under_way: BTreeSet<usize>,
    summary: Summary,
    is_over: bool,
}

impl State<'_> {
    /// Whether the next stage of a run is one that another job is at.
    fn is_blocked(&self, turn: &Turn<'_>) -> bool {
        let next = turn.run.stages.iter().find(|index| !self.had.contains_key(index));
        next.is_some_and(|next| self.under_way.contains(next))
    }
}

/// How a job stands to a stage.
pub(super) enum Entered<'c, 'a> {
    /// It is there.
    Had(StageDir),
    /// It has failed: label and reason.
    Failed(String, String),
    /// Another job is at it, or the execution is over.
    Elsewhere,
    /// The job may compute it; the folder is its input.
    Mine(Hold<'c, 'a>, Option<StageDir>),
}

/// The right to be the one job that is at a stage; ends with the value.
pub(super) struct Hold<'c, 'a> {
    course: &'c Course<'a>,
    index: usize,
}

impl Drop for Hold<'_, '_> {
    fn drop(&mut self) {
        self.course.lock().under_way.remove(&self.index);
        self.course.ended.notify_all();
    }
}

impl Hold<'_, '_> {
    /// The stage is there; `count` says in the summary how it came to be.
    pub(super) fn had(self, dir: StageDir, count: impl FnOnce(&mut Summary)) {
        let mut state = self.course.lock();
        state.had.insert(self.index, dir);
        count(&mut state.summary);
    }

    /// The stage has failed.
    pub(super) fn failed(self, label: String, reason: String) {
        self.course.lock().failed.insert(self.index, (label, reason));
    }
}

impl<'a> Course<'a> {
    /// All runs of a plan, none begun.
    pub(super) fn new(plan: &'a Plan) -> Self {
        let state = State {
            queue: plan.runs.iter().map(|run| Turn { run, wait: false }).collect(),
            had: BTreeMap::new(),
            failed: BTreeMap::new(),
            under_way: BTreeSet::new(),
            summary: Summary { runs: plan.runs.len(), ..Summary::default() },
            is_over: false,
        };
        Self { state: Mutex::new(state), ended: Condvar::new() }
    }

    /// The next run that no other job stands in the way of; waits while there are only others. None when no run is
    /// left, or the execution is over.
    pub(super) fn next(&self) -> Option<Turn<'a>> {
        let mut state = self.lock();
        loop {
            if state.is_over || state.queue.is_empty() {
                return None;
            }
            if let Some(at) = state.queue.iter().position(|turn| !state.is_blocked(turn)) {
                return state.queue.remove(at);
            }
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Puts a run back, which waits from then on: so two processes share a sweep instead of following each other.
    pub(super) fn later(&self, run: &'a RunPlan) {
        self.lock().queue.push_back(Turn { run, wait: true });
    }

    /// Puts a run back that has met another job, or the end.
    pub(super) fn again(&self, turn: Turn<'a>) {
        self.lock().queue.push_front(turn);
    }

    /// How a job stands to a stage from now on.
    pub(super) fn enter(&self, plan: &Plan, index: usize) -> Entered<'_, 'a> {
        let mut state = self.lock();
        if let Some((label, reason)) = state.failed.get(&index) {
            return Entered::Failed(label.clone(), reason.clone());
        }
        if let Some(dir) = state.had.get(&index) {
            return Entered::Had(dir.clone());
        }
        if state.is_over || !state.under_way.insert(index) {
            return Entered::Elsewhere;
        }
        let input = plan.stages[index].input.and_then(|input| state.had.get(&input)).cloned();
        Entered::Mine(Hold { course: self, index }, input)
    }

    /// Counts something.
    pub(super) fn count(&self, count: impl FnOnce(&mut Summary)) {
        count(&mut self.lock().summary);
    }

    /// No job begins another stage; runs that are left are not done.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.ended.notify_all();
    }

    /// What was done.
    pub(super) fn into_summary(self) -> Summary {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        Summary { skipped: state.queue.len(), ..state.summary }
    }

    /// Counts and folders are whole between any two statements that hold the lock.
    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
