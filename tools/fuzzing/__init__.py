"""Fuzzing of what people bring: files, specs, options and changed studies.

A target makes a case from a stream of random numbers and runs it. A case passes if there is a
result or a `PrefixcapError` of a readable length; anything else that is raised is a finding.
"""
