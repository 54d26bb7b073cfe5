from __future__ import annotations

import pytest

from rompy_core import Capability, ConfigError, refuse_missing

OFFERED = {
    "subreaper": Capability(holds=True, detail="prctl"),
    "pss": Capability(holds=False, detail="no smaps_rollup"),
}


def test_a_guarantee_is_true_where_it_holds() -> None:
    assert OFFERED["subreaper"]
    assert not OFFERED["pss"]


def test_what_holds_is_not_refused() -> None:
    refuse_missing("WaveConfig", ["subreaper"], OFFERED)


def test_every_guarantee_that_is_missing_or_unknown_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_missing("WaveConfig", ["pss", "subreaper", "teleport"], OFFERED)

    missing, unknown = caught.value.problems
    assert missing == "require: 'pss' does not hold here: no smaps_rollup"
    assert unknown == "require: no guarantee is called 'teleport'; known: subreaper, pss"
