#!/usr/bin/env python3
"""The gateway is killed under load, again and again: what it started is gone, and a new one serves.

A round starts a gateway over the sample worker, calls it with many envs at once, kills the gateway
itself, its watchdog, or both at the same moment, and looks for whatever bears the round's mark in its
arguments or variables. After one second nothing may be left. The next round's gateway takes the same
port and the same runtime directory.
"""

import argparse
import json
import os
import random
import signal
import socket
import sys
import threading
import time
import urllib.request
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from processes import Servers, envelope, free_ports, machine, version

VICTIMS = ("gateway", "watchdog", "both")
ALLOWED_SECONDS = 1.0
CLIENTS = 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, default=HERE.parents[1] / "target/release/envgate")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=0.3, help="of load before the kill, about")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def marked(mark):
    """Living processes with this mark; one whose variables can't be read any more has ended."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        for file in ("environ", "cmdline"):
            try:
                if mark in (directory / file).read_bytes():
                    found.append(int(directory.name))
                    break
            except OSError:
                pass
    return found


def client(port, number, over, served):
    """Calls until the gateway is gone; every other call is the first of its env."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            count = 0
            while not over.is_set():
                count += 1
                env = f"CLIENT={number}\n" + (f"COUNT={count}\n" if count % 2 else "")
                body = envelope(env, ["x"]).encode()
                head = f"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)
                answer = connection.recv(1 << 16)
                if not answer:
                    return
                if answer.startswith(b"HTTP/1.1 200 "):
                    served.append(number)
    except OSError:
        return


def serves(port):
    """Whether a call is answered rightly."""
    body = envelope("A=1\n", ["x"]).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", body, timeout=10) as answer:
        return json.load(answer)["returned"] == "x"


def round_of(servers, options, port, runtime, victims):
    """Starts, loads, kills: calls served, processes at the kill, seconds until all were gone."""
    mark = uuid.uuid4().hex
    config = servers.file("envgate.toml", f"""
[gateway]
listen = ["127.0.0.1:{port}"]
access_log = "off"
[log]
level = "error"
[instances]
max = 16
[[backend]]
name = "b"
command = ["{options.binary}", "worker", "--listen", "inherit", "--framework", "0.12.0"]
env = {{ MARK = "{mark}" }}
""")
    command = ["env", f"MARK={mark}", f"XDG_RUNTIME_DIR={runtime}", str(options.binary), "serve",
               "--config", config]
    watchdog = servers.start(command, port)
    assert serves(port)
    left_over = len(list(runtime.iterdir())) - 1
    over, served = threading.Event(), []
    clients = [threading.Thread(target=client, args=(port, number, over, served))
               for number in range(CLIENTS)]
    for each in clients:
        each.start()
    time.sleep(options.seconds * random.uniform(0.5, 1.5))
    gateway = int(Path(f"/proc/{watchdog.pid}/task/{watchdog.pid}/children").read_text().split()[0])
    before = len(marked(mark.encode()))
    killed_at = time.monotonic()
    for pid in {"gateway": [gateway], "watchdog": [watchdog.pid],
                "both": [watchdog.pid, gateway]}[victims]:
        os.kill(pid, signal.SIGKILL)
    while left := marked(mark.encode()):
        if time.monotonic() - killed_at > ALLOWED_SECONDS:
            break
    gone = time.monotonic() - killed_at
    over.set()
    for each in clients:
        each.join()
    servers.stop(watchdog)
    return len(served), before, gone, len(left), left_over


def main():
    options = arguments()
    rows = []
    with Servers() as servers:
        port = free_ports(1)[0]
        runtime = Path(servers.directory.name, "run")
        runtime.mkdir()
        for number in range(options.rounds):
            victims = VICTIMS[number % len(VICTIMS)]
            row = (victims, *round_of(servers, options, port, runtime, victims))
            rows.append(row)
            print(f"round {number + 1}: {row}", file=sys.stderr)
    lines = [f"{options.rounds} rounds, {CLIENTS} clients. A round: calls served, processes at the "
             "kill, milliseconds until the last was gone, processes left after 1 s, directories of "
             "earlier gateways left.\n",
             "| round | killed | served | processes | gone after ms | left | directories |",
             "|---:|---|---:|---:|---:|---:|---:|"]
    for number, (victims, served, before, gone, left, dirs) in enumerate(rows):
        lines.append(f"| {number + 1} | {victims} | {served} | {before} | {1000 * gone:.0f} | {left} "
                     f"| {dirs} |")
    summary = [f"- {victims}: slowest {1000 * max(row[3] for row in rows if row[0] == victims):.0f} "
               f"ms, {sum(row[4] > 0 for row in rows if row[0] == victims)} rounds with something left"
               for victims in VICTIMS if any(row[0] == victims for row in rows)]
    text = "\n".join([*summary, "", *lines, "", f"{machine()}; "
                      f"{version(str(options.binary), '--version')}.", ""])
    print(text)
    if options.output:
        options.output.write_text(text)
    sys.exit(any(row[4] or row[5] for row in rows))


if __name__ == "__main__":
    main()
