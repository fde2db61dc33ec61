"""What terms have to say of an epoch, in the log."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from natx.registry import HOOKS


@HOOKS.register_module()
class TermRemarks(Hook):
    """After each epoch, one warning for every remark of a term (:meth:`natx.terms.Term.remarks`)."""

    def after_train_epoch(self, runner: Runner) -> None:
        """See the class."""
        learner = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for term in learner.method.terms:
            for remark in term.remarks():
                runner.logger.warning(f"epoch {runner.epoch + 1}: {remark}")
