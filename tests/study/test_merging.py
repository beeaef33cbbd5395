"""Studies that compare joint training with networks merged from those of single data sets."""

from pathlib import Path

import torch
from codes import raises

import affinity
from affinity import Plan, Scores, Study
from affinity.transfer import merge_adapters

# The minimum of each data set's loss. Coordinates 2 and 3 belong to c and d alone, so that adding
# up what they learned serves both; a and b are close to each other, so that joint training is best.
MINIMA = {
    "a": torch.tensor([1.0, 1.0, 0.0, 0.0]),
    "b": torch.tensor([1.0, 0.8, 0.0, 0.0]),
    "c": torch.tensor([0.0, 0.0, 1.0, 0.0]),
    "d": torch.tensor([0.0, 0.0, 0.0, 1.0]),
}
MATTERS = {name: minimum != 0 for name, minimum in MINIMA.items()}
START = {"lora": torch.zeros(4)}
BEST = {("a", "b"): "hard", ("c", "d"): "added"}


def tuned(names, seed):
    """One step towards the mean minimum, as long for one data set as for two."""
    length = 0.9 if set(names) == {"a", "b"} else 0.6
    noise = 0.01 * torch.randn(4, generator=torch.Generator().manual_seed(seed))
    return {"lora": length * torch.stack([MINIMA[n] for n in names]).mean(dim=0) + noise}


def train(names, seed, sharing="hard"):
    state = tuned(names, seed)
    if sharing != "hard":
        state = merge_adapters({name: tuned([name], seed) for name in names}, START, sharing)
    losses = {
        name: ((state["lora"] - MINIMA[name])[MATTERS[name]]).square().sum().item()
        for name in names
    }
    return Scores(validation=losses, test=losses)


def ways_of(plan: Plan) -> dict[tuple[str, ...], str]:
    networks = zip(plan.grouping.networks, plan.sharing, strict=True)
    return {tuple(sorted(network.served)): sharing for network, sharing in networks}


def new_study(folder: Path) -> Study:
    tasks = dict.fromkeys(MINIMA, "minimize")
    return Study(folder, tasks, budget=2, trainings=24, merging=("averaged", "added"))


def test_each_group_is_trained_or_merged_as_is_better_and_judged_on_one_page(tmp_path):
    study = new_study(tmp_path)
    status = study.run(train)
    jobs = study.frame().drop_duplicates("job")
    assert ways_of(study.plan()) == BEST
    assert status.done == (jobs.sharing == "hard").sum() <= 24 < len(jobs)
    audit = study.audit(train, replicates=3)
    assert ways_of(audit.plan) == BEST
    merged = {"plan, trained jointly", "plan, averaged", "plan, added", "all-in-one, averaged"}
    assert merged <= audit.candidates.keys()
    assert audit.overall_of("plan").verdict == "beneficial"
    assert audit.overall_of("plan").gain > audit.overall_of("plan, trained jointly").gain
    assert audit.overall_of("plan, averaged").verdict == "harmful"
    assert Plan.from_yaml(audit.plan.to_yaml()) == audit.plan
    affinity.save(audit, tmp_path / "audit.safetensors")
    assert ways_of(affinity.load(tmp_path / "audit.safetensors").plan) == BEST
    page = affinity.write_report(audit, tmp_path / "page.html").read_text()
    assert all(name in page for name in merged)


def test_a_cluster_gets_the_way_with_each_job(tmp_path):
    study = new_study(tmp_path)
    jobs = study.ask(100)
    merged = [job for job in jobs if job.sharing != "hard"]
    assert {job.sharing for job in merged} == {"averaged", "added"}
    assert {job.tasks for job in merged} == {job.tasks for job in jobs if len(job.tasks) > 1}
    for job in jobs:
        if job.tasks == {"c", "d"} and job.sharing == "hard":
            study.fail(job.id, "out of memory")
        else:
            study.tell(job.id, train(job.names, job.seed, job.sharing))
    assert study.state().ways.get(frozenset("cd"), "added") == "added"


def test_ways_to_merge_and_trainings_that_cannot_are_refused(tmp_path):
    with raises("unknown-sharing"):
        Study(tmp_path, {"a": "minimize", "b": "minimize"}, 1, 4, merging=["mean"])
    study = new_study(tmp_path)
    with raises("setting-not-accepted"):
        study.run(lambda tasks, seed: train(tasks, seed))
    with raises("other-settings"):
        Study(tmp_path, merging=["averaged"])
    with raises("unknown-sharing"):
        merge_adapters({"a": START}, START, "hard")


def test_a_merger_that_fails_where_joint_training_worked_is_not_asked_for_again(tmp_path):
    """Merging is better wherever it works: of a seed on which it fails, nothing is left to ask."""

    def told(study, job):
        if job.sharing != "hard" and job.seed % 2:
            return study.fail(job.id, "adapters of other sizes")
        gain = 0.0 if len(job.tasks) == 1 else 0.1 if job.sharing != "hard" else -0.1
        noise = torch.randn(4, generator=torch.Generator().manual_seed(job.seed))
        scores = 1 - gain + 0.05 * noise[[ord(name) - ord("a") for name in job.names]]
        return study.tell(job.id, dict(zip(job.names, scores.tolist(), strict=True)))

    tasks = dict.fromkeys(MINIMA, "minimize")
    study = Study(tmp_path, tasks, budget=2, trainings=30, merging=["averaged"])
    while jobs := study.ask(4):
        for job in jobs:
            told(study, job)
    assert study.answer().is_decided or study.status().left == 0
    trained = {(job.tasks, job.seed) for job in study.state().left_out}
    assert trained <= study.state().planned


def test_the_way_to_share_counts_tasks_by_their_weights(tmp_path):
    """Merging harms b by 0.3 and helps a by 0.2: it is better where a weighs nine times as much."""
    for weight, way in ((1.0, "hard"), (9.0, "averaged")):
        tasks = {"a": affinity.Score("maximize", weight=weight), "b": "maximize"}
        study = Study(tmp_path / way, tasks, budget=1, trainings=3, merging=["averaged"])
        for job in study.ask(10):
            merged = job.sharing != "hard"
            scores = {"a": 0.5 + 0.2 * merged, "b": 0.5 - 0.3 * merged}
            study.tell(job.id, {name: scores[name] for name in job.names})
        assert study.state().ways[frozenset("ab")] == way
