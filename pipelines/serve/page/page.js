// The page: a photo in, faces out.

import { ask, ptsText, save, stem } from "./files.js";
import { Marking } from "./marking.js";
import { MeshView, closed, readPly } from "./mesh.js";
import { around, draw, window_ } from "./photo.js";

const $ = (id) => document.getElementById(id);
const all = (selector) => [...document.querySelectorAll(selector)];

const state = { file: null, picture: null, reply: null, chosen: 0, zoomed: false, marked: null, turn: 0 };
let model = { groups: {}, largest_bytes: Infinity }, meshes = new Map(), view = null, stream = null, asked = 0;

const faces = () => state.reply?.faces ?? [];
const face = () => faces()[state.chosen];
const size = () => (state.reply ? [state.reply.width, state.reply.height] : state.picture ? [state.picture.width, state.picture.height] : [4, 3]);

// What is shown

function tell(text) { $("status").textContent = text; }

function complain(text) {
  $("alert").hidden = !text;
  $("alert").firstElementChild.textContent = text ?? "";
}

function scene() {
  const show = Object.fromEntries(all("[data-show]").map((box) => [box.dataset.show, box.checked]));
  return { picture: state.picture, size: size(), faces: faces(), chosen: state.chosen, show, groups: model.groups };
}

function paint() {
  const canvas = $("photo"), part = window_(size(), face(), state.zoomed);
  const ratio = Math.min(devicePixelRatio || 1, 2), width = canvas.parentElement.clientWidth;
  const shown = Math.min(width, (part[2] / part[3]) * Math.max(280, innerHeight - 210));
  canvas.style.width = `${shown}px`;
  canvas.style.margin = "0 auto";
  canvas.width = Math.round(shown * ratio);
  canvas.height = Math.round((canvas.width * part[3]) / part[2]);
  draw(canvas, { ...scene(), part, marked: state.marked });
}

function degrees(value) { return `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(1)}°`; }

function paintFace() {
  const found = face();
  $("face").hidden = !found;
  $("none").hidden = Boolean(found) || !state.reply;
  $("zoom").disabled = !found;
  if (!found) return;
  for (const angle of ["yaw", "pitch", "roll"]) $(angle).textContent = degrees(found.pose[angle]);
  $("score").value = found.score;
  $("score-text").textContent = found.score.toFixed(2);
  const seen = found.visibility.reduce((sum, v) => sum + v, 0);
  $("seen").textContent = `${seen} visible`;
  $("covered").textContent = `${found.visibility.length - seen} hidden`;
  $("photo").setAttribute("aria-label", `Photo with ${faces().length} faces; face ${state.chosen + 1} has ${seen} visible landmarks.`);
}

function paintChoice() {
  const row = $("faces");
  row.replaceChildren();
  if (faces().length < 2) return;
  faces().forEach((found, i) => {
    const button = document.createElement("button"), canvas = document.createElement("canvas");
    button.type = "button";
    button.setAttribute("aria-label", `Face ${i + 1}`);
    button.setAttribute("aria-pressed", String(i === state.chosen));
    button.addEventListener("click", () => choose(i));
    canvas.width = canvas.height = 112;
    const [x0, y0, x1, y1] = around(found), side = 1.15 * Math.max(x1 - x0, y1 - y0, 8);
    const part = [(x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side, side];
    draw(canvas, { ...scene(), faces: [], part });
    button.append(canvas);
    row.append(button);
  });
}

function choose(i) {
  state.chosen = i;
  all("#faces button").forEach((button, j) => button.setAttribute("aria-pressed", String(i === j)));
  paintFace();
  paint();
  showMesh();
}

// A photo's way

async function open(file, name) {
  if (!file) return;
  if (file.size > model.largest_bytes) return complain(`The file has ${megabytes(file.size)}; this server takes at most ${megabytes(model.largest_bytes)}.`);
  const turn = ++state.turn;
  stopCamera();
  complain(null);
  Object.assign(state, { file, name: name ?? file.name ?? "photo", picture: null, reply: null, chosen: 0, marked: null });
  meshes = new Map();
  view?.clear();
  setMarking(false);
  $("mark").disabled = true;
  setZoom(false);
  for (const [id, hidden] of [["empty", true], ["result", false], ["again", false]]) $(id).hidden = hidden;
  $("busy").hidden = false;
  $("face").hidden = true;
  $("no-mesh").textContent = WAITING;
  $("about").style.visibility = "hidden";
  tell("Looking for faces …");
  const began = performance.now();
  const reply = ask("/api/align", file);
  reply.catch(() => {});
  try {
    const picture = await createImageBitmap(file);
    if (turn !== state.turn) return;
    state.picture = picture;
    paint();
  } catch { /* of a kind that the browser can't show, or no image: then the server says so */ }
  try {
    const found = await (await reply).json();
    if (turn !== state.turn) return;
    state.reply = found;
    state.took = performance.now() - began;
    arrived();
  } catch (error) {
    if (turn === state.turn) failed(error);
  } finally {
    if (turn === state.turn) $("busy").hidden = true;
  }
}

function arrived() {
  $("about").style.visibility = "";
  $("mark").disabled = false;
  const n = faces().length, more = state.reply.found - n;
  const took = state.took < 1000 ? `${Math.round(state.took)} ms` : `${(state.took / 1000).toFixed(1)} s`;
  tell(`${n === 1 ? "1 face" : `${n || "No"} faces`} in ${took}${more > 0 ? `, ${more} more not shown` : ""} · ${state.name} · ${size().join(" × ")}${state.picture ? "" : " · this browser can't show the photo"}`);
  setMarking(n === 0);
  paintFace();
  paint();
  document.dispatchEvent(new CustomEvent("pifa-landmarks"));
  // The landmarks come first.
  requestAnimationFrame(() => setTimeout(() => { paintChoice(); showMesh(); }));
}

function failed(error) {
  complain(error.message);
  tell("");
  if (state.picture || state.reply) return;
  state.file = null;
  for (const [id, hidden] of [["empty", Boolean(stream)], ["result", true], ["again", true]]) $(id).hidden = hidden;
}

async function markFace(box) {
  const turn = state.turn, query = new URLSearchParams({ box: box.map((v) => v.toFixed(2)).join() });
  $("busy").hidden = false;
  complain(null);
  try {
    const found = await (await ask(`/api/align?${query}`, state.file)).json();
    if (turn !== state.turn) return;
    const faces_ = [...faces(), ...found.faces];
    state.reply = { ...found, faces: faces_, found: faces_.length };
    setMarking(false);
    tell(`Face ${faces_.length} added from your box.`);
    choose(faces_.length - 1);
    paintChoice();
  } catch (error) {
    if (turn === state.turn) complain(error.message);
  } finally {
    if (turn === state.turn) $("busy").hidden = true;
  }
}

function megabytes(bytes) { return `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)} MB`; }

// The mesh

const WAITING = "Making the mesh …";

async function meshOf(found, format) {
  const key = `${found.box.join()} ${format}`;
  if (!meshes.has(key)) {
    const query = new URLSearchParams({ box: found.box.join(), format });
    const kept = meshes, coming = ask(`/api/mesh?${query}`, state.file).then((reply) => reply.arrayBuffer());
    coming.catch(() => kept.delete(key));
    meshes.set(key, coming);
  }
  return meshes.get(key);
}

async function showMesh() {
  const found = face(), note = $("no-mesh");
  view?.clear();
  if (!found) return;
  try {
    view ??= new MeshView($("mesh"));
  } catch (error) {
    note.textContent = error.message;
    return;
  }
  note.textContent = WAITING;
  try {
    const mesh = closed(readPly(await meshOf(found, "ply")));
    if (found !== face()) return;
    note.textContent = "";
    view.show(mesh, state.picture, size());
    document.dispatchEvent(new CustomEvent("pifa-mesh"));
  } catch (error) {
    if (found === face()) note.textContent = error.message;
  }
}

// Files

const makers = {
  json: () => new Blob([JSON.stringify({ image: state.name, ...state.reply }, null, 1)], { type: "application/json" }),
  pts: () => new Blob([ptsText(face())], { type: "text/plain" }),
  ply: async () => new Blob([await meshOf(face(), "ply")], { type: "application/octet-stream" }),
  obj: async () => new Blob([await meshOf(face(), "obj")], { type: "text/plain" }),
  png: () => {
    const canvas = document.createElement("canvas"), [width, height] = size(), k = Math.min(1, 4096 / Math.max(width, height));
    Object.assign(canvas, { width: Math.round(width * k), height: Math.round(height * k) });
    draw(canvas, { ...scene(), part: [0, 0, width, height] });
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  },
};

async function download(kind) {
  const number = faces().length > 1 && ["pts", "ply", "obj"].includes(kind) ? `_${state.chosen + 1}` : "";
  try {
    save(await makers[kind](), `${stem(state.name)}${kind === "png" ? "_faces" : number}.${kind}`);
  } catch (error) {
    complain(error.message);
  }
}

// The camera

async function startCamera() {
  complain(null);
  stopCamera();
  const asking = asked;
  let found;
  try {
    found = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
  } catch {
    if (asking === asked) leaveCamera();
    return complain("The camera can't be used: there is none, or the page may not.");
  }
  // A photo came meanwhile, or another click.
  if (asking !== asked) return found.getTracks().forEach((track) => track.stop());
  stream = found;
  for (const [id, hidden] of [["empty", true], ["result", true], ["again", true], ["shooting", false]]) $(id).hidden = hidden;
  $("video").srcObject = stream;
}

function stopCamera() {
  asked++;
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $("shooting").hidden = true;
}

function shoot() {
  const video = $("video"), canvas = document.createElement("canvas");
  if (!video.videoWidth) return;
  Object.assign(canvas, { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => open(blob, "camera.jpg"), "image/jpeg", 0.95);
}

function leaveCamera() {
  stopCamera();
  $(state.file ? "result" : "empty").hidden = false;
  $("again").hidden = !state.file;
  if (state.file) paint();
}

// What the user does

const marking = new Marking($("photo"), {
  size,
  toPhoto: (event) => {
    const canvas = $("photo"), part = window_(size(), face(), state.zoomed), frame = canvas.getBoundingClientRect();
    return [part[0] + ((event.clientX - frame.left) / frame.width) * part[2] - 0.5, part[1] + ((event.clientY - frame.top) / frame.height) * part[3] - 0.5];
  },
  drawn: (box) => { state.marked = box; if (state.file) paint(); },
  done: markFace,
  clicked: ([x, y]) => {
    const i = faces().findIndex(({ box }) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3]);
    if (i >= 0 && i !== state.chosen) choose(i);
  },
});

function setMarking(on) {
  $("mark").setAttribute("aria-pressed", String(on));
  if (on) setZoom(false);
  marking.toggle(on);
}

function setZoom(on) {
  state.zoomed = on;
  $("zoom").setAttribute("aria-pressed", String(on));
  $("zoom").textContent = on ? "Whole photo" : "Zoom in";
}

const acts = { choose: () => $("file").click(), camera: startCamera, shoot, stop: leaveCamera };
for (const button of all("[data-do]")) button.addEventListener("click", acts[button.dataset.do]);
for (const button of all("[data-get]")) button.addEventListener("click", () => download(button.dataset.get));
for (const box of all("[data-show]")) box.addEventListener("change", paint);
for (const skin of all("[name=skin]")) skin.addEventListener("change", () => { if (view) { view.clay = skin.value === "clay"; view.draw(); } });
$("reset").addEventListener("click", () => view?.reset());
$("zoom").addEventListener("click", () => { setZoom(!state.zoomed); paint(); });
$("mark").addEventListener("click", () => setMarking(!marking.on));
$("alert").lastElementChild.addEventListener("click", () => complain(null));
$("file").addEventListener("change", () => { open($("file").files[0]); $("file").value = ""; });
addEventListener("resize", () => { if (state.file) paint(); });
addEventListener("paste", (event) => open([...event.clipboardData.files].find((file) => file.type.startsWith("image/"))));
let inside = 0;
const dragging = (by) => { inside = by ? inside + by : 0; document.body.classList.toggle("dragging", inside > 0); };
addEventListener("dragenter", () => dragging(1));
addEventListener("dragleave", () => dragging(-1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  dragging(0);
  if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
  else complain("That was no file. Save the picture first, then drop it here.");
});
if (navigator.mediaDevices?.getUserMedia) for (const button of all("[data-do=camera]")) button.hidden = false;

try {
  model = await (await fetch("/api/model")).json();
  $("served").textContent = `${model.checkpoint} · ${model.points.length} landmarks (${model.scheme}) · morphable model ${model.morphable.name}`;
  $("version").textContent = `pifa ${model.version}`;
  if (state.file) paint();
} catch {
  complain("The server can't be reached. Is pifa serve still running?");
}
