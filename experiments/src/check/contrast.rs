//! Momentum contrast has something to compare, and strips are whole rows of patches.

use reid_objectives::up_reid::spec::{ContrastVariant, UpReidSpec};

use super::{Finding, UP_REID, pretrain_image, up_reid};
use crate::spec::RunSpec;

/// Fewest samples that have a variance, and another picture to be told from.
const SMALLEST_BATCH: usize = 2;

pub(super) fn check(run: &RunSpec) -> Vec<Finding> {
    let Some(spec) = up_reid(run) else { return Vec::new() };
    let mut found = Vec::new();
    found.extend(terms(spec));
    found.extend(match spec.variant {
        ContrastVariant::Queue(queue) => queue_holds_a_batch(queue.size, run),
        ContrastVariant::InBatch(_) => batch_compares(run),
    });
    found.extend(strips(spec, run));
    found
}

fn terms(spec: &UpReidSpec) -> Option<Finding> {
    let weights = [("contrast", spec.contrast.weight), ("consistency", spec.consistency.weight)];
    let weights = [weights[0], weights[1], ("strips", spec.strips.weight)];
    if weights.iter().any(|(_, weight)| *weight > 0.0) {
        return None;
    }
    let message = "all three terms of `up_reid` have weight 0: nothing is learnt";
    let finding = Finding::error("spec::no-loss", message);
    let finding =
        weights.iter().fold(finding, |finding, (term, _)| finding.at(format!("{UP_REID}.{term}.weight"), "0"));
    Some(finding.help("give one a weight, such as `contrast: {weight: 1}`"))
}

fn queue_holds_a_batch(size: usize, run: &RunSpec) -> Option<Finding> {
    let batch = run.pretrain.train.batch;
    if size >= batch {
        return None;
    }
    let message = format!("a queue of {size} keys is smaller than a batch of {batch}, which is written into it");
    let finding = Finding::error("spec::queue-smaller-than-batch", message)
        .at(format!("{UP_REID}.variant.queue.size"), format!("{size} keys"))
        .at("pretrain.train.batch", format!("{batch} pictures"));
    Some(finding.help(format!("use `size: {}`, which holds 16 batches, or `variant: in_batch`", 16 * batch)))
}

fn batch_compares(run: &RunSpec) -> Option<Finding> {
    let train = &run.pretrain.train;
    if train.accumulate > 1 {
        let message = "`variant: in_batch` compares the samples of a batch, so that batches cannot be accumulated";
        let finding = Finding::error("spec::accumulate-couples", message)
            .at("pretrain.train.accumulate", "would compare within each part only")
            .at(format!("{UP_REID}.variant"), "compares within a batch");
        return Some(finding.help("set `accumulate: 1`, or use `variant: queue`"));
    }
    if train.batch >= SMALLEST_BATCH {
        return None;
    }
    let message = format!("a batch of {} holds no other picture to compare with", train.batch);
    let finding = Finding::error("spec::batch-too-small", message)
        .at("pretrain.train.batch", "too small")
        .at(format!("{UP_REID}.variant"), "compares within a batch");
    Some(finding.help("use some hundred samples, or `variant: queue`"))
}

fn strips(spec: &UpReidSpec, run: &RunSpec) -> Option<Finding> {
    let vit = run.pretrained_vit();
    let ([rows, columns], count) = (vit.grid(), spec.strips.count);
    // Without patches there are no rows to speak of; the geometry rule says so.
    if spec.strips.weight == 0.0 || rows * columns == 0 || rows % count == 0 {
        return None;
    }
    let message = format!("{count} strips do not divide the {rows} rows of patches");
    let finding = Finding::error("spec::strips-divide-rows", message)
        .at(format!("{UP_REID}.strips.count"), format!("{count} strips"))
        .at(pretrain_image(run), format!("{rows} x {columns} patches"));
    let fitting: Vec<String> = (2..=rows).filter(|n| rows % n == 0).map(|n| n.to_string()).collect();
    Some(finding.help(if fitting.is_empty() {
        "use smaller patches or taller pictures, or switch the strips off with `strips: {weight: 0}`".to_owned()
    } else {
        format!("{rows} rows divide into {} strips", fitting.join(", "))
    }))
}
