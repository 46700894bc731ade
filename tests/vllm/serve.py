"""`vllm serve` for the CPU build, whose own program looks for a distribution named vllm and finds none.

Run by the Python that it is installed in; the first argument is the model, the others are passed as they are.
"""

import runpy
import sys

if __name__ == "__main__":
    sys.argv = ["api_server", "--model", *sys.argv[1:]]
    runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__")
