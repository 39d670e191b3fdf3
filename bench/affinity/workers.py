#!/usr/bin/env python3
"""Stand-in workers, each at a port of its own, all in this process.

Each behaves as an unmodified C# worker does to its callers: it holds one env at a time. A call of
another env loads that one (`--reload`), after the calls that run have ended; whoever comes
meanwhile waits, in the order of coming. Calls of the env that is held run together, ten at once.
The work is waiting, not computing, so that one process can stand for many machines.

`GET /counts` at any of the ports tells what happened so far: among it the overlaps, calls that came
while a call of another env was there. `GET /reset` forgets it and every env.
"""

import argparse
import asyncio
import json
from collections import Counter, deque

CONCURRENCY = 10
ANSWER = b'{"result":"ok","returned":"Hello!","special":{"sessionId":null,"logs":[],"executionDuration":0.002}}'


class Worker:
    def __init__(self, loop, reload_seconds, call_seconds):
        self.loop = loop
        self.reload_seconds = reload_seconds
        self.call_seconds = call_seconds
        self.lives = 0
        self.reset()

    def reset(self):
        self.lives += 1
        self.here = Counter()
        self.held = None
        self.loading = False
        self.running = 0
        self.waiting = deque()
        self.calls = 0
        self.reloads = 0
        self.overlaps = 0

    def call(self, env, answer):
        self.here[env] += 1
        if len(self.here) > 1:
            self.overlaps += 1
        self.waiting.append((env, answer))
        self.go_on()

    def go_on(self):
        while self.waiting and not self.loading and self.running < CONCURRENCY:
            env, answer = self.waiting[0]
            if env != self.held:
                if self.running == 0:
                    self.loading = True
                    self.reloads += 1
                    self.loop.call_later(self.reload_seconds, self.loaded, self.lives, env)
                return
            self.waiting.popleft()
            self.running += 1
            self.loop.call_later(self.call_seconds, self.done, self.lives, answer)

    def loaded(self, life, env):
        if life != self.lives:
            return
        self.loading = False
        self.held = env
        self.go_on()

    def done(self, life, answer):
        if life != self.lives:
            return
        self.running -= 1
        self.here[self.held] -= 1
        if not self.here[self.held]:
            del self.here[self.held]
        self.calls += 1
        answer(ANSWER)
        self.go_on()


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as a gateway in front needs it: keep-alive, bodies with a length."""

    def __init__(self, worker, workers):
        self.worker = worker
        self.workers = workers
        self.received = bytearray()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data
        head_end = self.received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self.received[:head_end]).lower()
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        body_end = head_end + 4 + length
        if len(self.received) < body_end:
            return
        body = bytes(self.received[head_end + 4 : body_end])
        del self.received[:body_end]
        if head.startswith(b"get /counts"):
            counts = [{"calls": each.calls, "reloads": each.reloads, "overlaps": each.overlaps}
                      for each in self.workers]
            self.answer(json.dumps(counts).encode())
        elif head.startswith(b"get /reset"):
            for each in self.workers:
                each.reset()
            self.answer(b"{}")
        else:
            self.worker.call(json.loads(body)["env"], self.answer)

    def answer(self, body):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % len(body) + body)


async def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--reload", type=float, default=0.2, help="seconds that an env takes")
    options.add_argument("--call", type=float, default=0.002, help="seconds that a call takes")
    options.add_argument("ports", type=int, nargs="+")
    options = options.parse_args()
    loop = asyncio.get_running_loop()
    workers = [Worker(loop, options.reload, options.call) for _ in options.ports]
    for worker, port in zip(workers, options.ports):
        await loop.create_server(
            lambda worker=worker: Connection(worker, workers), "127.0.0.1", port, backlog=1024
        )
    await asyncio.Event().wait()


asyncio.run(main())
