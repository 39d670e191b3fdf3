// A worker for the new API: worker.mjs [PORT | unix:/path]; without either on the socket that was passed on.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { escape, unescape } from "node:querystring";

const env = process.env, counts = new Map();
const facets = { __proto__: null, // each takes the session's id and the call's arguments
  "EchoFacet/Echo": (session, value) => value,
  "EnvFacet/Get": (session, name) => env[name] ?? null,
  "SessionFacet/Count": (session) => counts.set(session, (counts.get(session) ?? 0) + 1).get(session) };

const server = createServer({ keepAliveTimeout: 60_000 }, async (request, response) => {
  const path = unescape(request.url.slice(1)), cookie = /unisave_session_id=([^; ]+)/.exec(request.headers.cookie);
  const session = unescape(cookie?.[1] ?? randomUUID());
  const set = `unisave_session_id=${escape(session)}; path=/; HttpOnly`;
  let body = "", answer, headers = { "Set-Cookie": set, "Content-Type": "application/json" };
  try {
    for await (const piece of request.setEncoding("utf8")) body += piece;
    if (path === "health") headers = {};
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
