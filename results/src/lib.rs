//! Result rows in, Parquet files and tables out.
