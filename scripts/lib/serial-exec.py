#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""serial-exec.py SOCKET SECONDS COMMAND: runs COMMAND by the shell at the guest's second port.

The protocol is described in tests/guest/image/serial-shell. Exits with the command's status,
or with 124 when the guest has not finished it in time.
"""
import base64
import os
import secrets
import socket
import sys
import time

NO_ANSWER = 124


def connect(path, deadline):
    # The path of a socket is limited to 108 bytes, its directory is not.
    os.chdir(os.path.dirname(path))
    while True:
        port = socket.socket(socket.AF_UNIX)
        try:
            port.connect(os.path.basename(path))
            return port
        except OSError as error:
            port.close()
            if time.monotonic() > deadline:
                raise TimeoutError(f"cannot reach the guest: {error.strerror}") from error
            time.sleep(0.1)


class Exchange:
    """One request and its answer."""

    def __init__(self, port, deadline):
        self.port = port
        self.deadline = deadline
        self.pending = b""

    def receive(self, seconds):
        """Adds what arrives within that time; False if nothing did."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the guest has not answered in time")
        self.port.settimeout(min(left, seconds))
        try:
            data = self.port.recv(65536)
        except socket.timeout:
            return False
        if not data:
            raise TimeoutError("the guest is gone")
        self.pending += data
        return True

    def begin(self, request, mark):
        """Repeats the request, which is lost while the guest boots, until it is taken up."""
        patience = 0.5
        while True:
            self.port.settimeout(max(self.deadline - time.monotonic(), 0.01))
            self.port.sendall(request)
            again = time.monotonic() + patience
            while time.monotonic() < again:
                self.receive(again - time.monotonic() + 0.01)
                if mark in self.pending:
                    self.pending = self.pending.split(mark, 1)[1]
                    return
            patience = min(patience * 2, 4)

    def finish(self, mark):
        """Copies the output and returns the status that follows the mark."""
        while True:
            output, found, rest = self.pending.partition(mark)
            if found and b"\n" in rest:
                emit(output)
                return int(rest.split(b"\n", 1)[0])
            # What may be the beginning of the mark has to wait for the rest of it.
            keep = len(self.pending) if found else len(mark) - 1
            if not found and len(self.pending) > keep:
                emit(self.pending[:-keep])
                self.pending = self.pending[-keep:]
            self.receive(60)


def emit(output):
    sys.stdout.buffer.write(output)
    sys.stdout.buffer.flush()


def main():
    path, seconds, command = sys.argv[1:]
    deadline = time.monotonic() + float(seconds)
    nonce = secrets.token_hex(8)
    encoded = base64.b64encode(os.fsencode(command)).decode()
    request = f"\nullage-run {nonce} {seconds} {encoded}\n".encode()
    try:
        exchange = Exchange(connect(path, deadline), deadline)
        exchange.begin(request, f"\n{nonce} begin\n".encode())
        return exchange.finish(f"\n{nonce} exit ".encode())
    except (TimeoutError, OSError) as error:
        print(f"lab: exec: {error}", file=sys.stderr)
        return NO_ANSWER


if __name__ == "__main__":
    sys.exit(main())
