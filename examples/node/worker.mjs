// A worker for the new API: worker.mjs [PORT | unix:/path]; without either on the socket that was passed on.
import { createHmac, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { escape, unescape } from "node:querystring";

const env = process.env, counts = new Map();
const facets = { __proto__: null, // each takes the session's id and the call's arguments
  "EchoFacet/Echo": (session, value) => value,
  "EnvFacet/Get": (session, name) => env[name] ?? null,
  "SessionFacet/Count": (session) => counts.set(session, (counts.get(session) ?? 0) + 1).get(session) };

function proof() { // of the variables it was started with, as the kernel shows them
  const lines = readFileSync("/proc/self/environ", "latin1").split("\0").filter((line) => line.includes("="));
  const base = (env.ENVGATE_BASE ?? "").split(","), name = (line) => line.slice(0, line.indexOf("="));
  const meant = lines.filter((line) => !base.includes(name(line)) && !line.startsWith("ENVGATE_"));
  const text = meant.sort((a, b) => (name(a) < name(b) ? -1 : 1)).map((line) => line + "\n").join("");
  return createHmac("sha256", env.ENVGATE_PROOF).update(text, "latin1").digest("hex");
}
const server = createServer({ keepAliveTimeout: 60_000 }, async (request, response) => {
  const path = unescape(request.url.slice(1)), cookie = /unisave_session_id=([^; ]+)/.exec(request.headers.cookie);
  const session = unescape(cookie?.[1] ?? randomUUID());
  const set = `unisave_session_id=${escape(session)}; path=/; HttpOnly`;
  let body = "", answer, headers = { "Set-Cookie": set, "Content-Type": "application/json" };
  try {
    for await (const piece of request.setEncoding("utf8")) body += piece;
    if (path === "health") headers = env.ENVGATE_PROOF ? { "X-Envgate-Env-Proof": proof() } : {};
    else answer = { status: "ok", returned: await facets[path](session, ...JSON.parse(body).arguments) };
  } catch (e) {
    const exception = { ClassName: e.name, Message: e.message, StackTraceString: e.stack };
    answer = { status: "exception", exception, isKnownException: false };
  }
  const text = answer ? JSON.stringify({ ...answer, logs: [] }) : "OK\n";
  response.writeHead(200, { ...headers, "Content-Length": Buffer.byteLength(text) }).end(text);
});
const passed = env.LISTEN_PID === `${process.pid}` && env.LISTEN_FDS === "1", place = process.argv[2] ?? "";
server.listen(passed ? { fd: 3 } : place.startsWith("unix:") ? place.slice(5) : { host: "127.0.0.1", port: place });
process.on("SIGTERM", () => server.close() && setInterval(() => server.closeIdleConnections(), 50).unref());
