"""Losses and layers of sequences, which are loops over time."""

from graphgpu.sequences.ctc import ctc_loss as ctc_loss

__all__ = ["ctc_loss"]
