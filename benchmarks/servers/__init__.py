"""The HTTP servers of bench_http and bench_memory: one file per contender, each run as `python -m servers.NAME`.

All do the same work: see `servers.hello`.
"""
