"""ONNX Runtime: a graph exported from the checkpoint, run with its cache kept on the device between steps."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch

from .. import artifacts
from ..catalog import Variant
from ..errors import CellError
from ..privacy import clean
from . import onnx_graph
from .checkpoint import Exported

CPU, CUDA, TENSORRT = (f"{name}ExecutionProvider" for name in ("CPU", "CUDA", "Tensorrt"))
NEEDED = ("onnx", "onnxscript", "onnxruntime")
TENSORRT_BATCH = 8  # the largest batch that TensorRT plans for; a larger one builds engines anew


@dataclass
class State:
    """Between prefill and decode: the first token (batch × 1) and keys and values of every layer, as OrtValues."""

    token: object
    cache: list


class Kernel(NamedTuple):
    """A kernel that ran: where, which operator, and whether it worked on floating-point numbers."""

    provider: str
    operator: str
    floating: bool


class OnnxruntimeBackend(Exported):
    """One exported graph in one session, which prefills, decodes and answers for its logits."""

    kernels: list[Kernel] | None = None

    @staticmethod
    def unavailable(variant: Variant, device: str) -> str | None:
        runtime = "onnxruntime-gpu" if device.startswith("cuda") else "onnxruntime"
        remedy = f"pip install {runtime} onnx onnxscript"
        if missing := [name for name in NEEDED if find_spec(name) is None]:
            return f"{variant.name} needs {' and '.join(missing)}, not installed here; {remedy}"
        provider = _provider(variant, device)
        if provider == CPU:
            return None
        try:
            here = _providers_here()
        except (ImportError, OSError) as error:  # a build whose CUDA libraries are not here
            return f"{variant.name} needs ONNX Runtime, which cannot be loaded: {clean(str(error))}; {remedy}"
        if provider not in here:
            extra = ", and TensorRT's libraries: pip install tensorrt" if provider == TENSORRT else ""
            return f"{variant.name} needs ONNX Runtime's {provider}; pip uninstall onnxruntime, then {remedy}{extra}"
        return None

    def build(self) -> None:
        super().build()
        origin = json.loads((self.file.parent / artifacts.ORIGIN).read_text())
        self.provenance |= onnx_graph.readback(self.file)
        self.provenance |= {"digest": origin["weights"], "artifact": origin["files"][onnx_graph.FILE][:16]}
        importlib.import_module("onnxruntime")  # importing the library is not what load times

    def export(self, digest: str) -> Path:
        folder = artifacts.artifact(
            self.store, digest, "onnx", onnx_graph.builder(), lambda folder: onnx_graph.export(self.module, folder)
        )
        return folder / onnx_graph.FILE

    def load(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="bench_onnx_")
        self.session = self._session()
        self._inputs = [value.name for value in self.session.get_inputs()]
        self._presents = [value.name for value in self.session.get_outputs()][2:]

    def _session(self, profiled: bool = False):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.enable_profiling = profiled
        options.profile_file_prefix = str(Path(self._scratch.name) / "profile")
        session = onnxruntime.InferenceSession(self.file, options, providers=self._asked())
        if (asked := _provider(self.variant, self.device)) not in session.get_providers():
            here = ", ".join(session.get_providers())
            raise CellError("silent_fallback", f"asked for {asked}, the session runs on {here}; see the log for why")
        return session

    def _asked(self) -> list[tuple[str, dict]]:
        """Providers with their options, first choice first."""
        index = torch.device(self.device).index or 0
        provider = _provider(self.variant, self.device)
        if provider == CPU:
            return [(CPU, {})]
        tensorrt = [(TENSORRT, {"device_id": index, **self._engine_options()})] if provider == TENSORRT else []
        return [*tensorrt, (CUDA, {"device_id": index})]

    def _engine_options(self) -> dict:
        """TensorRT's: one engine for every length, where by default each longer cache builds another."""
        context = self.config.max_position_embeddings
        return {
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": self._scratch.name,
            "trt_fp16_enable": self.dtype == "float16",
            "trt_profile_min_shapes": onnx_graph.shapes(self.file, 1, 1, 0),
            "trt_profile_opt_shapes": onnx_graph.shapes(self.file, 1, 1, context // 2),
            "trt_profile_max_shapes": onnx_graph.shapes(self.file, TENSORRT_BATCH, context, context),
        }

    def close(self) -> None:
        if hasattr(self, "_scratch"):
            self._scratch.cleanup()

    def start(self, phase: str, prompt_tokens: int, new_tokens: int, batch_size: int) -> None:
        super().start(phase, prompt_tokens, new_tokens, batch_size)
        _, heads, _, size = self.session.get_inputs()[1].shape
        nothing = torch.empty(batch_size, heads, 0, size, dtype=getattr(torch, self.dtype), device=self.device)
        self._empty = [_ort(nothing)] * (len(self._inputs) - 1)

    def prefill(self, prompt: torch.Tensor) -> State:
        return State(*self._forward("token", prompt, self._empty))

    def prepare(self, prompt: torch.Tensor) -> State:
        return self.prefill(prompt)

    def decode(self, state: State, steps: int) -> list:
        token, cache, tokens = state.token, state.cache, []
        for _ in range(steps):
            token, cache = self._forward("token", token, cache)
            tokens.append(token)
        return tokens

    def generate(self, prompt: torch.Tensor, steps: int) -> list:
        state = self.prefill(prompt)
        return [state.token, *self.decode(state, steps)]

    def _forward(self, output: str, ids, cache: list, session=None) -> tuple[object, list]:
        """One run of the graph: an output of the last position, and the grown cache; nothing leaves the device."""
        session = session or self.session
        device, binding = torch.device(self.device), session.io_binding()
        values = (_ort(ids) if torch.is_tensor(ids) else ids, *cache)
        for name, value in zip(self._inputs, values, strict=True):
            binding.bind_ortvalue_input(name, value)
        for name in (output, *self._presents):
            binding.bind_output(name, device.type, device.index or 0)
        if torch.is_tensor(ids) and device.type == "cuda":
            binding.synchronize_inputs()  # PyTorch writes on a stream of its own
        session.run_with_iobinding(binding)
        found, *cache = binding.get_outputs()
        return found, cache

    def logits(self, prompt: torch.Tensor, tokens: list[torch.Tensor]) -> torch.Tensor:
        """This session's logits along given tokens (1 + steps × batch × vocabulary)."""
        cache, found = self._empty, []
        for ids in (prompt, *tokens[:-1]):
            logits, cache = self._forward("logits", ids, cache)
            found.append(torch.from_dlpack(logits))
        return torch.stack(found)

    def tokens(self, result) -> list[list[int]]:
        """As a checkpoint's, of OrtValues."""
        parts = [result.token] if isinstance(result, State) else result
        return super().tokens([part if torch.is_tensor(part) else torch.from_dlpack(part) for part in parts])

    def progress(self) -> tuple:
        """TensorRT builds its engines in the first calls."""
        return (self._engines(),)

    def _engines(self) -> int:
        return len(list(Path(self._scratch.name).glob("*.engine")))

    def receipt(self) -> dict:
        """What ran, kernel by kernel; CellError ``silent_fallback`` when another provider did some of the computing."""
        import onnxruntime

        if self.kernels is None:
            self.kernels = self._profile()
        refuse_fallback(self.kernels, _provider(self.variant, self.device))
        operators = Counter(kernel.operator for kernel in self.kernels)
        return {
            "engine": "onnxruntime",
            "version": onnxruntime.__version__,
            "providers": self.session.get_providers(),
            "nodes": dict(sorted(Counter(kernel.provider for kernel in self.kernels).items())),
            "memcpy_nodes": sum(count for name, count in operators.items() if name.startswith("Memcpy")),
            "cast_nodes": operators["Cast"],
            "tensorrt_engines": self._engines(),
            "threads": self.session.get_session_options().intra_op_num_threads,
            "attention": next((name for name in sorted(operators) if "Attention" in name), None),
            "cache": "dynamic",
            "logits": "last",
            "mode": "graph",
        }

    def _profile(self) -> list[Kernel]:
        """The kernels of one prefill, in a session of its own: the measured one never profiles."""
        session = self._session(profiled=True)
        self._forward("token", self.prompt(0), self._empty, session)
        return kernels(json.loads(Path(session.end_profiling()).read_text()))


def kernels(trace: list[dict]) -> list[Kernel]:
    """The kernels in a profile of ONNX Runtime."""
    ran = (event for event in trace if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"))
    return [Kernel(e["args"]["provider"], e["args"]["op_name"], _floating(e["args"])) for e in ran]


def _floating(args: dict) -> bool:
    """Whether a kernel read or wrote floating-point numbers."""
    values = (*args["input_type_shape"], *args["output_type_shape"])
    return any("float" in name or name == "double" for value in values for name in value)


_NO_COMPUTING = ("Shape", "Memcpy")  # touch floating-point numbers without computing any


def refuse_fallback(ran: list[Kernel], asked: str) -> None:
    """Raise CellError when another provider than ``asked`` computed; sizes, positions and masks may be its work."""
    fallen = Counter(
        f"{kernel.operator} on {kernel.provider}"
        for kernel in ran
        if kernel.provider != asked and kernel.floating and not kernel.operator.startswith(_NO_COMPUTING)
    )
    if fallen:
        named = ", ".join(f"{count} {name}" for name, count in sorted(fallen.items()))
        raise CellError("silent_fallback", f"{sum(fallen.values())} of {len(ran)} nodes left {asked}: {named}")


def _provider(variant: Variant, device: str) -> str:
    return variant.provider or (CUDA if device.startswith("cuda") else CPU)


def _providers_here() -> list[str]:
    import onnxruntime

    return onnxruntime.get_available_providers()


def _ort(tensor: torch.Tensor):
    """The same memory as an OrtValue."""
    import onnxruntime

    return onnxruntime.OrtValue.from_dlpack(tensor.contiguous())
