//! Lines over two axes, as SVG by hand. Legible on light and on dark pages: it has a ground of its own, and follows
//! the reader's choice where the program that shows it does.

use std::fmt::Write as _;

use crate::report::number;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
/// Between the picture's edges and the axes: left, top, right, bottom. The names of the lines are on the right.
const EDGES: [f64; 4] = [72.0, 44.0, 120.0, 48.0];

const STYLE: &str = "<style>
.ground { fill: #fff } .axis { stroke: #57606a } .grid { stroke: #d8dee4 } text { fill: #24292f }
.s0 { color: #0550ae } .s1 { color: #bc4c00 } .s2 { color: #1a7f37 }
.line { fill: none; stroke: currentColor; stroke-width: 2 } .dot { fill: currentColor } .name { fill: currentColor }
@media (prefers-color-scheme: dark) {
.ground { fill: #0d1117 } .axis { stroke: #8b949e } .grid { stroke: #30363d } text { fill: #e6edf3 }
.s0 { color: #79c0ff } .s1 { color: #ffa657 } .s2 { color: #7ee787 }
}
</style>
";

/// What is drawn.
pub(crate) struct Plot {
    pub(crate) title: &'static str,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    /// Three at most: there are no more colours.
    pub(crate) lines: Vec<Line>,
}

/// One of the axes, with its unit.
pub(crate) struct Axis {
    pub(crate) label: &'static str,
    pub(crate) scale: Scale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// From zero on.
    Linear,
    /// Whole powers of ten.
    Log,
}

pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// In the order of their x.
    pub(crate) points: Vec<(f64, f64)>,
}

/// From where to where an axis goes, and where it is marked.
struct Span {
    scale: Scale,
    from: f64,
    to: f64,
    marks: Vec<f64>,
}

impl Span {
    fn of(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (least, most) =
            values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        match scale {
            Scale::Linear => {
                let step = step(most.max(f64::MIN_POSITIVE) / 5.0);
                let steps = (most / step).ceil().max(1.0);
                let marks = (0..=steps as u32).map(|n| f64::from(n) * step).collect();
                Self { scale, from: 0.0, to: steps * step, marks }
            }
            Scale::Log => {
                let (from, to) = (least.max(1e-9).log10().floor(), most.max(1e-9).log10().ceil());
                let to = if to > from { to } else { from + 1.0 };
                let marks = (from as i32..=to as i32).map(|power| 10_f64.powi(power)).collect();
                Self { scale, from, to, marks }
            }
        }
    }

    /// Where on the axis, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let value = if self.scale == Scale::Log { value.max(1e-9).log10() } else { value };
        (value - self.from) / (self.to - self.from)
    }
}

/// The next of 1, 2, 5, 10, 20 …
fn step(size: f64) -> f64 {
    let power = 10_f64.powf(size.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    // A rounding error must not take the step above.
    steps.into_iter().find(|step| *step * 1.000_001 >= size).unwrap_or(10.0 * power)
}

/// As short as a mark has to be: `10 k`, `1 M`.
fn mark(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", value / 1e6),
        value if value >= 1e4 => format!("{} k", value / 1e3),
        value if value.fract() == 0.0 && value < 1e3 => format!("{value:.0}"),
        value if value.fract() == 0.0 => number(value),
        value => format!("{value:.1}"),
    }
}

impl Plot {
    pub(crate) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter());
        let x = Span::of(self.x.scale, points().map(|(x, _)| *x));
        let y = Span::of(self.y.scale, points().map(|(_, y)| *y));
        let [left, top, right, bottom] = EDGES;
        let at_x = |value: f64| left + x.part(value) * (WIDTH - left - right);
        let at_y = |value: f64| HEIGHT - bottom - y.part(value) * (HEIGHT - top - bottom);
        let mut svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' width='{WIDTH}' \
             height='{HEIGHT}' font-family='sans-serif' font-size='12' role='img'>\n<title>{0}</title>\n{STYLE}\
             <rect class='ground' width='100%' height='100%' rx='6'/>\n<text x='{left}' y='22' font-size='14' \
             font-weight='bold'>{0}</text>\n",
            escape(self.title)
        );
        let (low, high) = (HEIGHT - bottom, top);
        for value in &x.marks {
            let (at, text) = (at_x(*value), mark(*value));
            put(&mut svg, format_args!("<path class='grid' d='M{at:.1} {low}V{high}'/>"));
            put(
                &mut svg,
                format_args!("<text x='{at:.1}' y='{}' text-anchor='middle'>{text}</text>", low + 16.0),
            );
        }
        for value in &y.marks {
            let (at, text) = (at_y(*value), mark(*value));
            put(&mut svg, format_args!("<path class='grid' d='M{left} {at:.1}H{}'/>", WIDTH - right));
            put(
                &mut svg,
                format_args!("<text x='{}' y='{:.1}' text-anchor='end'>{text}</text>", left - 6.0, at + 4.0),
            );
        }
        put(
            &mut svg,
            format_args!("<path class='axis' fill='none' d='M{left} {high}V{low}H{}'/>", WIDTH - right),
        );
        let middle = f64::midpoint(left, WIDTH - right);
        let label = escape(self.x.label);
        put(
            &mut svg,
            format_args!("<text x='{middle}' y='{}' text-anchor='middle'>{label}</text>", HEIGHT - 10.0),
        );
        let (middle, label) = (f64::midpoint(low, high), escape(self.y.label));
        let turned = format!("transform='translate(16 {middle}) rotate(-90)' text-anchor='middle'");
        put(&mut svg, format_args!("<text {turned}>{label}</text>"));
        for (n, line) in self.lines.iter().enumerate() {
            draw(&mut svg, n, line, at_x, at_y);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn draw(svg: &mut String, n: usize, line: &Line, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) {
    let path: Vec<String> =
        line.points.iter().map(|(px, py)| format!("{:.1} {:.1}", x(*px), y(*py))).collect();
    put(svg, format_args!("<g class='s{n}'><path class='line' d='M{}'/>", path.join("L")));
    for (px, py) in &line.points {
        let title = format!("{}: {} at {}", escape(line.name), number(*py), number(*px));
        put(
            svg,
            format_args!(
                "<circle class='dot' cx='{:.1}' cy='{:.1}' r='3.5'><title>{title}</title></circle>",
                x(*px),
                y(*py)
            ),
        );
    }
    if let Some((px, py)) = line.points.last() {
        let (x, y) = (x(*px) + 8.0, y(*py) + 4.0);
        put(svg, format_args!("<text class='name' x='{x:.1}' y='{y:.1}'>{}</text>", escape(line.name)));
    }
    svg.push_str("</g>\n");
}

fn put(svg: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(svg, "{what}").expect("a string takes everything");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_marked_at_round_numbers_around_all_that_is_drawn() {
        let linear = Span::of(Scale::Linear, [3.0, 47.0].into_iter());
        assert_eq!(linear.marks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!((linear.part(0.0), linear.part(25.0)), (0.0, 0.5));
        let log = Span::of(Scale::Log, [10_000.0, 1_000_000.0].into_iter());
        assert_eq!(log.marks.iter().map(|value| mark(*value)).collect::<Vec<_>>(), ["10 k", "100 k", "1 M"]);
        assert!((log.part(100_000.0) - 0.5).abs() < 1e-9);
        assert_eq!(Span::of(Scale::Log, [7.0].into_iter()).marks, [1.0, 10.0]);
    }

    #[test]
    fn a_plot_has_its_lines_names_and_units() {
        let axis = |label| Axis { label, scale: Scale::Linear };
        let line = Line { name: "etcd", points: vec![(0.0, 0.0), (10.0, 50.0)] };
        let svg =
            Plot { title: "a < b", x: axis("ticks/s"), y: axis("% of a core"), lines: vec![line] }.svg();
        for part in [
            "a &lt; b",
            "ticks/s",
            "% of a core",
            ">etcd</text>",
            "prefers-color-scheme: dark",
            "etcd: 50.0 at 10.0",
        ] {
            assert!(svg.contains(part), "{part} is not in {svg}");
        }
        assert!(svg.contains("M72.0 312.0L520.0 44.0"), "from one corner to the other: {svg}");
    }
}
