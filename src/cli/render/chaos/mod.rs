//! What drills found out, for people and for CI: a table, a page with pictures, and JUnit. All are made of one report.

pub(crate) mod html;
pub(crate) mod junit;
mod picture;
#[cfg(test)]
mod sample;
pub(crate) mod table;

#[cfg(test)]
pub(super) use self::sample::golden;

/// A text in HTML or XML.
pub(super) fn escaped(text: &str) -> String {
    let allowed = |c: &char| !c.is_control() || *c == '\n';
    let mut safe = String::with_capacity(text.len());
    for c in text.chars().filter(allowed) {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}

/// How pages of reports look.
pub(super) const STYLE: &str = include_str!("page.css");

/// How long nobody was served, in few digits.
fn outage(served: &wplab::actions::chaos::report::Served) -> String {
    format!("{:.1} s", served.outage.length)
}
