//! Bars: one measure of all models, and the layers of a network before and after.

use plotters::prelude::*;
use plotters_backend::text_anchor::{HPos, VPos};

use super::axis::{Axis, Unit};
use super::svg::{FAINT, INK, series, text_width};
use super::{Chart, LETTERS, WIDTH, area_of, drawn, fitting, letters, line, text};
use crate::error::ReportError;

/// One model's bar.
pub(crate) struct Bar {
    pub(crate) name: String,
    /// The figure in words, for whoever points at it.
    pub(crate) title: String,
    /// What stands beside it.
    pub(crate) value: String,
    /// `None` where it was not measured.
    pub(crate) length: Option<f64>,
    pub(crate) spread: Option<f64>,
    pub(crate) series: usize,
}

/// A layer before and after.
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) value: String,
    /// `None` where the base has no such layer.
    pub(crate) before: Option<f64>,
    pub(crate) after: f64,
}

/// The widest that names may be.
const NAMES: u32 = 150;

fn widest<'a>(texts: impl Iterator<Item = &'a str>) -> u32 {
    texts.map(|text| text_width(text, LETTERS)).max().unwrap_or(0)
}

/// Where the parts of a row stand.
struct Columns {
    /// The end of the names.
    names: i32,
    /// The beginning of the bars.
    begin: i32,
    /// The end of the longest bar.
    end: i32,
}

impl Columns {
    fn new<'a>(
        names: impl Iterator<Item = &'a str>,
        values: impl Iterator<Item = &'a str>,
    ) -> Columns {
        let names = widest(names).min(NAMES) as i32;
        let values = widest(values) as i32;
        let begin = names + 8;
        Columns { names, begin, end: (WIDTH as i32 - values - 10).max(begin + 40) }
    }
}

/// A bar for each model, from zero, with its figure and its spread.
pub(crate) fn bars(bars: &[Bar], about: String) -> Result<Chart, ReportError> {
    const ROW: i32 = 26;
    const HALF: i32 = 7;
    let lengths = bars.iter().filter_map(|bar| Some(bar.length? + bar.spread.unwrap_or(0.0)));
    let lengths: Vec<f64> = lengths.collect();
    let axis = Axis::from_zero(lengths.iter().copied(), Unit::Count);
    let columns =
        Columns::new(bars.iter().map(|bar| &*bar.name), bars.iter().map(|bar| &*bar.value));
    let height = (ROW * bars.len() as i32 + 4) as u32;
    drawn(height, about, |canvas, area| {
        let place = |value: f64| axis.place(value, columns.begin, columns.end);
        for (at, bar) in bars.iter().enumerate() {
            let middle = ROW * at as i32 + ROW / 2 + 2;
            let name = fitting(&bar.name, NAMES);
            let style = letters(INK, HPos::Right, VPos::Center);
            canvas.begin(&bar.title);
            text(area, &name, (columns.names, middle), &style)?;
            let mut end = columns.begin;
            if let Some(length) = bar.length {
                end = place(length);
                let corners = [(columns.begin, middle - HALF), (end, middle + HALF)];
                area.draw(&Rectangle::new(corners, area_of(series(bar.series), 0.9)))?;
                if let Some(spread) = bar.spread.filter(|spread| *spread > 0.0) {
                    let (low, high) = (place((length - spread).max(0.0)), place(length + spread));
                    let whisker = vec![(low, middle), (high, middle)];
                    area.draw(&PathElement::new(whisker, line(INK, 2)))?;
                    for x in [low, high] {
                        let ends = vec![(x, middle - 4), (x, middle + 4)];
                        area.draw(&PathElement::new(ends, line(INK, 2)))?;
                    }
                    end = high;
                }
            }
            let color = if bar.length.is_some() { INK } else { FAINT };
            let style = letters(color, HPos::Left, VPos::Center);
            text(area, &bar.value, (end + 6, middle), &style)?;
            canvas.end();
        }
        Ok(())
    })
}

/// A bar for each layer, and behind it what the same layer was in the base.
pub(crate) fn pairs(pairs: &[Pair], color: usize, about: String) -> Result<Chart, ReportError> {
    const ROW: i32 = 22;
    let lengths = pairs.iter().flat_map(|pair| [Some(pair.after), pair.before]).flatten();
    let lengths: Vec<f64> = lengths.collect();
    let axis = Axis::from_zero(lengths.iter().copied(), Unit::Count);
    let columns =
        Columns::new(pairs.iter().map(|pair| &*pair.name), pairs.iter().map(|pair| &*pair.value));
    let height = (ROW * pairs.len() as i32 + 4) as u32;
    drawn(height, about, |canvas, area| {
        let place = |value: f64| axis.place(value, columns.begin, columns.end);
        for (at, pair) in pairs.iter().enumerate() {
            let middle = ROW * at as i32 + ROW / 2 + 2;
            canvas.begin(&pair.title);
            let style = letters(INK, HPos::Right, VPos::Center);
            text(area, &fitting(&pair.name, NAMES), (columns.names, middle), &style)?;
            let end = place(pair.after);
            if let Some(before) = pair.before {
                let corners = [(columns.begin, middle - 8), (place(before), middle + 8)];
                area.draw(&Rectangle::new(corners, area_of(series(0), 0.28)))?;
            }
            let corners = [(columns.begin, middle - 5), (end, middle + 5)];
            area.draw(&Rectangle::new(corners, area_of(series(color), 0.95)))?;
            let end = end.max(pair.before.map_or(0, place));
            let style = letters(FAINT, HPos::Left, VPos::Center);
            text(area, &pair.value, (end + 6, middle), &style)?;
            canvas.end();
        }
        Ok(())
    })
}
