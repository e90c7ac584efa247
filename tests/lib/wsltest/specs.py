# SPDX-License-Identifier: Apache-2.0


def job_spec(name, data, /, **changes):
    """A small, valid pretraining job as a wsl.v1.JobSpec; `changes` overwrite its fields."""
    from . import rpc

    spec = rpc.job_pb2.JobSpec(
        name=name, kind=rpc.job_pb2.PRETRAIN, data=data,
        model=rpc.job_pb2.Model(depths=[1, 1, 1, 1], groups=8, width=2, image_size=32),
        world=1, batch=8, epochs=1, seed=1)
    for field, value in changes.items():
        if hasattr(value, "DESCRIPTOR"):
            getattr(spec, field).CopyFrom(value)
        else:
            setattr(spec, field, value)
    return spec
