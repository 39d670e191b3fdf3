"""Whether the Lua peers translate: the conformance cases of answers that they claim."""

import http.client
import http.server
import json
import re
import threading
from pathlib import Path

from gateways import HERE, LUA, LUA_MODULES, lua_http
from processes import Servers, free_ports

CASES = HERE.parents[1] / "fixtures/conformance/cases/reply.json"
# Errors of the worker that only show once the head has been sent, and what needs a look at every
# byte. A gateway that does them too is slower.
LEFT_OUT = {
    "raw control characters in an answer are escaped",
    "a 200 that isn't JSON",
    "a 200 without a status",
    "the backend hangs up without an answer",
}
LEFT_OUT_BY_CJSON = {"returned passes byte for byte"}


class Worker(http.server.ThreadingHTTPServer):
    """Answers each call with the reply of the case that runs, and keeps what it got."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply, self.seen, self.answers = None, [], threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.command, self.path, self.headers, body))
        reply = self.server.reply
        self.server.answers.wait(reply.get("delay_ms", 0) / 1000)
        body = reply.get("body", "").encode()
        self.send_response(reply.get("status", 200))
        for name, value in reply.get("headers", []):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


def headers_differ(wanted, headers):
    for name, value in wanted.items():
        found = headers.get_all(name) or []
        if value is None:
            right = not found
        elif value.startswith("~"):
            right = len(found) == 1 and re.fullmatch(value[1:], found[0])
        else:
            right = found == [value]
        if not right:
            yield f"{name} is {found}, not {value}"


def same(wanted, found):
    """Equal values; `<number>` and `<least to most>` stand for any such number."""
    if isinstance(wanted, str) and (bounds := re.fullmatch(r"<([\d.]+) to ([\d.]+)>", wanted)):
        return float(bounds[1]) <= found <= float(bounds[2])
    if wanted == "<number>":
        return type(found) in (int, float)
    if isinstance(wanted, dict):
        return (isinstance(found, dict) and wanted.keys() == found.keys()
                and all(same(value, found[key]) for key, value in wanted.items()))
    return type(wanted) is type(found) and wanted == found


def body_differs(wanted, body):
    text = body.decode()
    if "body" in wanted and wanted["body"] != text:
        yield f"the body is {text}"
    for part in wanted.get("contains", []):
        if part not in text:
            yield f"{part} isn't in {text}"
    if "json" in wanted and not same(wanted["json"], json.loads(text)):
        yield f"the answer is {text}"


def differences(case, port, worker):
    """What of a case isn't as it should be."""
    worker.reply, worker.seen = case["reply"], []
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        client.request("POST", "/", case["request"]["body"].encode(),
                       {"Content-Type": "application/json"})
        answer = client.getresponse()
        body = answer.read()
    finally:
        client.close()
    wanted = case["response"]
    if answer.status != wanted["status"]:
        yield f"the status is {answer.status}"
    yield from headers_differ(wanted.get("headers", {}), answer.headers)
    yield from body_differs(wanted, body)
    if len(worker.seen) != 1:
        yield f"the worker saw {len(worker.seen)} calls"
        return
    method, path, headers, body = worker.seen[0]
    wanted = case["backend"]
    if (method, path) != (wanted["method"], wanted["path"]):
        yield f"the worker saw {method} {path}"
    yield from headers_differ(wanted.get("headers", {}), headers)
    yield from body_differs(wanted, body)


def check_lua():
    """Prints what each peer claims; whether all of it holds."""
    failed = 0
    cases = json.loads(CASES.read_text())
    worker = Worker()
    upstream = f"upstream workers {{ server 127.0.0.1:{worker.server_address[1]}; }}"
    with Servers() as servers:
        for peer, module in LUA_MODULES.items():
            port = free_ports(1)[0]
            servers.nginx(port, "", lua_http(port, upstream, module), 1, LUA)
            left_out = LEFT_OUT | (LEFT_OUT_BY_CJSON if peer == "lua-cjson" else set())
            for case in cases:
                if case["name"] in left_out:
                    print(f"{peer}: not claimed: {case['name']}")
                    continue
                found = list(differences(case, port, worker))
                failed += bool(found)
                print(f"{peer}: {'FAILED' if found else 'passed'}: {case['name']}")
                for difference in found:
                    print(f"    {difference}")
    print(f"{failed} failed")
    return not failed
