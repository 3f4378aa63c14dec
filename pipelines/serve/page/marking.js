// A box that the user draws on the photo, by pointer or by keys.

/** Calls `drawn(box)` while a box is drawn, `done(box)` when it is whole; `toPhoto` maps an event to the photo's pixels. */
export class Marking {
  constructor(canvas, { toPhoto, size, drawn, done, clicked }) {
    Object.assign(this, { canvas, toPhoto, size, drawn, done, clicked, on: false, box: null, from: null });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", () => this.set(null));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  toggle(on) {
    this.on = on;
    this.canvas.classList.toggle("marking", on);
    this.set(null);
  }

  set(box) {
    this.box = box;
    if (!box) this.from = null;
    this.drawn(box);
  }

  down(event) {
    if (!this.on) return;
    event.preventDefault();
    this.canvas.focus();
    this.canvas.setPointerCapture(event.pointerId);
    this.from = this.toPhoto(event);
  }

  move(event) {
    if (!this.from) return;
    const [a, b] = [this.from, this.toPhoto(event)];
    this.set([Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])]);
  }

  up(event) {
    if (!this.on) this.clicked(this.toPhoto(event));
    const box = this.box;
    if (!this.from) return;
    this.from = null;
    if (box) this.finish();
  }

  finish() {
    const [x0, y0, x1, y1] = this.box, [width, height] = this.size();
    const inside = [Math.max(x0, 0), Math.max(y0, 0), Math.min(x1, width), Math.min(y1, height)];
    this.set(null);
    if (inside[2] - inside[0] >= 8 && inside[3] - inside[1] >= 8) this.done(inside);
  }

  key(event) {
    if (!this.on) return;
    const [width, height] = this.size(), side = Math.min(width, height), step = side / 40;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Escape") this.set(null);
    else if (event.key === "Enter" && this.box) this.finish();
    else if (way || event.key === "Enter") {
      let [x0, y0, x1, y1] = this.box ?? [width / 2 - side / 6, height / 2 - side / 6, width / 2 + side / 6, height / 2 + side / 6];
      if (way && this.box) {
        const [dx, dy] = way.map((v) => v * step);
        [x1, y1] = [x1 + dx, y1 + dy];
        if (!event.shiftKey) [x0, y0] = [x0 + dx, y0 + dy];
        if (x1 - x0 < step || y1 - y0 < step || x1 < step || y1 < step || x0 > width - step || y0 > height - step) return event.preventDefault();
      }
      this.set([x0, y0, x1, y1]);
    } else return;
    event.preventDefault();
  }
}
