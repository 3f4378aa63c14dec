// The photo with what was found in it.

const SEEN = "#4ade80", COVERED = "#ff6b9a", BOX = "#ffd84d", AXES = [["x", "#ff5c5c"], ["y", "#5bd75b"], ["z", "#5aa9ff"]];
const CLOSED = /eye$|lip|mouth/;

/** The part [x, y, w, h] of a photo that is shown: all of it, or a face and its surroundings. */
export function window_(size, face, zoomed) {
  const [width, height] = size;
  if (!zoomed || !face) return [0, 0, width, height];
  const [x0, y0, x1, y1] = around(face);
  const side = Math.min(1.7 * Math.max(x1 - x0, y1 - y0, 8), Math.max(width, height));
  const w = Math.min(width, 1.25 * side), h = Math.min(height, side);
  const left = Math.min(Math.max((x0 + x1 - w) / 2, 0), width - w), top = Math.min(Math.max((y0 + y1 - h) / 2, 0), height - h);
  return [left, top, w, h];
}

/** The box around a face's landmarks and its own. */
export function around(face) {
  const xs = face.landmarks.map((p) => p[0]).concat(face.box[0], face.box[2]);
  const ys = face.landmarks.map((p) => p[1]).concat(face.box[1], face.box[3]);
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

/** Draw on a canvas of w pixels' width the part [x, y, w, h] of a photo and its faces. */
export function draw(canvas, { picture, size, faces, chosen, show, groups, part, marked }) {
  const pen = canvas.getContext("2d"), k = canvas.width / part[2];
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  // The centre of the first pixel is (0, 0).
  pen.setTransform(k, 0, 0, k, k * (0.5 - part[0]), k * (0.5 - part[1]));
  pen.imageSmoothingQuality = "high";
  if (picture) pen.drawImage(picture, -0.5, -0.5, size[0], size[1]);
  faces.forEach((face, i) => drawFace(pen, face, i === chosen, faces.length > 1, k, show, groups));
  if (marked) {
    pen.setLineDash([6 / k, 4 / k]);
    drawBox(pen, marked, k, BOX, 2);
    pen.setLineDash([]);
  }
}

function drawFace(pen, face, chosen, several, k, show, groups) {
  const size = Math.sqrt((face.box[2] - face.box[0]) * (face.box[3] - face.box[1]));
  pen.globalAlpha = chosen ? 1 : 0.6;
  if (show.box || (several && !chosen)) drawBox(pen, face.box, k, BOX, chosen ? 2 : 1.2);
  if (show.lines) drawLines(pen, face, k, groups);
  if (show.points) {
    // A twentieth of the eyes' distance, but to be seen and not to hide the photo.
    const radius = Math.min(Math.max(size / 80, 1.3 / k), 5 / k);
    face.landmarks.forEach(([x, y], i) => {
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.lineWidth = 1 / k;
      if (face.visibility[i]) {
        pen.fillStyle = SEEN;
        pen.fill();
        pen.strokeStyle = "#0008";
      } else {
        pen.strokeStyle = COVERED;
        pen.lineWidth = Math.max(1.4 / k, radius / 2);
      }
      pen.stroke();
    });
  }
  if (show.axes && chosen) drawAxes(pen, face, size, k);
  pen.globalAlpha = 1;
}

function drawBox(pen, [x0, y0, x1, y1], k, colour, width) {
  pen.lineWidth = width / k;
  pen.strokeStyle = colour;
  pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
}

function drawLines(pen, face, k, groups) {
  pen.lineWidth = 1.2 / k;
  pen.strokeStyle = "#ffffffa0";
  pen.lineJoin = "round";
  for (const [name, members] of Object.entries(groups)) {
    if (members.length < 2) continue;
    pen.beginPath();
    members.forEach((i) => pen.lineTo(...face.landmarks[i]));
    if (CLOSED.test(name)) pen.closePath();
    pen.stroke();
  }
}

/** The model's axes as the camera shows them: x to the left ear's side, y up, z to the viewer. */
function drawAxes(pen, face, size, k) {
  const m = face.camera, count = face.landmarks.length;
  const scale = Math.hypot(m[0], m[1], m[2]) || 1;
  const [x, y] = [0, 1].map((axis) => face.landmarks.reduce((sum, p) => sum + p[axis], 0) / count);
  pen.font = `600 ${12 / k}px system-ui, sans-serif`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineCap = "round";
  AXES.forEach(([name, colour], axis) => {
    const [dx, dy] = [m[axis], m[4 + axis]].map((v) => (0.62 * size * v) / scale);
    for (const [stroke, width] of [["#0009", 5], [colour, 2.6]]) {
      pen.strokeStyle = stroke;
      pen.lineWidth = width / k;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(x + dx, y + dy);
      pen.stroke();
    }
    const length = Math.hypot(dx, dy), far = length * k > 14 ? 1 + 9 / k / length : 0;
    if (!far) return;
    pen.lineWidth = 3 / k;
    pen.strokeStyle = "#000b";
    pen.strokeText(name, x + far * dx, y + far * dy);
    pen.fillStyle = colour;
    pen.fillText(name, x + far * dx, y + far * dy);
  });
}
