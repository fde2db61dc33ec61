"""What terms have to say of an epoch, in the log."""

from __future__ import annotations

from typing import cast

from mmengine.hooks import Hook
from mmengine.runner import Runner

from natx.registry import HOOKS
from natx.terms.base import Term
from natx.training.learner import learner_of


@HOOKS.register_module()
class TermRemarks(Hook):
    """After each epoch, one warning for every remark of a term (:meth:`natx.terms.Term.remarks`)."""

    def after_train_epoch(self, runner: Runner) -> None:
        """See the class."""
        for term in learner_of(runner).method.terms:
            for remark in cast(Term, term).remarks():
                runner.logger.warning(f"epoch {runner.epoch + 1}: {remark}")
