//! A picture as SVG. Fonts are those of the reader.

use std::fmt::Write;

use super::scene::{AREA_OPACITY, Anchor, Color, Scene, Shape};

/// The whole file.
pub(crate) fn svg(scene: &Scene) -> String {
    let (width, height) = (scene.width, scene.height);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for shape in &scene.shapes {
        // Writing to a text cannot fail.
        let _ = match shape {
            Shape::Line { points, color, width } => writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" \
                 stroke-linejoin=\"round\" stroke-linecap=\"round\"/>",
                list(points),
                hex(*color)
            ),
            Shape::Area { points, color } => writeln!(
                out,
                "<polygon points=\"{}\" fill=\"{}\" fill-opacity=\"{AREA_OPACITY}\"/>",
                list(points),
                hex(*color)
            ),
            Shape::Text { x, y, size, anchor, color, text } => {
                let anchor = match anchor {
                    Anchor::Start => "start",
                    Anchor::Middle => "middle",
                    Anchor::End => "end",
                };
                writeln!(
                    out,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" text-anchor=\"{anchor}\" fill=\"{}\">{}</text>",
                    hex(*color),
                    escaped(text)
                )
            }
        };
    }
    out.push_str("</svg>\n");
    out
}

fn list(points: &[(f32, f32)]) -> String {
    points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
}

fn hex([red, green, blue]: Color) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Text as XML has it. Characters that XML forbids are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_leave_their_element() {
        let text = "</text><script>x()</script>&\"\u{1b}".to_owned();
        let shape = Shape::Text { x: 1.0, y: 2.0, size: 12.0, anchor: Anchor::Start, color: [0; 3], text };
        let svg = svg(&Scene { width: 10, height: 10, shapes: vec![shape] });
        assert!(svg.contains("&lt;/text&gt;&lt;script&gt;x()&lt;/script&gt;&amp;&quot;\u{fffd}</text>"), "{svg}");
        assert_eq!(svg.matches("<text").count(), 1);
    }
}
