//! Retrieval evaluation: features of queries and gallery, ranked.

use reid_backbones::spec::VitSpec;
use reid_data::dataset::{Record, Split};
use reid_data::spec::{Normalisation, Size};
use reid_data::views::{ViewPlan, ViewSpec};

use crate::error::Result;
use crate::math::distance::normalize_rows;
use crate::math::ranking::{Labels, QueryScore, Ranking, Samples, rank};
use crate::metric::MetricKey;
use crate::spec::{EvaluationFeature, EvaluationSpec, Pooling, ProtocolSpec};
use crate::task::{Embed, Evaluated, Features, Services};

/// Raised whenever the numbers that evaluation gives change.
pub const ALGORITHM_VERSION: u32 = 1;
/// What the metrics of evaluation points begin with among step metrics, and of the validation part in rows.
pub const VALIDATION_PREFIX: &str = "validation.";
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
    let feature = match protocol {
        ProtocolSpec::Supervised(spec) => format!("class token {}", neck(&spec.evaluation)),
        ProtocolSpec::Usl(spec) => format!("class token {}", neck(&spec.evaluation)),
        ProtocolSpec::Frozen(spec) => match (spec.linear_probe(), spec.pooling) {
            (Some(_), pooling) => format!("linear probe of the {} {}", pooling.describe(), neck(&spec.evaluation)),
            // The supervised protocol's feature, and compared with it.
            (None, Pooling::Cls) => "class token before the neck".to_owned(),
            (None, pooling) => pooling.describe().to_owned(),
        },
    };
    format!("{feature}, L2-normalized, squared Euclidean; same identity and camera removed; AP by steps")
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
pub fn evaluate(model: &dyn Embed, views: &ViewPlan, batch: usize, services: &dyn Services) -> Result<Vec<Scores>> {
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
        let gallery = Side::extract(gallery, views, batch, model, services)?;
        for split in asked {
            let query = Side::extract(split, views, batch, model, services)?;
            let ranking = rank(query.samples(), gallery.samples(), gallery.features.width, MAX_RANK)?;
            scores.push(summarise(split, &query.features, &ranking));
        }
    }
    Ok(scores)
}

/// Evaluates on the validation part alone, if the data have one: what may be looked at during training.
///
/// # Errors
/// If a picture cannot be read or the model fails.
pub fn validate(evaluated: &Evaluated, services: &dyn Services) -> Result<Option<Scores>> {
    let Evaluated { model, views, batch } = evaluated;
    if services.records(Split::ValidationQuery).is_empty() {
        return Ok(None);
    }
    let side = |split| Side::extract(split, views, *batch, &**model, services);
    let (gallery, query) = (side(Split::ValidationGallery)?, side(Split::ValidationQuery)?);
    let ranking = rank(query.samples(), gallery.samples(), gallery.features.width, MAX_RANK)?;
    Ok(Some(summarise(Split::ValidationQuery, &query.features, &ranking)))
}

/// Normalised features of a split, with labels.
struct Side {
    features: Features,
    pids: Vec<i64>,
    cameras: Vec<u32>,
}

impl Side {
    fn extract(
        split: Split,
        views: &ViewPlan,
        batch: usize,
        model: &dyn Embed,
        services: &dyn Services,
    ) -> Result<Self> {
        let mut features = services.extract(split, views, batch, model)?;
        normalize_rows(&mut features.values, features.width);
        let records = services.records(split);
        let of = |index: &u32| -> &Record { &records[*index as usize] };
        let pids = features.records.iter().map(|index| of(index).pid).collect();
        let cameras = features.records.iter().map(|index| of(index).camera).collect();
        Ok(Self { features, pids, cameras })
    }

    fn samples(&self) -> Samples<'_> {
        Samples { features: &self.features.values, labels: Labels { pids: &self.pids, cameras: &self.cameras } }
    }
}

fn summarise(split: Split, queries: &Features, ranking: &Ranking) -> Scores {
    let metrics = vec![
        (MetricKey::Map, ranking.map),
        (MetricKey::Rank1, ranking.cmc_at(1)),
        (MetricKey::Rank5, ranking.cmc_at(5)),
        (MetricKey::Rank10, ranking.cmc_at(10)),
        (MetricKey::Minp, ranking.minp),
        (MetricKey::ValidQueries, ranking.valid as f64),
    ];
    let scored = queries.records.iter().zip(&ranking.per_query);
    let queries = scored.filter_map(|(&record, score)| score.map(|score| ScoredQuery { record, score })).collect();
    Scores { split, metrics, queries }
}
