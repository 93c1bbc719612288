//! Times evaluation, clustering and re-ranking of features that a file holds, beside public implementations.
//!
//! `retrieval WORK FOLDER THREADS` reads `query.f32`, `gallery.f32` (row-major, little-endian) and `labels.i64`
//! (identities, then cameras, queries first) from the folder, with the widths and numbers of `shape.txt`, and then runs,
//! for every number that it reads on stdin, the work so many times, and answers with its mean time in milliseconds. At
//! the end of the input it prints what came out, and its peak resident memory in MiB. `tests/peers/retrieval.py` asks.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::Instant;

use reid_objectives::cluster::dbscan::dbscan;
use reid_objectives::cluster::jaccard::{JaccardSpec, jaccard};
use reid_objectives::cluster::quality::quality;
use reid_objectives::math::ranking::{Distances, Labels, RankSpec, SquaredEuclidean, rank};
use reid_objectives::math::rerank::{KReciprocalSpec, Reranked};

#[global_allocator]
static ALLOCATOR: reid_backbones::KeepLarge = reid_backbones::KeepLarge;

type Failure = Box<dyn std::error::Error>;

/// Cluster contrast's radius on Market-1501.
const EPS: f32 = 0.6;
/// Its fewest neighbours of a core.
const MIN_SAMPLES: usize = 4;
/// Longest CMC.
const MAX_RANK: usize = 50;

/// Features and labels of queries and gallery.
struct Crowd {
    width: usize,
    query: Vec<f32>,
    gallery: Vec<f32>,
    pids: Vec<i64>,
    cameras: Vec<u32>,
}

impl Crowd {
    fn read(folder: &Path) -> Result<Self, Failure> {
        let floats = |name: &str| -> Result<Vec<f32>, Failure> {
            let file = File::open(folder.join(name))?;
            // Number by number: a copy of the file would be counted among the work's memory.
            let mut values = Vec::with_capacity(file.metadata()?.len() as usize / 4);
            let (mut file, mut four) = (BufReader::new(file), [0; 4]);
            while values.len() < values.capacity() {
                file.read_exact(&mut four)?;
                values.push(f32::from_le_bytes(four));
            }
            Ok(values)
        };
        let mut labels = Vec::new();
        for eight in std::fs::read(folder.join("labels.i64"))?.chunks_exact(8) {
            labels.push(i64::from_le_bytes(eight.try_into()?));
        }
        let (pids, cameras) = labels.split_at(labels.len() / 2);
        Ok(Self {
            width: std::fs::read_to_string(folder.join("shape.txt"))?.trim().parse()?,
            query: floats("query.f32")?,
            gallery: floats("gallery.f32")?,
            pids: pids.to_vec(),
            cameras: cameras.iter().map(|&camera| camera as u32).collect(),
        })
    }

    fn labels(&self) -> (Labels<'_>, Labels<'_>) {
        let queries = self.query.len() / self.width;
        let side =
            |range: std::ops::Range<usize>| Labels { pids: &self.pids[range.clone()], cameras: &self.cameras[range] };
        (side(0..queries), side(queries..self.pids.len()))
    }

    fn ranked(&self, distances: &impl Distances) -> String {
        let (query, gallery) = self.labels();
        let ranking = rank(distances, query, gallery, RankSpec::default(), MAX_RANK);
        format!("mAP {:.4} rank-1 {:.4} mINP {:.4}", ranking.map, ranking.cmc_at(1), ranking.minp)
    }

    /// The work, and what came out.
    fn run(&self, work: &str) -> Result<String, Failure> {
        Ok(match work {
            "rank" => self.ranked(&SquaredEuclidean::new(&self.query, &self.gallery, self.width)),
            "rerank" => {
                let spec = KReciprocalSpec::default();
                self.ranked(&Reranked::new(&self.query, &self.gallery, self.width, spec))
            }
            "cluster" => {
                let distances = jaccard(&self.gallery, self.width, JaccardSpec::default());
                let clusters = dbscan(&distances.within(EPS), MIN_SAMPLES);
                let found = quality(&clusters, &self.pids[self.query.len() / self.width..]);
                format!("clusters {} outliers {} ARI {:.4}", found.clusters, found.outliers, found.ari)
            }
            other => return Err(format!("no work {other}").into()),
        })
    }
}

fn main() -> Result<(), Failure> {
    reid_backbones::quiet_candle();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [work, folder, threads] = arguments.as_slice() else {
        return Err("usage: retrieval rank|rerank|cluster FOLDER THREADS".into());
    };
    let threads: usize = threads.parse()?;
    reid_backbones::use_threads(threads);
    let crowd = Crowd::read(Path::new(folder))?;
    let (stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
    writeln!(stdout, "ready")?;
    stdout.flush()?;
    let mut found = String::new();
    for line in stdin.lines() {
        let count: u32 = line?.trim().parse()?;
        let began = Instant::now();
        for _ in 0..count {
            found = crowd.run(work)?;
        }
        writeln!(stdout, "{:.3}", began.elapsed().as_secs_f64() * 1e3 / f64::from(count))?;
        stdout.flush()?;
    }
    writeln!(stdout, "{found}")?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    writeln!(stdout, "{}", line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)?;
    Ok(())
}
