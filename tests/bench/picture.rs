//! The picture: one bar per arm, cut where its milestones were reached; SVG that needs nothing else.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{bound::stages, run::MILESTONES};

/// One colour per milestone, in their order.
const COLOURS: [&str; 7] = ["#4e79a7", "#a0cbe8", "#f28e2b", "#59a14f", "#edc948", "#b07aa1", "#9c755f"];
const LEFT: f64 = 110.0;
const WIDTH: f64 = 760.0;
const BAR: f64 = 26.0;
const GAP: f64 = 14.0;

/// A picture of these bars, each with when its milestones were reached, in seconds.
pub(crate) fn svg(bars: &[(&str, BTreeMap<&'static str, f64>)]) -> String {
    let longest = bars.iter().flat_map(|(_, times)| times.values()).fold(1.0_f64, |most, at| most.max(*at));
    let scale = WIDTH / longest;
    let top = 40.0;
    #[expect(clippy::cast_precision_loss, reason = "a handful of bars")]
    let height = top + bars.len() as f64 * (BAR + GAP) + 30.0;
    let width = LEFT + WIDTH + 70.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut x = LEFT;
    for (name, colour) in MILESTONES.into_iter().zip(COLOURS) {
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.0}\" y=\"10\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"21\">{name}</text>",
            x + 17.0
        );
        x += 105.0;
    }
    let mut y = top;
    for (name, times) in bars {
        let middle = y + BAR * 0.7;
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{middle:.0}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            escaped(name)
        );
        let mut x = LEFT;
        for (stage, seconds) in stages(times) {
            let colour = MILESTONES.iter().position(|milestone| *milestone == stage).map_or("black", |at| COLOURS[at]);
            let long = seconds * scale;
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y:.0}\" width=\"{long:.1}\" height=\"{BAR}\" fill=\"{colour}\"><title>until {stage}: {seconds:.1} s</title></rect>"
            );
            x += long;
        }
        let end = times.values().fold(0.0_f64, |most, at| most.max(*at));
        let _ = writeln!(svg, "<text x=\"{:.0}\" y=\"{middle:.0}\">{end:.0} s</text>", x + 6.0);
        y += BAR + GAP;
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// The elements that are open at the end, or what closes one that is not.
#[cfg(test)]
fn unbalanced(xml: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    for tag in xml.split('<').skip(1) {
        let (inside, text) = tag.split_once('>').expect("a tag is closed");
        assert!(!text.contains('>') && inside.matches('"').count() % 2 == 0, "{tag}");
        if let Some(name) = inside.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
        } else if !inside.ends_with('/') {
            open.push(inside.split_whitespace().next().expect("a name").to_owned());
        }
    }
    open
}

#[test]
fn the_picture_is_well_formed_and_has_a_bar_per_arm_and_stage() {
    let times: BTreeMap<_, _> = MILESTONES.into_iter().zip([20.0, 30.0, 57.0, 80.0, 95.0, 111.0, 118.0]).collect();
    let svg = svg(&[("a < b & c", times.clone()), ("up", times)]);
    assert_eq!(unbalanced(&svg), Vec::<String>::new());
    assert_eq!(svg.matches("<title>").count(), 14);
    assert!(svg.contains("until images: 27.0 s") && svg.contains("a &lt; b &amp; c") && svg.contains(">118 s<"));
}

#[test]
fn a_picture_of_nothing_is_well_formed_too() {
    assert_eq!(unbalanced(&svg(&[])), Vec::<String>::new());
}
