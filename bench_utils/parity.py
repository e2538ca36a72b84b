"""Weight parity: does a model, as loaded here, compute what it computed when its reference was stored?

References are kept by weight digest: another checkpoint is another reference, and without one the gate says so.
``python -m bench_utils.parity`` prints the references of the seeded weights anew.
"""

from __future__ import annotations

import json
from importlib.resources import files

MODELS = ("tiny-gpt2", "gpt2-25m")  # tiny alone could not show a lost cache
PROMPTS, PROMPT_TOKENS, STEPS = 3, 16, 32
# Of the logits' own spread; full precision differs between processors by far less than 1e-4.
TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2, "float16": 1e-2}


def observe(engine) -> list[dict]:
    """Greedy tokens and per-step logit statistics of an engine's plain model on fixed prompts."""
    found = []
    for seed in range(PROMPTS):
        tokens, logits = engine.plain(_prompt(engine, seed), STEPS - 1)
        logits = logits[:, 0].double()
        steps = [[round(float(f(step)), 6) for f in _STATISTICS] for step in logits]
        found.append({"tokens": engine.tokens(tokens)[0], "logits": steps})
    return found


_STATISTICS = (lambda x: x.mean(), lambda x: x.std(), lambda x: x.min(), lambda x: x.max())


def _prompt(engine, seed: int):
    import torch

    generator = torch.Generator().manual_seed(1000 + seed)
    ids = torch.randint(engine.config.vocab_size, (1, PROMPT_TOKENS), generator=generator)
    return ids.to(engine.device)


def references() -> dict[str, dict]:
    """Stored observations by weight digest."""
    return json.loads(files("bench_utils.reference").joinpath("parity.json").read_text())


def check(observed: list[dict], digest: str, dtype: str, stored: dict[str, dict] | None = None) -> tuple[str, str]:
    """``ok``, ``token_mismatch``, ``output_mismatch`` or ``unknown``, with the evidence."""
    reference = (references() if stored is None else stored).get(digest)
    if reference is None:
        return "unknown", f"no reference is stored for weights {digest}"
    same = sum(
        a == b
        for mine, theirs in _pairs(observed, reference)
        for a, b in zip(mine["tokens"], theirs["tokens"], strict=True)
    )
    total = PROMPTS * STEPS
    worst = max(_differences(observed, reference))
    evidence = f"{same} of {total} tokens, logit statistics within {worst:.1e} of their spread"
    if dtype == "float32" and same < total:
        return "token_mismatch", evidence
    return ("ok" if worst <= TOLERANCE[dtype] else "output_mismatch"), evidence


def _pairs(observed: list[dict], reference: dict):
    return zip(observed, reference["prompts"], strict=True)


def _differences(observed: list[dict], reference: dict):
    for mine, theirs in _pairs(observed, reference):
        for a, b in zip(mine["logits"], theirs["logits"], strict=True):
            yield max(abs(x - y) for x, y in zip(a, b, strict=True)) / max(b[1], 1e-9)


def main() -> None:
    """Print the references of the seeded weights, to be stored."""
    from . import backends, catalog

    found = {}
    for name in MODELS:
        engine = backends.make(catalog.model(name), catalog.variant("eager"), "float32", "cpu", "architecture", 0)
        engine.load()
        found[engine.read_back()["digest"]] = {"model": name, "dtype": "float32", "prompts": observe(engine)}
    print(json.dumps(found, indent=None, separators=(",", ":")))


if __name__ == "__main__":
    main()
