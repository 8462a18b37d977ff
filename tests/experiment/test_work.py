"""Which groups a worker runs, and for which it waits."""

from contextlib import ExitStack

from thinwire.config.experiment import ArmConfig
from thinwire.experiment.group_queue import GroupQueue, claim_name
from thinwire.experiment.plan import Planned
from thinwire.experiment.run_claims import RunClaims
from thinwire.experiment.work import GroupProgress, work

QUEUE = GroupQueue(choices="", group_size=2, groups=(("a", "b"), ("c",)))
A, B, C = (Planned(name=name, arm=name, kind="arm", config=ArmConfig()) for name in "abc")


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

    def run(together, _):
        names = [one.name for one in together]
        ran.append(names)
        ended.update(names)

    over = work(
        QUEUE.of([B, C]),
        claims,
        run,
        claim_of=QUEUE.claim,
        has_ended=lambda one: one.name in ended,
        progress=lambda _: GroupProgress(units=0, steps=0),
        check=check,
        longest_pause=0.01,
    )
    assert list(over) == [[C], [B]]
    assert ran == [["c"]]
