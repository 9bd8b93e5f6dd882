//! What models cost against what they are good for, with the Pareto front.

use plotters::prelude::*;
use plotters_backend::text_anchor::{HPos, VPos};

use super::axis::{Axis, Unit};
use super::svg::{FAINT, GRID, INK, PAPER, series, text_width};
use super::{Chart, LETTERS, WIDTH, above, area_of, drawn, fitting, letters, line, text};
use crate::error::ReportError;
use crate::pareto::{Point, front};

/// One model.
pub(crate) struct Dot {
    pub(crate) name: String,
    /// Its figures in words, for whoever points at it.
    pub(crate) title: String,
    pub(crate) point: Point,
    /// The spread of the gain.
    pub(crate) spread: Option<f64>,
    pub(crate) series: usize,
}

const HEIGHT: u32 = 320;
const RADIUS: i32 = 5;

/// Dots with the front marked: those on it are filled and joined by steps.
pub(crate) fn scatter(
    dots: &[Dot],
    cost: &str,
    unit: Unit,
    gain: &str,
    about: String,
) -> Result<Chart, ReportError> {
    let points: Vec<Point> = dots.iter().map(|dot| dot.point).collect();
    let on = front(&points);
    let reach = |dot: &Dot| {
        let spread = dot.spread.unwrap_or(0.0);
        [dot.point.gain - spread, (dot.point.gain + spread).min(1.0)]
    };
    let x = Axis::around(points.iter().map(|point| point.cost), unit);
    let y = Axis::around(dots.iter().flat_map(reach), Unit::Share);
    let cost = if x.is_logarithmic() { format!("{cost}, log scale") } else { cost.to_string() };
    drawn(HEIGHT, about, |canvas, area| {
        above(area, gain)?;
        let mut chart = ChartBuilder::on(area)
            .margin_top(26)
            .margin_right(14)
            .x_label_area_size(44)
            .y_label_area_size(54)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .bold_line_style(line(GRID, 1))
            .light_line_style(TRANSPARENT)
            .axis_style(line(GRID, 1))
            .set_all_tick_mark_size(0)
            .label_style(("sans-serif", LETTERS).into_font().color(&FAINT))
            .axis_desc_style(("sans-serif", LETTERS).into_font().color(&INK))
            .x_desc(cost)
            .draw()?;
        let mut steps: Vec<Point> =
            points.iter().zip(&on).filter(|(_, on)| **on).map(|(point, _)| *point).collect();
        steps.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        let mut corners = Vec::new();
        for point in steps {
            if let Some(&(_, gain)) = corners.last() {
                corners.push((point.cost, gain));
            }
            corners.push((point.cost, point.gain));
        }
        chart.draw_series([PathElement::new(corners, line(FAINT, 1))])?;
        for (dot, on) in dots.iter().zip(&on) {
            let (color, at) = (series(dot.series), (dot.point.cost, dot.point.gain));
            canvas.begin(&dot.title);
            if let Some(spread) = dot.spread.filter(|spread| *spread > 0.0) {
                let ends = [(at.0, at.1 - spread), (at.0, (at.1 + spread).min(1.0))];
                chart.draw_series([PathElement::new(ends.to_vec(), line(color, 2))])?;
            }
            let fill = if *on { color } else { PAPER };
            chart.draw_series([Circle::new(at, RADIUS, area_of(fill, 1.0))])?;
            chart.draw_series([Circle::new(at, RADIUS, line(color, 2))])?;
            canvas.end();
        }
        let places: Vec<(i32, i32)> =
            dots.iter().map(|dot| chart.backend_coord(&(dot.point.cost, dot.point.gain))).collect();
        for (dot, label) in dots.iter().zip(labels(dots, &places)) {
            let Some(label) = label else { continue };
            let style = letters(series(dot.series), HPos::Left, VPos::Center);
            text(area, &label.text, (label.left, label.middle), &style)?;
        }
        Ok(())
    })
}

/// Where a name stands.
struct Label {
    text: String,
    left: i32,
    middle: i32,
    width: i32,
}

impl Label {
    fn meets(&self, (left, right): (i32, i32), (top, bottom): (i32, i32)) -> bool {
        const HALF: i32 = 8;
        self.left < right
            && left < self.left + self.width
            && self.middle - HALF < bottom
            && top < self.middle + HALF
    }
}

/// A place beside each dot where its name hides neither another dot nor another name; `None` where
/// there is none, and the legend has to do.
fn labels(dots: &[Dot], places: &[(i32, i32)]) -> Vec<Option<Label>> {
    let mut found: Vec<Option<Label>> = Vec::new();
    for (dot, &(x, y)) in dots.iter().zip(places) {
        let name = fitting(&dot.name, 120);
        let width = text_width(&name, LETTERS) as i32;
        let (right, left, over) = (x + 10, x - 10 - width, x - width / 2);
        let tries = [
            (right, y),
            (left, y),
            (over, y - 16),
            (over, y + 17),
            (right, y - 13),
            (right, y + 13),
            (left, y - 13),
            (left, y + 13),
        ];
        let label = tries.into_iter().find_map(|(left, middle)| {
            let label = Label { text: name.clone(), left, middle, width };
            let inside = left >= 56 && left + width <= WIDTH as i32 && (30..=270).contains(&middle);
            let dot = |&(x, y): &(i32, i32)| {
                label.meets((x - RADIUS, x + RADIUS), (y - RADIUS, y + RADIUS))
            };
            let name = |other: &Label| {
                label.meets(
                    (other.left, other.left + other.width),
                    (other.middle - 7, other.middle + 7),
                )
            };
            let free = !places.iter().any(dot) && !found.iter().flatten().any(name);
            (inside && free).then_some(label)
        });
        found.push(label);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(name: &str) -> Dot {
        let point = Point { cost: 1.0, gain: 1.0 };
        Dot { name: name.into(), title: String::new(), point, spread: None, series: 0 }
    }

    #[test]
    fn names_do_not_hide_each_other() {
        let dots: Vec<Dot> = (0..12).map(|at| dot(&format!("model {at}"))).collect();
        // Crowded: a step of three points of the picture from one to the next.
        let places: Vec<(i32, i32)> = (0..12).map(|at| (200 + 3 * at, 150 + 3 * at)).collect();
        let found = labels(&dots, &places);
        let shown: Vec<&Label> = found.iter().flatten().collect();
        assert!((3..12).contains(&shown.len()), "{}", shown.len());
        for (at, a) in shown.iter().enumerate() {
            for b in &shown[at + 1..] {
                assert!(!a.meets((b.left, b.left + b.width), (b.middle - 7, b.middle + 7)));
            }
        }
        // With room every dot has its name.
        let places: Vec<(i32, i32)> = (0..12).map(|at| (200, 40 + 19 * at)).collect();
        assert!(labels(&dots, &places).iter().all(Option::is_some));
    }
}
