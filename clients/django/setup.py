"""Makes the modules of tokenregistry.v1 from the .proto files and ships them with the package."""

from importlib.resources import files
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROTO = Path(__file__).resolve().parents[2] / "proto"


class BuildWithStubs(build_py):
    def run(self):
        super().run()
        from grpc_tools import protoc

        well_known = str(files("grpc_tools") / "_proto")
        sources = sorted(str(path) for path in PROTO.glob("tokenregistry/v1/*.proto"))
        out = self.build_lib
        arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
        if not sources or protoc.main(arguments + sources) != 0:
            raise RuntimeError(f"no stubs could be made from {PROTO}")


setup(cmdclass={"build_py": BuildWithStubs})
