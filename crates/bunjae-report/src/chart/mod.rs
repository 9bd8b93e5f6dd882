//! Charts as SVG pictures that follow the colours of the page.
//!
//! Plotters places what is drawn and lays out axes; [`svg`] is what it draws on.

mod axis;
mod bars;
mod curves;
mod scatter;
mod svg;

use plotters::prelude::*;
use plotters_backend::text_anchor::{HPos, Pos, VPos};

pub(crate) use axis::Unit;
pub(crate) use bars::{Bar, Pair, bars, pairs};
pub(crate) use curves::{Curve, curves};
pub(crate) use scatter::{Dot, scatter};
use svg::{Canvas, INK};
pub(crate) use svg::{STYLE, series_name, text_width};

use crate::error::ReportError;

/// The width of every chart: that of a phone, so that letters stay legible there.
const WIDTH: u32 = 440;

/// The size of letters.
const LETTERS: f64 = 12.5;

/// A chart that is drawn.
pub(crate) struct Chart {
    canvas: Canvas,
    /// What it shows, in words.
    about: String,
}

impl Chart {
    /// The picture to stand in a page.
    pub(crate) fn picture(&self) -> String {
        self.canvas.finish(&self.about)
    }
}

/// Charts with their titles as one picture, to be a file of its own.
pub(crate) fn side_by_side(about: &str, charts: &[(String, Chart)]) -> String {
    const GAP: u32 = 24;
    const TITLE: u32 = 30;
    let heights = charts.iter().map(|(_, chart)| chart.canvas.height());
    let height = TITLE + heights.max().unwrap_or(0) + GAP / 2;
    let width = charts.len() as u32 * (WIDTH + GAP) + GAP / 2;
    let canvas = Canvas::new(width, height);
    canvas.background();
    for (at, (title, chart)) in (0..).zip(charts) {
        canvas.nest(at * (WIDTH + GAP) + GAP / 2, TITLE, title, &chart.canvas);
    }
    canvas.finish_alone(about)
}

type Area = DrawingArea<Canvas, plotters::coord::Shift>;

/// Draws on a picture of that height.
fn drawn(
    height: u32,
    about: String,
    draw: impl FnOnce(&Canvas, &Area) -> Result<(), DrawingAreaErrorKind<std::convert::Infallible>>,
) -> Result<Chart, ReportError> {
    let canvas = Canvas::new(WIDTH, height);
    let area = canvas.clone().into_drawing_area();
    draw(&canvas, &area).map_err(|error| ReportError::Chart(error.to_string()))?;
    Ok(Chart { canvas, about })
}

/// How letters look that stand at a point.
fn letters(color: RGBColor, across: HPos, along: VPos) -> TextStyle<'static> {
    let font = ("sans-serif", LETTERS).into_font();
    TextStyle { font, color: color.to_backend_color(), pos: Pos::new(across, along) }
}

/// A text at a point of the picture.
fn text(
    area: &Area,
    text: &str,
    at: (i32, i32),
    style: &TextStyle<'_>,
) -> Result<(), DrawingAreaErrorKind<std::convert::Infallible>> {
    area.draw_text(text, style, at)
}

/// The text, or its two ends where it is wider than that.
pub(crate) fn fitting(text: &str, width: u32) -> String {
    let count = text.chars().count();
    if text_width(text, LETTERS) <= width {
        return text.to_string();
    }
    let fits = |kept: usize| {
        let head: String = text.chars().take(kept.div_ceil(2)).collect();
        let tail: String = text.chars().skip(count - kept / 2).collect();
        let short = format!("{head}…{tail}");
        (text_width(&short, LETTERS) <= width).then_some(short)
    };
    (1..count).rev().find_map(fits).unwrap_or_else(|| "…".to_string())
}

/// The style of a plain line.
fn line(color: RGBColor, width: u32) -> ShapeStyle {
    ShapeStyle { color: color.to_rgba(), filled: false, stroke_width: width }
}

/// The style of a plain area.
fn area_of(color: RGBColor, alpha: f64) -> ShapeStyle {
    ShapeStyle { color: color.mix(alpha), filled: true, stroke_width: 0 }
}

/// The title over the vertical axis.
fn above(area: &Area, title: &str) -> Result<(), DrawingAreaErrorKind<std::convert::Infallible>> {
    text(area, title, (2, 4), &letters(INK, HPos::Left, VPos::Top))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(fitting("short", 100), "short");
        let short = fitting("a very long name of a model v2", 100);
        assert!(short.starts_with("a ver") && short.ends_with("v2"), "{short}");
        assert!(text_width(&short, LETTERS) <= 100);
        assert_eq!(fitting("가나다라마바사", 1), "…");
    }
}
