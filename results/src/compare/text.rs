//! Comparisons for people and for programs.

use serde_json::{Value, json as value};

use super::{CompareOptions, Estimate, QueryChange, Verdict, Versus};
use crate::export::{clean, wrap};
use crate::format::Signs;
use crate::significance::MIN_SEEDS;

/// Version of the JSON layout.
const LAYOUT: u32 = 1;

/// Width where none is known.
const DEFAULT_WIDTH: usize = 80;

/// The comparisons as text for a terminal, never wider than the options' width.
pub fn text(compared: &[Versus], options: &CompareOptions) -> String {
    let width = options.table.width.unwrap_or(DEFAULT_WIDTH);
    let signs = if options.table.ascii { Signs::ASCII } else { Signs::UNICODE };
    let tested = compared.iter().filter(|versus| versus.p_holm.is_some()).count();
    let mut lines = Vec::new();
    for versus in compared {
        lines.push(format!("{} against {}, mAP on {}", versus.first, versus.other, options.table.split));
        lines.extend(statements(versus, tested).into_iter().map(|line| format!("  {line}")));
        for (title, changes) in [("gained most", &versus.gained), ("lost most", &versus.lost)] {
            if !changes.is_empty() {
                lines.push(format!("  {title}, AP %:"));
                lines.extend(changes.iter().map(change));
            }
        }
        lines.push(String::new());
    }
    lines.push(format!(
        "[ , ] is the 95 % confidence interval of the difference, by a bootstrap over seeds and over identities with their queries ({} \
         replicates); gains are means over the paired seeds",
        options.replicates
    ));
    let mut text = String::new();
    for line in lines.iter().map(|line| signs.translate(&clean(line))) {
        let own = line.trim_start();
        let indent = &line[..line.len() - own.len()];
        // Breaking a line costs it its columns.
        let broken = if line.chars().count() > width {
            wrap(own, width.saturating_sub(indent.len()))
        } else {
            vec![own.to_owned()]
        };
        for line in broken {
            text.push_str(format!("{indent}{line}").trim_end());
            text.push('\n');
        }
    }
    text
}

/// What is said of one comparison.
fn statements(versus: &Versus, comparisons: usize) -> Vec<String> {
    let per_cent = |value: f64| format!("{:.1}", value * 100.0);
    let difference = shown(&versus.difference);
    let mut lines = vec![
        format!("{} % and {} %: difference {difference}", per_cent(versus.first_map), per_cent(versus.other_map)),
        conclusion(versus, comparisons),
    ];
    let seeds = versus.seeds.len();
    let s = if seeds == 1 { "" } else { "s" };
    let mut basis = format!("{seeds} paired seed{s}, {} identities, {} queries", versus.identities, versus.queries);
    if let Some(from_seeds) = versus.difference.from_seeds {
        let share = from_seeds / (from_seeds + versus.difference.from_queries);
        if share.is_finite() {
            basis = format!("{basis}; {:.0} % of the variance from seeds", share * 100.0);
        }
    } else if versus.difference.interval.is_some() {
        basis = format!("{basis}; the interval knows nothing of other seeds");
    }
    lines.push(basis);
    for (count, what) in [(versus.unpaired, "whose seeds the other lacks"), (versus.failed, "that failed")] {
        if count > 0 {
            lines.push(format!("left out: {count} run{} {what}", if count == 1 { "" } else { "s" }));
        }
    }
    lines
}

/// `+10.9 [8.1, 13.7]`, in per cent.
fn shown(difference: &Estimate) -> String {
    // Two digits of the interval's half-width.
    let reach = difference.interval.map_or(1.0, |(low, high)| (high - low) * 50.0);
    let digits = usize::from(reach < 10.0) + usize::from(reach < 1.0);
    let number = |value: f64| format!("{:.digits$}", value * 100.0);
    let sign = if difference.mean > 0.0 { "+" } else { "" };
    let interval =
        difference.interval.map_or(String::new(), |(low, high)| format!(" [{}, {}]", number(low), number(high)));
    format!("{sign}{}{interval}", number(difference.mean))
}

fn conclusion(versus: &Versus, comparisons: usize) -> String {
    let p = versus.p_holm.map_or("nothing varies, so that nothing is tested".to_owned(), |p| {
        let p = if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") };
        if comparisons > 1 { format!("{p} (Holm over {comparisons})") } else { p }
    });
    match versus.verdict {
        Verdict::Better => format!("{} is better: {p}", versus.first),
        Verdict::Worse => format!("{} is worse: {p}", versus.first),
        Verdict::Open => format!("neither is called better: {p}"),
        Verdict::TooFewSeeds { needed } => {
            let needed = match needed {
                Some(needed) => format!("; a difference of this size takes about {needed}"),
                None if versus.difference.from_seeds.is_none() || versus.difference.interval.is_none() => String::new(),
                None => "; one of this size, at this spread over identities, takes more identities".to_owned(),
            };
            format!("neither is called better, which takes {MIN_SEEDS} paired seeds{needed}")
        }
    }
}

fn change(change: &QueryChange) -> String {
    let QueryChange { path, pid, camera, first, other } = change;
    let gain = (first - other) * 100.0;
    format!("  {gain:>+7.1}  {:>5.1} to {:>5.1}  {path}, person {pid}, camera {camera}", other * 100.0, first * 100.0)
}

/// The comparisons as JSON: stored values, not per cent.
pub fn json(compared: &[Versus], options: &CompareOptions) -> String {
    let of_query = |query: &QueryChange| value!({"path": query.path, "pid": query.pid, "camera": query.camera, "ap_first": query.first, "ap_other": query.other});
    let of = |versus: &Versus| {
        let difference = versus.difference;
        let (verdict, needed) = match versus.verdict {
            Verdict::Better => ("better", None),
            Verdict::Worse => ("worse", None),
            Verdict::Open => ("open", None),
            Verdict::TooFewSeeds { needed } => ("too_few_seeds", needed),
        };
        value!({
            "first": versus.first,
            "other": versus.other,
            "seeds": versus.seeds,
            "unpaired_runs": versus.unpaired,
            "failed_runs": versus.failed,
            "identities": versus.identities,
            "queries": versus.queries,
            "map_first": versus.first_map,
            "map_other": versus.other_map,
            "difference": difference.mean,
            "standard_error": finite(difference.error),
            "df": finite(difference.df),
            "interval": difference.interval.map(|(low, high)| [low, high]),
            "variance_of_seeds": difference.from_seeds,
            "variance_of_queries": difference.from_queries,
            "p": difference.p,
            "p_holm": versus.p_holm,
            "verdict": verdict,
            "seeds_needed": needed,
            "gained": versus.gained.iter().map(of_query).collect::<Vec<_>>(),
            "lost": versus.lost.iter().map(of_query).collect::<Vec<_>>(),
        })
    };
    let whole = value!({
        "compare_version": LAYOUT,
        "metric": "map",
        "split": options.table.split,
        "replicates": options.replicates,
        "level": crate::significance::LEVEL,
        "comparisons": compared.iter().map(of).collect::<Vec<Value>>(),
    });
    format!("{whole:#}\n")
}

/// JSON has no NaN.
fn finite(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}
