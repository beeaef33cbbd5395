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
