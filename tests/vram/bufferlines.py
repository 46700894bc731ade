"""Loads a model in llama.cpp with given sizes and leaves its log on standard error. Arguments: file, cells, slots."""

import os
import sys

import xllamacpp

LOG_ALL = 4

if __name__ == "__main__":
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx, params.n_parallel = int(sys.argv[2]), int(sys.argv[3])
    params.n_gpu_layers = 0
    params.verbosity = LOG_ALL
    params.warmup = False
    params.cpuparams.n_threads = 1
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    server = xllamacpp.Server(params)
    # Its destructor waits for requests that never come.
    os._exit(0)
