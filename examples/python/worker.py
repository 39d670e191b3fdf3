"""A worker for the new API: worker.py [PORT | unix:/path]; without either on the socket that was passed on."""
import collections, http.server, itertools, json, os, re, signal, socket, sys, urllib.parse, uuid

counts = collections.defaultdict(lambda: itertools.count(1))
FACETS = {"EchoFacet/Echo": lambda session, value: value, "SessionFacet/Count": lambda session: next(counts[session]),
          "EnvFacet/Get": lambda session, name: os.environ.get(name)}
class Worker(http.server.BaseHTTPRequestHandler):
    protocol_version, wbufsize, log_message = "HTTP/1.1", -1, lambda *_: None  # one write an answer; no log
    def do_GET(self):
        self.answer("OK\n", {}) if self.path == "/health" else self.send_error(404)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        sent = re.search("unisave_session_id=([^; ]+)", self.headers.get("Cookie", ""))
        session = urllib.parse.unquote(sent[1]) if sent else uuid.uuid4().hex
        try:
            returned = FACETS[urllib.parse.unquote(self.path[1:])](session, *json.loads(body)["arguments"])
            text = json.dumps({"status": "ok", "returned": returned, "logs": []}, allow_nan=False)
        except Exception as e:
            thrown = {"ClassName": type(e).__name__, "Message": str(e), "StackTraceString": ""}
            text = json.dumps({"status": "exception", "exception": thrown, "isKnownException": False, "logs": []})
        cookie = f"unisave_session_id={urllib.parse.quote(session, '')}; path=/; HttpOnly"
        self.answer(text, {"Set-Cookie": cookie, "Content-Type": "application/json"})
    def answer(self, text, headers):
        self.send_response(200)
        for header in {**headers, "Content-Length": len(text)}.items(): self.send_header(*header)
        self.end_headers(), self.wfile.write(text.encode())
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
server = http.server.ThreadingHTTPServer(None, Worker, bind_and_activate=False)
if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS") == "1":
    server.socket = socket.socket(fileno=3)
elif sys.argv[1].startswith("unix:"): server.socket = socket.create_server(sys.argv[1][5:], family=socket.AF_UNIX)
else: server.socket = socket.create_server(("127.0.0.1", int(sys.argv[1])))
server.serve_forever()
