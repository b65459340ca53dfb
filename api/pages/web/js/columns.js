/**
 * Reads answers of columns (`application/vnd.runlode.columns`, see docs/api.md). Numbers are views of the answer, texts
 * are decoded when they are asked for.
 */

const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** A column: `at(row)` is a number, a text, or null. */
export class Column {
  /**
   * @param {any} head
   * @param {ArrayBuffer} buffer
   * @param {number} base
   */
  constructor(head, buffer, base) {
    this.name = head.name;
    this.type = head.type;
    this.rows = head.rows;
    this.present = "present_at" in head ? new Uint8Array(buffer, base + head.present_at, head.rows) : null;
    if (head.type === "text") {
      this.offsets = new Uint32Array(buffer, base + head.at, head.rows + 1);
      this.bytes = new Uint8Array(buffer, base + head.text_at, head.text_bytes);
      /** All its text, if places in bytes are places in it too: cutting it is faster than decoding each row. */
      this.plain = null;
      this.isPlain = true;
    } else if (head.type === "f64") {
      this.values = new Float64Array(buffer, base + head.at, head.rows);
    } else {
      this.values = integers(new Uint32Array(buffer, base + head.at, head.rows * 2));
    }
  }

  /** @returns {any} */
  at(row) {
    if (this.present && !this.present[row]) {
      return null;
    }
    if (this.type === "text") {
      if (this.isPlain) {
        this.plain = this.plain ?? decoder.decode(this.bytes);
        this.isPlain = this.plain.length === this.bytes.length;
      }
      if (this.isPlain) {
        return this.plain.slice(this.offsets[row], this.offsets[row + 1]);
      }
      return decoder.decode(this.bytes.subarray(this.offsets[row], this.offsets[row + 1]));
    }
    return this.values[row];
  }
}

/** 64-bit integers as doubles: exact up to 2^53. */
function integers(halves) {
  const values = new Float64Array(halves.length / 2);
  for (let i = 0; i < values.length; i += 1) {
    values[i] = (halves[2 * i + 1] | 0) * 4294967296 + halves[2 * i];
  }
  return values;
}

/**
 * @param {ArrayBuffer} buffer
 * @returns {{ header: any, columns: Map<string, Column> }}
 */
export function readColumns(buffer) {
  if (!LITTLE) {
    throw new Error("This browser's numbers are big-endian; these pages read little-endian ones only.");
  }
  const view = new DataView(buffer);
  if (buffer.byteLength < 8 || decoder.decode(new Uint8Array(buffer, 0, 4)) !== "RLC1") {
    throw new Error("The server's answer is not in columns.");
  }
  const length = view.getUint32(4, true);
  const header = JSON.parse(decoder.decode(new Uint8Array(buffer, 8, length)));
  const columns = new Map();
  for (const head of header.columns) {
    columns.set(head.name, new Column(head, buffer, 8 + length));
  }
  return { header, columns };
}
