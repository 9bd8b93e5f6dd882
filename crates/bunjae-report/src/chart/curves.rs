//! Figures over the epochs of a training.

use plotters::prelude::*;

use super::axis::{Axis, Unit};
use super::svg::{FAINT, GRID, INK, series};
use super::{Chart, LETTERS, above, drawn, line};
use crate::error::ReportError;

/// One figure of one training.
pub(crate) struct Curve {
    /// What it is, for whoever points at it.
    pub(crate) title: String,
    /// The epoch and the figure, in order.
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) series: usize,
    /// Drawn thinner, as what stands beside another one.
    pub(crate) thin: bool,
}

const HEIGHT: u32 = 280;

/// Curves on one pair of axes.
pub(crate) fn curves(
    curves: &[Curve],
    figure: &str,
    unit: Unit,
    about: String,
) -> Result<Chart, ReportError> {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let last = all().map(|(epoch, _)| *epoch).fold(1.0, f64::max);
    let first = all().map(|(epoch, _)| *epoch).fold(last, f64::min);
    let x = Axis::whole(first, last);
    let y = match unit {
        Unit::Share => Axis::around(all().map(|(_, value)| *value), unit),
        _ => Axis::from_zero(all().map(|(_, value)| *value), unit),
    };
    drawn(HEIGHT, about, |canvas, area| {
        above(area, figure)?;
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
            .x_desc("epoch")
            .draw()?;
        for curve in curves {
            let color = series(curve.series);
            canvas.begin(&curve.title);
            let width = if curve.thin { 1 } else { 2 };
            chart.draw_series(LineSeries::new(curve.points.iter().copied(), line(color, width)))?;
            let dots = if curve.points.len() <= 20 { &curve.points[..] } else { &[] };
            let radius = if curve.thin { 2 } else { 3 };
            let dot = |&at: &(f64, f64)| Circle::new(at, radius, color.filled());
            chart.draw_series(dots.iter().map(dot))?;
            canvas.end();
        }
        Ok(())
    })
}
