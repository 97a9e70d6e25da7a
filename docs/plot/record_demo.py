#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs ./demo (as root) and writes what its agent said, once a tick, for draw_demo.py.

usage: docs/plot/record_demo.py [OUTPUT] [DEMO OPTIONS…]     (OUTPUT: docs/plot/demo-run.json)
"""
import glob
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOST = ("total", "available", "free")
CAPACITY = ("promised", "granted", "additional", "published", "unsold", "terms")
VM = ("name", "promised", "reclaimed", "resident", "returned", "hinting", "state")


def numbers(value):
    """protobuf's JSON writes 64-bit numbers as strings."""
    if isinstance(value, dict):
        return {key: numbers(one) for key, one in value.items()}
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value


def pick(value, keys):
    return {key: numbers(value[key]) for key in keys if key in value}


def watch(socket, began, samples, ended):
    ctl = [str(ROOT / "build/demo/bin/ullagectl"), "--socket", socket, "top", "-o", "json"]
    while not ended.is_set():
        reader = subprocess.Popen(ctl, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in reader.stdout:
            snapshot = json.loads(line)
            samples.append({
                "at": round(time.monotonic() - began, 2),
                "host": pick(snapshot["host"], HOST),
                "capacity": pick(snapshot["capacity"], CAPACITY),
                "vms": [pick(vm, VM) for vm in snapshot.get("vms", [])],
            })
        reader.wait()
        time.sleep(0.2)


def main():
    output = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/plot/demo-run.json"
    # A folder of its own tells this demo's lab from any other that runs.
    folder = tempfile.mkdtemp(prefix="u.")
    began, samples, lines, ended = time.monotonic(), [], [], threading.Event()

    def find_and_watch():
        sockets = []
        while not sockets and not ended.wait(0.2):
            sockets = glob.glob(folder + "/ullage-demo.*/run/ullage/agent.sock")
        if sockets:
            watch(sockets[0], began, samples, ended)

    watcher = threading.Thread(target=find_and_watch)
    watcher.start()
    demo = subprocess.Popen([str(ROOT / "demo"), *sys.argv[2:]], cwd=ROOT, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, env={**os.environ, "TMPDIR": folder})
    for line in demo.stdout:
        sys.stdout.write(line)
        lines.append({"at": round(time.monotonic() - began, 2), "text": line.rstrip("\n")})
    status = demo.wait()
    ended.set()
    watcher.join()
    shutil.rmtree(folder, ignore_errors=True)
    if status != 0 or not samples:
        sys.exit(f"the demo ended with {status}, {len(samples)} samples")
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT, text=True,
                            capture_output=True, check=True).stdout.strip()
    run = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": commit,
        "cpus": os.cpu_count(),
    }
    with open(output, "w", encoding="utf-8") as file:
        file.write('{"run": ' + json.dumps(run) + ',\n "lines": [\n')
        file.write(",\n".join(json.dumps(one, ensure_ascii=False) for one in lines))
        file.write('],\n "samples": [\n')
        file.write(",\n".join(json.dumps(one) for one in samples) + "]}\n")


main()
