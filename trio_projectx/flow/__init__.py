"""Bounded flow: streams with overflow policies, the ledger, and tasks that belong to a block."""
