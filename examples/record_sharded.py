"""A model split over processes by fully_shard (FSDP2), each of which records its shard; then joined and surveyed.

torchrun --nproc-per-node 2 examples/record_sharded.py
"""

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard

import landform as lf

dist.init_process_group()
torch.manual_seed(0)
data = lf.data.digits()
inputs, targets = data.train.inputs, data.train.targets
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
for part in (model[0], model[2], model):
    fully_shard(part)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
STEPS, BATCH = 100, 32

with lf.Recorder("runs/sharded", model, optimizer, epoch=25, at=lf.log_spaced(12, until=STEPS)) as recorder:
    for step in range(STEPS):
        batch = torch.randint(len(inputs), (2, BATCH), generator=torch.Generator().manual_seed(step))[
            dist.get_rank() % 2
        ]
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
        loss.backward()
        optimizer.step()
        recorder.step(loss=loss)

dist.barrier()
if dist.get_rank() == 0:
    run = lf.recording.join_shards("runs/sharded")
    plain = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    print("loss:", lf.survey(run, lf.Landscape(plain, data, device="cpu"), probes=["loss"])["loss"].values)
dist.destroy_process_group()
