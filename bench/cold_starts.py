"""Gateways over processes that are started for each env, and the calls that start them."""

import http.client
import json
import socket
import subprocess
import threading
import time
from pathlib import Path

from processes import env_text, envelope, free_ports

WORKER = Path(__file__).resolve().parent / "cold_start/worker.rs"


def compiled(directory):
    """The least worker, as a program."""
    program = Path(directory, "worker")
    subprocess.run(["rustc", "-O", "--edition", "2024", "-o", program, WORKER],
                   check=True, timeout=120)
    return str(program)


def gateway(servers, binary, command, instances):
    """A gateway over processes of this command."""
    port = free_ports(1)[0]
    settings = "\n".join(f"{key} = {value}" for key, value in instances.items())
    config = servers.file(f"envgate-{port}.toml", f"""
[gateway]
listen = ["127.0.0.1:{port}"]
access_log = "off"
[log]
level = "warn"
[instances]
{settings}
[[backend]]
name = "b"
command = {json.dumps(command)}
listen = "inherit"
""")
    return port, servers.start([str(binary), "serve", "--config", config], port)


def request(number, arguments=()):
    body = envelope(env_text(number), list(arguments)).encode()
    head = (f"POST / HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n")
    return head.encode() + body


def call(connection, message):
    """Sends a call; when its first byte went, and what was returned."""
    sent = time.time_ns()
    connection.sendall(message)
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    found = json.loads(answer.read())
    assert found.get("result") == "ok", found
    return sent, found["returned"]


def storm(port, count, first):
    """Seconds until each of as many envs, all new and called at once, was answered, sorted."""
    ended, failed = [], []
    begin = threading.Barrier(count + 1)

    def client(number):
        connection = socket.create_connection(("127.0.0.1", port), 60)
        message = request(number, ["x"])
        begin.wait()
        try:
            call(connection, message)
            ended.append(time.monotonic())
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=client, args=(first + number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    begin.wait()
    began = time.monotonic()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sorted(each - began for each in ended)


def percentile(sorted_values, part):
    """The least value that so many percent don't exceed."""
    return sorted_values[min(len(sorted_values) - 1, -(-len(sorted_values) * part // 100) - 1)]
