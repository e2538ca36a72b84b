"""Constants from outside the project: each with its source, its date, and other values that a source gives."""

from __future__ import annotations

from dataclasses import dataclass

from ..audit.printed import Printed, parse

EPA = "US EPA, Greenhouse Gas Equivalencies Calculator, Calculations and References"
KM_A_MILE, KG_A_POUND = 1.609344, 0.45359237  # by definition


@dataclass(frozen=True)
class Constant:
    """A number as its source prints it. ``others`` are pairs of another value and who gives it."""

    name: str
    value: str
    unit: str
    source: str
    date: str
    others: tuple[tuple[str, str], ...] = ()

    @property
    def number(self) -> Printed:
        return parse(self.value)

    @property
    def all(self) -> list[float]:
        """Its value and the others."""
        return [float(value) for value in (self.value, *(other for other, _ in self.others))]


POWER = Constant(
    "Board power of an RTX 4090", "450", "W", "NVIDIA, GeForce RTX 4090, technical specifications", "2022-10-12"
)
INTENSITY = Constant(
    "Carbon intensity of electricity", "0.432", "kg/kWh",
    "ML CO2 Impact calculator (Lacoste et al.; mlco2/impact at 05d1327), its default for private infrastructure: the "
    "OECD's average of 2014; its list of hardware holds no RTX 4090", "2019",
    (("0.056", "France 2023"), ("0.481", "the world 2023"), ("0.713", "India 2023, all three by Ember")),
)  # fmt: skip
CAR = Constant(
    "Emission of an average passenger vehicle", "0.398", "kg/mile", EPA, "2020",
    (("0.409", "an earlier edition"), ("0.393", "the edition of 2024")),
)  # fmt: skip
COAL = Constant(
    "Emission of burned coal", "0.905", "kg/pound", EPA, "2020",
    (("0.915", "an earlier edition"), ("0.931", "a still earlier edition")),
)  # fmt: skip
SEEDLING = Constant(
    "Carbon dioxide that a seedling takes up in ten years",
    "60",
    "kg/seedling",
    EPA,
    "2020",
    (("39", "an earlier edition"),),
)
TOKENS = Constant(
    "Compute-optimal tokens a parameter", "20", "tokens/parameter",
    "Hoffmann et al., Training Compute-Optimal Large Language Models, arXiv 2203.15556, table 3 (400M parameters)",
    "2022-03-29",
    (("20.2", "its row of 1B parameters"), ("22.4", "its row of 67B parameters")),
)  # fmt: skip
PEAK = Constant(
    "Dense half-precision peak of an RTX 4090", "165.2", "TFLOP/s",
    "NVIDIA, Ada GPU Architecture whitepaper (accumulation in float32)", "2022",
    (("330.3", "the same, accumulation in float16"),),
)  # fmt: skip
WIKITEXT = Constant(
    "Perplexity of the smallest GPT-2 on WikiText-2", "29.41", "perplexity",
    "Radford et al., Language Models are Unsupervised Multitask Learners, table 3", "2019-02-14",
)  # fmt: skip
LAMBADA = Constant("Perplexity of the smallest GPT-2 on LAMBADA", "35.13", "perplexity", WIKITEXT.source, WIKITEXT.date)
TPU_CORES = Constant(
    "Cloud TPU v3 cores that trained the largest GPT-2", "256", "cores",
    "openai-community/gpt2, the hub's own card, which adds that the duration was not disclosed", "undated",
)  # fmt: skip
TRAINED_LOSS = Constant(
    "Validation loss of a GPT-2 of 124M trained on OpenWebText", "2.85", "nats", "nanoGPT, README at 0110f3c", "2025-11"
)
RELEASED_LOSS = Constant(
    "Validation loss of OpenAI's GPT-2 of 124M on OpenWebText", "3.12", "nats", "nanoGPT, README at 0110f3c", "2025-11"
)
ALL = (
    POWER, INTENSITY, CAR, COAL, SEEDLING, TOKENS, PEAK, WIKITEXT, LAMBADA, TPU_CORES, TRAINED_LOSS, RELEASED_LOSS,
)  # fmt: skip
