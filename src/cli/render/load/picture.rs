//! A load as a picture: what happened over time, lane by lane, as SVG without scripts. Colours are classes of the page, for light and
//! dark; nothing is told by colour alone.

use std::fmt::Write;

use wplab::actions::load::{LoadReport, report::Step};

use super::{escaped, took};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 118.0;
const RIGHT: f64 = 56.0;
const HEIGHT: f64 = 48.0;

/// A picture under way: where the next lane begins.
struct Canvas {
    svg: String,
    y: f64,
    length: f64,
}

/// The picture.
pub(super) fn picture(report: &LoadReport) -> String {
    // The autoscaler goes on when the last request is over.
    let seen = report.hpa.iter().flat_map(|proof| &proof.links).filter_map(|link| link.at);
    let length = seen.fold(report.length, f64::max).max(1.0);
    let mut canvas = Canvas { svg: String::new(), y: 12.0, length };
    canvas.answers(report);
    canvas.slowest(report);
    if let Some(proof) = &report.hpa {
        let kubelet = proof.cpu.iter().filter_map(|cpu| Some((cpu.at, cpu.kubelet?)));
        let metrics = proof.cpu.iter().filter_map(|cpu| Some((cpu.at, cpu.metrics?)));
        canvas.steps("CPU use", " %", &kubelet.collect::<Vec<_>>(), &metrics.collect::<Vec<_>>());
        let counts = |steps: &[Step]| steps.iter().map(|step| (step.at, f64::from(step.count))).collect::<Vec<_>>();
        canvas.steps("replicas", "", &counts(&proof.wants), &counts(&proof.ready));
        for (n, at) in proof.links.iter().enumerate().filter_map(|(n, link)| Some((n + 1, link.at?))) {
            let (x, y) = (canvas.x(at), canvas.y);
            let name = escaped(proof.links[n - 1].link.name());
            let _ = writeln!(
                canvas.svg,
                "<path class=\"mark\" d=\"M{x:.1} 12V{y:.1}\"/><text class=\"number\" x=\"{x:.1}\" y=\"10\">{n}<title>{name}</title></text>"
            );
        }
    }
    canvas.time();
    let (height, label) = (canvas.y + 26.0, escaped(&format!("load on lab {}", report.lab)));
    let Canvas { svg, .. } = canvas;
    format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{label}\">\n{svg}</svg>\n")
}

impl Canvas {
    fn x(&self, at: f64) -> f64 {
        LEFT + (at / self.length).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn lane(&mut self, name: &str, most: &str) {
        let (label, scale, base) = (self.y + HEIGHT / 2.0 + 4.0, self.y + 8.0, self.y + HEIGHT);
        let (left, right) = (LEFT - 8.0, WIDTH - RIGHT);
        let _ = writeln!(self.svg, "<text class=\"lane\" x=\"{left}\" y=\"{label:.1}\">{name}</text>");
        let _ = writeln!(self.svg, "<text class=\"most\" x=\"{}\" y=\"{scale:.1}\">{most}</text>", right + 4.0);
        let _ = writeln!(self.svg, "<path class=\"base\" d=\"M{LEFT} {base:.1}H{right}\"/>");
    }

    /// What was answered in each second, and on top of it what failed.
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    fn answers(&mut self, report: &LoadReport) {
        let most = report.seconds.iter().map(|second| second.answered + second.failed).max().unwrap_or(0).max(1);
        self.lane("answers", &format!("{most}/s"));
        for (n, second) in report.seconds.iter().enumerate() {
            let (from, to) = (self.x(n as f64), self.x(n as f64 + 1.0));
            let wide = (to - from - 0.4).max(0.4);
            for (class, count, above) in [("good", second.answered, 0), ("bad", second.failed, second.answered)] {
                let tall = |count: u32| f64::from(count) / f64::from(most) * HEIGHT;
                let (y, h) = (self.y + HEIGHT - tall(above) - tall(count), tall(count));
                if count > 0 {
                    let _ = writeln!(
                        self.svg,
                        "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{h:.1}\"/>"
                    );
                }
            }
        }
        self.y += HEIGHT + 10.0;
    }

    /// How long 95 of a hundred answers of each second took at most.
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    fn slowest(&mut self, report: &LoadReport) {
        let most = report.seconds.iter().filter_map(|second| second.p95).fold(0.1, f64::max);
        self.lane("p95", &took(most));
        let mut path = String::new();
        for (n, p95) in report.seconds.iter().enumerate().filter_map(|(n, second)| Some((n, second.p95?))) {
            let (x, y) = (self.x(n as f64 + 0.5), self.y + HEIGHT - p95 / most * HEIGHT);
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
        }
        let _ = writeln!(self.svg, "<path class=\"curve\" d=\"{path}\"/>");
        self.y += HEIGHT + 10.0;
    }

    /// Two values that stay as they are from change to change: a dashed line and a full one.
    fn steps(&mut self, name: &str, unit: &str, dashed: &[(f64, f64)], full: &[(f64, f64)]) {
        let most = dashed.iter().chain(full).map(|(_, value)| *value).fold(1.0, f64::max);
        self.lane(name, &format!("{most:.0}{unit}"));
        for (class, steps) in [("wanted", dashed), ("ready", full)] {
            let mut path = String::new();
            for (at, value) in steps {
                let (x, y) = (self.x(*at), self.y + HEIGHT - value / most * HEIGHT);
                path += &if path.is_empty() { format!("M{x:.1} {y:.1}") } else { format!("H{x:.1}V{y:.1}") };
            }
            if !path.is_empty() {
                let _ = writeln!(self.svg, "<path class=\"{class}\" d=\"{path}H{:.1}\"/>", self.x(self.length));
            }
        }
        self.y += HEIGHT + 10.0;
    }

    fn time(&mut self) {
        let every = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0];
        let every = every.into_iter().find(|every| self.length / every <= 12.0).unwrap_or(1200.0);
        let mut at = 0.0;
        while at <= self.length {
            let (x, y) = (self.x(at), self.y + 14.0);
            let _ = writeln!(self.svg, "<text class=\"time\" x=\"{x:.1}\" y=\"{y:.1}\">{at:.0} s</text>");
            at += every;
        }
    }
}
