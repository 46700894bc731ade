"""Run by the Python that vLLM is installed in: the MiB that the tensors of an engine hold, as JSON.

Arguments: those of vLLM's API server; what its engine does not know is left out. Weights are parameters and buffers as
they lie in memory after loading, each storage once; the KV cache is what the layers were given.
"""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from vllm import LLM
from vllm.engine.arg_utils import EngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser

MIB = 1024 * 1024


def held(worker: Any) -> dict[str, float]:
    """Asked of the worker, in its own process."""

    def mib(tensors: Iterable[Any]) -> float:
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
        return sum(storages.values()) / MIB

    model = worker.model_runner.model
    return {"weights_mib": mib([*model.parameters(), *model.buffers()]), "kv_mib": mib(worker.model_runner.kv_caches)}


def main() -> None:
    """Load, ask, print."""
    os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"  # a function of ours goes to a process of ours
    options, _ = EngineArgs.add_cli_args(FlexibleArgumentParser()).parse_known_args(sys.argv[1:])
    engine = LLM(**vars(EngineArgs.from_cli_args(options)))
    print(json.dumps(engine.collective_rpc(held)[0]))


if __name__ == "__main__":
    main()
