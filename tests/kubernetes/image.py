#!/usr/bin/env python3
"""image.py NAME ROOT OUT [NAME=VALUE...]: an OCI archive of the directory ROOT with these variables, for
`ctr images import`."""

import hashlib
import io
import json
import platform
import sys
import tarfile

name, root, out, *variables = sys.argv[1:]
layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as archive:
    archive.add(root, arcname=".")
files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}


def blob(kind, data):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    digest = hashlib.sha256(data).hexdigest()
    files["blobs/sha256/" + digest] = data
    return {"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + digest, "size": len(data)}


contents = blob("layer.v1.tar", layer.getvalue())
architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
config = blob(
    "config.v1+json",
    {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/bin", *variables], "Entrypoint": ["/pause"]},
        "rootfs": {"type": "layers", "diff_ids": [contents["digest"]]},
    },
)
manifest = blob("manifest.v1+json", {"schemaVersion": 2, "config": config, "layers": [contents]})
manifest["annotations"] = {"io.containerd.image.name": "docker.io/library/" + name}
files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
with tarfile.open(out, "w") as archive:
    for path, data in files.items():
        entry = tarfile.TarInfo(path)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
