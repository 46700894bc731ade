"""The command line: one file per verb; parse, call, print.

Belongs here: options, confirmation, drawing and words on the terminal. Data goes to stdout, progress to stderr.
Does not: logic that another surface would need too (`controller` and below).
"""
