"""A GPU beside the processor: the same answers, how fast, how many cameras, and whether its memory stays what it is.

Of what the lock files of the workers hold and nothing else: it runs where `bench/gpu.sh` made an environment of them.
"""
