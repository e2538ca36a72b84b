"""What an hour of a machine costs, as a plan states it: never assumed, always with its source and its date."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from .environment import slugify
from .errors import BenchError

NO_PRICE = "no price in the plan"
KINDS = ("cpu", "cuda")

Said = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Price(BaseModel):
    """The price of an hour of one kind of device: ``[prices.cpu]`` or ``[prices.nvidia-h200]`` in a plan.

    It is the machine's, so every variant measured on it has the same. ``machine`` is what the price buys, ``source``
    where it was read, ``date`` when. There is no default for any of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd_per_hour: float = Field(gt=0, allow_inf_nan=False)
    source: Said
    date: datetime.date
    machine: Said

    def per_million(self, seconds_per_token: float) -> float:
        """US dollars for a million tokens on a machine that does nothing else and never waits."""
        return self.usd_per_hour * seconds_per_token / 3600 * 1e6

    def refuse_future(self, started: datetime.date) -> None:
        """Raise BenchError for a price that was not yet in force when a run began."""
        if self.date > started:
            raise BenchError(
                f"price of {self.machine!r}: its date {self.date} lies after the run, which began on {started}; "
                "give the price that was in force then"
            )


def check_devices(prices: dict[str, Price]) -> dict[str, Price]:
    """Prices by device, when each name can be that of one; BenchError otherwise."""
    for name in prices:
        if name not in KINDS and (name != slugify(name) or "-" not in name):
            raise BenchError(
                f"prices.{name}: not a device; give {' or '.join(KINDS)}, or a slug such as nvidia-h200 (bench-utils "
                "doctor shows them)"
            )
    return prices


Prices = Annotated[dict[str, Price], AfterValidator(check_devices)]


def price_of(prices: Mapping[str, Price], device: str) -> Price | None:
    """The price for a device's slug: its own, else that of its kind, else None."""
    return prices.get(device) or prices.get("cpu" if device.startswith("cpu-") else "cuda")


def assumptions(price: Price | None) -> dict[str, str]:
    """What stands behind a cost, to be printed beside it."""
    if price is None:
        return {"Price": NO_PRICE}
    return {
        "Price": f"{price.usd_per_hour:g} USD an hour",
        "Machine priced": price.machine,
        "Source of the price": price.source,
        "Date of the price": price.date.isoformat(),
        "Tokens counted": "those that decode produced, all sequences of a batch; prompts and prefill are left out",
        "Utilisation": "100 %: the machine decodes without a pause, and nobody else pays for it",
    }
