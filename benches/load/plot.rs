//! The plot: rates and latencies over the requests in flight, the sessions and the connections.

use std::fmt::Write as _;

use crate::crowd;
use crate::measurement::Measurement;
use crate::spread::Spread;

const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 260.0;
const IN_FLIGHT: [u32; 4] = [1, 16, 64, 256];

/// What is drawn of each method: what it is called, its colour, and the name of its measurements.
const METHODS: [(&str, &str, &str); 4] = [
    ("echo (check's sizes)", "#9aa0a6", "EchoCheck"),
    ("CheckSession", CHECK, "Check"),
    ("echo (rotation's sizes)", "#d0b48c", "EchoRotate"),
    ("RotateRefreshToken", ROTATE, "Rotate"),
];
const CHECK: &str = "#1a73e8";
const ROTATE: &str = "#d93025";
const DASHED: &str = "stroke-dasharray=\"4 3\"";

/// One of the plot's pictures.
struct Panel {
    title: &'static str,
    unit: &'static str,
    /// What the places from left to right are called, and what they are numbers of.
    places: Vec<String>,
    of: &'static str,
    lines: Vec<Line>,
}

#[derive(Clone)]
struct Line {
    colour: &'static str,
    look: &'static str,
    /// Place and value.
    points: Vec<(usize, f64)>,
}

impl Line {
    /// A line of the medians of what is found for each place.
    fn of(
        measurements: &[Measurement],
        places: usize,
        colour: &'static str,
        look: &'static str,
        value: impl Fn(&Measurement) -> f64,
        is_at: impl Fn(&Measurement, usize) -> bool,
    ) -> Self {
        let points = (0..places).filter_map(|place| {
            let values: Vec<_> = measurements.iter().filter(|m| is_at(m, place)).map(&value).collect();
            (!values.is_empty()).then(|| (place, Spread::of(values).median))
        });
        Self { colour, look, points: points.collect() }
    }
}

/// Draws what was measured; lines that weren't are left out.
pub fn draw(measurements: &[Measurement]) -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"960\" height=\"820\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
    );
    let [rates, latencies] = over_in_flight(measurements);
    rates.draw(&mut svg, 80.0, 60.0);
    latencies.draw(&mut svg, 560.0, 60.0);
    over_sessions(measurements).draw(&mut svg, 80.0, 440.0);
    over_connections(measurements).draw(&mut svg, 560.0, 440.0);
    for (place, (label, colour, _)) in METHODS.iter().enumerate() {
        let x = 80.0 + 210.0 * number(place);
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"786\" width=\"14\" height=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"792\">{label}</text>",
            x + 20.0
        );
    }
    svg + "</svg>\n"
}

fn over_in_flight(measurements: &[Measurement]) -> [Panel; 2] {
    let lines = |look, value: fn(&Measurement) -> f64| {
        METHODS.map(|(_, colour, method)| {
            let is_at = |m: &Measurement, place: usize| m.who == format!("{method} at {}", IN_FLIGHT[place]);
            Line::of(measurements, IN_FLIGHT.len(), colour, look, value, is_at)
        })
    };
    let panel = |title, unit, lines| Panel {
        title,
        unit,
        places: IN_FLIGHT.iter().map(ToString::to_string).collect(),
        of: "requests in flight",
        lines,
    };
    let latencies =
        [lines("", |m| m.outcome.p50 / 1000.0), lines(DASHED, |m| m.outcome.p99 / 1000.0)].concat();
    [
        panel("answers a second, closed loop", "/s", lines("", rate).into()),
        panel("latency: p50, and p99 dashed", " ms", latencies),
    ]
}

fn over_sessions(measurements: &[Measurement]) -> Panel {
    let at_256 = |m: &&Measurement| m.who == "Check at 256" || m.who == "Rotate at 256";
    let mut sizes: Vec<_> = measurements.iter().filter(at_256).map(|m| m.sessions).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let line = |colour, who: &str| {
        let is_at = |m: &Measurement, place: usize| m.who == who && m.sessions == sizes[place];
        Line::of(measurements, sizes.len(), colour, "", rate, is_at)
    };
    Panel {
        title: "answers a second, 256 in flight, over sessions",
        unit: "/s",
        of: "sessions",
        lines: vec![line(CHECK, "Check at 256"), line(ROTATE, "Rotate at 256")],
        places: sizes.iter().map(|size| shortened(*size)).collect(),
    }
}

fn over_connections(measurements: &[Measurement]) -> Panel {
    let all = [crowd::BUSY.as_slice(), &crowd::IDLE].concat();
    let is_at = |m: &Measurement, place: usize| m.who == crowd::name(all[place]);
    Panel {
        title: "CheckSession, 256 in flight, over connections",
        unit: "/s",
        of: "open connections; from a thousand on all but four are idle",
        lines: vec![Line::of(measurements, all.len(), CHECK, "", rate, is_at)],
        places: all.iter().map(|connections| shortened(*connections as u64)).collect(),
    }
}

impl Panel {
    fn draw(&self, svg: &mut String, left: f64, top: f64) {
        let values = self.lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
        let most = round_up(values.fold(0.0, f64::max));
        let gaps = number(self.places.len().saturating_sub(1)).max(1.0);
        let x = |place: usize| left + WIDTH * number(place) / gaps;
        let y = |value: f64| top + HEIGHT * (1.0 - value / most);
        let _ =
            writeln!(svg, "<text x=\"{left}\" y=\"{}\" font-size=\"14\">{}</text>", top - 20.0, self.title);
        for quarter in 0..=4 {
            let value = most * f64::from(quarter) / 4.0;
            let at = y(value);
            let _ = writeln!(
                svg,
                "<path d=\"M{left} {at}h{WIDTH}\" stroke=\"#e0e0e0\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{value}{}</text>",
                left - 6.0,
                at + 4.0,
                self.unit
            );
        }
        let below = |svg: &mut String, x: f64, y: f64, text: &str| {
            let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>");
        };
        for (place, label) in self.places.iter().enumerate() {
            below(svg, x(place), top + HEIGHT + 20.0, label);
        }
        below(svg, left + WIDTH / 2.0, top + HEIGHT + 40.0, self.of);
        for Line { colour, look, points } in &self.lines {
            let corners: Vec<_> =
                points.iter().map(|(place, value)| format!("{:.1},{:.1}", x(*place), y(*value))).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" {look}/>",
                corners.join(" ")
            );
        }
    }
}

fn rate(m: &Measurement) -> f64 {
    m.outcome.rate
}

fn number(place: usize) -> f64 {
    f64::from(u32::try_from(place).unwrap_or_default())
}

/// `10k` for ten thousand.
fn shortened(number: u64) -> String {
    match number {
        n if n >= 1_000_000 && n % 1_000_000 == 0 => format!("{}M", n / 1_000_000),
        n if n >= 1000 && n % 1000 == 0 => format!("{}k", n / 1000),
        n => n.to_string(),
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
