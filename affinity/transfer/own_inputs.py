"""The control: a trunk pretrained on the target's own inputs, without any other task's labels."""

import copy
import math

import torch
from torch import Tensor, nn

from affinity.tasks import Examples, Replicate
from affinity.training import TrainingSettings

_SWAPPED = 0.3  # share of the entries that come from another row


def pretrain_on_inputs(
    trunk: nn.Module, replicate: Replicate, settings: TrainingSettings
) -> dict[str, Tensor]:
    """The state of `trunk` after it learned to restore corrupted rows; `trunk` stays as it is.

    Three in ten entries of a row are swapped for those of other rows; a linear layer on the trunk's
    output predicts the standardized entries, judged by squared error. It stops early on the
    validation rows. No label is looked at, so that what it gains is no credit of a source: Krishna
    et al. found that this rivals large corpora.

    Args:
        trunk: Fresh.
        replicate: Its training and validation inputs are used, and its seed.
        settings: Epochs, batch size, learning rate, weight decay and patience.

    References:
        Krishna et al. (2023), `Downstream Datasets Make Surprisingly Good Pretraining Corpora
        <https://arxiv.org/abs/2209.14389>`_; Vincent et al. (2008), Extracting and Composing
        Robust Features with Denoising Autoencoders.

    Example:
        >>> rows = Examples(torch.randn(40, 3), torch.zeros(40, 1))
        >>> state = pretrain_on_inputs(
        ...     nn.Linear(3, 2), Replicate(0, rows, rows, rows), TrainingSettings(epochs=1))
        >>> sorted(state)
        ['bias', 'weight']
    """
    trunk = copy.deepcopy(trunk)
    generator = torch.Generator().manual_seed(replicate.seed)
    rows = replicate.training.inputs
    mean, deviation = rows.mean(dim=0), rows.std(dim=0, unbiased=False)
    deviation = deviation.where(deviation > 0, 1.0)

    def standard(inputs: Tensor) -> Tensor:
        return ((inputs - mean) / deviation).flatten(1)

    with torch.random.fork_rng():
        torch.manual_seed(replicate.seed)
        decoder = nn.Linear(trunk(rows[:2]).flatten(1).shape[1], standard(rows[:1]).shape[1])
        model = nn.ModuleList([trunk, decoder.to(rows)])
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )

        def loss_on(corrupted: Tensor, inputs: Tensor) -> Tensor:
            restored = model[1](model[0](corrupted).flatten(1))
            return (restored - standard(inputs)).square().mean()

        judged = replicate.validation.inputs
        corrupted = _swapped(judged, rows, generator)
        lowest, best_epoch, best = math.inf, 0, copy.deepcopy(trunk.state_dict())
        for epoch in range(1, settings.epochs + 1):
            model.train()
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate_at(epoch)
            order = torch.randperm(len(rows), generator=generator)
            for some in order.split(settings.batch_size):
                optimizer.zero_grad()
                loss_on(_swapped(rows[some], rows, generator), rows[some]).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                reached = float(loss_on(corrupted, judged))
            if reached < lowest:
                lowest, best_epoch, best = reached, epoch, copy.deepcopy(trunk.state_dict())
            if epoch - best_epoch >= settings.patience:
                break
    return best


def rows_of(replicate: Replicate, column: int) -> Replicate:
    """The rows that have a label for the target in this column."""

    def own(part: Examples) -> Examples:
        return part.take(part.labelled[:, column].nonzero().squeeze(1))

    return Replicate(
        replicate.seed, own(replicate.training), own(replicate.validation), replicate.test
    )


def _swapped(inputs: Tensor, pool: Tensor, generator: torch.Generator) -> Tensor:
    other = pool[torch.randint(len(pool), inputs.shape[:1], generator=generator)]
    is_swapped = torch.rand(inputs.shape, generator=generator) < _SWAPPED
    return torch.where(is_swapped, other, inputs)
