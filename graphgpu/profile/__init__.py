"""Where the time of a program goes: by node, by scope, by function.

A statement's time is what passes between two readings of the clock.  While several
threads share the lanes, a second of one of them counts as that part of a second of
the program; so all shares, with those of waiting and copying, add up to 1.
"""

from graphgpu.profile.cost import Cost, NodeCost
from graphgpu.profile.measured import Profile

__all__ = ["Cost", "NodeCost", "Profile"]
