"""Servers that a bench starts, measures and ends; and what machine it ran on."""

import json
import os
import platform
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS = 10


class Servers:
    """The processes of one bench: all are children of this one, and all end with the block."""

    def __init__(self):
        self.children = []
        self.directory = tempfile.TemporaryDirectory(prefix="envgate-bench-")

    def __enter__(self):
        # A terminated bench leaves its blocks like an interrupted one.
        signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            end(child)
        self.directory.cleanup()

    def file(self, name, text):
        """A configuration file in the bench's own directory."""
        path = Path(self.directory.name, name)
        path.write_text(text)
        return str(path)

    def start(self, command, port, stdout=subprocess.DEVNULL, variables=None):
        """Starts a server and waits until something accepts at `port`."""
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            cwd=self.directory.name,
            env={"PATH": os.environ["PATH"]} | (variables or {}),
        )
        self.children.append(child)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if child.poll() is not None:
                raise RuntimeError(f"{command[0]} ended with {child.returncode}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return child
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"{command[0]} doesn't listen after {START_SECONDS} s")

    def stop(self, child):
        """Ends one of the servers before the others."""
        end(child)
        self.children.remove(child)

    def envgate(self, binary, port, upstream_ports, settings, stdout=subprocess.DEVNULL,
                flags=(), variables=None):
        """A gateway over members at these ports; `settings` are keys of its configuration."""
        command = [str(binary), "serve", "--listen", f"127.0.0.1:{port}"]
        for upstream in upstream_ports:
            command += ["--upstream", f"http://127.0.0.1:{upstream}"]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        return self.start([*command, *flags], port, stdout, variables)

    def nginx(self, port, events, http, workers, top=""):
        """An nginx in the foreground, without logs, with this `http` block."""
        directory = self.directory.name
        temporary = "\n".join(
            f"{kind}_temp_path {directory}/{kind}{port};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = f"""
            {top} daemon off; worker_processes {workers}; pid {directory}/nginx{port}.pid;
            error_log /dev/null emerg; worker_rlimit_nofile 32768;
            events {{ worker_connections 32768; {events} }}
            http {{ access_log off; keepalive_requests 1000000000; {temporary} {http} }}"""
        config = self.file(f"nginx{port}.conf", text)
        return self.start(["nginx", "-p", directory, "-c", config], port)


def end(child):
    """SIGTERM, 12 s of patience, SIGKILL: for this process alone, by its id."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(12)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def free_ports(count):
    """Ports of the loopback address that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def family(pid):
    """A process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid] + [found for child in children for found in family(int(child))]


def cpu_seconds(pid):
    """User and system time that a process and its descendants have used, all threads."""
    user = system = 0
    for member in family(pid):
        # The name, which may hold spaces, ends with the last bracket.
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        user += int(fields[11])
        system += int(fields[12])
    return user / TICKS_PER_SECOND, system / TICKS_PER_SECOND


def on_cpu_seconds(pid):
    """Time that the living threads of a process and of its descendants have been on a CPU."""
    nanoseconds = 0
    for member in family(pid):
        for thread in Path(f"/proc/{member}/task").iterdir():
            nanoseconds += int(thread.joinpath("schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def resident(pid):
    """Resident bytes of a process and its descendants; what they share counts for each."""
    pages = [int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in family(pid)]
    return sum(pages) * os.sysconf("SC_PAGESIZE")


def envelope(env, arguments):
    """A legacy call as a game's client sends it."""
    device = {
        "platform": "WindowsPlayer",
        "deviceModel": "Some vendor's model of a computer",
        "operatingSystem": "Windows 10  (10.0.19045) 64bit",
        "graphicsDeviceName": "Some vendor's graphics card, series 30",
        "processorType": "Some vendor's processor at 3.60GHz",
        "systemMemorySize": 16310,
    }
    client = {
        "backendHash": "0123456789abcdef0123456789abcdef",
        "buildGuid": "fedcba9876543210fedcba9876543210",
        "frameworkVersion": "0.12.0",
        "assetVersion": "0.11.1",
        "versionString": "1.4.2",
    }
    call = {
        "method": "facet-call",
        "env": env,
        "methodParameters": {
            "facetName": "EchoFacet",
            "methodName": "Echo",
            "arguments": arguments,
            "sessionId": "c3Vic3RpdHV0ZQ0123456789",
            "deviceId": "00112233445566778899aabbccddeeff",
            "device": device,
            "gameToken": "token-of-some-game",
            "editorKey": None,
            "client": client,
        },
    }
    return json.dumps(call, separators=(",", ":"))


def env_text(number):
    """One of the bench's envs."""
    return (
        f"ENV_TYPE=bench\nGAME={number}\nSESSION_DRIVER=null\nARANGO_DRIVER=http\n"
        f"ARANGO_BASE_URL=http://arango.example:8529/\nARANGO_DATABASE=db_{number}\n"
        f"ARANGO_USERNAME=user_{number}\nARANGO_PASSWORD=not-a-secret-{number}\n"
        "BROADCASTING_SERVER_URL=http://broadcasting.example/\n"
    )


def machine():
    """One line on where a result comes from."""
    model = next(
        (line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if "model name" in line),
        platform.machine(),
    )
    return f"{os.cpu_count()} cores ({model}), Linux {platform.release().partition('-')[0]}"


def version(*command):
    """The first line of what a program says of its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]
