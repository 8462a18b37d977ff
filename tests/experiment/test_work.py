"""Which groups a worker runs, and for which it waits."""

from contextlib import ExitStack
from dataclasses import replace

from thinwire.config.experiment import ArmConfig
from thinwire.experiment.group_queue import GroupQueue, claim_name
from thinwire.experiment.plan import Planned
from thinwire.experiment.run_claims import RunClaims
from thinwire.experiment.work import GroupProgress, work

QUEUE = GroupQueue(choices="", group_size=2, groups=(("a", "b"), ("c",)))
A, B, C = (Planned(name=name, arm=name, kind="arm", config=ArmConfig()) for name in "abc")


def worked(groups, claims, ran, ended, queue=QUEUE, **changes):
    def run(together, _):
        ran.append([one.name for one in together])
        ended.update(ran[-1])

    return work(
        groups,
        claims,
        run,
        claim_of=queue.claim,
        has_ended=lambda one: one.name in ended,
        progress=lambda _: GroupProgress(units=0, steps=0),
        longest_pause=0.01,
        **changes,
    )


def test_a_group_is_claimed_by_all_its_arms_also_when_some_of_them_have_ended():
    assert QUEUE.of([B, C]) == [[B], [C]]
    assert [QUEUE.claim(run) for run in (A, B, C)] == [claim_name("ab"), claim_name("ab"), claim_name("c")]


def test_a_worker_that_joins_while_the_arms_of_a_group_end_one_by_one_leaves_the_others_to_their_owner(tmp_path):
    claims, ended, ran, looks = RunClaims(tmp_path), {"a"}, [], []
    owner = ExitStack()
    owner.enter_context(claims.take(QUEUE.claim(B)))

    def check():
        looks.append(1)
        if len(looks) == 3:
            ended.add("b")
            owner.close()

    assert list(worked(QUEUE.of([B, C]), claims, ran, ended, check=check)) == [[C], [B]]
    assert ran == [["c"]]


def test_a_group_begins_when_the_arms_that_it_needs_have_ended_whatever_the_order(tmp_path):
    ran = []
    a, b = replace(A, needs=frozenset("c")), replace(B, needs=frozenset("x"))  # x is no arm of this call, or done
    assert list(worked([[a, b], [C]], RunClaims(tmp_path), ran, set())) == [[C], [a, b]]
    assert ran == [["c"], ["a", "b"]]


def test_a_worker_waits_while_another_one_runs_what_an_arm_needs(tmp_path):
    claims, ended, ran, looks = RunClaims(tmp_path), set(), [], []
    owner = ExitStack()
    owner.enter_context(claims.take(QUEUE.claim(C)))

    def check():
        looks.append(1)
        if len(looks) == 2:
            ended.add("c")  # but its claim is held: what failed together is run again one by one
        if len(looks) == 4:
            assert ran == []
            owner.close()

    needing = [[replace(A, needs=frozenset("c")), B], [C]]
    assert list(worked(needing, claims, ran, ended, check=check)) == [[C], needing[0]]
    assert ran == [["a", "b"]]
