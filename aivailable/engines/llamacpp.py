"""`python -m aivailable.engines.llamacpp`: the llama.cpp server of `xllamacpp`, started with llama-server's flags.

On a GPU all layers are offloaded or it refuses to start; with `--simulated` it runs on the CPU with one thread. On
SIGTERM it finishes the requests in flight and exits 0; those that take longer than `--shutdown-timeout` are cut, and
it exits 1. A second signal ends it at once, and so does the first while the model is loading.
"""

import argparse
import http.client
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import xllamacpp

from aivailable.errors import AivailableError, PermanentError, UserError

SPARE_HTTP_THREADS = 64
"""HTTP threads beyond the slots. A queued request holds one; health checks must still be answered."""

PROMPT_CACHE_MIB = 256
"""Host memory for the prompt cache; llama.cpp's own default of 8 GiB is more than the job reserves."""

ALL_LAYERS = 999
"""The value of `-ngl` that stands for every layer of any model."""

POOLING = {
    "none": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_NONE,
    "mean": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN,
    "cls": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_CLS,
    "last": xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_LAST,
}

POLL_S = 0.1

QUIET_POLLS = 2
"""Looks without a request before the server counts as idle: the end of an answer is written after its slot is free."""

_PROCESSING = re.compile(r"^llamacpp:requests_(?:processing|deferred) (\d+)", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop; gives the exit code."""
    options = _parser().parse_args(arguments)
    told = threading.Event()
    try:
        params = _params(options)
        _require_free_port(options.host, options.port)
        if options.simulated:
            print("simulated card: llama.cpp runs on the CPU with one thread", file=sys.stderr, flush=True)
        # llama.cpp holds the interpreter while it loads, minutes for a large model: only the default action works.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        server = _load(params)
        _stop_on_signals(told)
    except AivailableError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{options.alias or options.model} is ready at {server.listening_address}", file=sys.stderr, flush=True)
    told.wait()
    left = _drain(options.host, options.port, time.monotonic() + options.shutdown_timeout)
    if left:
        print(f"stopping after {options.shutdown_timeout:g} s: {left} requests are cut", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    # Its destructor would wait for every connection to be closed by its client, while nothing answers them any more.
    os._exit(1 if left else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aivailable.engines.llamacpp", description=__doc__, allow_abbrev=False)
    parser.add_argument("-m", "--model", required=True, type=Path, help="GGUF file")
    parser.add_argument("-a", "--alias", default="", help="name that clients ask for")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("-c", "--ctx-size", type=int, default=4096, help="tokens of all slots together")
    parser.add_argument("-np", "--parallel", type=int, default=1, help="slots; each gets ctx-size / parallel tokens")
    parser.add_argument("-ngl", "--n-gpu-layers", "--gpu-layers", type=int, default=ALL_LAYERS)
    parser.add_argument("-dev", "--device", default="", help="the GPU that must be there, as llama.cpp names it: CUDA0")
    parser.add_argument("-t", "--threads", type=int, help="CPU threads (default: llama.cpp's; one when simulated)")
    parser.add_argument("-b", "--batch-size", type=int)
    parser.add_argument("-ub", "--ubatch-size", type=int)
    parser.add_argument("-cram", "--cache-ram", type=int, default=PROMPT_CACHE_MIB, help="prompt cache, MiB")
    parser.add_argument("-lv", "--log-verbosity", type=int, default=3, help="4 also prints the sizes of buffers")
    parser.add_argument("--metrics", action="store_true", help="accepted for llama-server's sake; always on")
    parser.add_argument("--embeddings", action="store_true", help="serve embeddings only")
    parser.add_argument("--pooling", choices=sorted(POOLING), help="how embeddings are pooled (default: the model's)")
    parser.add_argument("--shutdown-timeout", type=float, default=20.0, help="seconds to finish requests on SIGTERM")
    parser.add_argument("--simulated", action="store_true", help="no GPU: one thread on the CPU")
    return parser


def _params(options: argparse.Namespace) -> "xllamacpp.CommonParams":
    if not options.model.is_file():
        raise UserError(f"{options.model}: no such file", hint="check --model")
    if options.ctx_size < 1 or options.parallel < 1:
        raise UserError("--ctx-size and --parallel must be at least 1", hint="correct the flags")
    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    if options.alias:
        params.model_alias = {options.alias}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_ctx = options.ctx_size
    params.n_parallel = options.parallel
    params.kv_unified = False  # each request gets its own context, as planned
    params.fit_params = False  # would quietly leave layers on the CPU where memory is short
    params.endpoint_metrics = True
    params.ui = False
    params.cache_ram_mib = options.cache_ram
    params.n_threads_http = options.parallel + SPARE_HTTP_THREADS
    params.embedding = options.embeddings
    params.verbosity = options.log_verbosity
    if options.pooling:
        params.pooling_type = POOLING[options.pooling]
    if options.batch_size:
        params.n_batch = options.batch_size
    if options.ubatch_size:
        params.n_ubatch = options.ubatch_size
    _set_device(params, options)
    return params


def _set_device(params: "xllamacpp.CommonParams", options: argparse.Namespace) -> None:
    """All layers on a GPU, or the CPU with one thread where the card is simulated."""
    threads = options.threads or (1 if options.simulated else None)
    if threads:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    if options.simulated:
        params.n_gpu_layers = 0
        return
    if options.n_gpu_layers < ALL_LAYERS:
        raise UserError(
            f"-ngl {options.n_gpu_layers} would leave layers on the CPU; engines run on the card alone",
            hint=f"leave -ngl out, or give {ALL_LAYERS}",
        )
    kinds = xllamacpp.ggml_backend_dev_type
    gpus = {kinds.GGML_BACKEND_DEVICE_TYPE_GPU, kinds.GGML_BACKEND_DEVICE_TYPE_IGPU}
    found = [str(device["name"]) for device in xllamacpp.get_device_info() if device["type"] in gpus]
    if not found or options.device not in ("", *found):
        wanted = f"{options.device} is not among them ({', '.join(found)})" if found else "it finds no GPU"
        raise PermanentError(
            f"this build of llama.cpp cannot use the card: {wanted}; engines never fall back to the CPU",
            hint="install a build for this card, or use the container image; --simulated is for simulated cards",
        )
    params.n_gpu_layers = options.n_gpu_layers


def _require_free_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(f"{host}:{port}: {error.strerror}", hint="choose another --port") from error


def _load(params: "xllamacpp.CommonParams") -> "xllamacpp.Server":
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise PermanentError(f"llama.cpp did not start: {error}", hint="its own words stand above") from error


def _stop_on_signals(told: threading.Event) -> None:
    def on_signal(number: int, frame: FrameType | None) -> None:
        del frame
        if told.is_set():
            os._exit(128 + number)  # asked twice: at once, without waiting for llama.cpp's threads
        told.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)


def _drain(host: str, port: int, deadline_s: float) -> int:
    """Wait until no request is in flight; llama.cpp itself would cut them. Gives how many were left at the deadline."""
    left, quiet = _in_flight(host, port), 0
    while quiet < QUIET_POLLS and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
        left = _in_flight(host, port)
        quiet = 0 if left else quiet + 1
    return left


def _in_flight(host: str, port: int) -> int:
    """Requests being answered or queued, by the server's own metrics; 0 when nothing listens, 1 when it is too busy."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/metrics")
        return sum(int(count) for count in _PROCESSING.findall(connection.getresponse().read().decode()))
    except TimeoutError:
        return 1
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
