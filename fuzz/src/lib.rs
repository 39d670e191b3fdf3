//! What the fuzz targets compare envgate with: the contract's rules once more, written for being
//! obviously right instead of fast, over `serde_json` where envgate has a scanner of its own.

pub mod answer;
pub mod cookie;
pub mod envelope;
pub mod oracle;
