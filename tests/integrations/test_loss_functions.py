"""A trainer that computes its tasks' losses inside, as torch-rechub's and LibMTL's do."""

import torch
from torch import nn

from affinity import Recorder
from affinity.integrations.loss_functions import watch_losses


class HiddenLosses:
    """Loss functions in a list, called within the loop; validation calls them, too."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
        self.loss_fns = [nn.MSELoss(), nn.L1Loss()]
        self.optimizer = torch.optim.Adam(self.model.parameters())

    def losses(self, inputs):
        outputs = self.model(inputs)
        return [loss(outputs[:, i], inputs[:, i]) for i, loss in enumerate(self.loss_fns)]

    def fit(self):
        for step in range(6):
            inputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
            loss = sum(self.losses(inputs)) / 2
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                self.losses(inputs)
        return torch.cat([parameter.flatten() for parameter in self.model.parameters()])


def test_hidden_losses_are_observed_and_the_run_is_the_same():
    plain, trainer = HiddenLosses().fit(), HiddenLosses()
    recorder = Recorder(trainer.model, shared="0", every=2, optimizer=trainer.optimizer)
    watched = watch_losses(recorder, dict(zip(["click", "buy"], trainer.loss_fns, strict=True)))
    trainer.loss_fns = list(watched.values())
    assert torch.equal(trainer.fit(), plain)
    trace = recorder.trace()
    assert (trace.tasks, trace.steps.tolist()) == (("click", "buy"), [0, 2, 4])
    assert trace.gramians.isfinite().all()


class MeanError:
    """A loss as LibMTL's: an object whose method computes it, and which keeps its values."""

    def __init__(self):
        self.record = []

    def compute_loss(self, prediction, target):
        return (prediction - target).abs().mean()

    def update_loss(self, prediction, target):
        loss = self.compute_loss(prediction, target)
        self.record.append(loss.item())
        return loss


class Meter(HiddenLosses):
    """Losses are written into a vector, as LibMTL does before its weighting."""

    def __init__(self):
        super().__init__()
        self.meter = {"click": MeanError(), "buy": MeanError()}

    def losses(self, inputs):
        outputs, losses = self.model(inputs), torch.zeros(2)
        for place, loss in enumerate(self.meter.values()):
            losses[place] = loss.update_loss(outputs[:, place], inputs[:, place])
        return losses


def test_losses_that_are_methods_of_objects_are_observed():
    plain, trainer = Meter().fit(), Meter()
    recorder = Recorder(trainer.model, every=2)
    losses = trainer.meter
    watched = watch_losses(recorder, {task: losses[task].compute_loss for task in losses})
    for task in losses:
        losses[task].compute_loss = watched[task]
    assert torch.equal(trainer.fit(), plain)
    trace = recorder.trace()
    assert (trace.tasks, trace.steps.tolist()) == (("click", "buy"), [0, 2, 4])
    assert trace.gramians.isfinite().all()
    assert len(losses["click"].record) == 12
