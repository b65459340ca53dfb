/**
 * Parts of a page that stay while what they show is the same: what comes live takes away neither the focus, nor a search
 * that somebody types, nor the place of scrolling.
 */

/**
 * A part: its name, what it shows (as JSON has it), and what makes its element. An element with a function `renew` is not
 * made again but given the new content.
 * @typedef {[string, any, () => any]} KeptPart
 */

export class Kept {
  /** @param {any} box whose children the parts are */
  constructor(box) {
    this.box = box;
    /** @type {Map<string, { text: string, element: any }>} */
    this.parts = new Map();
  }

  /** @param {(KeptPart | null | false)[]} list */
  draw(list) {
    const next = new Map();
    for (const part of list) {
      if (!part) {
        continue;
      }
      const [name, data, make] = part;
      const text = JSON.stringify(data);
      const old = this.parts.get(name);
      if (old && old.text !== text && old.element.renew) {
        old.element.renew(data);
        next.set(name, { text, element: old.element });
      } else {
        next.set(name, old && old.text === text ? old : { text, element: make() });
      }
    }
    const elements = [...next.values()].map(({ element }) => element);
    for (const child of [...this.box.childNodes]) {
      if (!elements.includes(child)) {
        child.remove();
      }
    }
    // An element that is moved would lose the focus: only those that are new or elsewhere are.
    elements.forEach((element, at) => {
      if (this.box.childNodes[at] !== element) {
        this.box.insertBefore(element, this.box.childNodes[at] || null);
      }
    });
    this.parts = next;
  }

  /** Nothing is kept any more. */
  clear() {
    this.parts.clear();
  }
}
