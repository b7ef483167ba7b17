//! One round as a picture: what happened over time, lane by lane, as SVG without scripts. Colours are classes of the page, for
//! light and dark; nothing is told by colour alone.

use std::fmt::Write;

use wplab::actions::chaos::report::{PhaseName, Round, Second, Step, Stretch};

use super::escaped;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 118.0;
const RIGHT: f64 = 46.0;

/// A picture under way: where the next lane begins.
struct Canvas<'a> {
    round: &'a Round,
    svg: String,
    y: f64,
}

/// The picture.
pub(super) fn picture(round: &Round) -> String {
    let mut canvas = Canvas { round, svg: String::new(), y: 24.0 };
    let top = canvas.y;
    let seconds = &round.timeline.seconds;
    canvas.bars("pages read", seconds, |second| (second.read, second.unread));
    canvas.curve("slowest page", seconds);
    canvas.bars("edits saved", seconds, |second| (second.edited, second.unedited));
    canvas.bars("rows written", seconds, |second| (second.written, second.unwritten));
    for (name, stretches) in &round.timeline.members {
        canvas.member(name, stretches);
    }
    canvas.y += 6.0;
    canvas.steps("replicas", &round.timeline.ready, &round.timeline.wanted);
    let bottom = canvas.y;
    canvas.time(bottom);
    let lanes = std::mem::take(&mut canvas.svg);
    canvas.behind(top, bottom);
    canvas.marks(bottom);
    let (height, label) = (bottom + 26.0, escaped(&format!("{}: {}", round.scenario, round.summary)));
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{label}\">\n{}{lanes}</svg>\n",
        canvas.svg
    )
}

impl Canvas<'_> {
    fn x(&self, at: f64) -> f64 {
        LEFT + (at / self.round.length.max(1.0)).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn label(&mut self, name: &str, height: f64) {
        let y = self.y + height / 2.0 + 4.0;
        let _ = writeln!(self.svg, "<text class=\"lane\" x=\"{}\" y=\"{y:.1}\">{}</text>", LEFT - 8.0, escaped(name));
    }

    fn scale(&mut self, height: f64, most: &str) {
        let (x, y) = (WIDTH - RIGHT + 4.0, self.y + 8.0);
        let base = self.y + height;
        let _ = writeln!(self.svg, "<text class=\"most\" x=\"{x}\" y=\"{y:.1}\">{most}</text>");
        let _ = writeln!(self.svg, "<path class=\"base\" d=\"M{LEFT} {base:.1}H{}\"/>", WIDTH - RIGHT);
    }

    /// What was served in each second, and on top of it what was not.
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    fn bars(&mut self, name: &str, seconds: &[Second], of: fn(&Second) -> (u32, u32)) {
        const HEIGHT: f64 = 44.0;
        let most = seconds.iter().map(|second| of(second).0 + of(second).1).max().unwrap_or_default().max(1);
        self.label(name, HEIGHT);
        self.scale(HEIGHT, &format!("{most}/s"));
        for (n, second) in seconds.iter().enumerate() {
            let (good, bad) = of(second);
            let (from, to) = (self.x(n as f64), self.x(n as f64 + 1.0));
            let wide = (to - from - 0.6).max(0.5);
            let tall = |count: u32| f64::from(count) / f64::from(most) * HEIGHT;
            let base = self.y + HEIGHT;
            for (class, count, above) in [("good", good, 0), ("bad", bad, good)] {
                if count > 0 {
                    let (y, h) = (base - tall(above) - tall(count), tall(count));
                    let _ = writeln!(
                        self.svg,
                        "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{h:.1}\"/>"
                    );
                }
            }
        }
        self.y += HEIGHT + 10.0;
    }

    /// How long the slowest page of each second took.
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    fn curve(&mut self, name: &str, seconds: &[Second]) {
        const HEIGHT: f64 = 44.0;
        let most = seconds.iter().map(|second| second.slowest).fold(0.1, f64::max);
        self.label(name, HEIGHT);
        self.scale(HEIGHT, &format!("{most:.1} s"));
        let mut path = String::new();
        for (n, second) in seconds.iter().enumerate().filter(|(_, second)| second.read + second.unread > 0) {
            let (x, y) = (self.x(n as f64 + 0.5), self.y + HEIGHT - second.slowest / most * HEIGHT);
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
        }
        let _ = writeln!(self.svg, "<path class=\"curve\" d=\"{path}\"/>");
        self.y += HEIGHT + 10.0;
    }

    /// What a member was, from change to change.
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    fn member(&mut self, name: &str, stretches: &[Stretch]) {
        const HEIGHT: f64 = 14.0;
        self.label(name, HEIGHT);
        let ends = stretches.iter().skip(1).map(|next| next.at as f64 / 1000.0).chain([self.round.length]);
        for (stretch, end) in stretches.iter().zip(ends) {
            let (from, to) = (self.x(stretch.at as f64 / 1000.0), self.x(end));
            let (is, wide, y) = (stretch.is, (to - from).max(0.5), self.y);
            let _ = writeln!(
                self.svg,
                "<rect class=\"{is}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{HEIGHT}\"><title>{is}</title></rect>"
            );
            if wide > 44.0 {
                let (x, y) = (from + 5.0, y + 10.5);
                let _ = writeln!(self.svg, "<text class=\"in-{is}\" x=\"{x:.1}\" y=\"{y:.1}\">{is}</text>");
            }
        }
        self.y += HEIGHT + 4.0;
    }

    /// How many replicas were ready, and how many the autoscaler wanted.
    fn steps(&mut self, name: &str, ready: &[Step], wanted: &[Step]) {
        const HEIGHT: f64 = 40.0;
        let most = ready.iter().chain(wanted).map(|step| step.count).max().unwrap_or_default().max(1);
        self.label(name, HEIGHT);
        self.scale(HEIGHT, &most.to_string());
        for (class, steps) in [("wanted", wanted), ("ready", ready)] {
            let mut path = String::new();
            for step in steps {
                let (x, y) = (self.x(step.at), self.y + HEIGHT - f64::from(step.count) / f64::from(most) * HEIGHT);
                let _ = write!(
                    path,
                    "{}",
                    if path.is_empty() { format!("M{x:.1} {y:.1}") } else { format!("H{x:.1}V{y:.1}") }
                );
            }
            if !path.is_empty() {
                let _ = writeln!(self.svg, "<path class=\"{class}\" d=\"{path}H{:.1}\"/>", self.x(self.round.length));
            }
        }
        self.y += HEIGHT + 8.0;
    }

    fn time(&mut self, bottom: f64) {
        let every = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0]
            .into_iter()
            .find(|every| self.round.length / every <= 12.0)
            .unwrap_or(1200.0);
        let mut at = 0.0;
        while at <= self.round.length {
            let (x, y) = (self.x(at), bottom + 14.0);
            let _ = writeln!(self.svg, "<text class=\"time\" x=\"{x:.1}\" y=\"{y:.1}\">{at:.0} s</text>");
            at += every;
        }
    }

    /// The phases behind all lanes, and when the API server was silent.
    fn behind(&mut self, top: f64, bottom: f64) {
        for phase in &self.round.phases {
            let (from, to) = (self.x(phase.from), self.x(phase.to));
            let (name, wide, tall) = (phase.phase.name(), (to - from).max(0.0), bottom - top + 16.0);
            let _ = writeln!(
                self.svg,
                "<rect class=\"phase {name}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\"/>",
                top - 16.0
            );
            if wide > 40.0 || phase.phase == PhaseName::Fault {
                let _ = writeln!(
                    self.svg,
                    "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
                    from + 4.0,
                    top - 4.0
                );
            }
        }
        for (from, to) in &self.round.timeline.api_silent {
            let (x, wide) = (self.x(*from), self.x(*to) - self.x(*from));
            let _ = writeln!(
                self.svg,
                "<rect class=\"silent\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"4\"><title>the API server does not answer</title></rect>",
                bottom - 2.0
            );
        }
    }

    fn marks(&mut self, bottom: f64) {
        for (n, mark) in self.round.timeline.marks.iter().enumerate() {
            let x = self.x(mark.at);
            let _ = writeln!(
                self.svg,
                "<path class=\"mark\" d=\"M{x:.1} 10V{bottom:.1}\"/><text class=\"number\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                bottom + 25.0,
                n + 1
            );
        }
    }
}
