//! Batches of views, made on threads, delivered in the plan's order.
//!
//! Worker `i` of `n` makes the batches `start + i`, `start + i + n`, ... and has a bounded queue of
//! its own; the consumer takes from the queues in turn. The order is therefore that of the plan
//! without any sorting, memory is bounded, and no worker can wait for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::augment::{DrawKey, choose};
use crate::pictures::Pictures;
use crate::plan::{Draw, EpochPlan};
use crate::spec::Size;
use crate::transform::Resizer;
use crate::views::{ViewBatch, ViewGroup, ViewPlan, Window};
use crate::{DataError, Result};

/// How a loader runs. Only `seed`, `epoch`, `start` and `tail` decide what it yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderSettings {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, from 0.
    pub epoch: u32,
    /// First batch to yield, from 0: where a resumed run goes on.
    pub start: usize,
    /// What becomes of draws that do not fill a batch.
    pub tail: Tail,
    /// Threads; 0 makes each batch in the calling thread when it is asked for.
    pub workers: usize,
    /// Finished batches that may wait, for each worker; at least 1.
    pub queue: usize,
}

/// What becomes of the draws at the end of a plan that do not fill a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Left out: training, where every batch has the same size.
    Drop,
    /// Yielded as a smaller batch: evaluation, which must see every picture.
    Keep,
}

/// Yields the batches of one epoch. Ends after the first error. Dropping it stops its threads.
pub struct Loader {
    job: Arc<Job>,
    start: usize,
    next: usize,
    end: usize,
    source: Source,
}

/// What all workers share.
struct Job {
    pictures: Arc<Pictures>,
    plan: Arc<EpochPlan>,
    views: Arc<ViewPlan>,
    seed: u64,
    epoch: u32,
    stopped: AtomicBool,
}

enum Source {
    Here(Box<Resizer>),
    Workers(Vec<Worker>),
}

struct Worker {
    /// Gone once the loader stops, so that a worker that waits for room wakes up.
    batches: Option<Receiver<Result<ViewBatch>>>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Starts loading.
    ///
    /// # Errors
    /// [`DataError::Io`] if the system gives no threads.
    ///
    /// # Panics
    /// If the plan's batch size is 0 or it has 2^32 draws or more.
    pub fn new(
        pictures: Arc<Pictures>,
        plan: Arc<EpochPlan>,
        views: Arc<ViewPlan>,
        settings: LoaderSettings,
    ) -> Result<Self> {
        assert!(u32::try_from(plan.draws.len()).is_ok(), "{} draws in an epoch", plan.draws.len());
        let end = match settings.tail {
            Tail::Drop => plan.steps(),
            Tail::Keep => plan.draws.len().div_ceil(plan.batch),
        };
        let LoaderSettings { seed, epoch, start, .. } = settings;
        let job = Arc::new(Job { pictures, plan, views, seed, epoch, stopped: AtomicBool::new(false) });
        let workers = settings.workers.min(end.saturating_sub(start));
        let mut loader = Self { job, start, next: start, end, source: Source::Here(Box::default()) };
        if workers > 0 {
            // Built inside the loader, so that a failure half-way stops those that run already.
            loader.source = Source::Workers(Vec::with_capacity(workers));
            for first in 0..workers {
                let steps = (start + first..end).step_by(workers);
                let worker = Worker::spawn(Arc::clone(&loader.job), steps, settings.queue.max(1))?;
                if let Source::Workers(list) = &mut loader.source {
                    list.push(worker);
                }
            }
        }
        Ok(loader)
    }

    /// Batches that are still to come.
    pub fn remaining(&self) -> usize {
        self.end.saturating_sub(self.next)
    }

    fn stop(&mut self) {
        self.job.stopped.store(true, Ordering::Relaxed);
        self.next = self.end;
        if let Source::Workers(workers) = &mut self.source {
            for worker in workers {
                worker.batches = None;
            }
        }
    }
}

impl Iterator for Loader {
    type Item = Result<ViewBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let batch = match &mut self.source {
            Source::Here(resizer) => self.job.batch(self.next, resizer)?,
            Source::Workers(workers) => {
                let turn = (self.next - self.start) % workers.len();
                workers[turn].receive()
            }
        };
        self.next += 1;
        if batch.is_err() {
            self.stop();
        }
        Some(batch)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.stop();
        if let Source::Workers(workers) = &mut self.source {
            for thread in workers.iter_mut().filter_map(|worker| worker.thread.take()) {
                // A panic of a worker has been passed on by `receive` if anyone waited for it.
                drop(thread.join());
            }
        }
    }
}

impl Worker {
    fn spawn(job: Arc<Job>, steps: impl Iterator<Item = usize> + Send + 'static, queue: usize) -> Result<Self> {
        let (sender, batches) = sync_channel(queue);
        let root = job.pictures.root().to_path_buf();
        let thread = std::thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || job.run(steps, &sender))
            .map_err(|source| DataError::Io { action: "starting a loader thread", source, path: root })?;
        Ok(Self { batches: Some(batches), thread: Some(thread) })
    }

    /// The worker's next batch.
    ///
    /// # Panics
    /// With the worker's own panic, if it ended in one.
    fn receive(&mut self) -> Result<ViewBatch> {
        if let Some(Ok(batch)) = self.batches.as_ref().map(Receiver::recv) {
            return batch;
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            _ => panic!("a loader thread ended before its last batch"),
        }
    }
}

impl Job {
    fn run(&self, steps: impl Iterator<Item = usize>, sender: &SyncSender<Result<ViewBatch>>) {
        let mut resizer = Resizer::new();
        for step in steps {
            let Some(batch) = self.batch(step, &mut resizer) else { return };
            let last = batch.is_err();
            if sender.send(batch).is_err() || last {
                return;
            }
        }
    }

    /// A batch, or nothing if the loader was stopped meanwhile.
    fn batch(&self, step: usize, resizer: &mut Resizer) -> Option<Result<ViewBatch>> {
        let first = step * self.plan.batch;
        let end = (first + self.plan.batch).min(self.plan.draws.len());
        let draws = &self.plan.draws[first..end];
        let mut batch = self.empty_batch(first, draws);
        if self.views.views.is_empty() {
            // A task that shows no view, such as one over features, needs no picture.
            return Some(Ok(batch));
        }
        for (sample, draw) in draws.iter().enumerate() {
            if self.stopped.load(Ordering::Relaxed) {
                return None;
            }
            let image = match self.pictures.get(draw.image as usize) {
                Ok(image) => image,
                Err(error) => return Some(Err(error)),
            };
            let key = DrawKey { seed: self.seed, epoch: self.epoch, draw: (first + sample) as u32 };
            let (image, choices) = choose(&image, &self.views, key);
            for (view, choice) in choices.into_iter().enumerate() {
                let (pixels, window) = slot(&mut batch, view, sample);
                *window = choice.window;
                choice.render(&image, &self.views.views[view], resizer, pixels);
            }
        }
        Some(Ok(batch))
    }

    fn empty_batch(&self, first: usize, draws: &[Draw]) -> ViewBatch {
        let nowhere = Window { top: 0.0, left: 0.0, height: 0.0, width: 0.0 };
        let group = |(size, views): (Size, Vec<usize>)| {
            let samples = views.len() * draws.len();
            ViewGroup { size, views, pixels: vec![0.0; samples * 3 * size.0 * size.1], windows: vec![nowhere; samples] }
        };
        ViewBatch {
            groups: self.views.groups().into_iter().map(group).collect(),
            draws: (first as u32..).take(draws.len()).collect(),
            images: draws.iter().map(|draw| draw.image).collect(),
            labels: draws.iter().map(|draw| draw.label).collect(),
            cameras: draws.iter().map(|draw| self.pictures.record(draw.image as usize).camera).collect(),
        }
    }
}

/// Where a view of a sample lies in a batch.
fn slot(batch: &mut ViewBatch, view: usize, sample: usize) -> (&mut [f32], &mut Window) {
    let samples = batch.draws.len();
    let place = |group: &ViewGroup| group.views.iter().position(|&v| v == view);
    let (group, at) = batch
        .groups
        .iter_mut()
        .find_map(|group| place(group).map(|at| (group, at * samples + sample)))
        .unwrap_or_else(|| panic!("view {view} is in no group of the batch"));
    let length = 3 * group.size.0 * group.size.1;
    (&mut group.pixels[at * length..][..length], &mut group.windows[at])
}
