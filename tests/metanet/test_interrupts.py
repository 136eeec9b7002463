"""Signals that are raised for real, in this process."""

import signal
from pathlib import Path

import pytest
from conftest import assert_same_zoo

from metanet import interrupts
from metanet.cli.main import main
from metanet.zoo import Zoo, open_zoo
from metanet.zoo.writer import ZooWriter

BOTH = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@BOTH
def test_both_signals_interrupt_and_leave_the_handlers_as_they_were(number: signal.Signals, code: int) -> None:
    before = [signal.getsignal(n) for n in interrupts.SIGNALS]
    with pytest.raises(KeyboardInterrupt), interrupts.stoppable():
        signal.raise_signal(number)
    assert interrupts.exit_code() == code
    assert [signal.getsignal(n) for n in interrupts.SIGNALS] == before
    interrupts.check()  # the command is over


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_that_a_finaliser_swallows_is_raised_again() -> None:
    class Ending:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    with interrupts.stoppable():
        ending = Ending()
        del ending  # Python drops what a finaliser raises
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


@BOTH
def test_one_that_comes_while_it_is_held_is_raised_at_the_end(number: signal.Signals, code: int) -> None:
    done = []

    def work() -> None:
        with interrupts.stoppable(), interrupts.held():
            signal.raise_signal(number)
            done.append("all")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all"]
    assert interrupts.exit_code() == code


@BOTH
def test_growing_stops_at_once_keeps_its_groups_and_goes_on(
    grown: Zoo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    code: int,
) -> None:
    words = ["generate", "data=digits", "n=30", "seed=3", "group_size=8", "engine=torch", f"out={tmp_path / 'zoo'}", "threads=1"]
    words += ["recipe.epochs=2", "recipe.batch_size=32", "recipe.snapshots=[0,1,2]", "recipe.share=[]"]
    words += ["recipe.hyperparameters.train_fraction=[0.1,0.25]"]
    commit = ZooWriter.commit

    def commit_and_stop(self: ZooWriter, *arguments: object) -> None:
        commit(self, *arguments)  # type: ignore[arg-type]
        signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(ZooWriter, "commit", commit_and_stop)
        with pytest.raises(SystemExit) as left:
            main(words)
    assert left.value.code == code
    assert "1 of" in (said := capsys.readouterr().err)
    assert "same command again" in said
    assert main(words) == 0
    assert_same_zoo(grown, open_zoo(tmp_path / "zoo"))
