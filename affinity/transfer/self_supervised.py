"""Self-supervised pretraining on the target's own inputs: the control of every transfer gain."""

import copy
import math

import torch
from torch import Tensor, nn

from affinity.tasks import Replicate
from affinity.training import TrainingSettings
from affinity.training.device import find_device, move_to_cpu, use_seed

_SWAPPED = 0.3  # fraction of the entries that are replaced by those of another row


def pretrain_on_inputs(
    trunk: nn.Module, replicate: Replicate, settings: TrainingSettings
) -> dict[str, Tensor]:
    """Pretrain a copy of `trunk` as a denoising autoencoder, without labels; returns its state.

    30 % of the entries of a row are replaced by those of other rows; a linear layer on the trunk's
    output predicts the original standardized entries (squared error). Training stops early on the
    validation rows. A gain that this control also reaches is not attributed to a source: Krishna et
    al. found that it rivals large corpora.

    Args:
        trunk: Freshly initialized.
        replicate: Provides training and validation inputs, and the seed.

    References:
        Krishna et al. (2023), `Downstream Datasets Make Surprisingly Good Pretraining Corpora
        <https://arxiv.org/abs/2209.14389>`_; Vincent et al. (2008), Extracting and Composing
        Robust Features with Denoising Autoencoders.

    Example:
        >>> from affinity.tasks import Examples
        >>> rows = Examples(torch.randn(40, 3), torch.zeros(40, 1))
        >>> state = pretrain_on_inputs(
        ...     nn.Linear(3, 2), Replicate(0, rows, rows, rows), TrainingSettings(epochs=1))
        >>> sorted(state)
        ['bias', 'weight']
    """
    device = find_device(settings.device)
    trunk = copy.deepcopy(trunk).to(device)
    generator = torch.Generator().manual_seed(replicate.seed)
    rows, validation = replicate.training.inputs.to(device), replicate.validation.inputs.to(device)
    mean, deviation = rows.mean(dim=0), rows.std(dim=0, unbiased=False)
    deviation = deviation.where(deviation > 0, 1.0)

    def standardize(inputs: Tensor) -> Tensor:
        return ((inputs - mean) / deviation).flatten(1)

    with use_seed(replicate.seed):
        decoder = nn.Linear(trunk(rows[:2]).flatten(1).shape[1], standardize(rows[:1]).shape[1])
        model = nn.ModuleList([trunk, decoder.to(rows)])
        optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )

        def loss_on(corrupted: Tensor, inputs: Tensor) -> Tensor:
            restored = model[1](model[0](corrupted).flatten(1))
            return (restored - standardize(inputs)).square().mean()

        corrupted = _swap_entries(validation, rows, generator)
        lowest, best_epoch, best = math.inf, 0, copy.deepcopy(trunk.state_dict())
        for epoch in range(1, settings.epochs + 1):
            model.train()
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate_at(epoch)
            order = torch.randperm(len(rows), generator=generator)
            for batch in order.split(settings.batch_size):
                optimizer.zero_grad()
                loss_on(_swap_entries(rows[batch], rows, generator), rows[batch]).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                loss = float(loss_on(corrupted, validation))
            if loss < lowest:
                lowest, best_epoch, best = loss, epoch, copy.deepcopy(trunk.state_dict())
            if epoch - best_epoch >= settings.patience:
                break
    return move_to_cpu(best)


def _swap_entries(inputs: Tensor, pool: Tensor, generator: torch.Generator) -> Tensor:
    other = pool[torch.randint(len(pool), inputs.shape[:1], generator=generator)]
    is_swapped = torch.rand(inputs.shape, generator=generator) < _SWAPPED
    return torch.where(is_swapped.to(inputs.device), other, inputs)
