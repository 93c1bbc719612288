//! Golden: schedules.
