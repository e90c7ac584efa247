# SPDX-License-Identifier: Apache-2.0
"""Our services for a gRPC client in another language: Debian's python3-grpcio and stubs that protoc made from our .proto
files. Importing it skips the tests of the importing file when those packages are missing."""
import os
import sys
import unittest

from .cluster import build_folder

try:
    import grpc
    sys.path.insert(0, os.path.join(build_folder(), "tests", "stubs"))
    from health.v1 import health_pb2, health_pb2_grpc
    from reflection.v1 import reflection_pb2, reflection_pb2_grpc
    from reflection.v1alpha import reflection_pb2 as reflection_alpha_pb2
    from reflection.v1alpha import reflection_pb2_grpc as reflection_alpha_pb2_grpc
    from wsl.v1 import agent_pb2, agent_pb2_grpc, job_pb2, job_pb2_grpc, node_pb2, node_pb2_grpc
except ImportError as error:
    raise unittest.SkipTest(f"needs python3-grpcio, python3-protobuf and protobuf-compiler-grpc: {error}")

__all__ = ["agent_pb2", "agent_pb2_grpc", "grpc", "health_pb2", "health_pb2_grpc", "job_pb2", "job_pb2_grpc",
           "node_pb2", "node_pb2_grpc", "open_channel", "reflection_alpha_pb2", "reflection_alpha_pb2_grpc",
           "reflection_pb2", "reflection_pb2_grpc"]


def open_channel(address):
    return grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1),
                                                   ("grpc.max_receive_message_length", 64 << 20)])
