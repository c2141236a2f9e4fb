//! The plot: rates and latencies over the number of requests in flight.

use std::fmt::Write as _;

use crate::stage::Measurement;
use crate::table::Spread;

const AT: [u32; 4] = [1, 16, 64, 256];
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 260.0;
const TOP: f64 = 60.0;

/// A line of the plot: what it is called, its colour, and the name of its measurements.
const LINES: [(&str, &str, &str); 4] = [
    ("echo (check's sizes)", "#9aa0a6", "EchoCheck"),
    ("CheckSession", "#1a73e8", "Check"),
    ("echo (rotation's sizes)", "#d0b48c", "EchoRotate"),
    ("RotateRefreshToken", "#d93025", "Rotate"),
];

/// Draws what was measured; lines that weren't are left out.
pub fn draw(measurements: &[Measurement]) -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"960\" height=\"440\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
    );
    let rate = |m: &Measurement| m.outcome.rate;
    panel(&mut svg, 80.0, "answers a second, closed loop", measurements, &[("", &rate)], "/s");
    let p50 = |m: &Measurement| m.outcome.p50 / 1000.0;
    let p99 = |m: &Measurement| m.outcome.p99 / 1000.0;
    let both: [Kind<'_>; 2] = [("", &p50), ("stroke-dasharray=\"4 3\"", &p99)];
    panel(&mut svg, 560.0, "latency: p50, and p99 dashed", measurements, &both, " ms");
    for (n, (label, colour, _)) in LINES.iter().enumerate() {
        let x = 80.0 + 210.0 * f64::from(u32::try_from(n).unwrap_or_default());
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"396\" width=\"14\" height=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"402\">{label}</text>",
            x + 20.0
        );
    }
    svg + "</svg>\n"
}

/// How a line looks and what it shows.
type Kind<'a> = (&'a str, &'a dyn Fn(&Measurement) -> f64);

fn panel(
    svg: &mut String,
    left: f64,
    title: &str,
    measurements: &[Measurement],
    kinds: &[Kind<'_>],
    unit: &str,
) {
    let mut lines = Vec::new();
    for (look, of) in kinds {
        for (_, colour, method) in LINES {
            let points: Vec<_> = (0_u32..)
                .zip(AT)
                .filter_map(|(place, at)| {
                    let who = format!("{method} at {at}");
                    let values: Vec<_> = measurements.iter().filter(|m| m.who == who).map(of).collect();
                    (!values.is_empty()).then(|| (place, Spread::of(values).median))
                })
                .collect();
            lines.push((*look, colour, points));
        }
    }
    let most = lines.iter().flat_map(|(_, _, points)| points).map(|(_, value)| *value).fold(0.0, f64::max);
    let top = round_up(most);
    let x = |place: u32| left + WIDTH * f64::from(place) / 3.0;
    let y = |value: f64| TOP + HEIGHT * (1.0 - value / top);
    let _ = writeln!(svg, "<text x=\"{left}\" y=\"{}\" font-size=\"14\">{title}</text>", TOP - 20.0);
    for quarter in 0..=4 {
        let value = top * f64::from(quarter) / 4.0;
        let at = y(value);
        let _ = writeln!(
            svg,
            "<path d=\"M{left} {at}h{WIDTH}\" stroke=\"#e0e0e0\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value}{unit}</text>",
            left - 6.0,
            at + 4.0
        );
    }
    for (place, at) in (0_u32..).zip(AT) {
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{at}</text>",
            x(place),
            TOP + HEIGHT + 20.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">requests in flight</text>",
        left + WIDTH / 2.0,
        TOP + HEIGHT + 40.0
    );
    for (look, colour, points) in lines {
        let corners: Vec<_> =
            points.iter().map(|(place, value)| format!("{:.1},{:.1}", x(*place), y(*value))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" {look}/>",
            corners.join(" ")
        );
    }
}

/// A round number that isn't less.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 4.0, 6.0, 8.0].into_iter().find(|step| step * power >= value);
    step.unwrap_or(10.0) * power
}
