//! The most memory that a stage's ranking or clustering takes, by formula: before anything was measured.

use reid_data::dataset::Split;
use reid_objectives::math::footprint;
use reid_objectives::protocols::evaluation::spec::{ExpansionSpec, RerankingSpec};
use reid_objectives::spec::{EvaluationSpec, LocalSpec, ProtocolSpec};

use super::plan::{StageDef, StageKind, pooling};

/// Bytes of a stage's ranking or clustering, beside model and pictures; none of a stage without either.
pub fn bytes(stage: &StageDef) -> Option<u64> {
    let count = |split| stage.data.dataset.split(split).iter().filter(|record| record.usable).count();
    let width = feature_width(stage);
    match (&stage.spec.protocol, stage.kind) {
        (ProtocolSpec::Usl(usl), StageKind::Train) => {
            let (jaccard, dbscan) = (usl.jaccard, &usl.dbscan);
            Some(footprint::clustering(count(Split::Train), width, jaccard.k1, jaccard.k2, dbscan.min_samples))
        }
        (ProtocolSpec::Spcl(spcl), StageKind::Train) => {
            let (jaccard, dbscan) = (spcl.jaccard, &spcl.dbscan);
            Some(footprint::clustering(count(Split::Train), width, jaccard.k1, jaccard.k2, dbscan.min_samples))
        }
        (_, StageKind::Pretrain | StageKind::Train) => None,
        (protocol, StageKind::Evaluate) => {
            let sides = [
                (Split::Query, Split::Gallery),
                (Split::OccludedQuery, Split::Gallery),
                (Split::ValidationQuery, Split::ValidationGallery),
            ];
            let of = |(query, gallery)| ranking(protocol.evaluation(), count(query), count(gallery), width);
            sides.into_iter().map(of).max()
        }
    }
}

fn ranking(spec: &EvaluationSpec, queries: usize, gallery: usize, width: usize) -> u64 {
    if queries == 0 {
        return 0;
    }
    let expanded = match spec.expansion {
        ExpansionSpec::None(_) => 0,
        // All features twice more: as they are, and moved.
        ExpansionSpec::Alpha(alpha) => {
            footprint::reranking(queries, gallery, width, alpha.k, 1) + (8 * width * (queries + gallery)) as u64
        }
    };
    let reranked = match spec.reranking {
        RerankingSpec::None(_) => 0,
        RerankingSpec::KReciprocal(how) => footprint::reranking(queries, gallery, width, how.k1, how.k2),
    };
    footprint::ranking(queries, gallery, width) + expanded + reranked
}

/// Numbers of a ranked feature.
fn feature_width(stage: &StageDef) -> usize {
    let pooled = pooling(&stage.spec.protocol).width(stage.vit.size.dims().width);
    match &stage.spec.protocol {
        ProtocolSpec::Frozen(frozen) => frozen.linear_probe().map_or(pooled, |probe| probe.width),
        ProtocolSpec::Supervised(supervised) => match supervised.local {
            LocalSpec::None(_) => pooled,
            LocalSpec::Jigsaw(jigsaw) => pooled * (1 + jigsaw.parts),
        },
        ProtocolSpec::Usl(_) | ProtocolSpec::Uda(_) | ProtocolSpec::Spcl(_) => pooled,
    }
}
