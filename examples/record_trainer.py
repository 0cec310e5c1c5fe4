"""A small GPT-2 trained by a Hugging Face Trainer, recorded by a callback, surveyed. Needs landform[transformers]."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import landform as lf

config = GPT2Config(vocab_size=32, n_positions=16, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
model = GPT2LMHeadModel(config)
starts = torch.arange(256) % 29
tokens = (starts[:, None] + torch.arange(16) * (1 + starts[:, None] % 3)) % 32  # each row counts up in its own steps
rows = [{"input_ids": row, "labels": row} for row in tokens]


def next_token(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Every position's prediction of the token after it."""
    return model(input_ids=batch[0], use_cache=False).logits[:, :-1].flatten(0, 1), batch[1][:, 1:].flatten()


landscape = lf.Landscape(model, (tokens, tokens), forward=next_token, device="cpu")
record = lf.recording.trainer_callback(
    "runs/trainer", at=10, pairs=None, probes=lf.probes.live(landscape.subset(32), ["loss"]), budget=0.1
)
arguments = TrainingArguments("out", num_train_epochs=3, per_device_train_batch_size=16, learning_rate=3e-3, seed=0,
                              logging_steps=1, save_steps=16, report_to="none", use_cpu=True)  # fmt: skip
Trainer(model, arguments, train_dataset=rows, callbacks=[record]).train()

atlas = lf.survey("runs/trainer", landscape, probes=["loss", "gradient_norm", "distance"])
print("loss:", atlas["loss"].values)

# The folders that the Trainer saved by itself become a run as well: landform survey out/checkpoint-* does the same.
saved = lf.recording.from_checkpoints("out/checkpoint-*", "runs/saved", model)
print(saved, "loss:", lf.survey(saved, landscape, probes=["loss"])["loss"].values)
