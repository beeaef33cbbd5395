"""Judging: which trainings of an audit a study still needs, and the audit once all have ended.

Pure functions of the ledger's content.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from affinity.audit import Audit, AuditContext, Limitation, audit_from_results, audit_jobs
from affinity.audit.audit_plan import usual_baselines
from affinity.audit.trainings import FIRST_SEED
from affinity.estimates import AffinityMatrix
from affinity.recommendation import Plan
from affinity.statistics import NegativeTransferTest
from affinity.tasks import Score
from affinity.training import Job, Result

from .ledger import AuditPlanned, Contents, Entry
from .queue import check_ended, without_id


def next_audit(
    contents: Contents,
    plan: Plan,
    replicates: int,
    baselines: Sequence[str] | None,
    accepts: frozenset[str],
    is_given: bool,
) -> AuditPlanned:
    """The audit of a plan, which is judged itself if the user gave it.

    The latest audit goes on if it judges the same grouping, with more seeds or baselines if they
    are requested.
    """
    assert contents.created is not None
    latest = contents.audit
    seeds: list[int] = []
    if latest is not None and are_same(Plan.from_yaml(latest.plan), plan):
        plan, seeds = Plan.from_yaml(latest.plan), latest.seeds
        baselines = latest.baselines if baselines is None else baselines
        accepts = accepts | set(latest.accepts)
    if baselines is None and contents.created.merging:
        baselines = (*usual_baselines(accepts), *contents.created.merging)
    used = {entry.job.seed for entry in contents.entries.values()}
    fresh = FIRST_SEED + contents.created.seed
    while len(seeds) < replicates:
        if fresh not in used:
            seeds = [*seeds, fresh]
        fresh += 1
    return AuditPlanned(
        plan=plan.to_yaml(),
        seeds=seeds,
        baselines=None if baselines is None else list(baselines),
        accepts=sorted(accepts),
        is_given=is_given,
    )


def unfinished_plan(contents: Contents, tasks: Mapping[str, Score]) -> Plan | None:
    """The study's own plan in the latest audit, if some of its jobs have no result yet."""
    audit = contents.audit
    if audit is None or audit.is_given or is_finished(contents, tasks):
        return None
    return Plan.from_yaml(audit.plan)


def is_finished(contents: Contents, tasks: Mapping[str, Score]) -> bool:
    """Whether there is an audit, and all its jobs have ended."""
    has_ended = all(entry.has_ended for entry in _entries(contents, tasks))
    return contents.audit is not None and has_ended


def finished_audit(
    contents: Contents,
    tasks: Mapping[str, Score],
    name: str,
    tolerance: float,
    matrix: AffinityMatrix | None,
    context: AuditContext,
) -> Audit:
    """The latest audit, after its decision, unless the user gave its plan."""
    audit, entries = contents.audit, _entries(contents, tasks)
    assert audit is not None
    check_ended(entries, "audit")
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
    if contents.looks:
        limits = (*finished.context.limits, _repeated_looks(contents.looks, len(audit.seeds)))
        finished = replace(finished, context=replace(finished.context, limits=limits))
    return finished if audit.is_given else finished.decide()


def _repeated_looks(looks: tuple[int, ...], n_replicates: int) -> Limitation:
    """The limitation of an audit that was extended after its results could be seen."""
    numbers = " and ".join(map(str, looks))
    risk = round(100 * (1 - NegativeTransferTest.level))
    most = min(100, (len(looks) + 1) * risk)  # each look adds its own risk
    return Limitation(
        "repeated-look",
        f"The audit ended with {numbers} replicates and was then extended to {n_replicates}. Its "
        f"intervals and verdicts do not allow for this: over all {len(looks) + 1} looks, the risk "
        f"of a false alarm is up to {most} % instead of {risk} %. To keep {risk} %, audit the plan "
        "in a new study with the number of replicates set in advance.",
    )


def _result_of(entry: Entry) -> Result:
    return entry.result or Result.failed(entry.job, "No result came back.", "no-result")


def are_same(one: Plan, other: Plan) -> bool:
    """Whether two plans train the same networks."""
    networks = (
        {
            (network, sharing, tuple(sorted(settings.items())))
            for network, sharing, settings, _ in plan.parts
        }
        for plan in (one, other)
    )
    return one.width == other.width and next(networks) == next(networks)


def jobs_of_audit(audit: AuditPlanned, tasks: Mapping[str, Score]) -> list[Job]:
    """All jobs of an audit."""
    plan, accepts = Plan.from_yaml(audit.plan), frozenset(audit.accepts)
    return audit_jobs(plan, tuple(tasks), audit.seeds, audit.baselines, accepts)


def _entries(contents: Contents, tasks: Mapping[str, Score]) -> list[Entry]:
    """The entries of the latest audit's jobs."""
    if contents.audit is None:
        return []
    jobs = set(map(without_id, jobs_of_audit(contents.audit, tasks)))
    return [entry for entry in contents.entries.values() if without_id(entry.job) in jobs]
