//! The report: charts of hand-made rows, their drawings and files, and the page.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reid_results::StepRow;
use reid_results::report::{
    Axis, Chart, Figure, Page, Picture, PictureSection, Point, Scale, Series, Theme, charts, cmc, epochs, hidden,
    learning, swept,
};
use sha2::{Digest, Sha256};

use super::*;

/// A label that tries everything.
const HOSTILE: &str = "<script>alert(1)</script>\" style=\"x\" onload='y' \u{1b}&amp;";

/// Runs of one sweep point, one per mAP.
fn point(point: i64, label: &str, ratio: Option<f64>, maps: &[f64]) -> Vec<RunRow> {
    let one = |(seed, map): (usize, &f64)| {
        let mut row = with_metric(run(&format!("p{point}-s{seed}")), "test.map", *map);
        label.clone_into(&mut row.label);
        (row.point, row.seed_pretrain) = (point, seed as i64);
        row.varied.extend(ratio.map(|ratio| (RATIO.to_owned(), Scalar::Float(ratio))));
        row
    };
    maps.iter().enumerate().map(one).collect()
}

fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
}

fn assert_points(series: &Series, expected: &[(f64, f64, usize)]) {
    assert_eq!(series.points.len(), expected.len(), "{series:?}");
    for (point, (x, y, n)) in series.points.iter().zip(expected) {
        assert_close(point.x, *x);
        assert_close(point.y, *y);
        assert_eq!(point.n, *n, "{series:?}");
    }
}

fn step(key: &str, stage: &str, step: i64, epoch: i64, value: f64) -> StepRow {
    StepRow {
        stage_key: key.to_owned(),
        stage: stage.to_owned(),
        epoch,
        step,
        metric: "loss".to_owned(),
        value,
        at: 1_700_000_000_000_000 + step,
    }
}

/// A chart of so many points.
fn drawn(id: &str, names: &[&str], points: usize) -> Chart {
    let series = names.iter().enumerate().map(|(at, name)| {
        let point = |x: usize| {
            let y = 40.0 + (at + x) as f64;
            Point { x: x as f64 + 1.0, y, low: Some(y - 1.5), high: Some(y + 1.5), n: 3 }
        };
        Series { name: (*name).to_owned(), points: (0..points).map(point).collect() }
    });
    Chart {
        id: id.to_owned(),
        title: "mAP by mask_ratio".to_owned(),
        x: Axis { label: "mask_ratio".to_owned(), unit: None, scale: Scale::Linear },
        y: Axis { label: "mAP".to_owned(), unit: Some("%".to_owned()), scale: Scale::Linear },
        series: series.collect(),
        note: "n = 3 seeds per point; commit abc1234".to_owned(),
    }
}

#[test]
fn swept_numbers_have_the_means_and_intervals_of_their_rows() {
    let mut runs = point(0, "none", None, &[0.3]);
    runs.extend(point(1, "person_mae", Some(0.75), &[0.5, 0.5, 0.5]));
    runs.extend(point(2, "person_mae", Some(0.5), &[0.40, 0.42, 0.44]));
    let found = swept(&frames(&runs), &TableOptions::default()).expect("charts");
    let [chart] = found.as_slice() else { panic!("one field is swept: {found:?}") };
    assert_eq!(chart.id, "swept-objective-person_mae-mask_ratio");
    assert_eq!(chart.title, "mAP by mask_ratio");
    assert_eq!((chart.x.title().as_str(), chart.y.title().as_str()), (RATIO, "mAP (%)"));
    assert_eq!(chart.series.len(), 1, "a baseline without the field has no place on its axis");
    assert_eq!(chart.series[0].name, "person_mae");
    assert_points(&chart.series[0], &[(0.5, 42.0, 3), (0.75, 50.0, 3)]);
    // 0.02 / sqrt(3) times the quantile of Student's t with two degrees of freedom, 4.302653, in per cent.
    let [first, second] = chart.series[0].points.as_slice() else { panic!("two points") };
    assert_close(first.low.expect("an interval"), 42.0 - 4.968_275_4);
    assert_close(first.high.expect("an interval"), 42.0 + 4.968_275_4);
    assert_eq!((second.low, second.high), (None, None), "nothing varies");
    let note = "n = 3 seeds per point; error bars: 95 % confidence interval of the mean (Student's t); commit aaaaaaa";
    assert_eq!(chart.note, note);

    // Failed runs enter no mean and are said.
    runs[4].status = Status::Failed;
    runs[4].metrics.clear();
    runs[5].synthetic = true;
    let found = swept(&frames(&runs), &TableOptions::default()).expect("charts");
    assert_points(&found[0].series[0], &[(0.5, 43.0, 2), (0.75, 50.0, 3)]);
    for part in ["n = 2 to 3 seeds per point", "1 failed run(s) left out", "built-in synthetic data"] {
        assert!(found[0].note.contains(part), "{}", found[0].note);
    }
}

#[test]
fn lines_differ_in_nothing_but_the_swept_number() {
    let mut runs = Vec::new();
    for (at, rate) in [1e-4, 1e-3, 1e-2].into_iter().enumerate() {
        for other in 0..12 {
            let mut rows = point((12 * at + other) as i64, "person_mae", None, &[0.01 * (other + at) as f64]);
            rows[0].varied.insert("train.lr".to_owned(), Scalar::Float(rate));
            rows[0].varied.insert("augment".to_owned(), Scalar::Text(format!("a{other:02}")));
            runs.extend(rows);
        }
    }
    let found = swept(&frames(&runs), &TableOptions::default()).expect("charts");
    let [chart] = found.as_slice() else { panic!("names are no numbers: {found:?}") };
    assert_eq!(chart.x.scale, Scale::Log);
    let names: Vec<&str> = chart.series.iter().map(|series| series.name.as_str()).collect();
    let best: Vec<String> = (4..12).map(|other| format!("person_mae, augment=a{other:02}")).collect();
    assert_eq!(names, best, "the best, in the order of the sweep");
    assert_points(&chart.series[0], &[(1e-4, 4.0, 1), (1e-3, 5.0, 1), (1e-2, 6.0, 1)]);
    assert!(chart.note.contains("n = 1 seed per point; the best 8 of 12 lines"), "{}", chart.note);
}

#[test]
fn ranks_and_hidden_shares_have_charts_where_they_were_measured() {
    let mut runs = Vec::new();
    for (at, label) in ["none", "person_mae"].into_iter().enumerate() {
        for mut row in point(at as i64, label, None, &[0.4, 0.6]) {
            let value = row.metrics["test.map"];
            for (name, more) in [("test.rank1", 0.1), ("test.rank5", 0.2), ("test.rank20", 0.3)] {
                row.metrics.insert(name.to_owned(), value + more);
            }
            for (name, less) in [("occluded.map_hidden_low", 0.1), ("occluded.map_hidden_high", 0.2)] {
                row.metrics.insert(name.to_owned(), value - less);
            }
            runs.push(row);
        }
    }
    let frames = frames(&runs);
    let options = TableOptions::default();
    let found = cmc(&frames, &options).expect("charts");
    assert_eq!((found.len(), found[0].series.len()), (1, 2));
    assert_eq!(found[0].series[1].name, "person_mae");
    assert_points(&found[0].series[1], &[(1.0, 60.0, 2), (5.0, 70.0, 2), (20.0, 80.0, 2)]);
    let found = hidden(&frames, &options).expect("charts");
    let shares = ["less than 1/3", "1/2 and more"].map(str::to_owned).to_vec();
    assert_eq!(found[0].x.scale, Scale::Categories(shares));
    assert_points(&found[0].series[0], &[(0.0, 40.0, 2), (1.0, 30.0, 2)]);
    assert!(found[0].csv().contains("\nnone,less than 1/3,"), "{}", found[0].csv());
    assert_eq!(charts(&frames, &options).expect("charts").len(), 2, "nothing else is there to draw");
    assert!(charts(&super::frames(&point(0, "none", None, &[0.4])), &options).expect("charts").is_empty());
}

#[test]
fn epochs_of_a_pretraining_are_places_on_an_axis() {
    let taken = |config: &str| {
        let mut runs = Vec::new();
        for (at, take) in ["last", "epoch 3", "epoch 1"].into_iter().enumerate() {
            for mut row in point(at as i64, "person_mae", None, &[0.5 - 0.1 * at as f64]) {
                row.varied.insert("pretrain.take".to_owned(), Scalar::Text(take.to_owned()));
                config.clone_into(&mut row.config_json);
                runs.push(row);
            }
        }
        runs
    };
    let options = TableOptions::default();
    let planned = r#"{"pretrain": {"budget": {"train_epochs": {}}, "train": {"epochs": 4}}}"#;
    let found = epochs(&frames(&taken(planned)), &options).expect("charts");
    assert_points(&found[0].series[0], &[(1.0, 30.0, 1), (3.0, 40.0, 1), (4.0, 50.0, 1)]);
    assert!(swept(&frames(&taken(planned)), &options).expect("charts").is_empty(), "it is drawn once");
    // Where the spec counts in something else, the steps tell.
    let dir = folder();
    for row in taken(r#"{"pretrain": {"budget": {"images": 1000.0}, "train": {"epochs": 4}}}"#) {
        write_run(dir.path(), &row, &[step("k", "pretrain", 99, 6, 1.0)], &[]).expect("writable");
    }
    let found = epochs(&read(dir.path()).expect("readable"), &options).expect("charts");
    assert_points(&found[0].series[0], &[(1.0, 30.0, 1), (3.0, 40.0, 1), (7.0, 50.0, 1)]);
    assert!(epochs(&frames(&sweep()), &options).expect("charts").is_empty());
}

#[test]
fn a_training_that_runs_share_counts_once() {
    let dir = folder();
    for (at, rate) in [0.1, 0.2].into_iter().enumerate() {
        for (seed, mut row) in point(at as i64, "person_mae", None, &[0.4, 0.5]).into_iter().enumerate() {
            row.varied.insert("train.lr".to_owned(), Scalar::Float(rate));
            let (shared, own) = (format!("pre{seed}"), format!("train{at}{seed}"));
            let steps = [
                step(&shared, "pretrain", 9, 0, 1.0 + seed as f64),
                step(&shared, "pretrain", 19, 1, 0.5 + seed as f64),
                step(&own, "train", 9, 0, 3.0),
            ];
            write_run(dir.path(), &row, &steps, &[]).expect("writable");
        }
    }
    let found = learning(&read(dir.path()).expect("readable"), &TableOptions::default()).expect("charts");
    let ids: Vec<&str> = found.iter().map(|chart| chart.id.as_str()).collect();
    assert_eq!(ids, ["learning-pretrain-loss", "learning-train-loss"]);
    let [series] = found[0].series.as_slice() else { panic!("one line for both rates: {found:?}") };
    assert_eq!(series.name, "person_mae");
    assert_points(series, &[(9.0, 1.5, 2), (19.0, 1.0, 2)]);
    assert_eq!((series.points[0].low, series.points[0].high), (Some(1.0), Some(2.0)));
    assert_eq!(found[0].note, "n = 2 trainings per point; bars or band: least to greatest; commit aaaaaaa");
    let names: Vec<&str> = found[1].series.iter().map(|series| series.name.as_str()).collect();
    assert_eq!(names, ["person_mae, lr=0.1", "person_mae, lr=0.2"]);
}

#[test]
fn drawings_say_what_they_show_and_do_not_change() {
    for theme in [Theme::Light, Theme::Dark] {
        for points in [1, 4, 200] {
            let chart = drawn("a", &["person_mae", "none"], points);
            let svg = chart.svg(theme).expect("draws");
            assert_eq!(svg, chart.svg(theme).expect("draws"));
            assert!(svg.starts_with("<svg width=\"720\" height=\"420\""), "{svg}");
            assert!(svg.trim_end().ends_with("</svg>"), "{svg}");
            for part in ["n = 3 seeds per point", "commit abc1234", "mAP (%)", "mask_ratio", "person_mae", "none"] {
                assert!(svg.contains(part), "no {part:?} in:\n{svg}");
            }
        }
    }
    let mut chart = drawn("a", &["person_mae"], 4);
    let joined = chart.svg(Theme::Light).expect("draws").matches("<polyline").count();
    chart.x.scale = Scale::Scatter;
    assert_eq!(chart.svg(Theme::Light).expect("draws").matches("<polyline").count() + 1, joined, "no line");
    assert_ne!(chart.svg(Theme::Light).expect("draws"), chart.svg(Theme::Dark).expect("draws"));
}

#[test]
fn anything_can_be_drawn() {
    let mut odd = drawn("a", &[HOSTILE, "\u{ffff}\u{0}"], 3);
    odd.title = HOSTILE.repeat(20);
    odd.note = HOSTILE.repeat(20);
    odd.series[0].points[0].y = f64::NAN;
    odd.series[0].points[1].high = Some(f64::INFINITY);
    odd.series[1].points[2].x = 0.0;
    let names = [vec![HOSTILE.to_owned()], Vec::new()].map(Scale::Categories);
    for scale in [Scale::Log, Scale::Linear, Scale::Scatter].into_iter().chain(names) {
        (odd.x.scale, odd.y.scale) = (scale.clone(), scale);
        let svg = odd.svg(Theme::Light).expect("draws");
        assert!(!svg.contains("<script") && svg.contains("&lt;script&gt;"), "{svg}");
        assert!(!svg.contains(['\u{0}', '\u{1b}', '\u{ffff}']), "{svg:?}");
    }
    for (low, high) in [(0.0, 0.0), (-3.0, -3.0), (1e-12, 2e-12), (-1e9, 1e12), (0.999_999, 1.0)] {
        for scale in [Scale::Linear, Scale::Log] {
            let mut chart = drawn("a", &["one"], 2);
            (chart.x.scale, chart.y.scale) = (scale.clone(), scale);
            for (point, value) in chart.series[0].points.iter_mut().zip([low, high]) {
                (point.x, point.y, point.low, point.high) = (value, value, None, None);
            }
            assert!(chart.svg(Theme::Dark).is_ok(), "{low} to {high}");
        }
    }
    assert!(drawn("a", &[], 0).svg(Theme::Light).is_ok());
}

#[test]
fn cells_of_charts_are_no_formulas() {
    let mut chart = drawn("a", &["=1+1", "plain, with \"quotes\""], 1);
    chart.title = "mAP, =HYPERLINK(\"x\")".to_owned();
    chart.x.label = "@SUM(A1)".to_owned();
    let expected = "\
# mAP
# =HYPERLINK(
# x
# )
# n = 3 seeds per point
# commit abc1234
series,'@SUM(A1),mAP (%),low,high,n
'=1+1,1,40,38.5,41.5,3
\"plain, with \"\"quotes\"\"\",1,41,39.5,42.5,3
";
    assert_eq!(chart.csv(), expected);
}

/// A page on which every text is hostile.
fn page() -> Page {
    let mut runs = sweep();
    for row in &mut runs {
        HOSTILE.clone_into(&mut row.label);
    }
    let frames = frames(&runs);
    let options = TableOptions::default();
    let hostile = || HOSTILE.to_owned();
    let figure = Figure {
        id: "../../figure".to_owned(),
        picture: Picture::Png(b"\x89PNG".to_vec()),
        alt: hostile(),
        caption: hostile(),
        width: 64,
        height: 32,
    };
    let figures = vec![figure.clone(), figure];
    let mut drawings = charts(&frames, &options).expect("charts");
    drawings.push(drawn("table", &[HOSTILE], 2));
    Page {
        title: hostile(),
        facts: vec![(hostile(), hostile())],
        spec_yaml: format!("name: x\n# {HOSTILE}\n"),
        table: tabulate(&frames, &options).expect("the options fit the runs"),
        charts: drawings,
        pictures: vec![PictureSection { id: "nearest".to_owned(), title: hostile(), text: hostile(), figures }],
    }
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    let page = page();
    let html = page.html().expect("a page");
    assert_eq!(html, page.html().expect("a page"), "equal pages have equal bytes");
    assert!(html.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{}", &html[..80]);
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    for part in ["<script", " style=\"", " onload=\"", "http://", "https://", "@import", "url("] {
        assert!(!html.contains(part), "{part}");
    }
    let sources = html.matches("src=\"").count();
    assert!(sources > 2 && sources == html.matches("src=\"data:image/").count());
    assert_eq!(html.matches("srcset=\"").count(), html.matches("srcset=\"data:image/svg+xml;base64,").count());

    // The one style is the one that the browser is told to take.
    assert_eq!(html.matches("<style").count(), 1);
    let (_, rest) = html.split_once("<style>").expect("a style");
    let (style, _) = rest.split_once("</style>").expect("its end");
    let hash = STANDARD.encode(Sha256::digest(style));
    let policy = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
         style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\">"
    );
    assert!(html.contains(&policy), "{policy}");
}

#[test]
fn the_page_can_be_read_without_seeing_it() {
    let html = page().html().expect("a page");
    let ids: Vec<&str> =
        html.split(" id=\"").skip(1).map(|rest| rest.split('"').next().expect("a quoted name")).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    for rest in html.split(" href=\"#").skip(1) {
        let anchor = rest.split('"').next().expect("a quoted name");
        assert!(ids.contains(&anchor), "no {anchor} among {ids:?}");
    }
    assert_eq!(html.matches("<h1").count(), 1);
    assert_eq!(html.matches("<img").count(), html.matches(" alt=\"").count());
    assert_eq!(html.matches("class=\"scroll\"").count(), html.matches("tabindex=\"0\"").count());
    // The best is never told by weight alone.
    let mut runs = point(0, "none", None, &[0.40, 0.41, 0.42, 0.43, 0.44, 0.45]);
    runs.extend(point(1, "person_mae", None, &[0.60, 0.612, 0.62, 0.632, 0.64, 0.652]));
    let table = tabulate(&frames(&runs), &TableOptions::default()).expect("the options fit the runs");
    let html = Page { table, ..page() }.html().expect("a page");
    assert!(html.contains(" (6)*</strong>") && html.contains("* best of its column"), "{html}");
}

#[test]
fn files_of_a_page_have_plain_names() {
    let files = page().files().expect("files");
    let names: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), files.len(), "{names:?}");
    for name in &names {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
        assert!(name.chars().all(is_plain) && !name.starts_with('.') && !name.contains(".."), "{name}");
    }
    let expected = ["table.csv", "table.md", "table-2.svg", "table-2.csv", "figure.png", "figure-2.png"];
    assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
    assert!(files.iter().any(|(name, bytes)| name == "figure.png" && bytes.starts_with(b"\x89PNG")));
}
