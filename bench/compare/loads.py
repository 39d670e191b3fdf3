"""What the gateways are sent: the calls, wrk's closed loop, and the open loop."""

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from processes import cpu_seconds, env_text, envelope, on_cpu_seconds, resident

# The bytes of the whole small envelope, and characters of the only argument of the others.
SMALL = 1100
ARGUMENTS = {"100 KB": 100_000, "900 KB": 900_000}
SIZES = ["1.1 KB", *ARGUMENTS]
# `null` lifts the limits of admission.
ENV = env_text(1) + "WORKER_REQUEST_CONCURRENCY=null\n"
WARM_UP_SECONDS = 0.3
# Calls of this size are few: they are measured and warmed up for so many times as long.
LARGE, LONGER = "900 KB", 2
# For what was under way when the warm-up was stopped.
SETTLE_SECONDS = 0.05
OPEN_WARM_UP_SECONDS = 0.5
NICE = -15
WRK = """
wrk.method = "POST"
wrk.path = "{path}"
wrk.headers = {{ {headers} }}
wrk.body = io.open("{body}"):read("*a")
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("FIGURES %d %d %d %d %d %d %d %d %.1f %.1f %.1f\\n",
    summary.requests, summary.duration, summary.bytes, errors.connect, errors.read, errors.write,
    errors.status, errors.timeout, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9)))
end
"""
OK = {"legacy": {"result": "ok", "returned": "Hello!"},
      "modern": {"status": "ok", "returned": "Hello!"}}


class Invalid(Exception):
    """A gateway was seen to do something other than answer a call with 200."""


class Call:
    """One call of a size in a client's form, as every load needs it."""

    def __init__(self, servers, client, size):
        self.size = size
        length = ARGUMENTS.get(size) or SMALL - len(envelope(ENV, [""]))
        self.headers = {"Content-Type": "application/json"}
        self.path, self.body = "/", envelope(ENV, ["x" * length])
        if client == "modern":
            self.path = "/EchoFacet/Echo"
            self.body = json.dumps({"arguments": ["x" * length]}, separators=(",", ":"))
            self.headers |= {"X-Unisave-Request": "Facet",
                             "Cookie": "unisave_session_id=c3Vic3RpdHV0ZQ0123456789;"}
        stem = f"{client}-{length}"
        body = servers.file(f"{stem}.json", self.body)
        headers = ", ".join(f'["{name}"] = "{value}"' for name, value in self.headers.items())
        script = WRK.format(path=self.path, headers=headers, body=body)
        self.script = servers.file(f"{stem}.lua", script)
        lines = [f"POST {self.path} HTTP/1.1", "Host: 127.0.0.1",
                 *(f"{name}: {value}" for name, value in self.headers.items()),
                 f"Content-Length: {len(self.body)}", "", self.body]
        self.request = servers.file(f"{stem}.http", "\r\n".join(lines))


def check(gateway, call):
    """That one call arrives and is answered in the form that it should; bytes of the answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{gateway.port}{call.path}",
                                     call.body.encode(), call.headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            status, body, head = answer.status, answer.read(), str(answer.headers)
    except urllib.error.HTTPError as error:
        status, body, head = error.code, error.read(), ""
    except OSError as error:
        raise Invalid(f"{gateway.name} doesn't answer: {error}") from error
    try:
        right = status == 200 and OK[gateway.answer].items() <= json.loads(body).items()
    except ValueError:
        right = False
    if not right:
        raise Invalid(f"{gateway.name} answered {status}: {body[:500]!r}")
    return len(head) + len(body)


def wrk(gateway, call, connections, threads, seconds, stop_after=None):
    """What wrk measured; every answer must have had status 200."""
    command = ["wrk", f"-t{min(threads, connections)}", f"-c{connections}", f"-d{seconds}s",
               "--timeout", "10s", "-s", call.script, f"http://127.0.0.1:{gateway.port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as child:
        try:
            if stop_after:
                time.sleep(stop_after)
                child.send_signal(signal.SIGINT)
            said = child.communicate(timeout=seconds + 30)[0]
        finally:
            child.kill()
    found = re.search(r"^FIGURES (.*)$", said, re.MULTILINE)
    if not found:
        raise Invalid(f"{gateway.name}: wrk gave no figures:\n{said}")
    calls, spent, received, *errors, p50, p99, p999 = map(float, found[1].split())
    if any(errors) or not (calls or stop_after):
        names = ("connect", "read", "write", "status", "timeout")
        raise Invalid(f"{gateway.name}: errors under wrk: {dict(zip(names, errors))}:\n{said}")
    calls = max(calls, 1)
    return {"calls": int(calls), "calls_per_second": calls / (spent / 1e6),
            "answer_bytes": received / calls, "p50_us": p50, "p99_us": p99, "p999_us": p999}


class Account:
    """CPU time and memory of a gateway between two moments."""

    def __init__(self, gateway):
        self.pid = gateway.process.pid
        self.split, self.total = cpu_seconds(self.pid), on_cpu_seconds(self.pid)

    def close(self, calls):
        """Microseconds a call. The scheduler has the total to the nanosecond; user and system
        time, which have a resolution of ticks, say how it is split."""
        total = on_cpu_seconds(self.pid) - self.total
        user, system = (now - then for now, then in zip(cpu_seconds(self.pid), self.split))
        share = user / (user + system) if user + system else 0
        each = 1e6 * total / calls
        return {"cpu_us": each, "user_us": each * share, "system_us": each * (1 - share),
                "ticks_us": 1e6 * (user + system) / calls, "rss_bytes": resident(self.pid)}


def closed(gateway, call, connections, threads, seconds):
    """Calls at saturation: each connection sends its next call when it has its answer."""
    longer = LONGER if call.size == LARGE else 1
    expected = check(gateway, call)
    wrk(gateway, call, connections, threads, 1, WARM_UP_SECONDS * longer)
    time.sleep(SETTLE_SECONDS)
    account = Account(gateway)
    found = wrk(gateway, call, connections, threads, seconds * longer)
    found |= account.close(found["calls"])
    # wrk tells only of a status over 399: another answer would have another length.
    if not 0.6 * expected < found["answer_bytes"] < 1.6 * expected:
        raise Invalid(f"{gateway.name}: answers of {found['answer_bytes']:.0f} bytes under wrk, "
                      f"{expected} alone")
    check(gateway, call)
    return found


def open_loop(gateway, call, connections, rate, seconds, options):
    """Calls on a schedule of so many a second, whatever the answers take."""
    check(gateway, call)
    command = [options.programs / "open_loop", gateway.port, f"{rate:.3f}", connections,
               OPEN_WARM_UP_SECONDS, seconds, call.request]
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as child:
        try:
            first = not options.no_priority and go_first(child.pid)
            account = figures = None
            for line in child.stdout:
                if line == "begin\n":
                    account = Account(gateway)
                elif line == "end\n":
                    closing = account.close(1)
                else:
                    figures = json.loads(line)
            errors = child.stderr.read()
        finally:
            child.kill()
    if not figures:
        raise Invalid(f"{gateway.name}: open loop: {errors}")
    check(gateway, call)
    calls = figures["answered"] or 1
    closing |= {key: value / calls for key, value in closing.items() if key.endswith("_us")}
    latency = figures.pop("latency_us")
    late = figures.pop("late_us")
    return figures | closing | {
        "asked_per_second": rate, "calls_per_second": figures["answered"] / seconds,
        # A hiccup at the very end is no lack of speed.
        "sustained": figures["backlog"] <= max(connections, 0.02 * figures["planned"]),
        "p50_us": latency["p50"], "p99_us": latency["p99"], "p999_us": latency["p99.9"],
        "max_us": latency["max"], "load_late_p99_us": late["p99"], "load_goes_first": first,
    }


def go_first(pid):
    """Lets the load have a CPU soon when it wants one, as if it were another machine. So it sends
    in time, and its own waiting isn't taken for a gateway's. Whether that is allowed here. With a
    real-time class it would take a CPU from a gateway that waits behind it for milliseconds."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, NICE)
    except OSError:
        return False
    return True


def syscalls(gateway, call, connections):
    """System calls a call, by name, under strace."""
    wrk(gateway, call, connections, 1, 1, WARM_UP_SECONDS)
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children")
    pids = [str(gateway.process.pid), *children.read_text().split()]
    attach = [part for pid in pids for part in ("-p", pid)]
    tracer = subprocess.Popen(["strace", "-c", "-f", *attach], stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(0.5)
        calls = wrk(gateway, call, connections, 1, 2)["calls"]
    finally:
        tracer.send_signal(signal.SIGINT)
        said = tracer.communicate(timeout=30)[1]
    counts = {}
    for line in said.splitlines():
        fields = line.split()
        if len(fields) >= 5 and re.fullmatch(r"[\d.]+", fields[0]) and fields[-1] != "total":
            counts[fields[-1]] = int(fields[3]) / calls
    return counts
