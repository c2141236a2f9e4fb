"""Makes the Python modules of tokenregistry.v1 from the .proto files and puts them on the import path.

A service of your own would run protoc once, in its build, and ship the result:

    python -m grpc_tools.protoc -I proto --python_out=gen --grpc_python_out=gen proto/tokenregistry/v1/*.proto

This example does the same into a temporary directory each time it starts, so that it never runs with old stubs.
"""

import atexit
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[2] / "proto"


def make() -> None:
    out = tempfile.mkdtemp(prefix="token-registry-stubs-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    sources = sorted(str(path) for path in PROTO.glob("tokenregistry/v1/*.proto"))
    well_known = str(files("grpc_tools") / "_proto")  # google/protobuf/*.proto come with grpcio-tools
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
    if not sources or protoc.main(arguments + sources) != 0:
        sys.exit(f"python: no stubs could be made from {PROTO}")
    sys.path.insert(0, out)


make()
