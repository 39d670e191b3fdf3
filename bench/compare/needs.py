"""What the comparison needs beside Python: Debian's packages, and two builds."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Where Debian puts servers isn't in everyone's PATH.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
PROGRAMS = {"nginx": "nginx", "haproxy": "haproxy", "wrk": "wrk"}
FILES = {
    "/usr/lib/nginx/modules/ngx_http_lua_module.so": "libnginx-mod-http-lua",
    "/usr/share/lua/5.1/cjson": "lua-cjson",
}


class Missing(Exception):
    """Something that is needed can't be had."""


def packages(options):
    """Installs the packages that are missing."""
    programs = PROGRAMS | ({"strace": "strace"} if options.syscalls else {})
    if not programs_built(options):
        programs |= {"cmake": "cmake", "cc": "gcc"}  # Pingora builds a compression library.
    missing = [package for program, package in programs.items()
               if not shutil.which(program, path=PATH)]
    missing += [package for path, package in FILES.items() if not Path(path).exists()]
    if not missing:
        return
    print(f"installing {' '.join(missing)}", file=sys.stderr)
    # With this run level the packages start no server of theirs.
    variables = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    for command in (["apt-get", "update"], install):
        try:
            done = subprocess.run(command, env=variables, capture_output=True, text=True,
                                  timeout=600)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Missing(f"install these yourself: {' '.join(missing)} ({error})") from error
        if done.returncode and command is install:
            raise Missing(f"install these yourself: {' '.join(missing)}\n{done.stderr.strip()}")


def programs_built(options):
    return all((options.programs / name).exists() for name in ("passing", "open_loop"))


def builds(options):
    """Builds envgate, and the programs of `pingora/`, where they aren't built."""
    if not options.binary.exists():
        if options.binary != ROOT / "target/release/envgate":
            raise Missing(f"{options.binary} doesn't exist")
        cargo(ROOT / "Cargo.toml", ROOT / "target")
    if not programs_built(options):
        cargo(HERE / "pingora/Cargo.toml", options.programs.parent)


def cargo(manifest, target):
    print(f"building {manifest.relative_to(ROOT)}", file=sys.stderr)
    command = ["cargo", "build", "--release", "--locked", "--manifest-path", manifest,
               "--target-dir", target]
    try:
        subprocess.run(command, check=True, timeout=1800)
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(f"{manifest} couldn't be built: {error}") from error


def provide(options):
    packages(options)
    os.environ["PATH"] = PATH
    builds(options)
