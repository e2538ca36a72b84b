"""vLLM's own server, in an environment of its own: it pins its own torch and transformers."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

from ..catalog import Variant
from ..environment import physical_cores
from ..errors import CellError
from ..project import STATE
from .served import Served
from .stream import Dialect

# Least memory for the KV cache, in bytes; one request of a small model needs less.
KV_BYTES = 2**28
# Errors in vLLM's log, the worker's own first; two more only say that there was one.
_REASON = re.compile(
    r"failed with error '(.+)', please|Value error, (.+)|\w+Error: (?!Engine core init|EngineCore encountered)(.+)"
)
# What no later try changes: a shape or an architecture that this vLLM does not run. Memory, time and files may be back.
_REFUSAL = re.compile(
    r"attention configuration|No valid attention backend|head.?(size|dim).*support|support.*head.?(size|dim)"
    r"|Model architectures? .*support|not compatible with vLLM",
    re.IGNORECASE,
)
_DTYPE = re.compile(r"dtype=torch\.(\w+)")
_DEVICE = re.compile(r"device_config=(\w+)")
_KV_CACHE = re.compile(r"kv_cache_dtype=(\w+)")
_ATTENTION = re.compile(r"Using (\w+) attention backend")


def python() -> Path:
    """The interpreter of vLLM's environment: beside the program that BENCH_VLLM names, or the project's own."""
    named = os.environ.get("BENCH_VLLM")
    own = Path(__file__).parents[2] / STATE / "envs" / "vllm" / "bin" / "vllm"
    return Path(named or own).absolute().with_name("python")


class VllmBackend(Served):
    """vLLM on the checkpoint: token ids in and out, no prefix cache, one request at a time."""

    engine = "vLLM"

    @staticmethod
    def unavailable(variant: Variant, device: str) -> str | None:
        """vLLM lives outside of this environment."""
        if not python().exists():
            return "vLLM is not installed; run `make vllm`, or set BENCH_VLLM to the vllm program of an environment"
        return None

    def build(self) -> None:
        """Besides the checkpoint, what vLLM compiles, kept so that no round's load compiles; and a trial, kept as well.

        Some models it refuses with the first request only.
        """
        super().build()
        ready, refused = self._caches / "ready", self._caches / "refused"
        kept = refused.read_text() if refused.exists() else ""
        if _REFUSAL.search(kept):
            raise _refuses(kept)
        if not ready.exists():
            self._try(ready, refused)

    def _try(self, ready: Path, refused: Path) -> None:
        """Start the server once and ask for two tokens; a refusal is kept, any other failure may pass."""
        try:
            self.serve()
            self.client.complete([0] * 16, 16, 2, "e2e").rest()
            ready.touch()
        except CellError as error:
            reason = self.server and _reason(self.server.log())
            if not reason or error.status == "timeout":
                raise
            if not _REFUSAL.search(reason):
                raise CellError(error.status, f"{error}; the last error in its log: {reason}") from None
            refused.write_text(reason)
            raise _refuses(reason) from None
        finally:
            self.close()

    @property
    def _caches(self) -> Path:
        """What this vLLM keeps for this checkpoint."""
        installed = sorted(python().parents[1].glob("lib/*/site-packages/vllm*.dist-info"))
        version = installed[0].stem if installed else "vllm"
        return self.store / self.provenance["digest"] / f"{version}-{self.device.partition(':')[0]}-{self.dtype}"

    def command(self, port: int) -> list[str]:
        """The server module itself: the ``vllm`` program of the CPU build looks for a package of another name."""
        return [
            str(python()), "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.file),
            "--served-model-name", self.model.name, "--host", "127.0.0.1", "--port", str(port),
            "--dtype", self.dtype, "--max-model-len", str(self.config.max_position_embeddings),
            "--max-num-seqs", "1", "--kv-cache-memory-bytes", str(self._kv_bytes()),
            "--skip-tokenizer-init", "--no-enable-prefix-caching", "--enable-prompt-tokens-details",
            "--generation-config", "vllm", "--uvicorn-log-level", "warning",
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Threads as everybody's, each on a core; nothing is fetched and nothing is reported to anybody."""
        return {
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, _cores(torch.get_num_threads()))),
            "VLLM_CACHE_ROOT": str(self._caches),
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
        }

    def _kv_bytes(self) -> int:
        """Twice what one request of full length needs."""
        config = self.config
        token = 2 * config.num_hidden_layers * config.hidden_size * (4 if self.dtype == "float32" else 2)
        return max(KV_BYTES, 2 * token * config.max_position_embeddings)

    def dialect(self) -> Dialect:
        """Completions with vLLM's own additions: ids back, and no end before the last token."""
        return Dialect(self.model.name, return_token_ids=True, ignore_eos=True)

    def facts(self) -> dict:
        """The version that the server reports, and what its log says of the engine."""
        kv_cache = self._said(_KV_CACHE)
        return {
            "version": self.client.json("/version").get("version"),
            "device": self._said(_DEVICE),
            "attention": self._said(_ATTENTION),
            "asked_threads": torch.get_num_threads(),
            "cache": "paged",
            "kv_cache": self.loaded_dtype() if kv_cache == "auto" else kv_cache,
            "artifact": "checkpoint",
        }

    def read_back(self) -> dict:
        """CellError ``silent_fallback`` where the engine says that it runs elsewhere: each build has one device."""
        device = self._said(_DEVICE)
        if device and device != self.device.partition(":")[0]:
            said = f"asked for {self.device}, this vLLM runs on {device}"
            raise CellError("silent_fallback", f"{said}; let BENCH_VLLM name one that was built for it")
        return super().read_back()

    def loaded_dtype(self) -> str:
        """The dtype that the engine says it runs."""
        return self._said(_DTYPE) or "unknown"

    def _said(self, what: re.Pattern[str]) -> str | None:
        found = what.search(self.server.log())
        return found[1] if found else None


def _refuses(reason: str) -> CellError:
    return CellError("unavailable", f"vLLM refuses this model: {reason}")


def _reason(log: str) -> str | None:
    """The last error of a log that names a reason."""
    found = [" ".join(filter(None, groups)).strip() for groups in _REASON.findall(log)]
    return found[-1][:250] if found else None


def _cores(count: int) -> list[int]:
    """Processors to bind threads to, as many as asked: one a physical core first, then their siblings."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(physical_cores()))
    firsts = [cpu for cpu in allowed if _siblings(cpu)[0] == cpu]
    return [*firsts, *(cpu for cpu in allowed if cpu not in firsts)][:count]


def _siblings(cpu: int) -> list[int]:
    """Processors of the same core, itself included."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    return [int(number) for number in re.findall(r"\d+", path.read_text())] if path.exists() else [cpu]
