"""Where time goes: reports over a window of stored spans; the same in the API, the page, the CLI.

`queries` has all SQL; the other files are pure functions of its answers. docs/ANALYSIS.md says
each report's rule.
"""
