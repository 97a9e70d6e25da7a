#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An image of given layers (tar archives), as `docker save` writes it."""
import argparse
import hashlib
import io
import json
import tarfile


def digest(path):
    total = hashlib.sha256()
    with open(path, "rb") as layer:
        while block := layer.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def add_json(archive, name, value):
    data = json.dumps(value).encode()
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", default="/bin")
    parser.add_argument("--user", default="")
    parser.add_argument("--command", default="/bin/sleep 2000000000")
    parser.add_argument("name")
    parser.add_argument("target")
    parser.add_argument("layer", nargs="+")
    options = parser.parse_args()
    names = [f"layer{i}.tar" for i in range(len(options.layer))]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": ["PATH=" + options.path],
            "User": options.user,
            "Cmd": options.command.split(),
        },
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest(layer) for layer in options.layer]},
    }
    with tarfile.open(options.target, "w") as archive:
        for name, layer in zip(names, options.layer):
            archive.add(layer, name)
        add_json(archive, "config.json", config)
        add_json(archive, "manifest.json", [{"Config": "config.json", "RepoTags": [options.name], "Layers": names}])


main()
