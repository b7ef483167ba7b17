//! What came of a load, for people and for CI: a table, a page with a picture, and JUnit. All are made of one report.

pub(crate) mod html;
pub(crate) mod junit;
mod picture;
#[cfg(test)]
mod sample;
pub(crate) mod table;

use wplab::actions::load::report::{Link, Sum};

use super::chaos::{STYLE, escaped};

/// A time that an answer took.
fn took(seconds: f64) -> String {
    if seconds < 10.0 { format!("{:.0} ms", seconds * 1000.0) } else { format!("{seconds:.1} s") }
}

/// The columns of a kind of request: count, rate, failures and percentiles.
fn columns(sum: &Sum) -> [String; 8] {
    let latency = sum.latency.map(|l| [l.p50, l.p95, l.p99, l.max].map(took));
    let [p50, p95, p99, max] = latency.unwrap_or_else(|| ["-"; 4].map(ToOwned::to_owned));
    let rate = format!("{:.1}/s", sum.rate);
    [sum.kind.to_owned(), sum.count.to_string(), rate, sum.failed.to_string(), p50, p95, p99, max]
}

const COLUMNS: [&str; 8] = ["KIND", "COUNT", "RATE", "FAILED", "P50", "P95", "P99", "MAX"];

/// The columns of a link: what, when, and how long after the one before it.
fn link(link: &Link) -> [String; 3] {
    let at = link.at.map_or_else(|| "not seen".to_owned(), |at| format!("{at:.1} s"));
    let after = link.after.map_or_else(String::new, |after| format!("{after:.1} s"));
    [link.link.name().to_owned(), at, after]
}

/// What failed, and how often so; empty when nothing did.
fn errors(sum: &Sum) -> String {
    let all: Vec<String> = sum.errors.iter().map(|(what, count)| format!("{count} × {what}")).collect();
    all.join(", ")
}
