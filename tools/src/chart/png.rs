//! A picture as PNG. Texts are drawn with a bitmap font that is built in, so that no font of the machine is needed: ASCII
//! and the letters of western and southern Europe; any other character is a box.

use font8x8::{BASIC_FONTS, GREEK_FONTS, LATIN_FONTS, UnicodeFonts};
use tiny_skia::{FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Rect, Stroke, Transform};

use super::scene::{AREA_OPACITY, Anchor, Color, Scene, Shape};

/// Pixels of the file for each of the scene: text is then legible on any screen.
const SCALE: f32 = 2.0;
/// Pixels of a side of a character in the font.
const FONT_PIXELS: f32 = 8.0;

/// The whole file; `None` if the picture is too large for memory.
pub(crate) fn png(scene: &Scene) -> Option<Vec<u8>> {
    let scaled = |pixels: u32| (pixels as f32 * SCALE) as u32;
    let mut pixmap = Pixmap::new(scaled(scene.width), scaled(scene.height))?;
    pixmap.fill(tiny_skia::Color::WHITE);
    let transform = Transform::from_scale(SCALE, SCALE);
    for shape in &scene.shapes {
        match shape {
            Shape::Line { points, color, width } => {
                if let Some(path) = path(points, false) {
                    let (line_cap, line_join) = (LineCap::Round, LineJoin::Round);
                    let stroke = Stroke { width: *width, line_cap, line_join, ..Stroke::default() };
                    pixmap.stroke_path(&path, &paint(*color, 1.0), &stroke, transform, None);
                }
            }
            Shape::Area { points, color } => {
                if let Some(path) = path(points, true) {
                    let paint = paint(*color, AREA_OPACITY);
                    pixmap.fill_path(&path, &paint, FillRule::Winding, transform, None);
                }
            }
            Shape::Text { x, y, size, anchor, color, text } => {
                write_text(&mut pixmap, (*x, *y), *size, *anchor, *color, text);
            }
        }
    }
    pixmap.encode_png().ok()
}

fn paint(color: Color, opacity: f32) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(color[0], color[1], color[2], (opacity * 255.0) as u8);
    paint
}

fn path(points: &[(f32, f32)], close: bool) -> Option<tiny_skia::Path> {
    let ((x, y), rest) = points.split_first()?;
    let mut path = PathBuilder::new();
    path.move_to(*x, *y);
    // A single point is a dot.
    if rest.is_empty() {
        path.line_to(x + 0.01, *y);
    }
    rest.iter().for_each(|(x, y)| path.line_to(*x, *y));
    if close {
        path.close();
    }
    path.finish()
}

/// The rows of a character; the lowest bit is the leftmost pixel.
fn glyph(c: char) -> [u8; 8] {
    const BOX: [u8; 8] = [0x7e, 0x42, 0x42, 0x42, 0x42, 0x42, 0x7e, 0x00];
    BASIC_FONTS.get(c).or_else(|| LATIN_FONTS.get(c)).or_else(|| GREEK_FONTS.get(c)).unwrap_or(BOX)
}

fn write_text(pixmap: &mut Pixmap, (x, y): (f32, f32), size: f32, anchor: Anchor, color: Color, text: &str) {
    // Whole pixels of the file, so that letters are sharp.
    let dot = (size * SCALE / FONT_PIXELS * 0.75).round().max(1.0);
    let width = text.chars().count() as f32 * FONT_PIXELS * dot;
    let left = match anchor {
        Anchor::Start => x * SCALE,
        Anchor::Middle => x * SCALE - width / 2.0,
        Anchor::End => x * SCALE - width,
    };
    // The base line is below the seventh row.
    let (left, top) = (left.round(), (y * SCALE - 7.0 * dot).round());
    let paint = Paint { anti_alias: false, ..paint(color, 1.0) };
    for (column, c) in text.chars().enumerate() {
        for (row, bits) in glyph(c).into_iter().enumerate() {
            for bit in (0..8).filter(|bit| bits >> bit & 1 == 1) {
                let at = left + (column as f32 * FONT_PIXELS + bit as f32) * dot;
                if let Some(rect) = Rect::from_xywh(at, top + row as f32 * dot, dot, dot) {
                    pixmap.fill_rect(rect, &paint, Transform::identity(), None);
                }
            }
        }
    }
}
