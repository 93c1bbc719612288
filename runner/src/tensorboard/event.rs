//! The messages in event files, as far as curves need them. Numbers of fields are those of TensorFlow's `Event`
//! (<https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/util/event.proto>) and `Summary`
//! (<https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/summary.proto>).

use super::{Scalar, seconds};

/// The format: what begins with `brain.Event:` is an event file, and of version 2 steps may go back.
const VERSION: &str = "brain.Event:2";

/// `SessionLog.START`.
const START: i32 = 1;

/// Something that has happened. One of the fields below `step` is set.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Event {
    /// Seconds since 1970, UTC.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, tag = "3")]
    file_version: String,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "7")]
    session_log: Option<SessionLog>,
}

/// Values of one step.
#[derive(Clone, PartialEq, prost::Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// A point of a curve.
#[derive(Clone, PartialEq, prost::Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    /// Optional, since a zero that is not would be left out.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// The beginning of a program.
#[derive(Clone, PartialEq, prost::Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl Event {
    /// The first event of a file.
    pub(super) fn version(at: i64) -> Self {
        Self { wall_time: seconds(at), file_version: VERSION.to_owned(), ..Self::default() }
    }

    /// Tells a reader to forget what it has seen before.
    pub(super) fn restart(at: i64) -> Self {
        Self { wall_time: seconds(at), session_log: Some(SessionLog { status: START }), ..Self::default() }
    }

    /// Points of one step and time.
    pub(super) fn points(step: i64, at: i64, scalars: &[Scalar]) -> Self {
        let point = |scalar: &Scalar| Value { tag: scalar.tag.clone(), simple_value: Some(scalar.value as f32) };
        let summary = Summary { value: scalars.iter().map(point).collect() };
        Self { wall_time: seconds(at), step, summary: Some(summary), ..Self::default() }
    }
}
