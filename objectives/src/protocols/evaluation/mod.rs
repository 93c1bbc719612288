//! Retrieval evaluation: features of queries and gallery, ranked.

pub mod spec;

use candle_core::Tensor;
use reid_backbones::spec::VitSpec;
use reid_data::dataset::{Record, Split};
use reid_data::spec::{Normalisation, Size};
use reid_data::views::{ViewPlan, ViewSpec};

use self::spec::{EvaluationFeature, EvaluationSpec, ExpansionSpec, RerankingSpec};
use crate::error::Result;
use crate::math::distance::normalize_rows;
use crate::math::expansion::expand;
use crate::math::ranking::{
    AveragePrecision, CmcShots, Distances, Labels, QueryScore, Ranking, SameCamera, SquaredEuclidean, nearest, rank,
};
use crate::math::rerank::{RerankVariant, Reranked};
use crate::math::verification::Roc;
use crate::metric::MetricKey;
use crate::spec::{LocalSpec, Pooling, ProtocolSpec};
use crate::task::{Embed, Evaluated, Features, Services};

/// Raised whenever the numbers that evaluation gives change.
pub const ALGORITHM_VERSION: u32 = 3;
/// What the metrics of evaluation points begin with among step metrics, and of the validation part in rows.
pub const VALIDATION_PREFIX: &str = "validation.";
/// False positive rates that verification is reported at (fast-reid), the true positive rate there, and fast-reid's.
const FALSE_RATES: [(f64, MetricKey, MetricKey); 3] = [
    (1e-4, MetricKey::Tpr1e4, MetricKey::FastReidTpr1e4),
    (1e-3, MetricKey::Tpr1e3, MetricKey::FastReidTpr1e3),
    (1e-2, MetricKey::Tpr1e2, MetricKey::FastReidTpr1e2),
];
/// Hidden shares from which a query counts as one of the next kind (our design): a third of the person, and half.
const HIDDEN: [f32; 2] = [1.0 / 3.0, 0.5];
/// mAP of each kind.
const BY_HIDDEN: [MetricKey; 3] = [MetricKey::MapHiddenLow, MetricKey::MapHiddenMid, MetricKey::MapHiddenHigh];
/// Longest CMC that is computed (TransReID).
const MAX_RANK: usize = 50;

/// How one query fared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredQuery {
    /// Index of the query in its split.
    pub record: u32,
    /// Its score.
    pub score: QueryScore,
}

/// How a model fares on one set of queries.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Queries that were asked.
    pub split: Split,
    /// Means over valid queries, as fractions, and the number of valid queries.
    pub metrics: Vec<(MetricKey, f64)>,
    /// Valid queries in record order.
    pub queries: Vec<ScoredQuery>,
}

/// What is compared, in words; recorded with every result.
pub fn description(protocol: &ProtocolSpec) -> String {
    let neck = |spec: &EvaluationSpec| match spec.feature {
        EvaluationFeature::BeforeNeck => "before the neck",
        EvaluationFeature::AfterNeck => "after the neck",
    };
    let spec = protocol.evaluation();
    let feature = match protocol {
        ProtocolSpec::Supervised(supervised) => {
            let local = match supervised.local {
                LocalSpec::None(_) => String::new(),
                LocalSpec::Jigsaw(jigsaw) => format!(" and {} jigsaw parts", jigsaw.parts),
            };
            format!("{}{local} {}", supervised.pooling.describe(), neck(spec))
        }
        ProtocolSpec::Usl(usl) => format!("{} {}", usl.pooling.describe(), neck(spec)),
        ProtocolSpec::Uda(uda) => format!("{} {}", uda.usl.pooling.describe(), neck(spec)),
        ProtocolSpec::Spcl(spcl) => format!("{} {}", spcl.pooling.describe(), neck(spec)),
        ProtocolSpec::Frozen(frozen) => match (frozen.linear_probe(), frozen.pooling) {
            (Some(_), pooling) => format!("linear probe of the {} {}", pooling.describe(), neck(spec)),
            // The supervised protocol's feature, and compared with it.
            (None, Pooling::Cls) => "class token before the neck".to_owned(),
            (None, pooling) => pooling.describe().to_owned(),
        },
    };
    let mirrored = if spec.flip_test { ", mean with the mirror image's" } else { "" };
    let expanded = match spec.expansion {
        ExpansionSpec::None(_) => String::new(),
        ExpansionSpec::Alpha(alpha) => {
            format!(", expanded (k {}, alpha {}, rounds {})", alpha.k, alpha.alpha, alpha.rounds)
        }
    };
    let reranked = match spec.reranking {
        RerankingSpec::None(_) => String::new(),
        RerankingSpec::KReciprocal(how) => {
            let variant = match how.variant {
                RerankVariant::Zhong => "Zhong",
                RerankVariant::Torchreid => "torchreid",
                RerankVariant::FastReid => "fast-reid",
            };
            format!(", re-ranked ({variant}, k1 {}, k2 {}, lambda {})", how.k1, how.k2, how.lambda)
        }
    };
    let camera = match spec.same_camera {
        SameCamera::Removed => "same identity and camera removed",
        SameCamera::Kept => "same identity and camera kept",
    };
    let precision = match spec.average_precision {
        AveragePrecision::Steps => "AP by steps",
        AveragePrecision::Trapezoid => "AP by trapezoids",
    };
    let shots = match spec.cmc {
        CmcShots::All => "",
        CmcShots::Single => "; ranks among single shots",
    };
    format!("{feature}{mirrored}{expanded}, L2-normalized, squared Euclidean{reranked}; {camera}; {precision}{shots}")
}

/// Views of evaluated pictures: the whole picture, resized.
pub fn views(spec: &EvaluationSpec, backbone: &VitSpec, normalisation: Normalisation) -> ViewPlan {
    let size = Size(backbone.image[0], backbone.image[1]);
    let view = ViewSpec { filter: spec.filter, ..ViewSpec::whole(size, normalisation) };
    ViewPlan { views: vec![view], shared_flip: 0.0 }
}

/// Evaluates on every set of queries that the data have: test, occluded test, validation.
///
/// # Errors
/// If a picture cannot be read or the model fails.
pub fn evaluate(
    model: &dyn Embed,
    views: &ViewPlan,
    spec: &EvaluationSpec,
    services: &dyn Services,
) -> Result<Vec<Scores>> {
    let sets = [
        (Split::Gallery, &[Split::Query, Split::OccludedQuery][..]),
        (Split::ValidationGallery, &[Split::ValidationQuery][..]),
    ];
    let mut scores = Vec::new();
    for (gallery, queries) in sets {
        let asked: Vec<Split> = queries.iter().copied().filter(|&split| !services.records(split).is_empty()).collect();
        if asked.is_empty() {
            continue;
        }
        let gallery = Side::extract(gallery, model, views, spec, services)?;
        for split in asked {
            let query = Side::extract(split, model, views, spec, services)?;
            let (ranking, roc) = rank_sides(&query, &gallery, spec);
            scores.push(summarise(split, &query, &ranking, roc.as_ref()));
        }
    }
    Ok(scores)
}

/// Evaluates on the validation part alone, if the data have one: what may be looked at during training.
///
/// # Errors
/// If a picture cannot be read or the model fails.
pub fn validate(evaluated: &Evaluated, services: &dyn Services) -> Result<Option<Scores>> {
    let Evaluated { model, views, spec } = evaluated;
    if services.records(Split::ValidationQuery).is_empty() {
        return Ok(None);
    }
    let side = |split| Side::extract(split, &**model, views, spec, services);
    let (gallery, query) = (side(Split::ValidationGallery)?, side(Split::ValidationQuery)?);
    let (ranking, roc) = rank_sides(&query, &gallery, spec);
    Ok(Some(summarise(Split::ValidationQuery, &query, &ranking, roc.as_ref())))
}

/// Ranks one side for the other.
fn rank_sides(query: &Side, gallery: &Side, spec: &EvaluationSpec) -> (Ranking, Option<Roc>) {
    let (of_query, of_gallery) = (query.labels(), gallery.labels());
    with_distances(&query.features, &gallery.features, spec, |distances| {
        let ranking = rank(distances, of_query, of_gallery, spec.rank(), MAX_RANK);
        let roc = spec.verification.then(|| Roc::of(distances, of_query, of_gallery, spec.same_camera)).flatten();
        (ranking, roc)
    })
}

/// The nearest `k` of a gallery to each query by the distance that evaluation ranks by: row and distance, nearest
/// first. Nothing is left out for its camera.
pub fn retrieve(query: &Features, gallery: &Features, spec: &EvaluationSpec, k: usize) -> Vec<Vec<(u32, f32)>> {
    let (queries, pictures) = (query.records.len(), gallery.records.len());
    with_distances(query, gallery, spec, |distances| nearest(distances, queries, pictures, k))
}

/// Does something with the distances of [`features`].
fn with_distances<R>(
    query: &Features,
    gallery: &Features,
    spec: &EvaluationSpec,
    work: impl FnOnce(&dyn Distances) -> R,
) -> R {
    let width = gallery.width;
    let (mut query, mut gallery) = (query.values.as_slice(), gallery.values.as_slice());
    let mut all;
    if let ExpansionSpec::Alpha(alpha) = spec.expansion {
        all = [query, gallery].concat(); // [q + g, d]
        expand(&mut all, width, alpha);
        normalize_rows(&mut all, width);
        (query, gallery) = all.split_at(query.len());
    }
    match spec.reranking {
        RerankingSpec::None(_) => work(&SquaredEuclidean::new(query, gallery, width)),
        RerankingSpec::KReciprocal(how) => work(&Reranked::new(query, gallery, width, how)),
    }
}

/// Features of a split as evaluation ranks them: of length 1, or as the model gives them where they are to be expanded.
///
/// # Errors
/// If a picture cannot be read or the model fails.
pub fn features(
    split: Split,
    model: &dyn Embed,
    views: &ViewPlan,
    spec: &EvaluationSpec,
    services: &dyn Services,
) -> Result<Features> {
    let mut features = if spec.flip_test {
        services.extract(split, views, spec.batch, &Mirrored(model))?
    } else {
        services.extract(split, views, spec.batch, model)?
    };
    if matches!(spec.expansion, ExpansionSpec::None(_)) {
        normalize_rows(&mut features.values, features.width);
    }
    Ok(features)
}

/// [`features`] of a split with labels.
struct Side {
    features: Features,
    pids: Vec<i64>,
    cameras: Vec<u32>,
    /// Hidden share of each picture, where that is known of all.
    hidden: Option<Vec<f32>>,
}

impl Side {
    fn extract(
        split: Split,
        model: &dyn Embed,
        views: &ViewPlan,
        spec: &EvaluationSpec,
        services: &dyn Services,
    ) -> Result<Self> {
        let features = features(split, model, views, spec, services)?;
        let records = services.records(split);
        let of = |index: &u32| -> &Record { &records[*index as usize] };
        let pids = features.records.iter().map(|index| of(index).pid).collect();
        let cameras = features.records.iter().map(|index| of(index).camera).collect();
        let hidden = features.records.iter().map(|index| of(index).hidden).collect();
        Ok(Self { features, pids, cameras, hidden })
    }

    fn labels(&self) -> Labels<'_> {
        Labels { pids: &self.pids, cameras: &self.cameras }
    }
}

/// The mean of a picture's feature and its mirror image's.
struct Mirrored<'a>(&'a dyn Embed);

impl Embed for Mirrored<'_> {
    fn embed(&self, images: &Tensor, cameras: &[u32]) -> Result<Tensor> {
        let mirrored = images.flip(&[images.rank() - 1])?.contiguous()?;
        let both = (self.0.embed(images, cameras)? + self.0.embed(&mirrored, cameras)?)?; // [b, d]
        Ok((both / 2.0)?)
    }
}

fn summarise(split: Split, queries: &Side, ranking: &Ranking, roc: Option<&Roc>) -> Scores {
    let mut metrics = vec![
        (MetricKey::Map, ranking.map),
        (MetricKey::Rank1, ranking.cmc_at(1)),
        (MetricKey::Rank5, ranking.cmc_at(5)),
        (MetricKey::Rank10, ranking.cmc_at(10)),
        (MetricKey::Rank20, ranking.cmc_at(20)),
        (MetricKey::Rank50, ranking.cmc_at(50)),
        (MetricKey::Minp, ranking.minp),
        (MetricKey::ValidQueries, ranking.valid as f64),
    ];
    if let Some(roc) = roc {
        metrics.push((MetricKey::RocArea, roc.area()));
        metrics.extend(FALSE_RATES.map(|(rate, ours, _)| (ours, roc.tpr_at_fpr(rate))));
        metrics.extend(FALSE_RATES.map(|(rate, _, theirs)| (theirs, roc.fast_reid_tpr_at_fpr(rate))));
    }
    if let Some(hidden) = &queries.hidden {
        metrics.extend(by_hidden(hidden, ranking));
    }
    let scored = queries.features.records.iter().zip(&ranking.per_query);
    let queries = scored.filter_map(|(&record, score)| score.map(|score| ScoredQuery { record, score })).collect();
    Scores { split, metrics, queries }
}

/// mAP over the valid queries of each kind that has some.
fn by_hidden(hidden: &[f32], ranking: &Ranking) -> Vec<(MetricKey, f64)> {
    let mut sums = [(0.0, 0_usize); BY_HIDDEN.len()];
    for (share, score) in hidden.iter().zip(&ranking.per_query) {
        let Some(score) = score else { continue };
        let (sum, count) = &mut sums[HIDDEN.iter().filter(|&bound| share >= bound).count()];
        *sum += score.ap;
        *count += 1;
    }
    let kinds = BY_HIDDEN.into_iter().zip(sums).filter(|(_, (_, count))| *count > 0);
    kinds.map(|(key, (sum, count))| (key, sum / count as f64)).collect()
}
