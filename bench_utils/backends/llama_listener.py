"""A program: llama.cpp's own HTTP server, from xllamacpp. ``python -P llama_listener.py '{…}'``; it ends when killed.

It imports nothing else: its start is part of what ``load`` measures.
"""

import json
import signal
import sys

import xllamacpp


def main() -> None:
    """Serve one file, one request at a time, each prompt in one forward, without a cache of prompts."""
    asked = json.loads(sys.argv[1])
    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = asked["file"], {asked["name"]}
    params.hostnames, params.port, params.n_threads_http, params.ui = ["127.0.0.1"], asked["port"], 2, False
    params.n_parallel, params.cache_prompt, params.cache_ram_mib, params.ctx_shift = 1, False, 0, False
    params.n_ctx = params.n_batch = params.n_ubatch = asked["context"]
    params.n_gpu_layers, params.main_gpu = asked["gpu_layers"], 0  # of the GPUs that are shown, which is one at most
    params.split_mode = xllamacpp.llama_split_mode.LLAMA_SPLIT_MODE_NONE
    params.no_kv_offload = params.no_op_offload = not asked["gpu_layers"]
    params.sse_ping_interval, params.verbosity = -1, 2  # warnings
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = asked["threads"]
    params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE  # read; a mapped file loads while it runs
    flash, kinds = xllamacpp.llama_flash_attn_type, xllamacpp.ggml_type
    full = asked["full_precision"]
    params.flash_attn_type = flash.LLAMA_FLASH_ATTN_TYPE_DISABLED if full else flash.LLAMA_FLASH_ATTN_TYPE_AUTO
    params.cache_type_k = params.cache_type_v = kinds.GGML_TYPE_F32 if full else kinds.GGML_TYPE_F16
    server = xllamacpp.Server(params)
    print(f"xllamacpp {xllamacpp.__version__} listens at {server.listening_address}", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
