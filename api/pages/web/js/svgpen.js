/**
 * The calls of a canvas that plots use, as SVG text.
 */

/** Text of an attribute or of an element. */
function escaped(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

const two = (value) => Math.round(value * 100) / 100;

export class SvgPen {
  constructor(width, height, background) {
    this.head = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"><rect width="100%" height="100%" fill="${escaped(background)}"/>`;
    this.parts = [];
    this.d = "";
    this.clips = 0;
    this.open = 0;
    this.tail = "";
    this.tailAt = -1;
    this.globalAlpha = 1;
    this.lineWidth = 1;
    this.lineJoin = "round";
    this.strokeStyle = "#000";
    this.fillStyle = "#000";
    this.font = "11px sans-serif";
    this.textAlign = "left";
    this.textBaseline = "alphabetic";
    this.measure = document.createElement("canvas").getContext("2d");
  }

  clearRect() {}

  save() {
    this.saved = this.open;
  }

  restore() {
    while (this.open > this.saved) {
      this.parts.push("</g>");
      this.open -= 1;
    }
  }

  beginPath() {
    this.d = "";
  }

  moveTo(x, y) {
    this.d += `M${two(x)} ${two(y)}`;
  }

  lineTo(x, y) {
    this.d += `L${two(x)} ${two(y)}`;
  }

  rect(x, y, width, height) {
    this.d += `M${two(x)} ${two(y)}h${two(width)}v${two(height)}h${two(-width)}Z`;
  }

  /** Rectangles of one colour that follow one another become one path. */
  fillRect(x, y, width, height) {
    const tail = `" fill="${escaped(this.fillStyle)}" opacity="${this.globalAlpha}"/>`;
    const last = this.parts.length - 1;
    const d = `M${two(x)} ${two(y)}h${two(width)}v${two(height)}h${two(-width)}Z`;
    if (this.tail === tail && this.tailAt === last) {
      this.parts[last] = this.parts[last].slice(0, -tail.length) + d + tail;
    } else {
      this.parts.push(`<path d="${d}${tail}`);
      [this.tail, this.tailAt] = [tail, last + 1];
    }
  }

  arc(x, y, radius) {
    this.d += `M${two(x - radius)} ${two(y)}a${radius} ${radius} 0 1 0 ${2 * radius} 0a${radius} ${radius} 0 1 0 ${-2 * radius} 0`;
  }

  clip() {
    this.clips += 1;
    this.parts.push(`<clipPath id="c${this.clips}"><path d="${this.d}"/></clipPath><g clip-path="url(#c${this.clips})">`);
    this.open += 1;
  }

  stroke() {
    this.parts.push(`<path d="${this.d}" fill="none" stroke="${escaped(this.strokeStyle)}" stroke-width="${this.lineWidth}" stroke-linejoin="${this.lineJoin}" opacity="${this.globalAlpha}"/>`);
  }

  fill() {
    this.parts.push(`<path d="${this.d}" fill="${escaped(this.fillStyle)}" opacity="${this.globalAlpha}"/>`);
  }

  measureText(text) {
    this.measure.font = this.font;
    return this.measure.measureText(text);
  }

  fillText(text, x, y) {
    const anchor = { left: "start", center: "middle", right: "end" }[this.textAlign];
    const base = this.textBaseline === "middle" ? ' dominant-baseline="middle"' : "";
    this.parts.push(`<text x="${two(x)}" y="${two(y)}" font-family="system-ui, sans-serif" font-size="11" text-anchor="${anchor}"${base} fill="${escaped(this.fillStyle)}">${escaped(text)}</text>`);
  }

  text() {
    return `${this.head}${this.parts.join("")}</svg>\n`;
  }
}
