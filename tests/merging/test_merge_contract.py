"""Every method that needs no data keeps what methods promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from landform import merging
from landform.merging import Asked, Method, Part
from landform.testing import MethodContract

WITHOUT_DATA = [name for name in merging.methods() if merging.get(name).part is not None]


class TestMethods(MethodContract):
    name = ""

    @pytest.fixture(params=WITHOUT_DATA, autouse=True)
    def each(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param

    def method(self) -> Method:
        return merging.get(self.name)

    def settings(self) -> dict[str, Any]:
        return {"density": 0.5} if "density" in self.method().settings else {}


def test_the_contract_finds_who_breaks_it() -> None:
    def changes(part: Part, known: Any, asked: Asked) -> torch.Tensor:
        return part.sources[0].add_(1)

    def forgets(part: Part, known: Any, asked: Asked) -> torch.Tensor:
        return part.sources.mean(0) + torch.rand(())

    def counts(part: Part, known: Any, asked: Asked) -> torch.Tensor:
        return part.sources.mean(0) + part.sources[0].numel()

    broken = {
        "test_tensors_keep_their_form_and_sources_are_left_alone": changes,
        "test_the_same_is_merged_to_the_same": forgets,
        "test_blocks_of_a_tensor_are_merged_as_the_whole": counts,
    }
    for test, part in broken.items():

        class Broken(MethodContract):
            wrong = staticmethod(part)

            def method(self) -> Method:
                return Method("broken", "Wrong.", "nobody", part=self.wrong)

        with pytest.raises(AssertionError):
            getattr(Broken(), test)()
