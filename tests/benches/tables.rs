//! How long a table of many runs takes: writes a store of made-up runs, then times reading and tabulating them.
//!
//! Usage: cargo run --release --example tables -- DIR [RUNS [METRICS]]
//!
//! Afterwards `reid-run table --out DIR` can be timed as a whole.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use reid_results::{RunRow, Scalar, Status, TableOptions, export, read_and_index, tabulate, write_run};
use reid_runner::store::Store;

/// Seeds of a setting.
const SEEDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let dir = arguments.first().ok_or("usage: tables DIR [RUNS [METRICS]]")?;
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (runs, metrics) = (number(1, 10_000)?, number(2, 50)?);
    let results = Store::open(Path::new(dir))?.results();
    let began = Instant::now();
    for index in 0..runs {
        write_run(&results, &run(index, metrics), &[], &[])?;
    }
    println!("{runs} runs x {metrics} metrics written in {:.1} s", began.elapsed().as_secs_f64());
    let index = results.join(".index.parquet");
    for (what, fresh) in [("every file", true), ("the index", false), ("the index", false)] {
        if fresh && index.exists() {
            std::fs::remove_file(&index)?;
        }
        let began = Instant::now();
        let frames = read_and_index(&results)?;
        let reading = began.elapsed();
        let began = Instant::now();
        let options = TableOptions::default();
        let table = tabulate(&frames, &options)?;
        let text = export(&table, &options)?;
        println!(
            "read from {what}: {:.0} ms; tabulated: {:.0} ms, {} rows, {} bytes",
            reading.as_secs_f64() * 1e3,
            began.elapsed().as_secs_f64() * 1e3,
            table.rows.len(),
            text.len()
        );
    }
    println!("index: {} bytes", std::fs::metadata(&index)?.len());
    Ok(())
}

/// A run of a sweep over three fields.
fn run(index: usize, metrics: usize) -> RunRow {
    let (point, seed) = (index / SEEDS, (index % SEEDS) as i64);
    let commit = Some("0123456789abcdef0123456789abcdef01234567".to_owned());
    let key = |kind: &str| Some(format!("{kind}{index:062x}"));
    let varied = [
        ("pretrain.objective.person_mae.mask_ratio", Scalar::Float((point % 20) as f64 / 20.0)),
        ("pretrain.train.epochs", Scalar::Int((point / 20 % 10) as i64)),
        ("backbone.vit.drop_path", Scalar::Float((point / 200) as f64)),
    ];
    let metric = |at: usize| {
        let name = match at {
            0 => "test.map".to_owned(),
            1 => "test.rank1".to_owned(),
            2 => "validation.map".to_owned(),
            at => format!("test.made_up_{at}"),
        };
        (name, ((index * 7919 + at * 104_729) % 1000) as f64 / 1000.0)
    };
    RunRow {
        run_id: format!("run-{index:06}"),
        experiment: "made-up".to_owned(),
        label: "person_mae".to_owned(),
        point: point as i64,
        seed_pretrain: seed,
        seed_downstream: seed,
        status: Status::Ok,
        error: None,
        failed_stage: None,
        stage_pretrain: key("aa"),
        stage_train: key("bb"),
        stage_evaluate: key("cc"),
        spec_commit: commit.clone(),
        spec_dirty: Some(false),
        spec_diff_hash: None,
        program_commit: commit.clone(),
        program_dirty: Some(false),
        computed_commit: commit,
        program_version: "0.1.0".to_owned(),
        dataset: "made-up".to_owned(),
        dataset_fingerprint: "0".repeat(64),
        synthetic: true,
        corrupt_images: 0,
        protocol: "class token before the neck, L2-normalized, squared Euclidean".to_owned(),
        host: "node".to_owned(),
        device: "cpu".to_owned(),
        instruction_set: "avx2+fma".to_owned(),
        precision: "f32".to_owned(),
        started_at: 1_700_000_000_000_000 + index as i64,
        seconds: 12.5,
        seconds_pretrain: Some(40.25),
        seconds_train: Some(7.5),
        images_pretrain: Some(10_240),
        tokens_pretrain: Some(100_000),
        flops_pretrain: Some(1.5e12),
        peak_rss_bytes: Some(512 << 20),
        images_seen: Some(12_800),
        tokens_seen: Some(200_000),
        labelled_identities: None,
        labelled_images: None,
        overrides: String::new(),
        attempts: 1,
        trial: None,
        marks: Vec::new(),
        // As long as a resolved spec is.
        config_json: format!("{{\"made_up\":\"{}\",\"point\":{point}}}", "x".repeat(4000)),
        varied: varied.map(|(name, value)| (name.to_owned(), value)).into(),
        tuned: BTreeMap::new(),
        metrics: (0..metrics).map(metric).collect(),
    }
}
