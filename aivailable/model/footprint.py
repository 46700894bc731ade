"""The VRAM one replica needs on each card it uses, by term."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """MiB per card. `expected` is the best estimate; `claim` adds the modelled margin and is what is booked.

    weights: tensors on the card. kv: KV cache for context x concurrency tokens. activation: the peak of one step.
    graphs: captured CUDA/HIP graphs. context: driver and runtime state of the process. margin: what the estimate may
    be wrong by.
    """

    weights_mib: int
    kv_mib: int
    activation_mib: int
    graphs_mib: int
    context_mib: int
    margin_mib: int

    @property
    def expected_mib(self) -> int:
        """Best estimate of what the engine will hold."""
        return self.weights_mib + self.kv_mib + self.activation_mib + self.graphs_mib + self.context_mib

    @property
    def claim_mib(self) -> int:
        """What is booked: the estimate plus the margin."""
        return self.expected_mib + self.margin_mib
