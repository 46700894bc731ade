"""The gateway beside its peers: requests a second, added latency, CPU and memory, long prompts, streams.

Everything runs on this machine's loopback, one row at a time, rows interleaved in rounds. What is compared with is in
`peers`, our own configuration (made by the product's code) in `ours`; `upstream` stands for engines.
"""
