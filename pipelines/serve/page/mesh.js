// A mesh that turns: the server's PLY on a WebGL canvas.

const VERTEX = `#version 300 es
uniform mat3 turn; uniform vec4 place; uniform vec2 aspect; uniform vec4 part;
in vec3 position; in vec3 normal; in vec3 colour;
out vec3 turned; out vec3 painted; out vec2 at; out float facing;
void main() {
  vec3 p = turn * (position - place.xyz) * place.w;
  gl_Position = vec4(p.xy * aspect, -p.z * 0.25, 1.0);
  turned = turn * normal;
  painted = colour;
  at = (vec2(position.x, -position.y) - part.xy) / part.zw;
  facing = normal.z;
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
uniform sampler2D photo; uniform bool clay; uniform bool pictured;
in vec3 turned; in vec3 painted; in vec2 at; in float facing;
out vec4 shown;
void main() {
  vec3 n = normalize(turned);
  if (!gl_FrontFacing) n = -n;
  // Where the photo looks along the skin its pixels smear; the vertices' own colours take over.
  bool inside = all(greaterThanEqual(at, vec2(0.0))) && all(lessThanEqual(at, vec2(1.0)));
  float sharp = pictured && inside ? smoothstep(0.1, 0.4, facing) : 0.0;
  vec3 skin = clay ? vec3(0.78, 0.76, 0.74) : mix(painted, texture(photo, at).rgb, sharp);
  float light = clay ? 0.28 + 0.72 * max(dot(n, normalize(vec3(-0.4, 0.5, 0.9))), 0.0) + 0.12 * max(n.x, 0.0)
                     : 0.82 + 0.2 * max(n.z, 0.0);
  shown = vec4(skin * light * (gl_FrontFacing ? 1.0 : 0.4), 1.0);
}`;

/** Vertices (x right, y up, z to the viewer, pixels), colours and triangles of the server's binary PLY. */
export function readPly(buffer) {
  const head = new TextDecoder("latin1").decode(buffer.slice(0, 1000)), end = head.indexOf("end_header\n") + 11;
  const count = (name) => Number(head.match(new RegExp(`element ${name} (\\d+)`))[1]);
  const view = new DataView(buffer), n = count("vertex"), t = count("face");
  const positions = new Float32Array(3 * n), colours = new Uint8Array(3 * n), triangles = new Uint32Array(3 * t);
  let at = end;
  for (let i = 0; i < n; i++, at += 15) {
    for (let j = 0; j < 3; j++) {
      positions[3 * i + j] = view.getFloat32(at + 4 * j, true);
      colours[3 * i + j] = view.getUint8(at + 12 + j);
    }
  }
  for (let i = 0; i < t; i++, at += 13) for (let j = 0; j < 3; j++) triangles[3 * i + j] = view.getInt32(at + 1 + 4 * j, true);
  return { positions, colours, triangles };
}

/** A mesh with its small holes closed, to look at: through a mouth that is open one would see the page. */
export function closed(mesh) {
  const { positions, colours, triangles } = mesh, next = new Map(), edges = new Set(), n = positions.length / 3;
  for (let t = 0; t < triangles.length; t += 3) for (let i = 0; i < 3; i++) edges.add(triangles[t + i] * n + triangles[t + ((i + 1) % 3)]);
  // An edge of one triangle alone, turned round, runs along the hole's own triangles.
  for (const edge of edges) {
    const a = Math.floor(edge / n), b = edge % n;
    if (!edges.has(b * n + a)) next.set(b, a);
  }
  const extent = (points) => Math.hypot(...bounds(points).reduce((low, high) => high.map((v, i) => v - low[i])));
  const whole = extent(positions), more = { positions: [], colours: [], triangles: [] };
  while (next.size) {
    const loop = [];
    for (let at = next.keys().next().value; next.has(at); ) {
      loop.push(at);
      const to = next.get(at);
      next.delete(at);
      at = to;
    }
    const points = loop.flatMap((i) => [...positions.subarray(3 * i, 3 * i + 3)]);
    if (loop.length < 3 || extent(points) > 0.3 * whole) continue;
    const middle = n + more.positions.length / 3;
    for (const [list, values] of [[more.positions, points], [more.colours, loop.flatMap((i) => [...colours.subarray(3 * i, 3 * i + 3)])]]) {
      for (let j = 0; j < 3; j++) list.push(values.reduce((sum, v, k) => (k % 3 === j ? sum + v : sum), 0) / loop.length);
    }
    loop.forEach((a, k) => more.triangles.push(a, loop[(k + 1) % loop.length], middle));
  }
  return { positions: joined(positions, more.positions), colours: joined(colours, more.colours), triangles: joined(triangles, more.triangles) };
}

function joined(array, list) {
  const both = new array.constructor(array.length + list.length);
  both.set(array);
  both.set(list, array.length);
  return both;
}

function normalsOf({ positions: p, triangles }) {
  const normals = new Float32Array(p.length);
  for (let t = 0; t < triangles.length; t += 3) {
    const [a, b, c] = [3 * triangles[t], 3 * triangles[t + 1], 3 * triangles[t + 2]];
    const u = [0, 1, 2].map((i) => p[b + i] - p[a + i]), v = [0, 1, 2].map((i) => p[c + i] - p[a + i]);
    const cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
    for (const k of [a, b, c]) for (let i = 0; i < 3; i++) normals[k + i] += cross[i];
  }
  for (let k = 0; k < normals.length; k += 3) {
    const length = Math.hypot(normals[k], normals[k + 1], normals[k + 2]) || 1;
    for (let i = 0; i < 3; i++) normals[k + i] /= length;
  }
  return normals;
}

function bounds(p) {
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (let k = 0; k < p.length; k++) {
    low[k % 3] = Math.min(low[k % 3], p[k]);
    high[k % 3] = Math.max(high[k % 3], p[k]);
  }
  return [low, high];
}

const LARGEST = 1024;

/** The part of the photo behind a mesh as a canvas, and where it lies [x, y, w, h] in the photo's pixels. */
function texture(picture, size, [low, high]) {
  const x = Math.max(0, low[0] - 2), y = Math.max(0, -high[1] - 2);
  const w = Math.max(1, Math.min(size[0], high[0] + 2) - x), h = Math.max(1, Math.min(size[1], -low[1] + 2) - y);
  const k = Math.min(1, LARGEST / Math.max(w, h)), canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(w * k));
  canvas.height = Math.max(1, Math.round(h * k));
  const sx = picture ? picture.width / size[0] : 1, sy = picture ? picture.height / size[1] : 1;
  if (picture) canvas.getContext("2d").drawImage(picture, x * sx, y * sy, w * sx, h * sy, 0, 0, canvas.width, canvas.height);
  return [canvas, [x - 0.5, y - 0.5, w, h]];
}

/** A view on a canvas; throws where the browser has no WebGL 2. */
export class MeshView {
  constructor(canvas) {
    this.canvas = canvas;
    this.gl = canvas.getContext("webgl2", { antialias: true, alpha: true });
    if (!this.gl) throw new Error("This browser shows no WebGL, so the mesh can't turn here. Its files can be downloaded all the same.");
    this.clay = false;
    this.reset();
    this.build();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => { this.build(); if (this.held) this.show(...this.held); });
    this.listen();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  build() {
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error("The mesh can't be drawn by this browser.");
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    this.at = (name) => gl.getUniformLocation(program, name);
    this.program = program;
    this.buffers = {};
    this.photo = gl.createTexture();
    this.count = 0;
  }

  /** Show a mesh of `readPly` with the photo it was made from. */
  show(mesh, picture, size) {
    this.held = [mesh, picture, size];
    const gl = this.gl, box = bounds(mesh.positions), [low, high] = box;
    this.fill("position", mesh.positions, gl.FLOAT, false);
    this.fill("normal", normalsOf(mesh), gl.FLOAT, false);
    this.fill("colour", mesh.colours, gl.UNSIGNED_BYTE, true);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, (this.buffers.triangles ??= gl.createBuffer()));
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, mesh.triangles, gl.STATIC_DRAW);
    const [canvas, part] = texture(picture, size, box);
    gl.bindTexture(gl.TEXTURE_2D, this.photo);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, canvas);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    const middle = low.map((v, i) => (v + high[i]) / 2);
    gl.uniform4f(this.at("place"), ...middle, 1.8 / Math.hypot(...high.map((v, i) => v - low[i])));
    gl.uniform4f(this.at("part"), ...part);
    gl.uniform1i(this.at("pictured"), picture ? 1 : 0);
    this.count = mesh.triangles.length;
    this.draw();
  }

  fill(name, data, kind, normalized) {
    const gl = this.gl, where = gl.getAttribLocation(this.program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, (this.buffers[name] ??= gl.createBuffer()));
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(where);
    gl.vertexAttribPointer(where, 3, kind, normalized, 0, 0);
  }

  clear() {
    this.count = 0;
    this.held = null;
    this.draw();
  }

  reset() {
    this.yaw = this.pitch = 0;
    this.zoom = 1.25;
    this.draw();
  }

  draw() {
    if (!this.program || this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.paint(); });
  }

  paint() {
    const gl = this.gl, ratio = Math.min(devicePixelRatio || 1, 2);
    const width = Math.round(this.canvas.clientWidth * ratio), height = Math.round(this.canvas.clientHeight * ratio);
    if (!width || !height) return;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (!this.count) return;
    const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    // Columns of Rx(pitch)·Ry(yaw).
    gl.uniformMatrix3fv(this.at("turn"), false, [cy, sp * sy, -cp * sy, 0, cp, sp, sy, -sp * cy, cp * cy]);
    const side = Math.min(width, height);
    gl.uniform2f(this.at("aspect"), (this.zoom * side) / width, (this.zoom * side) / height);
    gl.uniform1i(this.at("clay"), this.clay ? 1 : 0);
    gl.drawElements(gl.TRIANGLES, this.count, gl.UNSIGNED_INT, 0);
  }

  turn(yaw, pitch) {
    this.yaw += yaw;
    this.pitch = Math.max(-1.5, Math.min(1.5, this.pitch + pitch));
    this.draw();
  }

  scale(factor) {
    this.zoom = Math.max(0.4, Math.min(6, this.zoom * factor));
    this.draw();
  }

  listen() {
    const canvas = this.canvas, fingers = new Map();
    const apart = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    canvas.addEventListener("pointermove", (event) => {
      const last = fingers.get(event.pointerId);
      if (!last) return;
      const before = fingers.size === 2 ? apart() : 0;
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      if (before) this.scale(apart() / before);
      else this.turn((event.clientX - last[0]) / 110, (event.clientY - last[1]) / 110);
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.scale(Math.exp(-event.deltaY / 500));
    }, { passive: false });
    const keys = {
      ArrowLeft: () => this.turn(-0.12, 0), ArrowRight: () => this.turn(0.12, 0),
      ArrowUp: () => this.turn(0, -0.12), ArrowDown: () => this.turn(0, 0.12),
      "+": () => this.scale(1.15), "=": () => this.scale(1.15), "-": () => this.scale(1 / 1.15), r: () => this.reset(),
    };
    canvas.addEventListener("keydown", (event) => {
      const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
  }
}
