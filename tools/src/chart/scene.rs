//! What a picture consists of, before it is written in a format: lines, areas and texts, in pixels from the upper left.

/// Red, green and blue.
pub(crate) type Color = [u8; 3];

/// Which part of a text stands at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// One thing to draw.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// Points that a line joins.
    Line { points: Vec<(f32, f32)>, color: Color, width: f32 },
    /// A filled area, drawn lightly.
    Area { points: Vec<(f32, f32)>, color: Color },
    /// A text whose base line is at `y`. `size` is about the height of a capital letter and a half.
    Text { x: f32, y: f32, size: f32, anchor: Anchor, color: Color, text: String },
}

/// A picture.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scene {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// What lies behind comes first.
    pub(crate) shapes: Vec<Shape>,
}

/// How much of an area's color is seen.
pub(crate) const AREA_OPACITY: f32 = 0.22;
