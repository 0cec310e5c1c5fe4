"""The code of the design that concerns points, landscapes, recording, surveys and reports, as it is written there."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def test_a_landscape(tmp_path) -> None:
    import landform as lf

    model = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
    landscape = lf.Landscape(model, lf.data.digits())
    here = landscape.here
    assert landscape.loss(here).shape == ()
    assert landscape.gradient(here).shape == here.shape
    points = here + 0.1 * torch.randn(4, len(here), device=here.device)
    assert landscape.loss(points).shape == (4,)
    data = lf.data.digits()
    assert landscape.on(data.test).loss(here) != landscape.loss(here)


def test_any_training_loop(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    import landform as lf

    data = lf.data.digits(per_class=20)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(data.train.inputs, data.train.targets), batch_size=20, shuffle=True
    )
    model = torch.nn.Sequential(torch.nn.Linear(64, 16), torch.nn.ReLU(), torch.nn.Linear(16, 10))
    landscape = lf.Landscape(model, data)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    epochs = 3
    steps = epochs * len(loader)

    recorder = lf.Recorder("runs/mine", model, optimizer, epoch=len(loader), at=lf.log_spaced(50, until=steps))
    for _ in range(epochs):
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    recorder.close()
    survey = lf.survey("runs/mine", landscape, budget=0.5)  # default probes within half of the training's time
    lf.report(survey, "runs/mine/report.html")
    assert (tmp_path / "runs/mine/report.html").stat().st_size > 10_000
    trajectory = lf.Trajectory("runs/mine")
    assert trajectory.points[3:7].shape == (4, landscape.layout.size)
    assert trajectory.at(epoch=2.4).step == 24
    assert len(trajectory.times) == len(trajectory)
    assert "loss" in trajectory.curves
    assert trajectory.children == []
    whole = lf.survey("runs/mine", landscape)
    torch.testing.assert_close(torch.tensor(whole["loss"].values[-1]), landscape.loss(trajectory.points[-1]))
