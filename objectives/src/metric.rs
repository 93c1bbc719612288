//! Names, units and directions of everything that is measured.

/// Unit of a metric's stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Fraction in [0, 1]; shown in per cent.
    Fraction,
    /// A loss or another number without a unit.
    Plain,
    /// Seconds.
    Seconds,
    /// A count.
    Count,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Larger is better.
    Higher,
    /// Smaller is better.
    Lower,
    /// Neither.
    None,
}

/// A thing that is measured. The list is the documentation; nothing else invents a metric's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetricKey {
    /// Mean average precision over valid queries.
    Map,
    /// Share of valid queries whose first kept gallery item is a match.
    Rank1,
    /// The same within the first five.
    Rank5,
    /// The same within the first ten.
    Rank10,
    /// The same within the first twenty.
    Rank20,
    /// The same within the first fifty.
    Rank50,
    /// Mean inverse negative penalty.
    Minp,
    /// Queries with at least one valid match.
    ValidQueries,
    /// mAP over the queries of which less than a third is hidden, where that is known of each.
    MapHiddenLow,
    /// The same of those of which a third or more is hidden, but less than a half.
    MapHiddenMid,
    /// The same of those of which a half or more is hidden.
    MapHiddenHigh,
    /// Area under the curve of true over false positive rates of verification.
    RocArea,
    /// Share of pairs of one person that are accepted where no more than 1e-4 of the others are.
    Tpr1e4,
    /// The same for 1e-3.
    Tpr1e3,
    /// The same for 1e-2.
    Tpr1e2,
    /// What fast-reid reports as TPR@FPR=1e-4: pairs of two people are its positives.
    FastReidTpr1e4,
    /// The same for 1e-3.
    FastReidTpr1e3,
    /// The same for 1e-2.
    FastReidTpr1e2,
    /// Weighted sum that is minimised.
    Loss,
    /// Pixel reconstruction loss.
    LossPixel,
    /// Feature prediction loss.
    LossFeature,
    /// Contrast of augmented views with other pictures.
    LossContrast,
    /// Divergence of the augmented picture's similarities from the original's.
    LossConsistency,
    /// Contrast among the strips of a picture.
    LossStrips,
    /// Share of queries whose own key is the most similar.
    ContrastAccuracy,
    /// Steps since the oldest key of the queue was written.
    QueueAge,
    /// Identity loss.
    LossId,
    /// Triplet loss.
    LossTriplet,
    /// Share of training samples classified rightly.
    TrainAccuracy,
    /// Global norm of the gradient before clipping.
    GradNorm,
    /// Peak learning rate over groups.
    Lr,
    /// Mean over channels of the class token's standard deviation over a batch; near 0 means
    /// collapse.
    FeatureStd,
    /// Directions over which a batch's features spread: the exponential of the entropy of their singular
    /// values ([`crate::math::spectrum::effective_rank`]); near 1 means dimensional collapse.
    EffectiveRank,
    /// Share of masked cells that came from blocks.
    BlockShare,
    /// Self-distillation loss of class tokens.
    LossDino,
    /// Self-distillation loss of masked patches.
    LossMim,
    /// Mean entropy, in nats, of the teacher's distributions over prototypes; at 0 or at the logarithm of their number
    /// the teacher has collapsed.
    TeacherEntropy,
    /// Euclidean norm of the running mean of the teacher's outputs.
    CenterNorm,
    /// Share of the patches that are hidden from the student.
    MaskedShare,
    /// Cross-entropy of clusters by similarity to their centres.
    LossCluster,
    /// Clusters of the epoch.
    Clusters,
    /// Pictures that are in no cluster in the epoch.
    Outliers,
    /// Adjusted Rand index of the epoch's clusters and the identities, which the training does not see.
    ClusterAri,
    /// Normalised mutual information of the two.
    ClusterNmi,
}

impl MetricKey {
    /// All metrics.
    pub const ALL: [Self; 44] = [
        Self::Map,
        Self::Rank1,
        Self::Rank5,
        Self::Rank10,
        Self::Rank20,
        Self::Rank50,
        Self::Minp,
        Self::ValidQueries,
        Self::MapHiddenLow,
        Self::MapHiddenMid,
        Self::MapHiddenHigh,
        Self::RocArea,
        Self::Tpr1e4,
        Self::Tpr1e3,
        Self::Tpr1e2,
        Self::FastReidTpr1e4,
        Self::FastReidTpr1e3,
        Self::FastReidTpr1e2,
        Self::Loss,
        Self::LossPixel,
        Self::LossFeature,
        Self::LossContrast,
        Self::LossConsistency,
        Self::LossStrips,
        Self::ContrastAccuracy,
        Self::QueueAge,
        Self::LossId,
        Self::LossTriplet,
        Self::TrainAccuracy,
        Self::GradNorm,
        Self::Lr,
        Self::FeatureStd,
        Self::EffectiveRank,
        Self::BlockShare,
        Self::LossDino,
        Self::LossMim,
        Self::TeacherEntropy,
        Self::CenterNorm,
        Self::MaskedShare,
        Self::LossCluster,
        Self::Clusters,
        Self::Outliers,
        Self::ClusterAri,
        Self::ClusterNmi,
    ];

    /// Name in columns, specs and docs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Rank1 => "rank1",
            Self::Rank5 => "rank5",
            Self::Rank10 => "rank10",
            Self::Rank20 => "rank20",
            Self::Rank50 => "rank50",
            Self::Minp => "minp",
            Self::ValidQueries => "valid_queries",
            Self::MapHiddenLow => "map_hidden_low",
            Self::MapHiddenMid => "map_hidden_mid",
            Self::MapHiddenHigh => "map_hidden_high",
            Self::RocArea => "roc_auc",
            Self::Tpr1e4 => "tpr_fpr_1e4",
            Self::Tpr1e3 => "tpr_fpr_1e3",
            Self::Tpr1e2 => "tpr_fpr_1e2",
            Self::FastReidTpr1e4 => "fast_reid_tpr_1e4",
            Self::FastReidTpr1e3 => "fast_reid_tpr_1e3",
            Self::FastReidTpr1e2 => "fast_reid_tpr_1e2",
            Self::Loss => "loss",
            Self::LossPixel => "loss_pixel",
            Self::LossFeature => "loss_feature",
            Self::LossContrast => "loss_contrast",
            Self::LossConsistency => "loss_consistency",
            Self::LossStrips => "loss_strips",
            Self::ContrastAccuracy => "contrast_accuracy",
            Self::QueueAge => "queue_age",
            Self::LossId => "loss_id",
            Self::LossTriplet => "loss_triplet",
            Self::TrainAccuracy => "train_accuracy",
            Self::GradNorm => "grad_norm",
            Self::Lr => "lr",
            Self::FeatureStd => "feature_std",
            Self::EffectiveRank => "effective_rank",
            Self::BlockShare => "block_share",
            Self::LossDino => "loss_dino",
            Self::LossMim => "loss_mim",
            Self::TeacherEntropy => "teacher_entropy",
            Self::CenterNorm => "center_norm",
            Self::MaskedShare => "masked_share",
            Self::LossCluster => "loss_cluster",
            Self::Clusters => "clusters",
            Self::Outliers => "outliers",
            Self::ClusterAri => "cluster_ari",
            Self::ClusterNmi => "cluster_nmi",
        }
    }

    /// Unit of the stored value.
    pub fn unit(self) -> Unit {
        match self {
            Self::Map
            | Self::Rank1
            | Self::Rank5
            | Self::Rank10
            | Self::Rank20
            | Self::Rank50
            | Self::RocArea
            | Self::Tpr1e4
            | Self::Tpr1e3
            | Self::Tpr1e2
            | Self::FastReidTpr1e4
            | Self::FastReidTpr1e3
            | Self::FastReidTpr1e2
            | Self::Minp
            | Self::MapHiddenLow
            | Self::MapHiddenMid
            | Self::MapHiddenHigh
            | Self::TrainAccuracy
            | Self::MaskedShare
            | Self::ContrastAccuracy
            | Self::BlockShare => Unit::Fraction,
            Self::ValidQueries | Self::QueueAge | Self::Clusters | Self::Outliers => Unit::Count,
            Self::Loss
            | Self::LossPixel
            | Self::LossFeature
            | Self::LossContrast
            | Self::LossConsistency
            | Self::LossStrips
            | Self::LossId
            | Self::LossTriplet
            | Self::GradNorm
            | Self::Lr
            | Self::FeatureStd
            | Self::LossDino
            | Self::LossMim
            | Self::LossCluster
            | Self::ClusterAri
            | Self::ClusterNmi
            | Self::TeacherEntropy
            | Self::CenterNorm
            | Self::EffectiveRank => Unit::Plain,
        }
    }

    /// Which way is better.
    pub fn direction(self) -> Direction {
        match self {
            Self::Map
            | Self::Rank1
            | Self::Rank5
            | Self::Rank10
            | Self::Rank20
            | Self::Rank50
            | Self::RocArea
            | Self::Tpr1e4
            | Self::Tpr1e3
            | Self::Tpr1e2
            | Self::FastReidTpr1e4
            | Self::FastReidTpr1e3
            | Self::FastReidTpr1e2
            | Self::Minp
            | Self::MapHiddenLow
            | Self::MapHiddenMid
            | Self::MapHiddenHigh
            | Self::TrainAccuracy
            | Self::ClusterAri
            | Self::ClusterNmi
            | Self::ContrastAccuracy => Direction::Higher,
            Self::Loss
            | Self::LossPixel
            | Self::LossFeature
            | Self::LossContrast
            | Self::LossConsistency
            | Self::LossStrips
            | Self::LossId
            | Self::LossTriplet
            | Self::LossDino
            | Self::LossCluster
            | Self::LossMim => Direction::Lower,
            Self::ValidQueries
            | Self::QueueAge
            | Self::Clusters
            | Self::Outliers
            | Self::GradNorm
            | Self::Lr
            | Self::FeatureStd
            | Self::EffectiveRank
            | Self::TeacherEntropy
            | Self::CenterNorm
            | Self::MaskedShare
            | Self::BlockShare => Direction::None,
        }
    }
}
