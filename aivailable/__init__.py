"""AIvailable: one highly available, OpenAI-compatible endpoint from a rack of mixed, ageing GPUs.

The rooms and what each may import are in docs/architecture.md; `import-linter` holds them.
"""
