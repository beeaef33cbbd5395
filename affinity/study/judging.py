"""Judging: which trainings of an audit a study still needs, and the audit once all have ended.

Pure functions of the ledger's content.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from affinity.audit import Audit, AuditContext, Limitation, audit_from_results, audit_jobs
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.recommendation import Plan
from affinity.statistics import NegativeTransferTest
from affinity.tasks import Score
from affinity.training import Job, Result
from affinity.words import count

from .ledger import AuditPlanned, Contents, Entry

FIRST_SEED = 1_000_000
"""Offset of an audit's seeds from the study's seed; deciding trainings never use such seeds."""


def next_audit(
    contents: Contents,
    plan: Plan,
    replicates: int,
    baselines: Sequence[str] | None,
    accepts: frozenset[str],
    tasks: Mapping[str, Score],
) -> tuple[AuditPlanned, list[Job]]:
    """The audit of a plan, and its jobs that are not planned yet.

    The latest audit goes on if it judges the same grouping, with more seeds or baselines if they
    are requested.
    """
    assert contents.created is not None
    latest = contents.audit
    seeds: list[int] = []
    if latest is not None and _is_same(Plan.from_yaml(latest.plan), plan):
        plan, seeds = Plan.from_yaml(latest.plan), latest.seeds
        baselines = latest.baselines if baselines is None else baselines
        accepts = accepts | set(latest.accepts)
    used = {entry.job.seed for entry in contents.entries.values()}
    fresh = FIRST_SEED + contents.created.seed
    while len(seeds) < replicates:
        if fresh not in used:
            seeds = [*seeds, fresh]
        fresh += 1
    audit = AuditPlanned(
        plan=plan.to_yaml(),
        seeds=seeds,
        baselines=None if baselines is None else list(baselines),
        accepts=sorted(accepts),
    )
    planned = {_without_id(entry.job) for entry in contents.entries.values()}
    return audit, [job for job in _jobs(audit, tasks) if _without_id(job) not in planned]


def unfinished_plan(contents: Contents, tasks: Mapping[str, Score]) -> Plan | None:
    """The plan of the latest audit, if some of its jobs have no result yet."""
    if contents.audit is None or not _unfinished(contents, tasks):
        return None
    return Plan.from_yaml(contents.audit.plan)


def _unfinished(contents: Contents, tasks: Mapping[str, Score]) -> list[Entry]:
    """The entries of the latest audit without a result."""
    return [entry for entry in _entries(contents, tasks) if entry.state not in ("done", "failed")]


def finished_audit(
    contents: Contents,
    tasks: Mapping[str, Score],
    name: str,
    tolerance: float,
    matrix: AffinityMatrix | None,
    context: AuditContext,
) -> Audit:
    """The latest audit.

    Raises:
        InputError: If some of its jobs have no result yet.
    """
    audit, entries = contents.audit, _entries(contents, tasks)
    assert audit is not None
    if left := _unfinished(contents, tasks):
        waiting = sum(entry.state == "waiting" for entry in left)
        raise InputError(
            f"Expected results of all {count(len(entries), 'training')} of the audit, but "
            f"{waiting} wait and {len(left) - waiting} run. Hand them out with ask() and tell "
            "their scores, or give a function that runs them; then call audit again.",
            "audit-unfinished",
        )
    results = [_result_of(entry) for entry in entries]
    finished = audit_from_results(
        Plan.from_yaml(audit.plan),
        tasks,
        audit.seeds,
        results,
        audit.baselines,
        frozenset(audit.accepts),
        name=name,
        test=NegativeTransferTest(tolerance=tolerance),
        matrix=matrix,
        context=context,
    )
    if not contents.looks:
        return finished
    limits = (*finished.context.limits, _repeated_looks(contents.looks, len(audit.seeds)))
    return replace(finished, context=replace(finished.context, limits=limits))


def _repeated_looks(looks: tuple[int, ...], n_replicates: int) -> Limitation:
    """The limitation of an audit that was extended after its results could be seen."""
    numbers = " and ".join(map(str, looks))
    return Limitation(
        "repeated-look",
        f"The audit ended with {numbers} replicates and was then extended to {n_replicates}. Its "
        "intervals and verdicts do not allow for this: if replicates are added until a verdict "
        "changes, false verdicts are more frequent than stated. To be sure, audit the plan in a "
        "new study with the number of replicates set in advance.",
    )


def _result_of(entry: Entry) -> Result:
    return entry.result or Result.failed(entry.job, "No result came back.", "no-result")


def _is_same(one: Plan, other: Plan) -> bool:
    """Whether two plans train the same networks."""
    networks = (
        set(zip(plan.grouping.networks, plan.sharing, strict=True)) for plan in (one, other)
    )
    return next(networks) == next(networks)


def _jobs(audit: AuditPlanned, tasks: Mapping[str, Score]) -> list[Job]:
    plan, accepts = Plan.from_yaml(audit.plan), frozenset(audit.accepts)
    return audit_jobs(plan, tuple(tasks), audit.seeds, audit.baselines, accepts)


def _entries(contents: Contents, tasks: Mapping[str, Score]) -> list[Entry]:
    """The entries of the latest audit's jobs."""
    if contents.audit is None:
        return []
    jobs = set(map(_without_id, _jobs(contents.audit, tasks)))
    return [entry for entry in contents.entries.values() if _without_id(entry.job) in jobs]


def _without_id(job: Job) -> Job:
    """A key that is equal for two jobs if they are the same training."""
    return replace(job, id="", settings=dict(job.settings))
