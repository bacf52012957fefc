"""Handlers for those who want callbacks: `Callbacks` registers them, `registry.Handlers` keeps and runs them."""
