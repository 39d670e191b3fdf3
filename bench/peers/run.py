#!/usr/bin/env python3
"""What a call costs in CPU: envgate translating it, nginx and HAProxy passing it through.

All stand before the same backend, one that answers each call at once, and are called by wrk with
the same envelope. A round measures each in turn; the table has the medians of the rounds. What is
counted is the user and system time of the gateway's own processes, from /proc.
"""

import argparse
import json
import re
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from processes import Servers, cpu_seconds, env_text, envelope, free_ports, machine, version

CONNECTIONS = 32
MODERN = '{"status":"ok","returned":"Hello!","logs":[]}'
SIZES = {"1.1 KB": 147, "100 KB": 100_000}  # characters of the only argument: 1,100 bytes in all
PASSING = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;'
HAPROXY = """
global
    nbthread {workers}
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option http-keep-alive
    http-reuse always
frontend calls
    bind 127.0.0.1:{port}
    default_backend workers
backend workers
    server one 127.0.0.1:{backend}
"""
WRK_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = io.open("{body}"):read("*a")
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", default=HERE.parents[1] / "target/release/envgate")
    parser.add_argument("--compare", action="append", default=[], metavar="NAME=BINARY",
                        help="another build, measured too")
    parser.add_argument("--workers", type=int, default=1, help="threads or processes of each")
    parser.add_argument("--seconds", type=int, default=2, help="measured, a gateway and round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--syscalls", action="store_true", help="count them with strace, once each")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    options.seconds = min(options.seconds, 60)
    return options


def start(servers, options, backend):
    """Every gateway's name, port and process."""
    gateways = {}

    def envgate(name, binary, access_log):
        port = free_ports(1)[0]
        settings = {"gateway.access_log": access_log, "gateway.threads": options.workers,
                    "admission.concurrency": 64}
        gateways[name] = port, servers.envgate(binary, port, [backend], settings)

    envgate("envgate", options.binary, "off")
    envgate("envgate, access log to /dev/null", options.binary, "text")
    for other in options.compare:
        name, _, binary = other.partition("=")
        envgate(f"envgate, {name}", binary, "off")
    port = free_ports(1)[0]
    http = f"""client_body_buffer_size 256k; client_max_body_size 1m;
        upstream workers {{ server 127.0.0.1:{backend}; keepalive 64; }}
        server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://workers; {PASSING} }} }}"""
    gateways["nginx"] = port, servers.nginx(port, "", http, options.workers)
    port = free_ports(1)[0]
    config = HAPROXY.format(port=port, backend=backend, workers=options.workers)
    command = ["haproxy", "-q", "-db", "-f", servers.file("haproxy.cfg", config)]
    gateways["haproxy"] = port, servers.start(command, port)
    return gateways


def scripts(servers):
    """A wrk script for each size of call."""
    found = {}
    for size, length in SIZES.items():
        body = servers.file(f"body-{length}", envelope(env_text(1), ["x" * length]))
        found[size] = servers.file(f"wrk-{length}.lua", WRK_SCRIPT.format(body=body))
    return found


def check(port, is_envgate):
    """That a call arrives, and is translated where it is to be."""
    body = envelope(env_text(1), ["x" * SIZES["1.1 KB"]]).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", body, timeout=10) as answer:
        found = json.load(answer)
    expected = {"result": "ok"} if is_envgate else {"status": "ok"}
    assert expected.items() <= found.items(), found
    return len(body)


def load(port, script, seconds):
    """How many calls wrk got answered, and how many a second; none may fail."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script,
               f"http://127.0.0.1:{port}/"]
    said = subprocess.run(command, capture_output=True, text=True, check=True,
                          timeout=seconds + 30).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(said)
    return (int(re.search(r"(\d+) requests in", said)[1]),
            float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]))


def measure(port, process, script, seconds):
    """Microseconds of user and system time a call, and calls a second."""
    load(port, script, 1)
    before = cpu_seconds(process.pid)
    calls, rate = load(port, script, seconds)
    after = cpu_seconds(process.pid)
    user, system = (1e6 * (end - begin) / calls for begin, end in zip(before, after))
    return user, system, user + system, rate


def syscalls(port, process, script):
    """System calls a call, by name."""
    load(port, script, 1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    attach = [part for pid in [str(process.pid), *children] for part in ("-p", pid)]
    tracer = subprocess.Popen(["strace", "-c", "-f", *attach], stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    calls, _ = load(port, script, 2)
    tracer.send_signal(signal.SIGINT)
    said = tracer.communicate(timeout=30)[1]
    counts = {}
    for line in said.splitlines():
        fields = line.split()
        if len(fields) >= 5 and re.fullmatch(r"[\d.]+", fields[0]) and fields[-1] != "total":
            counts[fields[-1]] = int(fields[3]) / calls
    return counts


def run(options):
    results, traced = {}, {}
    with Servers() as servers:
        backend = free_ports(1)[0]
        http = f"""client_max_body_size 1m; client_body_buffer_size 256k;
            server {{ listen 127.0.0.1:{backend}; default_type application/json;
            location / {{ return 200 '{MODERN}'; }} }}"""
        servers.nginx(backend, "", http, workers=1)
        gateways = start(servers, options, backend)
        sizes = {check(port, name.startswith("envgate")) for name, (port, _) in gateways.items()}
        print(f"bytes of the small call: {sizes}", file=sys.stderr)
        for number in range(options.rounds):
            for size, script in scripts(servers).items():
                for name, (port, process) in gateways.items():
                    row = measure(port, process, script, options.seconds)
                    results.setdefault(size, {}).setdefault(name, []).append(row)
                    print(f"round {number + 1}, {size}, {name}: {row}", file=sys.stderr)
        if options.syscalls:
            for size, script in scripts(servers).items():
                for name, (port, process) in gateways.items():
                    traced[size, name] = syscalls(port, process, script)
    return results, traced


def table(results):
    lines = ["| arguments | gateway | user µs | system µs | CPU µs a call | spread | to nginx "
             "| calls/s |", "|---|---|---:|---:|---:|---|---:|---:|"]
    for size, gateways in results.items():
        nginx = [row[2] for row in gateways["nginx"]]
        for name, rows in gateways.items():
            user, system, total, rate = (statistics.median(column) for column in zip(*rows))
            totals = [row[2] for row in rows]
            ratio = statistics.median(own / peer for own, peer in zip(totals, nginx))
            lines.append(f"| {size} | {name} | {user:.1f} | {system:.1f} | {total:.1f} | "
                         f"{min(totals):.1f}–{max(totals):.1f} | {ratio:.2f} | {rate:.0f} |")
    return "\n".join(lines)


def syscall_table(traced):
    lines = ["| arguments | gateway | system calls a call | by name |", "|---|---|---:|---|"]
    for (size, name), counts in traced.items():
        often = sorted(counts.items(), key=lambda item: -item[1])
        by_name = ", ".join(f"{call} {count:.2f}" for call, count in often if count >= 0.005)
        lines.append(f"| {size} | {name} | {sum(counts.values()):.2f} | {by_name} |")
    return "\n".join(lines)


def main():
    options = arguments()
    results, traced = run(options)
    text = f"""wrk with {CONNECTIONS} connections, {options.workers} worker thread or process \
each, {options.seconds} s a gateway and round after 1 s of warm-up, median of {options.rounds} \
interleaved rounds. envgate translates legacy to modern and back; nginx and HAProxy pass the same \
bytes.

{table(results)}

"""
    if traced:
        text += f"System calls, under strace:\n\n{syscall_table(traced)}\n\n"
    text += (f"{machine()}; {version('nginx', '-v')}; {version('haproxy', '-v')}; "
             f"{version('wrk', '-v')}; {version(str(options.binary), '--version')}.\n")
    print(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
