#!/usr/bin/python3 -I
# SPDX-License-Identifier: Apache-2.0
"""Stands in for the libvirt of many launcher pods: libvirt.py PLAN, a JSON array of {socket, domain, mib}.

To libvirt's client library each socket is a virtqemud with one running domain that has a balloon, answers
what the agent asks, and sends no event. Says "ready"; whatever it was asked and does not know goes to
standard error. Ends when its standard input does.

Source: libvirt's RPC protocol (docs/kbase/internals/rpc), XDR of RFC 4506; numbers of remote_protocol.x.
"""
import json
import selectors
import socket
import struct
import sys
import time
import uuid
from xml.sax.saxutils import escape

REMOTE, QEMU, KEEPALIVE = 0x20008086, 0x20008087, 0x6B656570
REPLY, MESSAGE = 1, 2
OPEN, CLOSE, GET_XML, FEATURE, AUTH_LIST, MEMORY_STATS, STATE = 1, 2, 14, 60, 66, 159, 212
LIST_ALL, REGISTER_EVENT, DEREGISTER_EVENT, REGISTER_CLOSE, DEREGISTER_CLOSE = 273, 316, 317, 360, 361
MONITOR = 1
# Of virDomainMemoryStatTags: unused, available, actual, rss, usable, last update, disk caches.
UNUSED, AVAILABLE, ACTUAL, RSS, USABLE, UPDATED, CACHES = 4, 5, 6, 7, 8, 9, 10

STATUS = json.dumps({"return": {
    "name": "virtio-balloon", "device-id": 5, "started": True, "vm-running": True, "num-vqs": 4,
    "status": {"statuses": [f"VIRTIO_CONFIG_S_{name}: a text that QEMU gives" for name in
                            ("ACKNOWLEDGE", "DRIVER", "FEATURES_OK", "DRIVER_OK")]},
    "guest-features": {"dev-features": ["VIRTIO_BALLOON_F_REPORTING: Page reporting VQ enabled",
                                        "VIRTIO_BALLOON_F_STATS_VQ: Guest memory stats VQ available"],
                       "transports": ["VIRTIO_RING_F_EVENT_IDX: Used & avail. event fields enabled",
                                      "VIRTIO_F_VERSION_1: Device compliant for v1 spec (legacy)"]},
    "host-features": {"dev-features": ["VIRTIO_BALLOON_F_REPORTING: Page reporting VQ enabled",
                                       "VIRTIO_BALLOON_F_PAGE_POISON: Guest page poisoning enabled",
                                       "VIRTIO_BALLOON_F_STATS_VQ: Guest memory stats VQ available"]}},
    "id": "libvirt-433"})
OFFERED = json.dumps({"return": True, "id": "libvirt-432"})


def padded(data):
    return struct.pack(">I", len(data)) + data + b"\0" * (-len(data) % 4)


def definition(vm):
    """About as long as KubeVirt's."""
    kib = vm["mib"] << 10
    controllers = "".join(
        f"<controller type='pci' index='{index}' model='pcie-root-port'><model name='pcie-root-port'/>"
        f"<target chassis='{index}' port='0x{15 + index:x}'/><alias name='pci.{index}'/>"
        f"<address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x{index % 8:x}'/></controller>"
        for index in range(1, 17))
    return (f"<domain type='kvm' id='1'><name>{escape(vm['domain'])}</name><uuid>{vm['uuid']}</uuid>"
            f"<memory unit='KiB'>{kib}</memory><currentMemory unit='KiB'>{kib}</currentMemory>"
            "<vcpu placement='static' current='1'>4</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os>"
            "<features><acpi/></features><cpu mode='host-model'/><devices>"
            f"<emulator>/usr/libexec/qemu-kvm</emulator>{controllers}"
            "<memballoon model='virtio-non-transitional' freePageReporting='on'><stats period='10'/>"
            "<alias name='balloon0'/></memballoon></devices></domain>").encode()


class Virtqemud:
    """One pod's."""

    def __init__(self, vm):
        self.vm = {**vm, "uuid": str(uuid.uuid4())}
        self.callbacks = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(vm["socket"])
        self.listener.listen()

    def domain(self):
        return padded(self.vm["domain"].encode()) + uuid.UUID(self.vm["uuid"]).bytes + struct.pack(">i", 1)

    def stats(self):
        kib = self.vm["mib"] << 10
        values = {ACTUAL: kib, UNUSED: kib // 2, AVAILABLE: kib * 9 // 10, USABLE: kib // 2, CACHES: kib // 8,
                  RSS: kib, UPDATED: int(time.time())}
        return struct.pack(">I", len(values)) + b"".join(struct.pack(">IQ", *pair) for pair in values.items())

    def answer(self, program, procedure, body):
        """The result's bytes; None: not known here."""
        if program == QEMU and procedure == MONITOR:
            return padded((STATUS if b"x-query-virtio-status" in body else OFFERED).encode())
        if program != REMOTE:
            return None
        if procedure == REGISTER_EVENT:
            self.callbacks += 1
            return struct.pack(">i", self.callbacks)
        known = {OPEN: b"", CLOSE: b"", DEREGISTER_EVENT: b"", REGISTER_CLOSE: b"", DEREGISTER_CLOSE: b"",
                 FEATURE: struct.pack(">i", 1), AUTH_LIST: struct.pack(">I", 0), STATE: struct.pack(">ii", 1, 1)}
        if procedure in known:
            return known[procedure]
        if procedure == GET_XML:
            return padded(definition(self.vm))
        if procedure == MEMORY_STATS:
            return self.stats()
        if procedure == LIST_ALL:
            return struct.pack(">I", 1) + self.domain() + struct.pack(">I", 1)
        return None


class Client:
    def __init__(self, pod, connection):
        self.pod, self.connection, self.pending = pod, connection, b""

    def serve(self):
        """False at the end."""
        data = self.connection.recv(1 << 16)
        self.pending += data
        while len(self.pending) >= 4 and len(self.pending) >= (length := struct.unpack(">I", self.pending[:4])[0]):
            message, self.pending = self.pending[4:length], self.pending[length:]
            program, version, procedure, _, serial, _ = struct.unpack(">IIiiIi", message[:24])
            if program == KEEPALIVE:
                self.send(program, version, 2, MESSAGE, serial, 0, b"")
                continue
            result = self.pod.answer(program, procedure, message[24:])
            if result is None:
                print(f"libvirt.py: procedure {procedure} of program {program:#x} is not known", file=sys.stderr)
                return False
            self.send(program, version, procedure, REPLY, serial, 0, result)
        return bool(data)

    def send(self, *header_and_body):
        *header, body = header_and_body
        self.connection.sendall(struct.pack(">IIIiiIi", 28 + len(body), *header) + body)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        pods = [Virtqemud(vm) for vm in json.load(file)]
    watched = selectors.DefaultSelector()
    watched.register(sys.stdin, selectors.EVENT_READ, None)
    for pod in pods:
        watched.register(pod.listener, selectors.EVENT_READ, pod)
    print("ready", flush=True)
    while True:
        for key, _ in watched.select():
            if key.data is None:
                return
            if isinstance(key.data, Virtqemud):
                connection, _ = key.data.listener.accept()
                watched.register(connection, selectors.EVENT_READ, Client(key.data, connection))
            elif not key.data.serve():
                watched.unregister(key.fileobj)
                key.fileobj.close()


main()
