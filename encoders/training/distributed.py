"""Data parallel training under ``torchrun``: features are gathered with gradients, gradients are averaged.

With world size W, each process computes the loss over all W·n gathered pairs. The average of the gradients
over the processes is then exactly the gradient of one process with the batch W·n: the backward pass of
`gather` sums the W losses' gradients, the average divides by W. In a single process all of this does nothing.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_gather

T = TypeVar("T")


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def processes(device: str) -> Iterator[None]:
    """Join the process group if started by ``torchrun``: nccl on GPUs, gloo elsewhere."""
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def gather(rows: Tensor) -> Tensor:
    """Gather [n, …] of each process to [W·n, …], by rank. Gradients flow back to the process of each row."""
    if world() == 1:
        return rows
    if not rows.requires_grad:
        parts = [torch.empty_like(rows) for _ in range(world())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)
    return torch.cat(all_gather(rows.contiguous()))  # type: ignore[no-untyped-call]


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes, in one collective operation."""
    if world() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= world()
    for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def wait() -> None:
    """Wait until every process has called this."""
    if world() > 1:
        dist.barrier()


def share(make: Callable[[], T]) -> T:
    """Call `make` in the first process only; returns its result in every process."""
    if world() == 1:
        return make()
    box = [make() if rank() == 0 else None]
    dist.broadcast_object_list(box)
    return cast(T, box[0])
