//! Figures as Prometheus reads them: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::Write;

/// What the answer's type has to be.
pub(crate) const KIND: &str = "text/plain; version=0.0.4";

/// The text of a `/metrics`, as it grows.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// A metric and its values, each with its labels (`{member="db-0"}`, or none); one without values is left out.
    pub(crate) fn add(&mut self, name: &str, kind: &str, help: &str, values: Vec<(String, String)>) {
        if values.is_empty() {
            return;
        }
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    /// A gauge without labels, if there is a value.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: Option<String>) {
        self.add(name, "gauge", help, value.map(|value| (String::new(), value)).into_iter().collect());
    }

    /// All of it.
    pub(crate) fn text(self) -> String {
        self.0
    }
}

/// A yes or no as a value.
pub(crate) fn number(yes: bool) -> String {
    if yes { "1" } else { "0" }.to_owned()
}
