"""The HTTP servers of bench_http, bench_latency and bench_memory: one file each, run as `python -m servers.NAME`.

All do the same work: see `servers.hello`.
"""
