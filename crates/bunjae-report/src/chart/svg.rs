//! What charts are drawn on: an SVG picture whose colours are classes.
//!
//! A page says what the classes look like, in the light and in the dark ([`STYLE`]), so one picture
//! serves both. All text is escaped here, and nowhere else.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::Write;
use std::rc::Rc;

use plotters::style::RGBColor;
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    FontTransform,
};
use unicode_width::UnicodeWidthStr;

/// How many colours there are for series.
pub(crate) const SERIES: usize = 8;

/// The colours as variables, and the classes that use them. The series are those of Okabe and Ito,
/// which people with any colour vision tell apart, lightened for dark pages where they need it.
pub(crate) const STYLE: &str = include_str!("chart.css");

/// Text and axes.
pub(crate) const INK: RGBColor = RGBColor(255, 0, 0);
/// What stands back: ticks, and what is compared with.
pub(crate) const FAINT: RGBColor = RGBColor(255, 0, 1);
/// The lines of a grid.
pub(crate) const GRID: RGBColor = RGBColor(255, 0, 2);
/// What a page is made of.
pub(crate) const PAPER: RGBColor = RGBColor(255, 0, 3);

/// The colour of a series: grey for the base, and after the last colour the first again.
pub(crate) fn series(at: usize) -> RGBColor {
    let at = if at == 0 { 0 } else { 1 + (at - 1) % (SERIES - 1) };
    RGBColor(0, 0, at as u8)
}

/// The name of a series' colour as a variable.
pub(crate) fn series_name(at: usize) -> String {
    let RGBColor(r, g, b) = series(at);
    class(BackendColor { alpha: 1.0, rgb: (r, g, b) })
}

/// The name of a colour in classes.
fn class(color: BackendColor) -> String {
    match color.rgb {
        (0, 0, at) => format!("s{at}"),
        (_, _, 1) => "faint".to_string(),
        (_, _, 2) => "grid".to_string(),
        (_, _, 3) => "paper".to_string(),
        _ => "ink".to_string(),
    }
}

/// Text as it stands between tags and in attributes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Neither HTML nor XML knows these, not even by number.
            c if c.is_control() => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A picture in the making; copies draw on the same one.
#[derive(Clone)]
pub(crate) struct Canvas {
    width: u32,
    height: u32,
    body: Rc<RefCell<String>>,
}

impl Canvas {
    pub(crate) fn new(width: u32, height: u32) -> Canvas {
        Canvas { width, height, body: Rc::default() }
    }

    fn push(&self, element: &str) {
        let mut body = self.body.borrow_mut();
        body.push_str(element);
        body.push('\n');
    }

    /// What is drawn until [`Canvas::end`] says this when it is pointed at.
    pub(crate) fn begin(&self, title: &str) {
        self.push(&format!("<g><title>{}</title>", escaped(title)));
    }

    pub(crate) fn end(&self) {
        self.push("</g>");
    }

    pub(crate) fn height(&self) -> u32 {
        self.height
    }

    /// Fills the picture with the colour of paper, for viewers that show it on another one.
    pub(crate) fn background(&self) {
        let Canvas { width, height, .. } = self;
        self.push(&format!(
            "<rect width=\"{width}\" height=\"{height}\" rx=\"10\" class=\"f-paper\"/>"
        ));
    }

    /// Another picture at that place, under its title.
    pub(crate) fn nest(&self, x: u32, y: u32, title: &str, other: &Canvas) {
        let (title, above) = (escaped(title), y - 8);
        let Canvas { width, height, body } = other;
        self.push(&format!(
            "<text x=\"{x}\" y=\"{above}\" class=\"f-ink\" font-size=\"14\" font-weight=\"600\">{title}</text>\n\
             <svg x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\">\n{}</svg>",
            body.borrow()
        ));
    }

    /// The picture, to stand within a page that has [`STYLE`]. Whoever cannot see it is told `about`.
    pub(crate) fn finish(&self, about: &str) -> String {
        self.element("", about, "")
    }

    /// The picture as a file of its own.
    pub(crate) fn finish_alone(&self, about: &str) -> String {
        self.element(
            " xmlns=\"http://www.w3.org/2000/svg\"",
            about,
            &format!("<style>{STYLE}</style>\n"),
        )
    }

    fn element(&self, space: &str, about: &str, style: &str) -> String {
        let Canvas { width, height, .. } = self;
        let about = escaped(about);
        format!(
            "<svg{space} class=\"chart\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\" aria-label=\"{about}\">\n{style}{}</svg>\n",
            self.body.borrow()
        )
    }
}

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

/// ` fill-opacity="0.5"` where something is to shine through.
fn opacity(kind: &str, color: BackendColor) -> String {
    match color.alpha < 1.0 {
        true => format!(" {kind}-opacity=\"{:.2}\"", color.alpha),
        false => String::new(),
    }
}

/// The attributes of an outline or of an area.
fn painted<S: BackendStyle>(style: &S, fill: bool) -> String {
    let (color, width) = (style.color(), style.stroke_width());
    match fill {
        true => format!("class=\"f-{}\"{}", class(color), opacity("fill", color)),
        false => {
            let opacity = opacity("stroke", color);
            format!("class=\"k-{}\" stroke-width=\"{width}\"{opacity}", class(color))
        }
    }
}

impl DrawingBackend for Canvas {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, (x, y): BackendCoord, color: BackendColor) -> Drawn {
        let paint = painted(&color, true);
        self.push(&format!("<rect x=\"{x}\" y=\"{y}\" width=\"1\" height=\"1\" {paint}/>"));
        Ok(())
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        (ax, ay): BackendCoord,
        (bx, by): BackendCoord,
        style: &S,
    ) -> Drawn {
        if style.color().alpha > 0.0 {
            let paint = painted(style, false);
            self.push(&format!("<line x1=\"{ax}\" y1=\"{ay}\" x2=\"{bx}\" y2=\"{by}\" {paint}/>"));
        }
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        (left, top): BackendCoord,
        (right, bottom): BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        if style.color().alpha > 0.0 {
            let (x, y) = (left.min(right), top.min(bottom));
            let (width, height) = ((right - left).abs(), (bottom - top).abs());
            let paint = painted(style, fill);
            self.push(&format!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" {paint}/>"
            ));
        }
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        if style.color().alpha > 0.0 {
            let (points, paint) = (points(path), painted(style, false));
            self.push(&format!("<polyline points=\"{points}\" {paint}/>"));
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        (x, y): BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn {
        if style.color().alpha > 0.0 {
            let paint = painted(style, fill);
            self.push(&format!("<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" {paint}/>"));
        }
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        corners: I,
        style: &S,
    ) -> Drawn {
        let (points, paint) = (points(corners), painted(style, true));
        self.push(&format!("<polygon points=\"{points}\" {paint}/>"));
        Ok(())
    }

    fn draw_text<T: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &T,
        (x, y): BackendCoord,
    ) -> Drawn {
        let color = style.color();
        if color.alpha == 0.0 || text.is_empty() {
            return Ok(());
        }
        let anchor = match style.anchor().h_pos {
            HPos::Left => "start",
            HPos::Center => "middle",
            HPos::Right => "end",
        };
        // Letters stand on the line; digits reach about 0.72 of the size above it.
        let size = style.size();
        let down = match style.anchor().v_pos {
            VPos::Top => 0.76 * size,
            VPos::Center => 0.36 * size,
            VPos::Bottom => -0.2 * size,
        };
        let turn = match style.transform() {
            FontTransform::None => String::new(),
            FontTransform::Rotate90 => format!(" transform=\"rotate(90 {x} {y})\""),
            FontTransform::Rotate180 => format!(" transform=\"rotate(180 {x} {y})\""),
            FontTransform::Rotate270 => format!(" transform=\"rotate(270 {x} {y})\""),
        };
        let (class, text) = (class(color), escaped(text));
        let dy = if down == 0.0 { String::new() } else { format!(" dy=\"{down:.1}\"") };
        self.push(&format!(
            "<text x=\"{x}\" y=\"{y}\"{dy} class=\"f-{class}\" font-size=\"{size}\" \
             text-anchor=\"{anchor}\"{turn}>{text}</text>"
        ));
        Ok(())
    }

    fn estimate_text_size<T: BackendTextStyle>(
        &self,
        text: &str,
        style: &T,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        Ok((text_width(text, style.size()), style.size().ceil() as u32))
    }
}

/// About how wide a text is: letters of the usual fonts take a bit more than half of their size, and
/// those of East Asian scripts all of it.
pub(crate) fn text_width(text: &str, size: f64) -> u32 {
    (0.56 * size * text.width() as f64).ceil() as u32
}

fn points(path: impl IntoIterator<Item = BackendCoord>) -> String {
    let mut text = String::new();
    for (x, y) in path {
        let blank = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{blank}{x},{y}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_end_an_element_or_an_attribute() {
        let canvas = Canvas::new(10, 10);
        canvas.begin("</title><script>alert(1)</script>");
        canvas.end();
        let picture = canvas.finish("\" onload=\"alert(1)");
        assert!(!picture.contains("<script"), "{picture}");
        assert!(picture.contains("aria-label=\"&quot; onload=&quot;alert(1)\""), "{picture}");
        assert_eq!(escaped("a\u{1b}\0&'"), "a\\u{1b}\\u{0}&amp;'");
    }

    #[test]
    fn every_colour_has_a_class_that_the_style_knows() {
        let mut colors = vec![INK, FAINT, GRID, PAPER];
        colors.extend((0..SERIES).map(series));
        let classes: Vec<String> = colors
            .into_iter()
            .map(|RGBColor(r, g, b)| class(BackendColor { alpha: 1.0, rgb: (r, g, b) }))
            .collect();
        for class in &classes {
            assert!(STYLE.contains(&format!(".f-{class}{{")), "{class}");
            assert!(STYLE.contains(&format!(".k-{class}{{")), "{class}");
        }
        let mut once = classes.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), classes.len(), "one class for each");
        assert_eq!(series(SERIES), series(1), "grey is the base's alone");
    }
}
