//! How the tool prints: errors, JSON, colours, units.

pub mod failure;
pub mod http;
pub mod json;
pub mod openmetrics;
pub mod style;
pub mod units;
