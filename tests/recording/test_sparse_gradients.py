"""Sparse gradients of embeddings give the numbers of dense ones."""

import pytest
import torch
from torch import Tensor, nn

from affinity.recording import Recorder, Trace


def run(kind: type[nn.Module], *, sparse: bool, **settings: object) -> Trace:
    torch.manual_seed(0)
    table = kind(20, 3, sparse=sparse)  # pyright: ignore[reportCallIssue]
    model = nn.ModuleDict({"table": table, "a": nn.Linear(3, 1), "b": nn.Linear(3, 1)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    recorder = Recorder(
        model, every=1, lookahead_every=1, learning_rate=0.1, optimizer=optimizer, **settings  # pyright: ignore
    )  # fmt: skip
    for _ in range(3):
        ids = torch.randint(20, (4, 2))

        def losses(ids: Tensor = ids) -> dict[str, Tensor]:
            a, b = model["table"](ids), model["table"](ids[1:] // 2)
            return {"a": model["a"](a).square().mean(), "b": (model["b"](b) - 1).square().mean()}

        now = losses()
        recorder.observe(now, closure=losses, held_out=losses)
        optimizer.zero_grad()
        torch.stack(list(now.values())).sum().backward()
        optimizer.step()
    return recorder.trace()


@pytest.mark.parametrize("settings", [{"shared": "table"}, {}, {"shared": "table", "sketch": 4}])
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_sparse_gradients_give_the_numbers_of_dense_ones(
    kind: type[nn.Module], settings: dict[str, object]
) -> None:
    sparse, dense = (run(kind, sparse=is_sparse, **settings) for is_sparse in (True, False))
    names = ["lookahead_losses", "momentum_products"]
    names += [] if "sketch" in settings else ["gramians", "held_out_gramians"]
    for name in names:
        one, other = getattr(sparse, name), getattr(dense, name)
        assert one.isfinite().all()
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6), name
