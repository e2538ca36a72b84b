"""A checkpoint as one ONNX graph with its cache as inputs and outputs: the same graph prefills and decodes."""

from __future__ import annotations

import math
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import DynamicCache

FILE = "model.onnx"
OPSET = 23  # the first in which attention is one operator; without it decode took a tenth longer
_WEIGHTS = "module."  # what the names of a Step's parameters begin with


class Step(torch.nn.Module):
    """One forward with the cache in the open: the last position's token and logits, and the grown cache."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, ids: torch.Tensor, past: list[tuple[torch.Tensor, torch.Tensor]]):
        cache = DynamicCache(past)
        logits = self.module(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        return logits.argmax(-1, keepdim=True), logits, _pairs(cache)


def builder() -> dict:
    """What decides the bytes of the file beside the weights."""
    packages = ("torch", "transformers", "onnx", "onnxscript", "onnx-ir")
    return {"opset": OPSET, "graph": "folded"} | {name: version(name) for name in packages}


def export(module: torch.nn.Module, folder: Path) -> None:
    """Write ``model.onnx`` into ``folder``; above 1.5 GB the weights lie in a file beside it.

    Inputs: ``ids`` (batch × sequence, int64), ``past_key_i`` and ``past_value_i`` (batch × heads × past × head size)
    of every layer. Outputs: ``token`` (batch × 1, int64), ``logits`` (batch × vocabulary), ``present_key_i``,
    ``present_value_i``. Batch, sequence and past are free; an empty past is a prefill.
    """
    ids, past = _example(module)
    batch, sequence, length = (torch.export.Dim(name) for name in ("batch", "sequence", "past"))
    layers = range(len(past))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of axes that share a name
        program = torch.onnx.export(
            Step(module),
            (ids, past),
            dynamo=True,
            dynamic_shapes=({0: batch, 1: sequence}, [({0: batch, 2: length}, {0: batch, 2: length})] * len(past)),
            input_names=["ids", *_names("past", layers)],
            output_names=["token", "logits", *_names("present", layers)],
            opset_version=OPSET,
            optimize=False,
            verbose=False,
        )
    _fold(program.model)
    program.save(folder / FILE)


def readback(file: Path) -> dict:
    """The weights as the file holds them: their ``dtype`` and their number of ``parameters``, a tied head once."""
    import onnx

    graph = onnx.load(file, load_external_data=False).graph
    weights = [tensor for tensor in graph.initializer if tensor.name.startswith(_WEIGHTS)]
    dtypes = {str(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)) for tensor in weights}
    return {"dtype": "+".join(sorted(dtypes)), "parameters": sum(math.prod(tensor.dims) for tensor in weights)}


def shapes(file: Path, batch: int, sequence: int, past: int) -> str:
    """The inputs' shapes with these sizes put in, in TensorRT's notation: ``ids:1x1,past_key_0:1x12x0x64,…``."""
    import onnx

    sizes = {"batch": batch, "sequence": sequence, "past": past}
    inputs = onnx.load(file, load_external_data=False).graph.input
    dims = {value.name: value.type.tensor_type.shape.dim for value in inputs}
    return ",".join(
        f"{name}:" + "x".join(str(sizes.get(dim.dim_param, dim.dim_value)) for dim in shape)
        for name, shape in dims.items()
    )


def _example(module: torch.nn.Module) -> tuple[torch.Tensor, list]:
    """Inputs to trace with; every free size is another number, and none is 1, which would be taken as fixed."""
    ids = torch.ones(2, 5, dtype=torch.long, device=module.device)
    with torch.no_grad():
        cache = module(ids, past_key_values=DynamicCache(config=module.config), use_cache=True).past_key_values
    return ids[:, :3], _pairs(cache)


def _pairs(cache: DynamicCache) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(layer.keys, layer.values) for layer in cache.layers]


def _names(side: str, layers: range) -> list[str]:
    return [f"{side}_{part}_{layer}" for layer in layers for part in ("key", "value")]


def _fold(model) -> None:
    """Fold constants, and drop the exporter's notes, which name paths of the machine.

    The exporter's full optimisation also merges weights that happen to be equal and drops biases that happen to be
    zero: seeded weights would then run another graph than trained ones.
    """
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    from onnxscript import optimizer

    optimizer.inline(model)
    optimizer.fold_constants(model)
    optimizer.remove_unused_nodes(model)
    ClearMetadataAndDocStringPass()(model)
