"""Linearized fine-tuning: exact for linear models, and its statistics for any."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from codes import raises, warns
from torch import nn

import affinity
from affinity.estimates.gradient_files import GradientFile
from affinity.estimates.sparse_projection import SparseProjection

NAMES = ("one", "two", "three")


def linear_data(n_rows=60, seed=0):
    """Three regressions on four inputs, of which the third is the opposite of the first."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(3, n_rows, 4, generator=generator).double()
    weights = torch.tensor([[1.0, 2, 0, -1], [0, 1, 1, 0], [-1, -2, 0, 1]]).double()
    noise = torch.randn(3, n_rows, generator=generator)
    labels = (inputs @ weights[:, :, None])[..., 0] + 0.3 * noise
    return {name: (inputs[row], labels[row]) for row, name in enumerate(NAMES)}


def linear_model():
    torch.manual_seed(1)
    return nn.Linear(4, 1, bias=False).double()


def linearized(**settings):
    train, rest = linear_data(), linear_data(40, seed=1)
    return affinity.linearize(
        linear_model(),
        {name: [batch] for name, batch in train.items()},
        {name: [batch] for name, batch in rest.items()},
        **{"loss": "squared error", **settings},
    )


@pytest.mark.parametrize("group", [{"one": 1.0}, {"one": 0.5, "two": 0.5}, {"one": 2, "three": 1}])
@pytest.mark.parametrize("settings", [{}, {"dimensions": 4}, {"per_row": False, "probes": 60}])
def test_it_is_the_exact_ridge_regression_of_a_linear_model(group, settings):
    settings = {"dimensions": None, **settings}
    predicted = linearized(ridge=0.3, **settings).losses(group)
    start = linear_model().weight[0].detach()
    system, right = 0.3 * torch.eye(4).double(), torch.zeros(4).double()
    train = linear_data()
    for name, share in group.items():
        x, y = train[name]
        system += share * 2 * x.T @ x / len(x)
        right += share * 2 * x.T @ (y - x @ start) / len(x)
    weights = start + torch.linalg.solve(system, right)
    for name, (x, y) in linear_data(40, seed=1).items():
        assert predicted[name] == pytest.approx((x @ weights - y).square().mean().item())


@pytest.mark.parametrize(("bits", "tolerance"), [(32, 1e-6), (8, 2e-2)])
@pytest.mark.parametrize("settings", [{"per_row": True}, {"per_row": False}, {"probes": 1}])
def test_kept_gradients_give_the_statistics_of_other_rows(tmp_path, bits, tolerance, settings):
    """Those of the first ten rows, and of all, are what a new measurement gives."""
    train, rest = linear_data(20), linear_data(40, seed=1)

    def measure(count, **more):
        batches = {
            name: [(x[i : i + 5], y[i : i + 5]) for i in range(0, count, 5)]
            for name, (x, y) in train.items()
        }
        held_out = {name: [batch] for name, batch in rest.items()}
        more = {"loss": "squared error", "dimensions": 3, "ridge": 0.1, **settings, **more}
        return affinity.linearize(linear_model(), batches, held_out, **more)

    whole, few = measure(20, gradients=tmp_path, bits=bits), measure(10)
    size = (tmp_path / "training-0-0.npy").stat().st_size
    assert size < 4000 or bits == 32
    n_records = 10 if settings.get("per_row", True) else 2
    again = whole.with_rows(tmp_path, dict.fromkeys(NAMES, range(n_records)), {"two": range(1)})
    assert again.training.n_rows.tolist() == [10, 10, 10]
    assert again.held_out.n_rows[0] == 40 > again.held_out.n_rows[1] or n_records == 2
    for group in ({"one": 1.0}, {"one": 0.5, "three": 2.0}):
        predicted, measured = again.losses(group, ["one"]), few.losses(group, ["one"])
        start = few.held_out.losses[0].item()
        assert predicted == pytest.approx(measured, abs=tolerance * start)
    once, twice = (whole.with_rows(tmp_path, {"one": rows}) for rows in ([0, 1], [0, 1, 0, 1]))
    assert twice.training.n_rows[0] == 2 * once.training.n_rows[0]


def test_kept_gradients_that_do_not_fit_are_refused(tmp_path):
    whole = linearized(gradients=tmp_path / "a", bits=8)
    other = linearized(dimensions=2, gradients=tmp_path / "b", rows=5)
    for folder, rows, code in (
        (tmp_path / "b", {"one": [0]}, "gradients-do-not-fit"),
        (tmp_path / "c", {"one": [0]}, "damaged-file"),
        (tmp_path / "a", {"four": [0]}, "unknown-task"),
        (tmp_path / "a", {"one": [60]}, "unknown-row"),
        (tmp_path / "a", {"one": [-1]}, "unknown-row"),
        (tmp_path / "a", {"one": []}, "no-rows"),
    ):
        with raises(code):
            whole.with_rows(folder, rows)
    (tmp_path / "b" / "training-0-0.npy").write_bytes(b"x")
    with raises("damaged-file"):
        other.with_rows(tmp_path / "b", {"one": [0]})
    with raises("invalid-setting"):
        linearized(bits=4)


@pytest.mark.parametrize("bits", [8, 32])
def test_gradients_of_another_adapter_are_refused_where_its_loss_is_the_same(tmp_path, bits):
    """As a low-rank adapter whose second factor starts at 0: every rank and seed has one loss."""

    def adapted(seed, folder):
        generator = torch.Generator().manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 1, bias=False)).double()
        with torch.no_grad():
            model[0].weight.copy_(torch.randn(2, 4, generator=generator))
            model[1].weight.zero_()
        data = {name: [batch] for name, batch in linear_data().items()}
        rest = {name: [batch] for name, batch in linear_data(40, seed=1).items()}
        settings = {"ridge": 1.0, "dimensions": 3, "gradients": folder, "bits": bits}
        return affinity.linearize(model, data, rest, "squared error", **settings)

    one, other = adapted(1, tmp_path / "1"), adapted(2, tmp_path / "2")
    assert one.training.losses.tolist() == other.training.losses.tolist()
    assert one.with_rows(tmp_path / "1", {"one": range(60)}).training.n_rows[0] == 60
    with raises("gradients-do-not-fit"):
        one.with_rows(tmp_path / "2", {"one": range(60)})


def test_gradient_files_that_were_not_finished_are_refused(tmp_path):
    whole = linearized(gradients=tmp_path, bits=8)
    path = tmp_path / "training-0-0.npy"
    complete = path.read_bytes()
    path.write_bytes(complete[:-20])  # the end is missing
    with raises("damaged-file"):
        whole.with_rows(tmp_path, {"one": [0]})
    with GradientFile(path, (3, 4), 8) as file:  # killed while it was written
        file.write(1.0, 1, 1, torch.ones(3, 4))
        file._file.flush()
        killed = path.read_bytes()
    path.write_bytes(killed)
    with raises("gradients-do-not-fit"):
        whole.with_rows(tmp_path, {"one": [0]})
    path.write_bytes(complete)
    whole.with_rows(tmp_path, {"one": [0]})
    infinite = [(torch.full((2, 4), torch.inf).double(), torch.ones(2))]
    with raises("not-finite") as info:
        affinity.linearize(
            linear_model(),
            {"good": [linear_data()["one"]], 'an "odd"/../name': infinite},
            {"good": [linear_data(seed=1)["one"]]},
            "squared error",
            gradients=tmp_path / "odd",
            bits=8,
        )
    assert "odd" in str(info.value)
    assert not list((tmp_path / "odd").glob("*name*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said(tmp_path):
    (tmp_path / "training-0-0.npy").symlink_to("/dev/full")
    with raises("cannot-write"):
        linearized(gradients=tmp_path)


def test_the_ridge_is_chosen_on_held_out_rows():
    """Labels that follow from the inputs need nearly none; labels that are noise need much."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 20, 8, generator=generator)
    noise = torch.randn(2, 20, generator=generator)
    model = nn.Linear(8, 1)
    nn.init.zeros_(model.weight)
    ridges = []
    for labels in (inputs.sum(dim=2), noise):
        train, rest = ({"a": [(inputs[part], labels[part])]} for part in (0, 1))
        ridges.append(affinity.linearize(model, train, rest, "squared error").ridge)
    assert ridges[0] < 0.01 < 0.1 < ridges[1]


def test_held_out_losses_below_0_count_as_much_as_those_above():
    """The error of a network is 1 for each loss, whatever its sign, where nothing is changed."""
    predictor = linearized(ridge=1e12)  # stays where it was
    assert predictor.held_out_error() == pytest.approx(6)
    losses = predictor.held_out.losses * torch.tensor([-1.0, 1.0, 1.0]).double()
    below = replace(predictor, held_out=replace(predictor.held_out, losses=losses))
    assert below.held_out_error() == pytest.approx(-2 + 4)


def test_gains_matrix_and_best_sources_follow_from_the_losses(tmp_path):
    predictor = linearized(dimensions=None, ridge=0.01)
    alone = predictor.losses(["one"])["one"]
    pair = predictor.losses(["one", "three"])["one"]
    assert predictor.matrix().between("three", "one") == pytest.approx(1 - pair / alone)
    assert predictor.matrix().between("three", "one") < -1
    sources, losses = predictor.best_sources("one")
    assert sources[0] == "one"
    assert losses[0] == pytest.approx(alone)
    assert predictor.best_sources("one", leave_out=["one"])[0] == ("two",)
    grouping = affinity.solve(
        predictor.predict([NAMES, *([a, b] for a in NAMES for b in NAMES)]), 3
    )
    assert frozenset({"one", "three"}) not in {network.served for network in grouping.networks}
    affinity.save(predictor, tmp_path / "x.safetensors")
    assert affinity.load(tmp_path / "x.safetensors").losses(NAMES) == predictor.losses(NAMES)


class Decoder(nn.Module):
    """Predicts the next token from the token before it and a mean of all before."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.out = nn.Embedding(7, 6), nn.Linear(6, 7)
        self.dropout = nn.Dropout(0.5)

    def forward(self, input_ids, attention_mask=None):  # noqa: ARG002
        hidden = self.dropout(self.embed(input_ids))
        before = hidden.cumsum(1) / torch.arange(1, input_ids.shape[1] + 1)[:, None]
        return {"logits": self.out((hidden + before).tanh())}


def token_batches(seed=0, n_rows=6):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(7, (n_rows, 5), generator=generator)
    labels = tokens.clone()
    labels[:, :2] = -100
    return [{"input_ids": tokens, "labels": labels}]


def test_statistics_of_a_language_model_are_gradient_and_curvature_of_its_loss():
    model = Decoder().train()
    before = torch.get_rng_state()
    statistics = affinity.linearize(
        model,
        {"a": token_batches()},
        {"a": token_batches(1)},
        "next token",
        dimensions=None,
        probes=3 * 7,
        ridge=1.0,
    ).training
    assert model.training
    assert model.dropout.training
    assert torch.equal(before, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())
    model.eval()
    batch = token_batches()[0]
    names = [name for name, _ in model.named_parameters()]

    def outputs(*values):
        values = dict(zip(names, values, strict=True))
        logits = torch.func.functional_call(model, values, (batch["input_ids"],))["logits"]
        return logits[:, 1:-1].flatten(0, 1)

    values = tuple(parameter.detach() for parameter in model.parameters())
    labels = batch["labels"][:, 2:].flatten()
    logits = outputs(*values)
    loss = nn.functional.cross_entropy(logits, labels)
    assert statistics.losses[0].item() == pytest.approx(loss.item(), rel=1e-5)
    jacobian = torch.cat(
        [
            part.flatten(2)
            for part in torch.func.jacrev(outputs, tuple(range(len(values))))(*values)
        ],
        dim=2,
    )
    p = logits.softmax(-1)
    slope = (p - nn.functional.one_hot(labels, 7)) / len(labels)
    torch.testing.assert_close(
        statistics.gradients[0].float(), torch.einsum("ro,rop->p", slope, jacobian)
    )
    bent = (torch.diag_embed(p) - p[:, :, None] * p[:, None]) / len(labels)
    exact = torch.einsum("rop,rou,ruq->pq", jacobian, bent, jacobian)
    torch.testing.assert_close(statistics.curvatures[0].float(), exact, rtol=1e-4, atol=1e-6)


def test_batches_do_not_matter_and_few_probes_are_unbiased():
    exact = affinity.linearize(
        Decoder(), {"a": token_batches()}, {"a": token_batches(1)}, "next token", probes=21, seed=4
    ).training
    batch = token_batches()[0]
    single = [{name: value[row : row + 1] for name, value in batch.items()} for row in range(6)]
    again = affinity.linearize(
        Decoder(), {"a": single}, {"a": token_batches(1)}, "next token", probes=21, seed=4
    ).training
    torch.testing.assert_close(exact.gradients, again.gradients)
    torch.testing.assert_close(exact.curvatures, again.curvatures)
    many = affinity.linearize(
        Decoder(),
        {"a": single},
        {"a": token_batches(1)},
        "next token",
        per_row=False,
        probes=20,
        seed=4,
    ).training
    torch.testing.assert_close(exact.gradients, many.gradients)
    error = (many.curvatures - exact.curvatures).norm() / exact.curvatures.norm()
    assert 0 < error < 0.5


@pytest.mark.parametrize("kind", ["classes", "binary"])
def test_classes_with_heads_of_their_own(kind):
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.trunk = nn.Linear(4, 4)
            self.heads = nn.ModuleDict({n: nn.Linear(4, 3) for n in NAMES})

        def forward(self, inputs):
            return {name: head(self.trunk(inputs).tanh()) for name, head in self.heads.items()}

    def batches(seed):
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(50, 4, generator=generator)
        labels = inputs.argmax(dim=1).clamp(max=2)
        if kind == "binary":
            labels = nn.functional.one_hot(labels, 3).float()
            labels[:5, 0] = torch.nan
        return [(inputs, labels)]

    predictor = affinity.linearize(
        Heads(),
        {name: batches(seed) for seed, name in enumerate(NAMES)},
        {name: batches(seed + 9) for seed, name in enumerate(NAMES)},
        kind,
        parameters="trunk",
    )
    alone = predictor.losses(["one"])["one"]
    assert alone < predictor.held_out.losses[0].item()
    assert predictor.n_parameters == 20


def test_adam_scales_the_gradients_as_its_steps_do():
    model, data = linear_model(), linear_data()
    optimizer = torch.optim.Adam(model.parameters())
    with raises("no-optimizer-state"):
        linearized(optimizer=optimizer)
    for x, y in data.values():
        optimizer.zero_grad()
        (model(x)[:, 0] - y).square().mean().backward()
        optimizer.step()
    batches = {name: [batch] for name, batch in data.items()}
    rest = {name: [batch] for name, batch in linear_data(40, seed=1).items()}
    settings = {"loss": "squared error", "dimensions": None, "ridge": 1e6}
    plain = affinity.linearize(model, batches, rest, **settings).training.gradients
    scaled = affinity.linearize(model, batches, rest, optimizer=optimizer, **settings).training
    state = optimizer.state[model.weight]
    step = ((state["exp_avg_sq"] / (1 - 0.999**3)).sqrt() + 1e-8)[0]
    torch.testing.assert_close(scaled.gradients @ scaled.gradients.T, plain / step @ plain.T)


def test_a_projection_keeps_inner_products():
    parameters = {"a": torch.zeros(300, 7), "b": torch.zeros(()), "c": torch.zeros(50, 3)}
    one, two = ([torch.randn(p.shape) for p in parameters.values()] for _ in range(2))
    exact = sum((a * b).sum() for a, b in zip(one, one, strict=True)).item()
    cross = sum((a * b).sum() for a, b in zip(one, two, strict=True)).item()
    complete = SparseProjection(parameters, 10**6)
    assert (complete(one) @ complete(two)).item() == pytest.approx(cross, rel=1e-4)
    products = [
        (projection(one) @ projection(one)).item()
        for projection in (SparseProjection(parameters, 100, seed) for seed in range(40))
    ]
    assert sum(products) / 40 == pytest.approx(exact, rel=0.1)


def test_a_model_of_transformers_with_padding():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=11,
            n_embd=8,
            n_layer=1,
            n_head=2,
            n_positions=6,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    tokens = torch.randint(11, (5, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(tokens)
    mask[:2, 4:] = 0
    batch = {
        "input_ids": tokens,
        "attention_mask": mask,
        "labels": tokens.masked_fill(mask == 0, -100),
    }
    rest = {name: value[3:] for name, value in batch.items()}
    first = {name: value[:3] for name, value in batch.items()}
    for per_row in (True, False):
        predictor = affinity.linearize(
            model,
            {"a": [first]},
            {"a": [rest]},
            "next token",
            parameters="*c_attn*",
            per_row=per_row,
        )
        with torch.no_grad():
            expected = model.eval()(**first).loss.item()
        assert predictor.training.losses[0].item() == pytest.approx(expected, rel=1e-5)
        assert predictor.training.n_labels.tolist() == [3 + 3 + 5]
        assert all("c_attn" in name for name in predictor.parameters)


def test_larger_groups_take_more_steps_with_the_same_epochs():
    equal, more = linearized(ridge=1.0), linearized(ridge=1.0, same_epochs=True)
    assert more.losses(["one"]) == equal.losses(["one"])
    assert more.losses(["one", "two"]) == equal.losses({"one": 1.0, "two": 1.0})


def test_bad_data_are_refused_by_name():
    model, good = Decoder(), token_batches()
    with raises("no-rows") as info:
        affinity.linearize(model, {"a": good, "empty": []}, {"a": token_batches(1)}, "next token")
    assert "'empty'" in str(info.value)
    masked = [{**good[0], "labels": torch.full((6, 5), -100)}]
    with raises("no-labels") as info:
        affinity.linearize(model, {"a": good, "masked": masked}, {"a": good}, "next token")
    assert "'masked'" in str(info.value)
    with raises("labels-do-not-fit"):
        too_large = [{**good[0], "labels": good[0]["labels"] + 200}]
        affinity.linearize(model, {"a": too_large}, {"a": good}, "next token")
    for labels, loss in ((torch.ones(3), "binary"), (torch.ones(2), "classes")):
        with raises("labels-do-not-fit"):
            batches = {"a": [(torch.ones(2, 4), labels)]}
            affinity.linearize(nn.Linear(4, 1), batches, batches, loss, per_row=False)
    model.config = type("Config", (), {"max_position_embeddings": 4})()
    with raises("sequence-too-long"):
        affinity.linearize(model, {"a": good}, {"a": good}, "next token")
    with raises("unknown-batch"):
        affinity.linearize(model, {"a": [{"x": torch.ones(2)}]}, {"a": good}, "next token")
    with raises("unknown-loss"):
        linearized(loss="hinge")
    with raises("unknown-loss"):
        linearized(loss={"one": "squared error"})
    with raises("invalid-setting"):
        linearized(dimensions=0)
    frozen = linear_model().requires_grad_(False)
    with raises("no-parameters"):
        affinity.linearize(frozen, {"a": good}, {"a": good}, "next token")
    turned = torch.nn.Linear(2, 1, dtype=torch.complex64)
    with raises("complex-parameters"):
        affinity.linearize(turned, {"a": good}, {"a": good}, "next token")
    infinite = [(torch.full((2, 4), torch.inf).double(), torch.ones(2))]
    with raises("not-finite"):
        affinity.linearize(linear_model(), {"a": infinite}, {"a": infinite}, "squared error")
    zeros = [(torch.zeros(2, 4).double(), torch.ones(2))]
    with raises("no-curvature"), warns("shared-rows"):
        affinity.linearize(linear_model(), {"a": zeros}, {"a": zeros}, "squared error")


def test_held_out_rows_that_are_trained_on_are_said():
    train, rest = linear_data(), linear_data(40, seed=1)
    batches = {name: [batch] for name, batch in train.items()}
    leak = tuple(torch.cat([a, b[:7]]) for a, b in zip(rest["two"], train["three"], strict=True))
    with warns("shared-rows"):
        predictor = affinity.linearize(
            linear_model(), batches, {"one": [rest["one"]], "two": [leak]}, "squared error"
        )
    assert predictor.shared_rows == {"one": 0, "two": 7}
    assert predictor.tasks == ("one", "two")
    padded = {
        "input_ids": torch.tensor([[1, 2, 3, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 0]]),
    }
    batch = {**padded, "labels": torch.tensor([[1, 2, 3, -100]])}
    short = {name: value[:, :3] for name, value in batch.items()}
    with warns("shared-rows"):
        affinity.linearize(Decoder(), {"a": [batch]}, {"a": [short]}, "next token", ridge=1.0)


def test_groups_that_do_not_exist_are_refused():
    predictor = linearized(ridge=1.0)
    for group, code in (
        (["four"], "unknown-task"),
        ([], "no-tasks"),
        ({"one": 0.0}, "invalid-share"),
        ({"one": float("nan")}, "invalid-share"),
    ):
        with raises(code):
            predictor.losses(group)
    with raises("unknown-task"):
        predictor.losses(["one"], targets=["four"])
    with raises("unknown-task"):
        predictor.best_sources("four")
    with raises("unknown-task"):
        predictor.best_sources("one", leave_out=["four"])
    with raises("no-tasks"):
        predictor.best_sources("one", leave_out=NAMES)
    with raises("invalid-setting"):
        predictor.with_ridge(0.0)


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.inner, self.wrap = linear_model(), wrap

    def forward(self, inputs):
        return self.wrap(self.inner(inputs))


@pytest.mark.parametrize("wrap", [lambda y: (y, "rest"), lambda y: {"logits": y}])
def test_outputs_may_be_a_tuple_or_a_mapping(wrap):
    data = {name: [batch] for name, batch in linear_data().items()}
    rest = {"one": [linear_data(40, seed=1)["one"]]}
    wrapped = affinity.linearize(Wrapped(wrap), data, rest, "squared error", ridge=1.0)
    assert wrapped.losses(NAMES)["one"] == pytest.approx(linearized(ridge=1.0).losses(NAMES)["one"])


def test_parameters_of_which_a_process_holds_a_part_are_refused():
    model = linear_model()
    model.weight.ds_id = 0  # as DeepSpeed marks them
    data = {name: [batch] for name, batch in linear_data().items()}
    with raises("sharded-parameters"):
        affinity.linearize(model, data, data, "squared error")
