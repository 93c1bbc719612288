//! A curve as one line of text.

/// Characters from low to high.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The same where the terminal knows nothing but ASCII.
const SIGNS: [char; 8] = [' ', '.', ':', '-', '=', '+', '*', '#'];

/// The values, in order, in at most `width` characters: the lowest value has the lowest character, the highest the
/// highest. Where there are more values than characters, each stands for the mean of its share.
pub(super) fn sparkline(values: &[f64], width: usize, ascii: bool) -> String {
    let width = width.min(values.len());
    let share = |at: usize| &values[at * values.len() / width..(at + 1) * values.len() / width];
    let mean = |share: &[f64]| share.iter().sum::<f64>() / share.len() as f64;
    let means: Vec<f64> = (0..width).map(|at| mean(share(at))).collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let signs = if ascii { SIGNS } else { BLOCKS };
    let sign = |mean: f64| {
        // Equal values have the lowest character.
        let height = if high > low { (mean - low) / (high - low) } else { 0.0 };
        signs[((height * 8.0) as usize).min(7)]
    };
    means.into_iter().map(sign).collect()
}
