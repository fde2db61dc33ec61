"""Adapters that plug task libraries into the core, one folder a task; none imports another."""
