"""A Hugging Face Trainer's run with the callback and without; its checkpoints; adapters of PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import landform as lf
from landform.errors import BadInput
from landform.recording import Trajectory, from_checkpoints, merged_run, trainer_callback

TOKENS = (torch.arange(24)[:, None] + torch.arange(8)) % 16
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def hf() -> Any:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    return pytest.importorskip("transformers", reason="transformers is not installed")


def gpt(hf: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 16, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
    return hf.GPT2LMHeadModel(hf.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))


def forward(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return model(input_ids=batch[0], use_cache=False).logits[:, :-1].flatten(0, 1), batch[1][:, 1:].flatten()


def landscape(model: nn.Module) -> lf.Landscape:
    return lf.Landscape(model, (TOKENS, TOKENS), forward=forward, device="cpu")


def train(hf: Any, folder: Path, *callbacks: Any, model: Any = None, resume: bool = False, **options: Any) -> Any:
    rows = [{"input_ids": row, "labels": row} for row in TOKENS]
    arguments = hf.TrainingArguments(
        str(folder),
        **{"num_train_epochs": 3, "save_strategy": "no", **options},
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=1,
    )
    made = gpt(hf) if model is None else model
    trainer = hf.Trainer(made, arguments, train_dataset=rows, callbacks=list(callbacks))
    trainer.train(resume_from_checkpoint=resume or None)
    return trainer


def test_recorded_to_the_bit(hf: Any, tmp_path: Path) -> None:
    plain = train(hf, tmp_path / "a").model
    probes = lf.probes.live(landscape(gpt(hf)), ["loss", "gradient_norm"])
    callback = trainer_callback(tmp_path / "run", at=6, pairs=None, probes=probes, budget=None)
    trainer = train(hf, tmp_path / "b", callback, save_strategy="steps", save_steps=6)
    assert all(map(torch.equal, plain.state_dict().values(), trainer.model.state_dict().values()))
    run = Trajectory(tmp_path / "run")
    assert run.steps == [0, 6, 12, 18]
    assert run.run["epoch"] == 6
    assert torch.equal(run.points[-1], lf.Layout.of(trainer.model).point(trainer.model))
    logged = {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}
    steps, values = run.curves["loss"]
    assert dict(zip(steps.tolist(), values.tolist(), strict=True)) == pytest.approx(logged)
    assert len(logged) == 18
    rates = [1e-2 * (18 - step) / 18 for step in range(18)]
    assert run.curves["lr"][1].tolist() == pytest.approx(rates)
    assert run.curves["train/loss"][0].tolist() == run.steps
    assert "grad_norm" in run.curves
    # What the Trainer saved is the same run, but for its beginning.
    saved = from_checkpoints(tmp_path / "b" / "checkpoint-*", tmp_path / "saved", gpt(hf))
    assert saved.steps == [6, 12, 18]
    assert saved.epochs == [1.0, 2.0, 3.0]
    assert torch.equal(saved.points[:], run.points[1:])
    assert saved.curves["loss"][1].tolist() == pytest.approx(list(logged.values()))


def test_a_training_that_goes_on(hf: Any, tmp_path: Path) -> None:
    how = {"save_strategy": "steps", "save_steps": 6}
    train(hf, tmp_path / "out", trainer_callback(tmp_path / "run", at=3, pairs=None), max_steps=6, **how)
    with pytest.raises(BadInput, match=r"Training goes on at step 6, and the run in .* would at step 0"):
        train(hf, tmp_path / "out", trainer_callback(tmp_path / "other", at=3), resume=True, **how)
    train(hf, tmp_path / "out", trainer_callback(tmp_path / "run", at=3, pairs=None), resume=True, **how)
    assert Trajectory(tmp_path / "run").steps == [0, 3, 6, 9, 12, 15, 18]


def test_adapters_of_peft_are_points(hf: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    config = peft.LoraConfig(r=2, target_modules=["c_attn"], task_type="CAUSAL_LM")

    def adapted() -> Any:
        torch.manual_seed(0)
        return peft.get_peft_model(gpt(hf), config)

    callback = trainer_callback(tmp_path / "run", at=9, pairs=None)
    trainer = train(hf, tmp_path / "out", callback, model=adapted(), save_strategy="steps", save_steps=9)
    run = Trajectory(tmp_path / "run")
    assert all("lora_" in name for name in run.layout.names)
    assert run.layout.size == 2 * (8 + 24)
    seen = landscape(adapted())
    atlas = lf.survey(run, seen, probes=["loss"])
    with torch.no_grad():
        trainer.model.eval()
        outputs, targets = forward(trainer.model, (TOKENS, TOKENS))
    assert atlas["loss"].values[-1] == pytest.approx(float(nn.functional.cross_entropy(outputs, targets)), rel=1e-4)
    saved = from_checkpoints(tmp_path / "out" / "checkpoint-*", tmp_path / "saved", adapted())
    assert torch.equal(saved.points[:], run.points[1:])
    # In the space of all weights: merged, the losses are the same.
    whole = merged_run(run, tmp_path / "whole", adapted())
    assert whole.layout.size == lf.Layout.of(gpt(hf)).size
    there = lf.survey(whole, landscape(gpt(hf)), probes=["loss"])
    torch.testing.assert_close(
        torch.tensor(there["loss"].values), torch.tensor(atlas["loss"].values), rtol=1e-5, atol=0
    )


@pytest.mark.timing
def test_the_budget_is_kept(hf: Any, tmp_path: Path) -> None:
    probes = lf.probes.live(landscape(gpt(hf)), ["loss"])
    callback = trainer_callback(tmp_path / "run", at=[0], probes=probes, probes_at=1, budget=0.1)
    train(hf, tmp_path / "out", callback, num_train_epochs=50)
    assert 0 < callback.recorder.overhead < 0.1
    assert callback.recorder.skipped


def test_misuse_is_told(hf: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="model= returned a int"):
        train(hf, tmp_path / "out", trainer_callback(tmp_path / "run", model=lambda made: 3))  # type: ignore[arg-type, return-value]


def test_without_transformers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name, name=name.partition(".")[0])

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(BadInput, match=r"pip install 'landform\[transformers\]'"):
        trainer_callback("runs/x")
