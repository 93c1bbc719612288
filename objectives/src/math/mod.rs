//! Pure functions: ranking, distances, schedules.
