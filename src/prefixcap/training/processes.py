"""`Processes`: several processes that train one model together, over `torch.distributed`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import attrs

from prefixcap.errors import PrefixcapError, describe
from prefixcap.util.memory import out_of_memory

if TYPE_CHECKING:
    from torch import Tensor, nn

BUCKET = 2**24
"""The number of values that are added up over the processes together: 64 MiB."""


@attrs.frozen(kw_only=True)
class Processes:
    """The processes that train one model together, as one of them sees them; usually it is alone.

    All of them call the same methods in the same order, and wait in each for the others.

    Attributes:
        number: The number of this process; the main one has 0.
        count: The number of processes.
        device: The device of this process.
    """

    number: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.number == 0

    def totals(self, *values: float) -> list[float]:
        """Return the sum of each number over the processes."""
        if self.count == 1:
            return list(values)
        import torch

        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        self._together(torch.distributed.all_reduce, sums)
        return [float(value) for value in sums.tolist()]

    def chosen(self, value: float) -> float:
        """Return the main process's number."""
        (value,) = self.totals(value if self.is_main else 0.0)
        return value

    def wait(self) -> None:
        """Wait until all processes are here.

        After the last common work, so that the launcher sees none end before the others are done.
        """
        self.totals(0.0)

    def start(self, steps: int, tensors: Iterable[Tensor]) -> None:
        """Give weights the values of the main process, as last bits may differ between machines.

        Args:
            steps: The number of steps after which the training goes on.
            tensors: The weights before the next step, which are changed.

        Raises:
            PrefixcapError: If processes are after different steps.
        """
        if self.count == 1:
            return
        import torch

        if any(self.totals(steps != self.chosen(steps))):
            raise PrefixcapError(
                "not all processes see the state from which the training goes on: they need one "
                "folder that all machines share"
            )
        for tensor in (tensor.detach() for tensor in tensors):
            value = tensor.contiguous()
            self._together(torch.distributed.broadcast, value, src=0)
            tensor.copy_(value)

    def add_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes.

        A gradient that only other processes have counts as zeros here; one that none has stays
        None, for the optimizer to pass over its parameter as in a single process.
        """
        if self.count == 1:
            return
        import torch

        present = self.totals(*(parameter.grad is not None for parameter in parameters))
        gradients: list[Tensor] = []
        for parameter, wanted in zip(parameters, present, strict=True):
            if wanted and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            if parameter.grad is not None:
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            sums = torch.cat([gradient.flatten() for gradient in bucket])
            self._together(torch.distributed.all_reduce, sums)
            parts = torch.split(sums, [gradient.numel() for gradient in bucket])
            for gradient, part in zip(bucket, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def seed(self, seed: int, step: int) -> int:
        """Return the seed of this process's random numbers in a step, such as those of dropout."""
        text = f"{seed} {step} {self.number}"
        return int.from_bytes(sha256(text.encode()).digest()[:7], "big")

    def _together(self, work: Callable[..., Any], tensor: Tensor, **options: Any) -> None:
        try:
            work(tensor, **options)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            raise PrefixcapError(
                f"process {self.number} of the training lost another one, which says why: start "
                f"all {self.count} again to continue ({describe(error)})"
            ) from error


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the tensors in groups of about `BUCKET` values."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(each.numel() for each in bucket) >= BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
