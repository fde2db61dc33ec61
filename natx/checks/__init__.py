"""Reliability checks: signs that a model's numbers overstate it. docs/checks.md explains each."""

from natx.checks.audit import CHECKS, AuditOptions, audit, audited, robust_wording
from natx.checks.base import Check, Verdict
from natx.checks.queries import audit_queries

__all__ = ["CHECKS", "AuditOptions", "Check", "Verdict", "audit", "audit_queries", "audited", "robust_wording"]
