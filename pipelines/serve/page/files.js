// What the page gives to keep.

/** Hand a file to the user. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** iBUG's text of one face's landmarks; it counts pixels from 1. */
export function ptsText(face) {
  const rows = face.landmarks.map(([x, y]) => `${(x + 1).toFixed(3)} ${(y + 1).toFixed(3)}`);
  return `version: 1\nn_points: ${rows.length}\n{\n${rows.join("\n")}\n}\n`;
}

/** A file's name without its ending, fit for another. */
export function stem(name) {
  return name.replace(/\.[^.]*$/, "").replace(/[^\p{L}\p{N}_. -]/gu, "_").slice(0, 80) || "photo";
}

/** What the server replies, or an Error with its reason in words. */
export async function ask(address, body) {
  let reply;
  try {
    reply = await fetch(address, { method: "POST", body, headers: { "Content-Type": body.type.startsWith("image/") ? body.type : "application/octet-stream" } });
  } catch {
    throw new Error("The server can't be reached. Is pifa serve still running?");
  }
  if (reply.ok) return reply;
  let reason = `The server replied ${reply.status}.`;
  try { reason = (await reply.json()).reason; } catch { /* no Problem: another server between */ }
  throw new Error(reason);
}
