"""What hot envs and idle connections take of memory."""

import json
import socket
import struct
import sys

from envs import Gateway, call, env, settle
from processes import resident

NO_LINGER = struct.pack("ii", 1, 0)
SPARE_DESCRIPTORS = 300
# Longer than a bench takes: no connection is to leave while it is counted.
PATIENCE = {"gateway.idle_timeout": "30m", "gateway.first_byte_timeout": "30m"}


def of_envs(hots):
    """Bytes of a hot env beside its text, and what they come from, for each number of envs."""
    rows = []
    for hot in hots:
        if hot.envs == 1:
            continue
        # As it stands in the envelope: that is what is kept of it, beside what was made of it.
        text = sum(len(json.dumps(env(number))) for number in range(hot.envs)) / hot.envs
        each = (hot.warm - hot.one) / (hot.envs - 1)
        rows.append({"envs": hot.envs, "idle": hot.idle, "one": hot.one, "warm": hot.warm,
                     "text": text, "each": each, "beside_text": each - text})
    return rows


def connected(port, count):
    """So many connections; one that isn't accepted at once is tried again by the kernel."""
    found = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), 30)
        # Closed without leaving its port unusable for a minute.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        found.append(connection)
    return found


def answered(connection, message):
    """One call, which must be answered well."""
    connection.sendall(message)
    answer = b""
    while b'"executionDuration":' not in answer:
        came = connection.recv(1 << 16)
        if not came:
            raise RuntimeError(f"a connection was closed: {answer}")
        answer += came
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"a call failed: {answer}")


def of_connections(servers, options, upstream, calls):
    """Resident bytes before and with so many idle connections, each of which made `calls` calls."""
    count = options.connections
    settings = PATIENCE | {"gateway.max_connections": count + SPARE_DESCRIPTORS}
    gateway = Gateway(servers, options.binary, upstream, settings)
    message = call(1)
    # What calls need beside their connections is there before.
    first = connected(gateway.port, 16)
    for connection in first * 16:
        answered(connection, message)
    settle()
    before = resident(gateway.pid)
    connections = connected(gateway.port, count)
    for _ in range(calls):
        for connection in connections:
            answered(connection, message)
    settle(2)
    after = resident(gateway.pid)
    # The first ones, and the one that asks.
    still = gateway.metrics()["connections"] - len(first) - 1
    for connection in first + connections:
        connection.close()
    settle(2)
    closed = resident(gateway.pid)
    servers.stop(gateway.process)
    if still != count:
        raise RuntimeError(f"{count} connections should be open, not {still:.0f}")
    row = {"connections": count, "calls": calls, "before": before, "with": after,
           "closed": closed, "each": (after - before) / count}
    print(f"{count} connections after {calls} calls each: {row['each']:.0f} bytes each",
          file=sys.stderr)
    return row
